"""A run's study, read from its directory: the tables of `rmtgen.study` on the same arrays."""

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import rmtgen
from rmtgen.errors import CorruptInputError, NumericalError, UsageError
from rmtgen.runs.config import Config
from rmtgen.runs.run import load_run
from rmtgen.stages.study import load_study, to_arrays, to_frame
from rmtgen.theory.registry import KEYS, THEORIES
from rmtgen.theory.study import ANALYSES

GAPS = ["n", "trial", "ridge", "gcv_loo_gap", "gcv_doubted"]
RUNS = Path(__file__).parent.parent / "data" / "runs-0.1.0.tar.xz"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Runs of version 0.1.0: of features, of their Gram matrix, of an empirical NTK."""
    root = tmp_path_factory.mktemp("stored")
    with tarfile.open(RUNS) as archive:
        archive.extractall(root, filter="data")
    return [path.parent for path in sorted(root.glob("**/theory.csv"))]


def configuration(folder):
    stored = load_run(folder).config
    return Config(**{name: tuple(v) if isinstance(v, list) else v for name, v in stored.items()})


def loaded(folder):
    return load_study(folder, configuration(folder), torch.device("cpu"))


def tables(made):
    found = {}
    for name, analyse in ANALYSES.items():
        try:
            found[name] = analyse(made)
        except (UsageError, NumericalError) as error:
            found[name] = str(error)
    return found


@pytest.mark.filterwarnings("ignore::rmtgen.errors.RmtgenWarning")
def test_the_tables_of_a_run_are_those_of_its_gram_matrix(folders):
    compared = 0
    for folder in folders:
        config, made = configuration(folder), loaded(folder)
        if not made.pool.is_gram:
            continue
        ridges = np.unique(made.risk["ridge"])
        assert len(ridges) == len(config.ridges)
        other = rmtgen.study(
            made.pool.kernel.train,
            made.pool.targets.values[:],
            test_gram=made.pool.kernel.test,
            test_targets=made.pool.test_targets.values[:],
            sizes=config.sizes,
            ridges=ridges,
            trials=config.trials,
            intercept=made.pool.targets.intercept,
            seed=config.seed,
            features=made.features,
        )
        for name, table in tables(made).items():
            again = tables(other)[name]
            if name == "checks":  # version 0.1.0 stored no standard error of leave-one-out
                assert table["test_deviation"].isna().all() and not table["test_doubted"].any()
                table, again = table[GAPS], again[GAPS]
            if isinstance(table, str):
                assert again == table
            else:
                pd.testing.assert_frame_equal(again, table, rtol=1e-9, obj=f"{folder.name} {name}")
        compared += 1
    assert compared >= 2


def test_a_run_made_by_version_0_1_0_has_the_same_predictions(folders):
    """The stored table rests on another computer's arithmetic, so the last digits may differ. It
    is older than the correction of transport by leave-one-out, and the predicted errors."""
    later = {"transport_loo", "test_error", "predicted_error", "predicted_error_se"}
    for folder in folders:
        stored, found = pd.read_csv(folder / "theory.csv"), loaded(folder).predictions()
        assert [name for name in found if name not in later] == list(stored)
        pd.testing.assert_frame_equal(found[list(KEYS)], stored[list(KEYS)])
        for name in set(THEORIES) - later:
            np.testing.assert_allclose(found[name], stored[name], rtol=1e-9, err_msg=name)
        gaps = np.log(found["transport_loo"] / found["transport"])  # not in that version's error
        known = np.hypot(stored["transport_se"], gaps)
        np.testing.assert_allclose(found["transport_se"], known, rtol=1e-9)


def test_every_table_is_one_that_hdf5_keeps(folders):
    for table in tables(loaded(folders[0])).values():
        if not isinstance(table, str):
            again = to_frame(to_arrays(table))
            pd.testing.assert_frame_equal(again, table.reset_index(drop=True), check_dtype=False)


@pytest.mark.parametrize("name", ["risk.csv", "curve.csv", "spectrum.h5"])
def test_a_changed_file_is_no_input_of_a_study(folders, tmp_path, name):
    """Its size and its time are those of the manifest; its bytes are not."""
    folder = tmp_path / folders[0].name
    shutil.copytree(folders[0], folder)
    content = bytearray((folder / name).read_bytes())
    content[-2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(CorruptInputError, match=f"{name} is not what was written"):
        loaded(folder)
