"""A run read back: each attribute against plain readers, and which file it reads when."""

import json
import pickle
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pandas as pd
import pytest
from damage import of

import rmtgen
from rmtgen.errors import MissingInputError
from rmtgen.report.loading import load_result
from rmtgen.runs.graph import RUN_STAGES

TABLES = {"risk": "risk.csv", "curve": "curve.csv", "theory": "theory.csv"}


def test_tables_are_what_pandas_reads(run, folder):
    pd.testing.assert_frame_equal(run.risk, pd.read_csv(folder / "risk.csv"))
    pd.testing.assert_frame_equal(run.curve, pd.read_csv(folder / "curve.csv"))
    predictions = pd.read_csv(folder / "theory.csv")
    pd.testing.assert_frame_equal(
        run.theory["predictions"][list(predictions)], predictions, rtol=1e-14
    )
    with h5py.File(folder / "theory.h5") as file:
        assert set(run.theory) == set(file) >= {"trust", "curves", "modes"}
        for name, table in run.theory.items():
            assert set(table) == set(file[name])
            for column in table.select_dtypes(["number", "bool"]):
                np.testing.assert_array_equal(table[column], file[name][column])
        messages = [text.decode() for text in file["trust/message"]]
    assert list(run.theory["trust"]["message"]) == messages
    assert run.theory["trust"]["tripped"].dtype == bool


def test_spectra_are_those_of_the_gram_matrix_at_their_samples(run, folder):
    with h5py.File(folder / "gram.h5") as file:
        matrix = file["gram"][:96]
    assert list(run.spectrum) == [(8, 0), (8, 1), (24, 0), (24, 1), (96, 0)]
    for (n, trial), solved in run.spectrum.items():
        order = np.random.default_rng([run.config["seed"], trial]).permutation(96)[:n]
        values, vectors = np.linalg.eigh(matrix[np.ix_(order, order)])
        rank = len(solved.eigenvalues)
        np.testing.assert_allclose(solved.eigenvalues, values[::-1][:rank], atol=1e-12 * values[-1])
        assert (solved.n, solved.intercept) == (n, False)
        energy = np.square(run.targets.train[order]).sum()
        assert solved.power.sum() + solved.null_energy == pytest.approx(energy, rel=1e-12)
        top = np.abs(vectors[:, -1] @ run.targets.train[order])
        np.testing.assert_allclose(np.abs(solved.coefficients[0]), top, rtol=1e-6)
        np.testing.assert_array_equal(solved.power, (solved.coefficients**2).sum(axis=1))
        assert 0 <= max(solved.residual, solved.orthogonality) < 1e-10
    assert run.spectrum.largest is run.spectrum[96, 0]


def test_the_largest_spectrum_is_of_the_first_trial(run):
    del run.spectrum[96, 0]
    assert run.spectrum.largest is run.spectrum[24, 0]


def test_features_gram_labels_and_targets_are_what_h5py_reads(run, folder):
    with h5py.File(folder / "features.h5") as features, h5py.File(folder / "gram.h5") as file:
        for split in ("train", "test"):
            np.testing.assert_array_equal(getattr(run.features, split), features[split])
            np.testing.assert_array_equal(getattr(run.labels, split), features[f"{split}_labels"])
        np.testing.assert_array_equal(run.gram.read(), file["gram"])
    assert run.classes == ("ash", "birch", "cedar")
    np.testing.assert_array_equal(run.targets.test, np.eye(3)[run.labels.test] - 1 / 3)
    details = json.loads((folder / "extract.json").read_text())["details"]
    assert (run.indices.train.tolist(), run.indices.test.tolist()) == (
        details["train_indices"],
        details["test_indices"],
    )
    assert {
        len(part)
        for part in (run.features.train, run.labels.train, run.targets.train, run.indices.train)
    } == {96}


def test_stages_and_settings_are_those_of_the_manifests(run, folder):
    manifests = {stage: json.loads((folder / f"{stage}.json").read_text()) for stage in RUN_STAGES}
    assert list(run.stages) == list(RUN_STAGES)
    for stage, manifest in manifests.items():
        found = run.stages[stage]
        assert (found.seconds, found.provenance) == (manifest["seconds"], manifest["provenance"])
        assert manifest["spec"].items() <= run.config.items()
    assert (run.config["model"], run.config["tile"], run.config["trials"]) == ("test_resnet", 32, 2)
    assert (run.name, run.path) == (folder.name, folder)


