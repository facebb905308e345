"""With --json one line on stdout: what was done, what comes next, and how a command failed."""

import json
import math
import re
import shlex
import shutil
from pathlib import Path

import pytest
from terminals import exit_code, made, replace_work

from rmtgen.cli.main import main
from rmtgen.cli.terminal import Transcript
from rmtgen.errors import MissingInputError, NumericalError, UsageError
from rmtgen.runs.graph import RUN_STAGES
from rmtgen.stages.engine import Outcome


@pytest.fixture(autouse=True)
def _no_work(monkeypatch, request):
    if "finished" not in request.fixturenames:
        replace_work(monkeypatch, "extract", made)


def test_json_is_one_line_for_what_is_computed_and_what_is_cached(words, tmp_path, line_of):
    assert main(["extract", *words, "--json"]) == 0
    computed = line_of()
    (run,) = computed["runs"]
    assert set(run) == {
        *("stage", "name", "path", "status", "seconds", "headline", "details", "outputs")
    }
    assert (computed["stage"], run["stage"], run["status"], run["headline"]) == (
        *("extract", "extract", "computed"),
        "8 images × 4 features",
    )
    assert Path(run["path"]) == tmp_path / "runs" / run["name"]
    assert run["outputs"] == [f"{run['path']}/made"]
    # the long list and the shard stay in the manifest
    assert run["details"] == {"feature_dim": 4, "few": [1, 2]}
    assert isinstance(run["seconds"], float)
    assert shlex.split(computed["next"])[1:] == ["-m", "rmtgen", "spectrum", *words]
    assert main(["extract", *words, "--json"]) == 0
    assert line_of() == {**computed, "runs": [{**run, "status": "cached", "headline": None}]}


def test_json_says_what_is_reused_and_what_is_not_needed(words, capsys, line_of):
    main(["extract", *words])
    capsys.readouterr()
    words = [*words, "ridges=1", "solve_from=features", "--json"]
    assert main(["extract", *words]) == 0
    (reused,) = line_of()["runs"]
    assert reused["status"] == "reused"
    assert reused["headline"].startswith("taken from test_resnet-random-hfds_trees-")
    assert main(["gram", *words]) == 0
    (unneeded,) = line_of()["runs"]
    assert (unneeded["status"], unneeded["seconds"], unneeded["outputs"]) == (
        *("not needed", None),
        [],
    )


def test_one_line_for_all_stages_of_a_run(words, line_of):
    assert main(["run", *words, "solve_from=features", "--stage", "gram", "--json"]) == 0
    line = line_of()
    assert line["stage"] == "run"
    assert [(run["stage"], run["status"]) for run in line["runs"]] == [
        ("extract", "computed"),
        ("gram", "not needed"),
    ]
    assert shlex.split(line["next"])[2:6] == ["rmtgen", "run", "--stage", "spectrum"]


def test_json_keeps_stdout_from_libraries(words, capsys):
    main(["extract", *words, "--json"])
    assert capsys.readouterr().err == "a library talks\n"


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UsageError("no such thing"), 2, "no such thing"),
        (MissingInputError("not there"), 3, "not there"),
        (PermissionError(13, "Permission denied", "/secret"), 3, "/secret: Permission denied"),
        (NumericalError("not finite"), 4, "not finite"),
        (MemoryError(), 4, "out of memory"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_json_names_the_error_and_its_exit_code(capsys, line_of, error, code, message):
    def fail(*_):
        raise error

    assert exit_code("risk", fail, ["--json"]) == code
    shown = capsys.readouterr()
    line = json.loads(shown.out)
    assert (line["stage"], line["runs"], line["next"]) == ("risk", [], None)
    assert line["error"]["code"] == code
    assert line["error"]["message"].startswith(message)
    assert message in shown.err


def test_json_names_a_bug_too_and_lets_it_pass(line_of):
    with pytest.raises(ZeroDivisionError):
        exit_code("risk", lambda *_: 1 / 0, ["--json"])
    assert line_of()["error"]["message"].startswith("ZeroDivisionError: division by zero")


@pytest.mark.parametrize("command", ["run", "gram", "report", "plan"])
def test_json_holds_for_a_mistyped_flag(command, line_of):
    assert main([command, "--json", "--trian", "5"]) == 2
    assert "Did you mean train" in line_of()["error"]["message"]


@pytest.mark.parametrize("command", ["gram", "report", "compare"])
def test_json_holds_for_what_is_missing(command, words, line_of):
    given = words[-1:] if command == "compare" else words
    assert main([command, *given, "--json"]) == 3
    assert re.search("is not done|no finished run", line_of()["error"]["message"])


def test_json_of_a_run_that_failed_holds_those_before_it(words, monkeypatch, line_of):
    def second_fails(job):
        if job.config.model == "test_vit":
            raise NumericalError("not finite")
        return made(job)

    replace_work(monkeypatch, "extract", second_fails)
    assert main(["extract", *words, "model=test_resnet,test_vit", "--json"]) == 4
    line = line_of()
    assert [run["status"] for run in line["runs"]] == ["computed"]
    assert line["error"] == {"code": 4, "message": "not finite"}


def test_json_has_no_number_that_is_none(line_of):
    transcript = Transcript("plan", as_json=True)
    details = {"x": [math.nan, 1.5]}
    transcript.record(Outcome("plan", "a", Path("b"), "planned", math.inf, details=details))
    transcript.close(None)
    (run,) = line_of()["runs"]
    assert (run["path"], run["seconds"], run["details"]) == ("b", None, {"x": [None, 1.5]})


def test_json_of_a_plan(finished, line_of):
    assert main(["plan", *finished[1], "--json"]) == 0
    line = line_of()
    (run,) = line["runs"]
    stages = run["details"]["stages"]
    assert [cost["stage"] for cost in stages] == list(RUN_STAGES)
    counted = {"flops", "ram", "disk", "seconds", "longest", "shared"}
    assert set(stages[0]) == {"stage", "took", *counted}
    assert run["seconds"] == pytest.approx(sum(cost["seconds"] for cost in stages), abs=1e-3)
    assert run["details"]["load"] >= 1
    assert shlex.split(line["next"])[1:4] == ["-m", "rmtgen", "run"]


@pytest.mark.parametrize("opener", ["open", "xdg-open", None])
def test_a_report_is_opened_by_a_program_that_is_there(finished, capsys, monkeypatch, opener):
    monkeypatch.setattr("rmtgen.cli.terminal.OPENERS", ("nonesuch", opener or "nonesuch"))
    monkeypatch.setattr(shutil, "which", lambda name: name if name == opener else None)
    assert main(["report", *finished[1]]) == 0
    last = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert last[:-1] == ([opener] if opener else [])
    assert Path(last[-1]).name == "report.html"


def test_json_of_a_report_has_the_numbers_of_its_table(finished, line_of, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr("rmtgen.cli.terminal.OPENERS", ("open",))
    assert main(["report", *finished[1], "--json"]) == 0
    line = line_of()
    (run,) = line["runs"]
    assert (line["stage"], run["status"]) == ("report", "cached")
    assert line["next"] == f"open {run['path']}/report.html"
    assert Path(run["outputs"][0]).is_file()
    (summary,) = run["details"]["summary"]
    assert 0 < summary["test_risk"] < 1
    assert summary["worst_n"] is None  # no size is large enough for a gap
