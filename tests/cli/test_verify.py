"""`rmtgen verify`: every byte of every file."""

import os
import shutil

import pytest

from rmtgen.cli.main import main
from rmtgen.runs.graph import RUN_STAGES
from rmtgen.runs.manifest import Manifest


def flip(path, at=-1):
    """Change one bit, and give the file its size and its time back."""
    status, content = path.stat(), bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    assert path.stat().st_mtime_ns == status.st_mtime_ns


def test_sound_runs_are_listed_stage_by_stage(copied, capsys):
    run, words = copied
    assert main(["verify", words[-1]]) == 0
    rows = capsys.readouterr().out.splitlines()
    (report,) = (run.parents[1] / "reports").iterdir()
    expected = [[stage, run.name, "sound"] for stage in RUN_STAGES]
    assert [row.split()[:3] for row in rows] == [*expected, ["report", report.name, "sound"]]
    outputs = Manifest.read(run, "spectrum").outputs
    size = sum(record.size for record in outputs.values())
    assert rows[2].endswith(f"1 file, {size:,} bytes")


def outputs_of(run):
    return [name for stage in RUN_STAGES for name in Manifest.read(run, stage).outputs]


def test_one_flipped_bit_is_found_in_any_file(copied, capsys):
    run, words = copied
    for stage in RUN_STAGES:
        for name in sorted(Manifest.read(run, stage).outputs)[::7]:
            flip(run / name)
            assert main(["run", *words]) == 0  # sizes and times say nothing
            capsys.readouterr()
            assert main(["verify", words[-1]]) == 3
            error = capsys.readouterr().err
            assert f"{run / name} is not what" in error
            assert f"`rmtgen run --stage {stage}" in error
            flip(run / name)
    assert main(["verify", words[-1]]) == 0


def test_a_missing_file_is_named_with_the_command_that_makes_it(copied, capsys):
    run, words = copied
    (run / "risk.csv").unlink()
    assert main(["verify", words[-1]]) == 3
    error = capsys.readouterr().err
    assert f"{run / 'risk.csv'} is gone" in error
    assert "`rmtgen run --stage risk" in error


def test_every_damaged_run_is_named_and_the_others_are_checked(copied, capsys):
    run, words = copied
    for name in ("a-1a2b3c4d", "b-1a2b3c4e"):
        shutil.copytree(run, run.with_name(name), copy_function=shutil.copy2)
        flip(run.with_name(name) / "spectrum.h5")
    assert main(["verify", words[-1]]) == 3
    shown = capsys.readouterr()
    assert shown.err.count("spectrum.h5 is not what") == 2
    assert shown.out.count(run.name) == len(RUN_STAGES)
    assert main(["verify", words[-1], run.name]) == 0
    assert main(["verify", words[-1], "1a2b3c4e"]) == 3


def test_json_holds_the_sound_stages_and_the_error(copied, line_of):
    run, words = copied
    flip(run / "risk.csv")
    assert main(["verify", words[-1], "--json"]) == 3
    line = line_of()
    assert [entry["stage"] for entry in line["runs"]] == ["extract", "gram", "spectrum", "report"]
    assert {entry["status"] for entry in line["runs"]} == {"verified"}
    assert line["error"]["code"] == 3


@pytest.mark.parametrize("command", ["verify", "ls", "clean"])
def test_a_folder_without_runs_is_no_error(command, tmp_path, capsys):
    assert main([command, f"output={tmp_path}"]) == 0
    assert str(tmp_path) in capsys.readouterr().out


@pytest.mark.parametrize("command", ["verify", "ls", "clean", "compare"])
def test_an_unknown_run_is_named_with_one_like_it(command, copied, capsys):
    run, words = copied
    assert main([command, words[-1], run.name[:-1]]) == 3
    assert f"Did you mean {run.name}" in capsys.readouterr().err
    assert run.is_dir()


def test_a_flipped_bit_of_a_report_is_found(copied, capsys):
    run, words = copied
    (page,) = (run.parents[1] / "reports").glob("*/report.html")
    flip(page)
    assert main(["verify", words[-1]]) == 3
    assert f"{page} is not what was written" in capsys.readouterr().err
    assert main(["verify", words[-1], run.name]) == 0  # a named run alone