def test_a_run_solved_from_features_has_no_gram_matrix_and_lacks_none(other):
    run = rmtgen.load_run(other)
    assert run.gram is None
    assert "not done: theory)" in repr(run)
    assert run.spectrum.largest.intercept
    np.testing.assert_array_equal(run.targets.train, np.eye(3)[run.labels.train])
    centred = run.targets.train - run.targets.train.mean(axis=0)
    largest = run.spectrum.largest
    assert largest.power.sum() + largest.null_energy == pytest.approx(
        np.square(centred).sum(), rel=1e-12
    )


def test_the_report_draws_what_the_run_holds(run, folder):
    result = load_result(folder)
    largest = run.spectrum.largest
    assert (result.name, result.kernel, result.config) == (folder.name, "features", run.config)
    assert (result.spectrum.n, result.spectrum.null_energy) == (96, largest.null_energy)
    np.testing.assert_array_equal(result.spectrum.eigenvalues, largest.eigenvalues)
    np.testing.assert_allclose(result.spectrum.power, largest.power, rtol=1e-15)
    pd.testing.assert_frame_equal(result.risk, run.risk)
    assert set(result.theory) == set(run.theory)
    assert (
        "train_indices" not in result.provenance["extract"]
        and result.provenance["risk"]["seconds"] > 0
    )


def test_one_line_says_what_there_is(run, folder):
    seconds = sum(manifest.seconds for manifest in run.stages.values())
    stages = "extract, gram, spectrum, risk, theory"
    assert repr(run) == f"Run('{folder}': 96 + 48 images; done in {seconds:,.0f} s: {stages})"


def test_text_and_path_name_the_same_run_wherever_one_stands(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    runs = [
        rmtgen.load_run(path)
        for path in (folder, str(folder), folder.name, f"{folder.name}/../{folder.name}/")
    ]
    monkeypatch.chdir("/")
    assert {run.path for run in runs} == {folder}
    assert len({len(run.risk) for run in runs}) == 1


def test_a_run_travels_to_another_process(run):
    assert len(run.risk) == len(pickle.loads(pickle.dumps(run)).risk)
    assert pickle.loads(pickle.dumps(run)).gram.shape == (144, 96)


def test_nothing_but_targets_needs_torch(folder):
    code = (
        "import sys, rmtgen; run = rmtgen.load_run(sys.argv[1]); repr(run); run.risk, run.theory,"
        " run.spectrum, run.features\nrun.gram.read(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)


@pytest.fixture
def bare(folder, tmp_path):
    """The manifests of a run without its files."""
    (tmp_path / "bare").mkdir()
    for path in folder.glob("*.json"):
        shutil.copy2(path, tmp_path / "bare")
    return tmp_path / "bare"


def bring(folder, bare, *names):
    for name in names:
        (bare / name).parent.mkdir(exist_ok=True)
        shutil.copy2(folder / name, bare / name)


def test_each_attribute_reads_its_own_file_when_it_is_asked_for(folder, bare):
    run = rmtgen.load_run(bare)
    assert "theory" in repr(run) and run.indices.train.size == 96
    for attribute, name in {**TABLES, "theory": "theory.h5", "spectrum": "spectrum.h5"}.items():
        with pytest.raises(
            MissingInputError,
            match=rf"{of(bare / name)} is gone. Run `rmtgen run --.*makes just that again",
        ):
            getattr(run, attribute)
        bring(folder, bare, name)
        assert getattr(run, attribute) is not None


def test_what_was_read_is_kept(copy):
    run = rmtgen.load_run(copy)
    kept = {
        name: getattr(run, name)
        for name in ("risk", "curve", "theory", "spectrum", "gram", "features", "targets")
    }
    shutil.rmtree(copy)
    assert all(getattr(run, name) is value for name, value in kept.items())
    assert len(run.labels.train) == 96


def test_the_gram_matrix_is_opened_by_its_view_and_read_by_its_tiles(folder, bare):
    run = rmtgen.load_run(bare)
    with pytest.raises(MissingInputError, match="gram.h5 is gone"):
        _ = run.gram
    bring(folder, bare, "gram.h5", "gram/journal.jsonl")
    assert run.gram.shape == (144, 96)
    with pytest.raises(MissingInputError, match="tile-00000032-00000000"):
        run.gram.read(slice(40, 50), slice(0, 5))
    bring(folder, bare, "gram/tile-00000032-00000000.h5")
    with h5py.File(folder / "gram.h5") as file:
        np.testing.assert_array_equal(
            run.gram.read(slice(40, 50), slice(0, 5)), file["gram"][40:50, :5]
        )


def test_labels_need_no_features(folder, bare):
    bring(folder, bare, "features.h5", "features/journal.jsonl")
    run = rmtgen.load_run(bare)
    assert len(run.labels.test) == len(run.targets.test) == 48
    with pytest.raises(MissingInputError, match="train-000000"):
        _ = run.features
