"""What a user sees: in a pseudo-terminal bars, colour and what to type next; in a pipe rows alone;
with --json one line."""

import contextlib
import fcntl
import io
import json
import math
import os
import pty
import re
import shlex
import shutil
import stat
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from rmtgen.cli import compare, plan
from rmtgen.cli.main import COMMANDS
from rmtgen.cli.terminal import Outcome, Transcript, coloured, duration, note
from rmtgen.errors import MissingInputError, NumericalError, UsageError
from rmtgen.runs.config import FIELDS
from rmtgen.stages import extract, gram, report, risk, spectrum, theory
from rmtgen.stages.engine import STAGES, Result, next_command, run_command, run_stage

ROOT = Path(__file__).parents[2]
HEAVY = (
    "torch",
    "timm",
    "numpy",
    "scipy",
    "pandas",
    "h5py",
    "matplotlib",
    "jinja2",
    "yaml",
    "tqdm",
)
ESCAPE = "\x1b["

SLOW_STAGE = """
import sys, time
from rmtgen.stages.engine import Result, run_stage
from rmtgen.cli.terminal import note
from rmtgen.errors import NumericalError

def work(job):
    for number in job.progress(range(8), 8, "batch"):
        time.sleep(0.02)
        if number == 4:
            how(job)
    (job.folder / "made").write_text("made")
    return Result([job.folder / "made"], "8 images × 4 features")

def how(job):
    if sys.argv[1] == "noted":
        note("look out", "warning")
    if sys.argv[1] == "fails":
        raise NumericalError("the numbers do not allow it")
    if sys.argv[1] == "interrupted":
        raise KeyboardInterrupt

sys.exit(run_stage("extract", "Stage `extract`", work, sys.argv[2:]))
"""
"""A stage in all but its work, which needs no torch and takes a moment, so that its bar is drawn.
"""


