"""`rmtgen ls`: the runs there are."""

import re
import shutil

from terminals import TIME

from rmtgen.cli.main import main
from rmtgen.runs.graph import RUN_STAGES
from rmtgen.runs.manifest import Manifest

HEADINGS = ["run", "done up to", "size", "took", "made"]


def test_a_row_per_run_says_how_far_it_is(copied, capsys):
    run, words = copied
    half = run.with_name("half-1a2b3c4d")
    half.mkdir()
    for path in (*run.glob("extract.json"), *run.glob("features*")):
        (shutil.copytree if path.is_dir() else shutil.copy)(path, half / path.name)
    assert main(["ls", words[-1]]) == 0
    headings, rule, first, second = capsys.readouterr().out.splitlines()
    assert headings.split() == " ".join(HEADINGS).split()
    assert set(rule) == {"-", " "}
    assert first.split()[:2] == [half.name, "extract"]
    assert second.split()[:2] == [run.name, "theory"]


def test_a_row_has_the_size_the_time_and_the_date_of_the_manifests(copied, capsys, line_of):
    run, words = copied
    assert main(["ls", words[-1], run.name[-8:]]) == 0
    row = capsys.readouterr().out.splitlines()[-1]
    manifests = [Manifest.read(run, stage) for stage in RUN_STAGES]
    made = max(manifest.provenance["made"] for manifest in manifests)
    assert row.endswith(made[:16].replace("T", " "))
    assert re.search(rf"KiB +{TIME} +\d{{4}}-", row)
    assert main(["ls", words[-1], "--json"]) == 0
    (entry,) = line_of()["runs"]
    assert entry["details"]["stages"] == list(RUN_STAGES)
    assert entry["details"]["bytes"] == sum(
        record.size for manifest in manifests for record in manifest.outputs.values()
    )
    assert (entry["status"], entry["name"], entry["path"]) == ("listed", run.name, str(run))


def test_an_unreadable_run_is_a_row_and_a_warning(copied, capsys):
    run, words = copied
    broken = run.with_name("broken-1a2b3c4d")
    shutil.copytree(run, broken)
    (broken / "risk.json").write_text("{")
    assert main(["ls", words[-1]]) == 0
    shown = capsys.readouterr()
    assert "rmtgen: warning: " in shown.err
    assert f"{broken}/risk.json is not a manifest" in shown.err
    assert run.name in shown.out
    assert [broken.name, "damaged"] in [row.split() for row in shown.out.splitlines()]


def test_a_file_of_another_size_is_a_damaged_run(copied, capsys, line_of):
    run, words = copied
    (run / "risk.csv").write_text("n\n")
    assert main(["ls", words[-1]]) == 0
    shown = capsys.readouterr()
    assert f"{run / 'risk.csv'} is not what was written" in shown.err
    assert [run.name, "damaged"] in [row.split() for row in shown.out.splitlines()]
    assert main(["ls", words[-1], "--json"]) == 0
    (entry,) = line_of()["runs"]
    assert entry["status"] == "damaged"


def done_up_to(words, capsys):
    assert main(["ls", words[-1]]) == 0
    return capsys.readouterr().out.splitlines()[-1].split()[1]


def test_the_last_stage_is_that_before_a_gap(copied, capsys):
    run, words = copied
    (run / "risk.csv").unlink()
    assert done_up_to(words, capsys) == "spectrum"
    (run / "spectrum.json").unlink()
    assert done_up_to(words, capsys) == "gram"
    (run / "extract.json").unlink()
    assert done_up_to(words, capsys) == "–"


def test_a_stage_that_is_not_needed_is_no_gap(old_runs, capsys):
    assert main(["ls", "8ccc1df1"]) == 0  # solved from features
    assert capsys.readouterr().out.splitlines()[-1].split()[1] == "theory"


def test_the_table_keeps_to_the_terminal(copied, monkeypatch, capsys):
    run, words = copied
    monkeypatch.setattr("rmtgen.cli.ls.terminal_columns", lambda: 60)
    assert main(["ls", words[-1]]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 60
    assert run.name[:5] in lines[2]
