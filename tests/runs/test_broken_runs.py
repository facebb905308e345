"""What is no run, or a broken one, is refused by name."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from damage import edit, flip, of

import rmtgen
from rmtgen.errors import CorruptInputError, MissingInputError, StaleInputError, UsageError


def test_what_is_no_run_is_refused(folder, output, tmp_path):
    with pytest.raises(
        MissingInputError,
        match=rf"no run at .*: no such directory. Did you mean .*{of(folder.name)}",
    ):
        rmtgen.load_run(str(folder)[:-1])
    with pytest.raises(MissingInputError, match="no such directory. Runs are made by `rmtgen run`"):
        rmtgen.load_run(tmp_path / "nonesuch")
    with pytest.raises(
        MissingInputError,
        match="expected extract.json, gram.json.*, or one of them. Runs are made by",
    ):
        rmtgen.load_run(tmp_path)
    with pytest.raises(
        MissingInputError, match=rf"There are runs in it. Known: .*{of(folder.name)}"
    ):
        rmtgen.load_run(output / "runs")
    with pytest.raises(MissingInputError, match="risk.csv: no such directory"):
        rmtgen.load_run(folder / "risk.csv")
    for wrong, reason in (("null\0byte", "null"), ("long" * 2000, "too long")):
        with pytest.raises(
            UsageError, match=f"path must be that of a run's directory: got .*{reason}"
        ):
            rmtgen.load_run(wrong)


@pytest.mark.parametrize(
    "name", ["rün ‘1’", "a b", "$x", "#%b%20", "line\nbreak", "{brace}", "q\"'", "-t000", "*?["]
)
def test_any_name_will_do(folder, tmp_path, name):
    shutil.copytree(folder, tmp_path / name)
    run = rmtgen.load_run(tmp_path / name)
    assert run.name == name and "\n" not in repr(run)
    assert len(run.risk) == 30 and run.features.test.shape[0] == 48
    with h5py.File(run.path / "gram.h5") as file:
        np.testing.assert_array_equal(run.gram.read(), file["gram"])
    (run.path / "theory.json").unlink()
    with pytest.raises(MissingInputError, match="Run `rmtgen run --stage theory"):
        _ = rmtgen.load_run(run.path).theory


def test_another_version_is_refused(copy):
    edit(copy / "gram.json", format=3)
    with pytest.raises(
        StaleInputError, match="gram.json has manifest format 3; this version reads 1 and 2"
    ):
        rmtgen.load_run(copy)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda path: path.write_text(path.read_text()[:-20]),
        lambda path: path.write_text("[]"),
        lambda path: path.write_bytes(b"\xff\x00"),
        lambda path: path.write_text(""),
        lambda path: path.write_text('{"format": 1}'),
        lambda path: edit(path, outputs=7),
        lambda path: edit(path, spec="text"),
        lambda path: edit(path, spec={}),
        lambda path: edit(path, seconds="long"),
        lambda path: edit(path, details=[]),
        lambda path: edit(path, spec={**json.loads(path.read_text())["spec"], "trials": 3}),
        lambda path: edit(
            path, spec={**json.loads(path.read_text())["spec"], "trials": float("nan")}
        ),
        lambda path: shutil.copy(path.parent / "spectrum.json", path),
    ],
)
def test_a_corrupt_manifest_is_refused_by_name(copy, break_it):
    break_it(copy / "risk.json")
    with pytest.raises(CorruptInputError, match=rf"{of(copy)}/risk.json is not"):
        rmtgen.load_run(copy)


def test_stages_of_two_runs_in_one_directory_are_refused(copy, other):
    shutil.copy(other / "risk.json", copy)
    with pytest.raises(
        StaleInputError,
        match="must agree on solve_from, targets: got 'auto', and .*/risk.json 'features'",
    ):
        rmtgen.load_run(copy)


FILES = {
    "risk": "risk.csv",
    "curve": "curve.csv",
    "theory": "theory.h5",
    "spectrum": "spectrum.h5",
    "gram": "gram/journal.jsonl",
    "labels": "features.h5",
    "classes": "features/journal.jsonl",
}


@pytest.mark.parametrize("attribute", FILES)
def test_a_changed_file_is_refused_by_name_and_the_rest_still_read(copy, attribute):
    victim = copy / FILES[attribute]
    flip(victim)
    run = rmtgen.load_run(copy)
    with pytest.raises(
        CorruptInputError,
        match=rf"{of(victim)} is not what was written: .*BLAKE2b.*Delete it and run `rmtgen run ",
    ):
        getattr(run, attribute)
    for rest in FILES.keys() - {attribute, "labels", "classes"}:
        assert getattr(run, rest) is not None


@pytest.mark.parametrize("attribute", FILES)
def test_a_missing_file_is_refused_by_name(copy, attribute):
    (copy / FILES[attribute]).unlink()
    with pytest.raises(
        MissingInputError, match=rf"{of(copy / FILES[attribute])} is gone. Run `rmtgen run --stage"
    ):
        getattr(rmtgen.load_run(copy), attribute)


@pytest.mark.parametrize(
    ("attribute", "shard"),
    [("gram", "gram/tile-00000000-00000000.h5"), ("features", "features/test-000001.h5")],
)
def test_a_changed_shard_is_refused_by_name(copy, attribute, shard):
    flip(copy / shard)
    with pytest.raises(CorruptInputError, match=f"{Path(shard).name} is not what was written"):
        _ = (
            rmtgen.load_run(copy).gram.read()
            if attribute == "gram"
            else rmtgen.load_run(copy).features
        )


def test_a_file_that_its_manifest_does_not_list_is_refused(copy):
    edit(copy / "spectrum.json", outputs={})
    with pytest.raises(
        CorruptInputError, match="spectrum.json must list spectrum.h5 among its outputs"
    ):
        _ = rmtgen.load_run(copy).spectrum


def test_results_made_from_others_than_those_there_are_refused(copy):
    """As where the spectrum was made again, to other bytes: theory read the old one, risk none."""
    record = json.loads((copy / "spectrum.json").read_text())["outputs"]["spectrum.h5"]
    edit(copy / "spectrum.json", outputs={"spectrum.h5": {**record, "blake2b": "0" * 32}})
    run = rmtgen.load_run(copy)
    assert len(run.risk) == 30
    with pytest.raises(
        StaleInputError,
        match="theory.json must be made from the results .* got other results of spectrum",
    ):
        _ = run.theory
