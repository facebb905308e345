"""Runs of version 0.1.0 stay what they are: their hashes, their files, their readings."""

import json
import re
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pandas as pd
import pytest
from old import FEATURES, LARGE, SMALL, TANGENT, WORDS, contents

import rmtgen
from rmtgen.cli.main import main
from rmtgen.ridge.columns import INTERVAL_COLUMNS
from rmtgen.runs.experiment import load_experiment
from rmtgen.runs.graph import RUN_STAGES
from rmtgen.runs.manifest import Manifest

OLD = pytest.mark.parametrize("end", WORDS, ids=["small", "large", "entk", "features"])


def config_of(end):
    (config,) = load_experiment(None, dict(word.split("=", 1) for word in WORDS[end])).runs
    return config


def folder_of(runs, end):
    (folder,) = runs.glob(f"*-{end}")
    return folder


def test_there_are_four_and_their_pictures_are_gone(old_runs):
    assert {folder.name.rpartition("-")[2] for folder in old_runs.iterdir()} == set(WORDS)
    assert not list(old_runs.parents[1].glob("pictures"))
    versions = {
        Manifest.read(folder, "extract").provenance["versions"]["rmtgen"]
        for folder in old_runs.iterdir()
    }
    assert versions == {"0.1.0"}


@OLD
def test_names_and_hashes_are_those_of_today(old_runs, end):
    config, folder = config_of(end), folder_of(old_runs, end)
    assert config.run_name == folder.name
    for stage in RUN_STAGES:
        manifest = Manifest.read(folder, stage)
        if manifest:
            assert config.stage_hash(stage) == manifest.spec_hash
            assert json.loads(json.dumps(config.stage_fields(stage))) == manifest.spec
        else:
            assert (end, stage) == (FEATURES, "gram")


@OLD
def test_every_stage_is_cached_and_no_byte_changes(old_runs, end, capsys):
    folder = folder_of(old_runs, end)
    before = contents(folder)
    for stage in RUN_STAGES:
        assert main([stage, *WORDS[end]]) == 0
        row = capsys.readouterr().out
        assert row.split()[:2] == [stage, folder.name]
        word = "–" if (end, stage) == (FEATURES, "gram") else "cached"
        assert row.split()[2] == word
    assert contents(folder) == before


def test_cached_they_need_no_torch(old_runs):
    code = (
        "import sys\nfrom rmtgen.cli.main import main\n"
        "assert main(['run', '--stage', 'theory', *sys.argv[1:]]) == 0\n"
        "assert not {'torch', 'timm', 'pandas', 'scipy', 'h5py'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code, *WORDS[SMALL]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" cached") == len(RUN_STAGES)


def test_they_are_listed_and_sound(old_runs, capsys):
    assert main(["ls"]) == main(["verify"]) == 0
    shown = capsys.readouterr().out
    assert all(
        shown.count(folder.name) == 1 + sound_stages(folder) for folder in old_runs.iterdir()
    )


def sound_stages(folder):
    return sum((folder / f"{stage}.json").exists() for stage in RUN_STAGES)


@OLD
def test_they_are_read_as_they_were_written(old_runs, end):
    folder = folder_of(old_runs, end)
    run = rmtgen.load_run(folder)
    n = config_of(end).train
    assert list(run.stages) == [
        stage for stage in RUN_STAGES if (folder / f"{stage}.json").exists()
    ]
    for name, table in (("risk", run.risk), ("curve", run.curve)):
        stored = pd.read_csv(folder / f"{name}.csv")
        pd.testing.assert_frame_equal(table[list(stored)], stored)
        later = table.drop(columns=list(stored))  # which that version did not know
        assert list(later) == list(INTERVAL_COLUMNS) and later.isna().all(axis=None)
    predictions = pd.read_csv(folder / "theory.csv")
    found = run.theory["predictions"][list(predictions)]
    pd.testing.assert_frame_equal(found, predictions, rtol=1e-14)
    with h5py.File(folder / "features.h5") as file:
        np.testing.assert_array_equal(run.features.train, file["train"])
        np.testing.assert_array_equal(run.labels.test, file["test_labels"])
    with h5py.File(folder / "spectrum.h5") as file:
        largest = file[f"n{n:08d}-t000"]
        np.testing.assert_array_equal(run.spectrum.largest.eigenvalues, largest["eigenvalues"])
        np.testing.assert_array_equal(run.spectrum.largest.coefficients, largest["coefficients"])
    assert run.targets.train.shape == (n, len(run.classes))
    if end == FEATURES:
        assert run.gram is None
        assert run.spectrum.largest.intercept
    else:
        with h5py.File(folder / "gram.h5") as file:
            np.testing.assert_array_equal(run.gram.read(), file["gram"])
        assert run.gram.read().dtype == ("float32" if end == TANGENT else "float64")


def drop_gram(folder):
    (folder / "gram.json").unlink()
    (folder / "gram.h5").unlink()
    shutil.rmtree(folder / "gram")


def test_a_gram_matrix_that_nothing_reads_may_be_deleted(old_runs, capsys):
    """112 images and 96 features: the later stages read the features, today as then."""
    folder = folder_of(old_runs, LARGE)
    drop_gram(folder)
    before = contents(folder)
    assert main(["run", "--stage", "theory", *WORDS[LARGE]]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.split()[2] for row in rows] == ["cached", "–", "cached", "cached", "cached"]
    assert contents(folder) == before
    run = rmtgen.load_run(folder)
    assert run.gram is None
    assert "not done" not in repr(run)
    assert len(run.risk) and len(run.theory["predictions"]) and run.spectrum


def test_a_gram_matrix_that_is_read_may_not(old_runs, capsys):
    drop_gram(folder_of(old_runs, SMALL))
    assert main(["spectrum", *WORDS[SMALL]]) == 3
    assert "stage gram is not done" in capsys.readouterr().err


def test_other_ridges_reuse_what_they_share(old_runs, capsys):
    """A new run takes features, Gram matrix and spectra of an old one as they are."""
    words = [*WORDS[SMALL], "ridges=1e-3,1"]
    assert main(["run", "--stage", "spectrum", *words]) == 0
    origins = re.findall("taken from (.*)", capsys.readouterr().out)
    assert len(origins) == 3
    assert origins[1:] == [folder_of(old_runs, SMALL).name] * 2
    # the eNTK of the same pictures has the same features
    assert origins[0] in {folder_of(old_runs, end).name for end in (SMALL, TANGENT)}
