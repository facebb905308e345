"""A spectrum against NumPy, and its place in spectrum.h5, which keeps its bytes."""

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from cases import CASES, WIDE

from rmtgen.errors import NumericalError, UsageError
from rmtgen.linalg.cells import Cell
from rmtgen.linalg.modes import feature_modes, gram_modes
from rmtgen.linalg.spectrum import Spectra, Spectrum
from rmtgen.store.shards import hdf5_image

STORED = Path(__file__).parents[1] / "data" / "runs-0.1.0.tar.xz"
cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
intercepts = pytest.mark.parametrize("intercept", [False, True], ids=["plain", "intercept"])


@pytest.fixture(scope="module")
def stored():
    """spectrum.h5 of every run that version 0.1.0 made."""
    with tarfile.open(STORED) as archive:
        names = [name for name in archive.getnames() if name.endswith("/spectrum.h5")]
        return [archive.extractfile(name).read() for name in names]


@cases
@intercepts
def test_eigenvalues_power_and_energies_are_those_of_numpy(case, intercept):
    centre = np.eye(len(case.gram)) - intercept / len(case.gram)
    values, vectors = np.linalg.eigh(centre @ case.gram @ centre)
    values, vectors = values[::-1], vectors[:, ::-1]
    kept = values > 1e-10 * values[0]
    targets = centre @ case.targets
    for modes in (
        gram_modes(case.gram, intercept=intercept),
        feature_modes(case.features, intercept=intercept),
    ):
        spectrum = Spectrum.of(modes, case.targets)
        np.testing.assert_allclose(spectrum.eigenvalues, values[kept], rtol=1e-11)
        # what no rotation within an eigenspace changes
        weighted = vectors[:, kept].T @ targets
        moments = [np.square(weighted).sum(axis=1) @ values[kept] ** k for k in (0, 1, 2)]
        found = [spectrum.power @ spectrum.eigenvalues**k for k in (0, 1, 2)]
        np.testing.assert_allclose(found, moments, rtol=1e-11)
        outside = np.square(targets - vectors[:, kept] @ weighted).sum()
        assert spectrum.null_energy == pytest.approx(outside, rel=1e-10, abs=1e-20)
        assert spectrum.energy == pytest.approx(np.square(targets).sum(), rel=1e-12)
        assert spectrum.trace == pytest.approx(np.trace(centre @ case.gram @ centre), rel=1e-12)
        assert (spectrum.rank, spectrum.n) == (kept.sum(), len(case.gram))
        assert spectrum.null_dim == len(case.gram) - intercept - kept.sum()
        assert (spectrum.null_energy == 0) == (spectrum.null_dim == 0)


def test_targets_may_be_a_vector_and_must_match():
    modes = gram_modes(WIDE.gram)
    assert Spectrum.of(modes, torch.ones(16)).coefficients.shape == (16, 1)
    with pytest.raises(UsageError, match="targets must match the modes: expected 16 rows, got 15"):
        Spectrum.of(modes, torch.ones(15))
    with pytest.raises(NumericalError, match="targets must be finite: got 1 NaN"):
        Spectrum.of(modes, np.r_[np.ones(15), np.nan])


@pytest.mark.parametrize("intercept", [False, True])
def test_another_power_on_the_same_eigenvalues(intercept):
    power = np.array([0.0, 3.0, 5.0])
    spectrum = Spectrum.of_power(np.array([4.0, 2.0, 1.0]), power, 2.0, 6, intercept=intercept)
    np.testing.assert_allclose(spectrum.power, power, rtol=1e-15)
    assert (spectrum.energy, spectrum.trace, spectrum.rank) == pytest.approx((10.0, 7.0, 3))
    assert (spectrum.directions, spectrum.null_dim) == (6 - intercept, 3 - intercept)
    assert np.isnan([spectrum.residual, spectrum.orthogonality]).all()
    other = spectrum.with_power(power[::-1], 1.0)
    np.testing.assert_allclose(other.power, power[::-1], rtol=1e-15)
    np.testing.assert_array_equal(other.eigenvalues, spectrum.eigenvalues)
    assert (other.null_energy, other.n, other.intercept) == (1.0, 6, intercept)
    assert spectrum.with_power(power).null_energy == 0


@intercepts
def test_what_is_saved_is_loaded(intercept):
    spectrum = Spectrum.of(gram_modes(WIDE.gram, intercept=intercept), WIDE.targets)
    again = Spectrum.load(spectrum.save())
    for name, value in vars(spectrum).items():
        np.testing.assert_array_equal(getattr(again, name), value)
        assert type(getattr(again, name)) is type(value)


def test_files_of_version_0_1_0_keep_every_byte(stored):
    assert len(stored) == 4
    for image in stored:
        with h5py.File(io.BytesIO(image), "r") as file:
            spectra = Spectra.load(file)
        assert hdf5_image(spectra.save()) == image


def test_spectra_are_what_h5py_reads(stored):
    for image in stored:
        with h5py.File(io.BytesIO(image), "r") as file:
            spectra = Spectra.load(file)
            assert [cell.name for cell in spectra] == list(file)
            assert list(spectra) == sorted(spectra)
            for (n, trial), spectrum in spectra.items():
                group = file[f"n{n:08d}-t{trial:03d}"]
                assert set(group) == {
                    *("eigenvalues", "coefficients", "null_energy", "n"),
                    *("residual", "orthogonality", "intercept"),
                }
                for name in group:
                    np.testing.assert_array_equal(getattr(spectrum, name), group[name][()])
            largest = spectra.largest
            assert largest is spectra[max(n for n, _ in spectra), 0]


def test_cells_are_named_and_nested():
    assert Cell(96, 2).name == "n00000096-t002"
    assert Cell.parse("n123456789-t1234") == (123456789, 1234)
    for trial in (0, 1):
        whole = np.random.default_rng([7, trial]).permutation(40)
        for n in (1, 5, 40):
            np.testing.assert_array_equal(Cell(n, trial).order(7, 40), whole[:n])


def test_spectra_need_no_torch():
    code = "import sys, rmtgen.linalg.spectrum; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