@pytest.fixture(autouse=True)
def _as_typed_by_hand(monkeypatch):
    """What `make test` and the terminal of whoever runs the tests set is not there."""
    for name in (
        "RMTGEN_MAKE",
        "NO_COLOR",
        "COLUMNS",
        "MAKEFLAGS",
        "MAKELEVEL",
        "PYTHONIOENCODING",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


@pytest.fixture
def words(tmp_path):
    """A run of a data set that leaves no files to watch, so that the fake stages need not name
    their inputs."""
    return ["dataset=hfds/trees", "model=test_resnet", "init=random", f"output={tmp_path}"]


def watch(command, columns=80, stdout=None, **environment):
    """Run a command in a pseudo-terminal, stdout elsewhere if told; what was shown, and the exit
    code."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=theirs,
        stdout=stdout or theirs,
        stderr=theirs,
        env={**os.environ, **environment},
    ) as process:
        os.close(theirs)
        shown = b""
        while chunk := _read(ours):
            shown += chunk
    os.close(ours)
    return shown.decode().replace("\r\n", "\n"), process.returncode


def _read(terminal):
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # how Linux says that the other end is closed
        return b""


def slow_stage(how, words):
    return [sys.executable, "-c", SLOW_STAGE, how, *words]


def screen(shown):
    """The lines that are left when everything is drawn: a carriage return starts a line anew, over
    what it held."""
    lines = []
    for line in re.sub(r"\x1b\[[0-9;]*m", "", shown).split("\n"):
        cells = []
        for part in line.split("\r"):
            cells[: len(part)] = part
        lines.append("".join(cells).rstrip())
    return lines[:-1] if lines[-1] == "" else lines


def test_a_stage_on_a_terminal_shows_one_bar_then_a_row_and_what_to_type_next(words):
    shown, code = watch(slow_stage("well", words))
    assert code == 0
    bars = [frame for frame in shown.split("\r") if "%|" in frame]
    assert re.search(r"[1-8]/8 \[\d\d:\d\d<\d\d:\d\d, +\d+\.\d+batch/s\]", bars[-1])
    assert all(
        re.match(r"extract test_resnet-r….{8}: +\d+%\|.*\| \d/8 \[\d\d:\d\d<.*batch/s\]", bar)
        for bar in bars
    )
    assert max(map(len, bars)) <= 80
    row, following = screen(shown)
    assert re.fullmatch(
        r"extract  test_resnet-random-hfds…[0-9a-f]{8} +\d+\.\d s  8 images × 4 features", row
    )
    assert following == f"next: {shlex.join([sys.executable, '-m', 'pipelines.gram', *words])}"


@pytest.mark.parametrize(
    ("how", "code", "told"),
    [
        ("fails", 4, "rmtgen: error: the numbers do not allow it"),
        ("interrupted", 130, "rmtgen: interrupted. Run the same command again: it resumes."),
    ],
)
def test_a_stage_that_ends_early_leaves_its_message_and_nothing_of_the_bar(words, how, code, told):
    shown, ended = watch(slow_stage(how, words))
    assert "%|" in shown
    assert (screen(shown), ended) == ([told], code)


def test_a_note_stands_above_the_bar(words):
    shown, code = watch(slow_stage("noted", words))
    assert code == 0
    assert screen(shown)[0] == "rmtgen: warning: look out"
    assert shown.rindex("%|") > shown.index("look out")  # the bar goes on below


def test_make_that_goes_on_by_itself_is_given_no_next_command(words):
    shown, _ = watch(slow_stage("well", words), RMTGEN_MAKE="")
    assert len(screen(shown)) == 1
    assert "next" not in shown


def test_a_pipe_gets_rows_alone(words):
    for time in (r"\d+\.\d s  8 images × 4 features", "cached"):
        done = subprocess.run(
            slow_stage("well", words), cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert done.stderr == ""
        assert re.fullmatch(
            rf"extract  test_resnet-random-hfds_trees-n10000-224px-[0-9a-f]{{8}} +{time}\n",
            done.stdout,
        )


def test_a_terminal_that_cannot_move_its_cursor_gets_no_bar(words):
    shown, code = watch(slow_stage("well", words), TERM="dumb")
    assert code == 0
    assert "\r" not in shown
    assert len(screen(shown)) == 2


def test_a_piped_stdout_keeps_the_bar_and_loses_the_hint(words):
    shown, code = watch(slow_stage("well", words), stdout=subprocess.DEVNULL)
    assert code == 0
    assert "%|" in shown
    assert screen(shown) == []


def test_an_encoding_without_the_sign_ends_no_stage(words):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        slow_stage("well", words), cwd=ROOT, capture_output=True, env=environment, check=True
    )
    assert b"8 images ? 4 features" in done.stdout


class Tty(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, True),
        ({"NO_COLOR": "1"}, False),
        ({"NO_COLOR": "0"}, False),
        ({"NO_COLOR": ""}, True),
        ({"TERM": "dumb"}, False),
        ({"TERM": None}, False),
    ],
)
def test_colour_is_for_terminals_that_want_it(monkeypatch, environment, expected):
    for name, value in environment.items():
        monkeypatch.setenv(name, value) if value is not None else monkeypatch.delenv(name)
    assert coloured(Tty()) is expected
    assert not coloured(io.StringIO())


def test_what_is_cached_is_dim_and_an_error_red_unless_no_color(words):
    watch(slow_stage("well", words))
    shown, _ = watch(slow_stage("well", words))
    assert re.match(r"\x1b\[2mextract  .*  cached\x1b\[0m\n\x1b\[2mnext:\x1b\[0m ", shown)
    failed, _ = watch(slow_stage("well", ["modle=resnet50"]))
    assert failed.startswith("rmtgen: \x1b[31merror:\x1b[0m ")
    for command in (slow_stage("well", words), slow_stage("well", ["modle=resnet50"])):
        assert ESCAPE not in watch(command, NO_COLOR="1")[0]


def test_a_warning_is_yellow(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Tty())
    note("look out", "warning")
    note("by the way")
    assert sys.stderr.getvalue() == "rmtgen: \x1b[33mwarning:\x1b[0m look out\nrmtgen: by the way\n"


@pytest.fixture(scope="module")
def watched(tiny_images, tmp_path_factory):
    """The words of a real run of every stage; what was shown on stderr, a terminal, by stage; the
    rows on stdout, a pipe."""
    words = [*tiny_images, f"output={tmp_path_factory.mktemp('watched')}"]
    shown, rows = {}, io.StringIO()
    for module in (extract, gram, spectrum, risk, theory, report):
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stderr(Tty()) as terminal,
            contextlib.redirect_stdout(rows),
        ):
            patch.setenv("TERM", "xterm")
            assert module.main(words) == 0
        shown[module.__name__.rpartition(".")[2]] = terminal.getvalue()
    return words, shown, [row for row in rows.getvalue().splitlines() if row.startswith(STAGES)]


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_shows_exactly_one_bar_and_takes_it_off(watched, stage):
    shown = watched[1][stage]
    assert shown.count(": starting") == 1
    assert (
        len(set(re.findall(r"\d+/(\d+) \[", shown))) == 1
    )  # one length: train and test are under one bar
    assert re.search(r"\d+/\d+ \[\d\d:\d\d<.*/s\]", shown)  # the rate and the time left
    assert all(line == "" or line.startswith("rmtgen: ") for line in screen(shown))


def test_the_stages_make_one_table(watched):
    rows = watched[2]
    assert [row.split()[0] for row in rows] == list(STAGES)
    assert len({row.index(" s  ") for row in rows}) == 1


def line_of(capsys):
    """The one line that is on stdout."""
    (line,) = capsys.readouterr().out.splitlines()
    return json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


def made(job):
    print("a library talks")
    (job.folder / "shards").mkdir()
    for name in ("made", "shards/0"):
        (job.folder / name).write_text(name)
    details = {"checked": 0.5, "few": [1, 2], "train_indices": list(range(100))}
    return Result([job.folder / "made", job.folder / "shards/0"], "8 images × 4 features", details)


def test_json_is_one_line_for_what_is_computed_and_what_is_cached(words, tmp_path, capsys):
    words = [*words, "--json"]
    assert run_stage("extract", "", made, words) == 0
    computed = line_of(capsys)
    (run,) = computed["runs"]
    assert set(run) == {"name", "path", "status", "seconds", "headline", "details", "outputs"}
    assert (computed["stage"], run["status"], run["headline"]) == (
        "extract",
        "computed",
        "8 images × 4 features",
    )
    assert Path(run["path"]) == tmp_path / "runs" / run["name"]
    assert run["outputs"] == [f"{run['path']}/made"]
    assert run["details"] == {
        "checked": 0.5,
        "few": [1, 2],
    }  # the long list and the shard stay in the manifest
    assert isinstance(run["seconds"], float)
    assert shlex.split(computed["next"])[1:] == ["-m", "pipelines.gram", *words]
    assert run_stage("extract", "", made, words) == 0
    cached = line_of(capsys)
    assert cached == {**computed, "runs": [{**run, "status": "cached", "headline": None}]}


def test_json_tells_what_is_adopted_and_what_is_not_needed(words, capsys):
    run_stage("extract", "", made, words)
    capsys.readouterr()
    assert (
        run_stage("extract", "", made, [*words, "ridges=1", "solve_from=features", "--json"]) == 0
    )
    (adopted,) = line_of(capsys)["runs"]
    assert adopted["status"] == "adopted"
    assert adopted["headline"].startswith("taken from test_resnet-random-hfds_trees-")
    assert run_stage("gram", "", made, [*words, "ridges=1", "solve_from=features", "--json"]) == 0
    (unneeded,) = line_of(capsys)["runs"]
    assert (unneeded["status"], unneeded["seconds"], unneeded["outputs"]) == (
        "not needed",
        None,
        [],
    )


def test_json_keeps_stdout_from_libraries(words, capsys):
    run_stage("extract", "", made, [*words, "--json"])
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
def test_json_names_the_error_and_its_exit_code(capsys, error, code, message):
    def fail(*_):
        raise error

    assert run_command("risk", fail, ["--json"]) == code
    captured = capsys.readouterr()
    told = json.loads(captured.out)
    assert (told["stage"], told["runs"], told["next"], told["error"]["code"]) == (
        "risk",
        [],
        None,
        code,
    )
    assert told["error"]["message"].startswith(message)
    assert message in captured.err


def test_json_names_a_bug_too_and_lets_it_pass(capsys):
    with pytest.raises(ZeroDivisionError):
        run_command("risk", lambda *_: 1 / 0, ["--json"])
    assert line_of(capsys)["error"]["message"].startswith("ZeroDivisionError: division by zero")


@pytest.mark.parametrize("command", [gram, report, compare])
def test_json_holds_for_a_mistyped_flag_and_for_what_is_missing(command, words, capsys):
    assert command.main(["--json", "--trian", "5"]) == 2
    assert "Did you mean train" in line_of(capsys)["error"]["message"]
    assert command.main([*words, "--json"]) == 3
    assert re.search("is not done|no finished run", line_of(capsys)["error"]["message"])


def test_json_of_a_run_that_failed_tells_those_before_it(words, capsys):
    def second_fails(job):
        if job.config.model == "test_vit":
            raise NumericalError("not finite")
        return made(job)

    assert (
        run_stage("extract", "", second_fails, [*words, "model=test_resnet,test_vit", "--json"])
        == 4
    )
    told = line_of(capsys)
    assert [run["status"] for run in told["runs"]] == ["computed"]
    assert told["error"] == {"code": 4, "message": "not finite"}


def test_json_has_no_number_that_is_none(capsys):
    transcript = Transcript("plan", as_json=True)
    transcript.record(Outcome("a", Path("b"), "planned", math.inf, details={"x": [math.nan, 1.5]}))
    transcript.close(None)
    (run,) = line_of(capsys)["runs"]
    assert (run["path"], run["seconds"], run["details"]) == ("b", None, {"x": [None, 1.5]})


def test_json_of_a_plan(watched, capsys):
    assert plan.main([*watched[0], "--json"]) == 0
    told = line_of(capsys)
    (run,) = told["runs"]
    assert [cost["stage"] for cost in run["details"]["stages"]] == [
        "extract",
        "gram",
        "spectrum",
        "risk",
        "theory",
    ]
    assert {"flops", "ram", "disk", "seconds", "took"} <= set(run["details"]["stages"][0])
    assert run["seconds"] == pytest.approx(
        sum(cost["seconds"] for cost in run["details"]["stages"]), abs=1e-3
    )
    assert "pipelines.extract" in told["next"]


def test_json_of_a_report_has_the_numbers_of_its_table(watched, capsys):
    assert report.main([*watched[0], "--json"]) == 0
    told = line_of(capsys)
    (run,) = told["runs"]
    assert (told["stage"], run["status"]) == ("report", "cached")
    assert told["next"] == f"open {run['path']}/report.html"
    assert Path(run["outputs"][0]).is_file()
    (summary,) = run["details"]["summary"]
    assert 0 < summary["test_risk"] < 1
    assert summary["worst_n"] is None  # no size is large enough to speak of a gap


NAME = "tf_efficientnet_lite0-pretrained-cifar100-n49990-64px-4b3311b3"


@pytest.mark.parametrize("columns", [40, 60, 80, 90, 100, 110, 200])
def test_rows_keep_to_the_width_and_tell_runs_apart(columns, monkeypatch, capsys):
    monkeypatch.setattr("rmtgen.cli.terminal.terminal_columns", lambda: columns)
    transcript = Transcript("spectrum")
    names = [NAME, NAME.replace("pretrained", "random").replace("4b3311b3", "17d41602")]
    transcript.align(names)
    for name in names:
        what = "60 images × 512 sketched gradients; kernel off by 3.2% (bound 9.1%)"
        transcript.add(Outcome(name, Path(name), "computed", 5399.0, what))
        transcript.add(Outcome(name, Path(name), "adopted", 1.0, f"taken from {NAME}"))
        transcript.add(Outcome(name, Path(name), "not needed", None, "not needed for features"))
    told = capsys.readouterr().out
    lines = told.splitlines()
    assert max(map(len, lines)) <= columns
    rows = [line for line in lines if line.startswith("spectrum ")]
    assert all("4b3311b3" in row for row in rows[:3])
    assert all("17d41602" in row for row in rows[3:])
    ends = {
        row.index(word) + len(word)
        for row in rows
        for word in (" min", " cached", " –")
        if word in row
    }
    assert len(ends) == 1  # one column of seconds
    assert "off by 3.2%" in re.sub(r"\s+", " ", told)
    assert columns < 60 or all(name[:23] in told for name in names)


@pytest.mark.parametrize(
    ("others", "shown"),
    [
        (("pretrained", "random"), "tf_efficientnet_lite0-p…4b3311b3    cached"),
        (
            ("cifar100", "mnist5k"),
            "tf_efficientnet_lite0-pretrained-cifar100-n49990-64p…4b3311b3    cached",
        ),
    ],
)
def test_names_are_short_where_their_start_tells_them_apart(others, shown, monkeypatch, capsys):
    monkeypatch.setattr("rmtgen.cli.terminal.terminal_columns", lambda: 80)
    transcript = Transcript("spectrum")
    transcript.align([NAME, NAME.replace(*others)])
    transcript.add(Outcome(NAME, Path(NAME), "cached"))
    assert capsys.readouterr().out == f"spectrum {shown}\n"


def test_a_pipe_gets_whole_names_and_one_line_a_run(capsys):
    transcript = Transcript("extract")
    transcript.align([NAME])
    transcript.add(Outcome(NAME, Path(NAME), "computed", 12.34, "x" * 100))
    assert capsys.readouterr().out == f"extract  {NAME}    12.3 s  {'x' * 100}\n"


def test_durations_are_told_in_their_unit():
    assert [duration(seconds) for seconds in (0.04, 59.9, 90, 5399, 5400)] == [
        *("0.0 s", "59.9 s", "1.5 min", "90.0 min", "1.5 h")
    ]


def test_the_next_command_is_typed_as_this_one_was(monkeypatch):
    words = ["--config", "demo", "dataset=folder:my pictures", "--json"]
    typed = shlex.split(next_command("all", words, module="extract"))
    assert typed == [sys.orig_argv[0], "-m", "pipelines.extract", *words]
    monkeypatch.setenv("RMTGEN_MAKE", "make VENV='my env' CONFIG=demo")
    made_words = ["--config", "demo", "TEST=5", "TRAIN=9", "DATASET=folder:my pictures", "--json"]
    assert shlex.split(next_command("gram", made_words)) == [
        *(
            "make",
            "gram",
            "VENV=my env",
            "CONFIG=demo",
            "DATASET=folder:my pictures",
            "TRAIN=9",
            "TEST=5",
        )
    ]
    monkeypatch.setenv("RMTGEN_MAKE", "")
    assert next_command("gram", made_words) is None


def test_what_comes_next_skips_a_stage_that_no_run_needs(words, capsys):
    for solve_from, following in (("features", "spectrum"), ("gram", "gram")):
        run_stage("extract", "", made, [*words, f"solve_from={solve_from}", "--json"])
        assert f"pipelines.{following}" in line_of(capsys)["next"]


@pytest.fixture
def make(tmp_path):
    """Make with an interpreter that says what it was given: RMTGEN_MAKE and the arguments, a line a
    call."""
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\nprintf "%s|" "${RMTGEN_MAKE-unset}" "$@"\necho\n')
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    for name in (".installed", ".installed-dev"):
        (tmp_path / "venv" / name).touch()
        os.utime(
            tmp_path / "venv" / name, (2**32, 2**32)
        )  # newer than setup.cfg, so that nothing is installed

    def run(*arguments):
        command = ["make", *arguments, f"VENV={tmp_path / 'venv'}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        return [line.split("|")[:-1] for line in done.stdout.splitlines()]

    return run


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


@needs_make
def test_make_has_its_last_stage_alone_tell_what_to_type_next(make, tmp_path):
    venv = f"VENV={tmp_path / 'venv'}"
    calls = make("spectrum", "CONFIG=demo", "TRAIN=5")
    assert [call[2] for call in calls] == [
        "pipelines.extract",
        "pipelines.gram",
        "pipelines.spectrum",
    ]
    assert [shlex.split(call[0]) for call in calls] == [[], [], ["make", "CONFIG=demo", venv]]
    assert all(call[3:] == ["--config", "demo", "TRAIN=5"] for call in calls)
    assert [shlex.split(call[0]) for call in make("extract", "gram")] == [[], ["make", venv]]
    assert {call[0] for call in make("all")[:-1]} == {""}
    assert [shlex.split(call[0]) for call in make("plan")] == [["make", venv]]


@needs_make
def test_make_passes_values_on_as_they_are(make):
    value = "folder:my $PICTURES, it's (them)"
    (call,) = make("extract", f"DATASET={value.replace('$', '$$')}", "CONFIG=my file.yaml")
    assert call[3:] == ["--config", "my file.yaml", f"DATASET={value}"]
    assert shlex.split(call[0])[1] == "CONFIG=my file.yaml"
    (call,) = make("compare", "RUNS=one two")
    assert call[3:] == ["--run", "one", "--run", "two", "--config", ""]


@needs_make
def test_make_passes_json_on_to_every_stage(make):
    assert [call[-1] for call in make("all", "JSON=1")] == ["--json"] * 6
    for off in ("", "0", "false"):
        assert "--json" not in make("extract", f"JSON={off}")[0]


@needs_make
def test_make_help_explains_every_target_and_every_variable():
    text = (ROOT / "Makefile").read_text()
    help_text = subprocess.run(
        ["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    explained = set(re.findall(r"^  ([A-Za-z]+) +\S", help_text, re.MULTILINE))
    (stages,) = re.findall(r"^STAGES := (.*)$", text, re.MULTILINE)
    phony = (
        re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)[1].replace("$(STAGES)", stages).split()
    )
    assert tuple(stages.split()) == STAGES
    assert set(phony) == set(re.findall(r"^([a-z]+):.* ## ", text, re.MULTILINE))
    assert set(phony) <= explained
    variables = re.findall(r"^([A-Z]+) \?=", text, re.MULTILINE)
    assert set(variables) == set(re.search(r"^OWN := (.*)$", text, re.MULTILINE)[1].split())
    assert {*variables, "FIELD"} <= explained
    assert {name.upper() for name in FIELDS} <= set(help_text.split())
    assert {path.stem for path in (ROOT / "pipelines" / "experiments").glob("*.yaml")} <= set(
        help_text.split()
    )
    benchmarks = re.search(
        r"^ALL = \((.*)\)$", (ROOT / "tests/bench/__main__.py").read_text(), re.MULTILINE
    )[1]
    assert set(re.findall(r"[a-z_]+", benchmarks)) <= set(help_text.split())
    assert max(map(len, help_text.splitlines())) <= 80
    assert all(
        heading in help_text.splitlines()
        for heading in ("start", "upkeep", "variables", "examples")
    )


@pytest.mark.parametrize("arguments", [[], ["--help"], ["help"]])
def test_the_package_tells_its_commands_in_eighty_columns(arguments):
    command = [sys.executable, "-m", "pipelines", *arguments]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.findall(r"^  ([a-z]+) +\S", told, re.MULTILINE)[: len(COMMANDS)] == list(COMMANDS)
    assert max(map(len, told.splitlines())) <= 80
    assert "exit codes: 0 done" in told


def test_help_imports_nothing_that_it_does_not_need():
    code = (
        "import importlib, sys\nfrom pipelines.__main__ import COMMANDS, main\nfor command in"
        " COMMANDS:\n    try:\n       "
        " importlib.import_module(f'pipelines.{command}').main(['--help'])\n    except"
        " SystemExit as ended:\n        assert ended.code == 0\nsys.argv[1:] = []\nassert main()"
        f" == 0\nassert not set({HEAVY}) & set(sys.modules), set({HEAVY}) & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("--img-size VALUE") == done.stdout.count("  --json") == len(COMMANDS)
