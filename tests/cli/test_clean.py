"""`rmtgen clean`: runs and reports go, everything else stays."""

import json
import shutil

import pytest

from rmtgen.cli.main import main
from rmtgen.runs.rundir import locked


@pytest.fixture
def output(tmp_path):
    """The folder OUTPUT with two runs, a report, and what is nobody's result."""
    root = tmp_path / "data"
    for folder in ("runs/a-1a2b3c4d", "runs/b-1a2b3c4e", "reports/demo-1a2b3c4f"):
        (root / folder / "inside").mkdir(parents=True)
        (root / folder / "inside" / "file").write_text("made")
    for manifest in (
        "runs/a-1a2b3c4d/extract",
        "runs/b-1a2b3c4e/risk",
        "reports/demo-1a2b3c4f/report",
    ):
        stage = manifest.rpartition("/")[2]
        (root / f"{manifest}.json").write_text(json.dumps({"stage": stage, "spec_hash": "0"}))
    for stranger in ("runs/notes", "reports/mine", "cifar-100-python", "other"):
        (root / stranger).mkdir(parents=True)
        (root / stranger / "kept").write_text("kept")
    (root / "runs" / "notes" / "report.json").write_text('{"title": "mine"}')
    (root / "reports" / "mine" / ".lock").write_text("a word")
    (root / "runs" / "file").write_text("kept")
    return root


def left(root):
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


STRANGERS = {
    "runs/notes/kept",
    "runs/notes/report.json",
    "reports/mine/kept",
    "reports/mine/.lock",
    "cifar-100-python/kept",
    "other/kept",
    "runs/file",
}


def test_without_a_name_every_run_and_report_goes_and_nothing_else(output, capsys):
    assert main(["clean", f"output={output}"]) == 0
    assert left(output) == STRANGERS
    rows = capsys.readouterr().out.splitlines()
    assert {tuple(row.split()) for row in rows} == {
        ("clean", name, "deleted") for name in ("a-1a2b3c4d", "b-1a2b3c4e", "demo-1a2b3c4f")
    }


@pytest.mark.parametrize("name", ["b-1a2b3c4e", "1a2b3c4e"])
def test_a_named_run_goes_alone(output, name):
    before = left(output)
    assert main(["clean", f"output={output}", name]) == 0
    gone = {"runs/b-1a2b3c4e/risk.json", "runs/b-1a2b3c4e/inside/file"}
    assert left(output) == before - gone
    assert not (output / "runs/b-1a2b3c4e").exists()


def test_a_run_that_was_only_begun_goes_too(output):
    begun = output / "runs" / "begun-1a2b3c4a"
    with locked(begun):
        (begun / "features").mkdir()
    assert main(["clean", f"output={output}"]) == 0
    assert not begun.exists()


@pytest.mark.parametrize("name", ["notes", "demo", "nonesuch"])
def test_what_is_no_run_is_not_deleted_by_name(output, name, capsys):
    before = left(output)
    assert main(["clean", f"output={output}", name]) == 3
    assert f"no run {name!r}" in capsys.readouterr().err
    assert left(output) == before


def test_a_run_that_another_process_holds_is_refused(output, capsys):
    held = output / "runs" / "a-1a2b3c4d"
    before = left(held)
    with locked(held):
        assert main(["clean", f"output={output}", held.name]) == 3
    assert "held by another process" in capsys.readouterr().err
    assert left(held) == before | {".lock"}
    assert main(["clean", f"output={output}", held.name]) == 0
    assert not held.exists()


def test_a_link_to_a_run_elsewhere_is_not_followed(output, tmp_path, capsys):
    elsewhere = tmp_path / "elsewhere"
    shutil.move(output / "runs" / "a-1a2b3c4d", elsewhere)
    (output / "runs" / "a-1a2b3c4d").symlink_to(elsewhere)
    assert main(["clean", f"output={output}", "a-1a2b3c4d"]) == 3
    assert "must be a directory, not a link" in capsys.readouterr().err
    assert (elsewhere / "inside" / "file").exists()
    assert not (elsewhere / ".lock").exists()
    assert main(["clean", f"output={output}"]) == 0
    assert left(output) == STRANGERS


def test_an_interrupted_deletion_is_finished_by_the_next(output, monkeypatch):
    """The lock is deleted last, so that what is left is still known as a run."""

    def interrupted(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", interrupted)
        assert main(["clean", f"output={output}", "a-1a2b3c4d"]) == 130
    assert main(["clean", f"output={output}"]) == 0
    assert left(output) == STRANGERS


def test_the_folders_of_results_go_when_they_are_empty(output):
    for stranger in ("runs/notes", "reports/mine"):
        shutil.rmtree(output / stranger)
    assert main(["clean", f"output={output}"]) == 0
    assert (output / "runs" / "file").exists()
    assert not (output / "reports").exists()
    (output / "runs" / "file").unlink()
    assert main(["clean", f"output={output}", "--json"]) == 0
    assert {path.name for path in output.iterdir()} == {"cifar-100-python", "other"}


@pytest.mark.parametrize("words", [["output="], [""], ["--run", ""]])
def test_an_empty_word_deletes_nothing(output, monkeypatch, words):
    monkeypatch.chdir(output.parent)
    before = left(output)
    assert main(["clean", *words]) == 2
    assert left(output) == before


def test_results_that_were_lent_stay_with_the_borrower(copied):
    """Files are linked between runs: deleting one run leaves the other whole."""
    run, words = copied
    assert main(["run", *words, "ridges=1e-3", "--stage", "spectrum"]) == 0
    assert main(["clean", words[-1], run.name]) == 0
    assert main(["verify", words[-1]]) == 0


def test_clean_takes_no_field_but_output(output, capsys):
    before = left(output)
    assert main(["clean", f"output={output}", "train=5"]) == 2
    assert left(output) == before
