"""`rmtgen compare`: one report over finished runs."""

import json
import re
import shutil

import pytest

from rmtgen.cli.main import main
from rmtgen.report.loading import load_result


@pytest.fixture
def two(copied, monkeypatch):
    """The copied run beside one with other ridges, and the word that leads to both."""
    run, words = copied
    assert main(["run", *words, "ridges=1e-3,1", "--stage", "theory"]) == 0
    return run, words[-1]


@pytest.fixture
def one(copied):
    """The copied run, and the word that leads there."""
    return copied[0], copied[1][-1]


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch, request):
    """The pictures of a report take most of its time and are no subject here."""
    monkeypatch.setattr("rmtgen.stages.report.save_figures", lambda *_: [])


def report_of(run):
    (folder,) = (run.parents[1] / "reports").glob("compare-*")
    return (folder / "report.html").read_text()


def test_it_reports_all_finished_runs_or_those_named(two, capsys):
    run, output = two
    assert main(["compare", output]) == 0
    assert "2 run(s)" in capsys.readouterr().out
    assert main(["compare", output, run.name]) == 0
    shown = capsys.readouterr().out
    assert "1 run(s)" in shown
    for words in ([run.name[-8:], run.name], ["--run", run.name], [run.name, f"--{output}"]):
        assert main(["compare", output, *words]) == 0
        assert capsys.readouterr().out.splitlines()[1:] == shown.splitlines()[1:]
    assert main(["compare", output, "nonesuch"]) == 3
    assert "no run 'nonesuch'" in capsys.readouterr().err


def test_a_comparison_is_cached_and_is_made_again_for_other_results(one, capsys):
    run, output = one
    assert main(["compare", output]) == main(["compare", output]) == 0
    first, second = re.findall(r"^report .*$", capsys.readouterr().out, re.MULTILINE)
    assert not first.endswith("cached")
    assert second.endswith("cached")
    manifest = run / "theory.json"
    manifest.unlink()
    assert main(["compare", output, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"][0]["status"] == "computed"


def test_it_takes_no_field_but_output(capsys):
    assert main(["compare", "train=5"]) == 2
    assert "expected names of runs and output=DIR, got 'train=5'" in capsys.readouterr().err


def test_it_names_what_is_not_finished_and_the_command_that_goes_on(one, capsys):
    run, output = one
    half = run.with_name("half-of-it-1a2b3c4d")
    half.mkdir()
    for path in run.iterdir():
        if path.name.startswith(("extract", "features", "gram")):
            (shutil.copytree if path.is_dir() else shutil.copy)(path, half / path.name)
    assert main(["compare", output]) == 0
    shown = capsys.readouterr()
    assert "1 run(s)" in shown.out
    why = "not finished; done are extract, gram. Next: `rmtgen run --stage spectrum"
    assert f"{half.name} is not reported: {why}" in shown.err
    assert f"{half.name}: {why}" in report_of(run)
    assert main(["compare", output, half.name]) == 3
    assert "no finished run" in capsys.readouterr().err


def test_a_run_of_another_version_is_left_out_unless_it_is_named(one, capsys):
    run, output = one
    old = run.with_name("of-old-1a2b3c4d")
    shutil.copytree(run, old)
    manifest = json.loads((old / "risk.json").read_text())
    (old / "risk.json").write_text(json.dumps(manifest | {"format": manifest["format"] + 1}))
    assert main(["compare", output]) == 0
    assert "1 run(s)" in capsys.readouterr().out
    assert re.search("of-old-1a2b3c4d: .*version", report_of(run))
    assert main(["compare", output, old.name]) == 3
    assert "version" in capsys.readouterr().err


def test_a_run_that_lacks_a_file_is_left_out(one, capsys):
    run, output = one
    broken = run.with_name("broken-1a2b3c4d")
    shutil.copytree(run, broken)
    (broken / "risk.csv").unlink()
    assert main(["compare", output, "--json"]) == 0
    shown = capsys.readouterr()
    assert f"{broken.name} is not reported" in shown.err
    omitted = json.loads(shown.out)["runs"][0]["details"]["omitted"]
    assert "risk.csv is gone" in omitted[broken.name]


def test_a_run_without_theory_is_reported(one, capsys):
    run, output = one
    for path in run.glob("theory*"):
        path.unlink()
    assert main(["compare", output]) == 0
    assert "1 run(s)" in capsys.readouterr().out
    assert load_result(run).theory is None


def test_without_a_finished_run_the_reasons_are_given(one, capsys):
    run, output = one
    (run / "risk.csv").unlink()
    assert main(["compare", output]) == 3
    shown = capsys.readouterr().err
    assert "no finished run" in shown
    assert f"{run.name}: {run / 'risk.csv'} is gone" in shown
