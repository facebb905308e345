"""In a pseudo-terminal: bars, colour, what to type next; in a pipe rows alone."""

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys

import pytest
from terminals import ROOT, TIME, Tty, screen, slow_stage, watch

from rmtgen.cli.main import main
from rmtgen.cli.terminal import coloured, note
from rmtgen.runs.graph import STAGES

ESCAPE = "\x1b["
RATE = r"\[\d+(?::\d\d)+<(?:\d+(?::\d\d)+|\?), +(?:\d+\.\d+|\?)(?:batch/s|s/batch)\]"


def test_a_stage_on_a_terminal_shows_one_bar_then_a_row_and_what_to_type_next(words):
    shown, code = watch(slow_stage("well", words))
    assert code == 0
    bars = [frame for frame in shown.split("\r") if "%|" in frame]
    steps = [int(re.search(r"(\d)/8", bar)[1]) for bar in bars]
    assert steps == sorted(steps)
    assert set(steps) >= set(range(8))
    assert all(
        re.fullmatch(rf"extract test_resnet-r….{{8}}: +\d+%\|.*\| \d/8 {RATE} *", bar)
        for bar in bars
    )
    assert max(map(len, bars)) <= 80
    row, following = screen(shown)
    assert re.fullmatch(
        rf"extract  test_resnet-random-hfds…[0-9a-f]{{8}} +{TIME}  8 images × 4 features", row
    )
    assert following == f"next: {shlex.join([sys.executable, '-m', 'rmtgen', 'gram', *words])}"


@pytest.mark.parametrize(
    ("how", "code", "message"),
    [
        ("fails", 4, "rmtgen: error: the numbers do not allow it"),
        ("interrupted", 130, "rmtgen: interrupted. Run the same command again: it resumes."),
    ],
)
def test_a_stage_that_ends_early_leaves_its_message_and_nothing_of_the_bar(
    words, how, code, message
):
    shown, ended = watch(slow_stage(how, words))
    assert "%|" in shown
    assert (screen(shown), ended) == ([message], code)


def test_a_note_stands_above_the_bar(words):
    shown, code = watch(slow_stage("noted", words))
    assert code == 0
    assert screen(shown)[0] == "rmtgen: warning: look out"
    assert shown.rindex("%|") > shown.index("look out")  # the bar goes on below


def test_a_pipe_gets_rows_alone(words):
    for time in (f"{TIME}  8 images × 4 features", "cached"):
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
    """What a real run of every stage showed: on stderr, a terminal, and the rows on stdout, a
    pipe."""
    words = [*tiny_images, "train=24", "sizes=24", f"output={tmp_path_factory.mktemp('watched')}"]
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stderr(Tty()) as terminal,
        contextlib.redirect_stdout(io.StringIO()) as rows,
    ):
        patch.setenv("TERM", "xterm")
        assert main(["run", *words]) == 0
    return terminal.getvalue(), rows.getvalue().splitlines()[: len(STAGES)]


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_shows_exactly_one_bar(watched, stage):
    frames = [frame for frame in watched[0].split("\r") if frame.startswith(f"{stage} ")]
    assert [frame.endswith(": starting") for frame in frames].count(True) == 1
    assert frames[0].endswith(": starting")
    lengths = {re.search(r"\d+/(\d+) \[\d+(?::\d\d)+<", frame)[1] for frame in frames[1:]}
    assert len(lengths) == 1  # train and test images are under one bar


def test_every_bar_is_taken_off_the_screen(watched):
    assert all(line == "" or line.startswith("rmtgen: ") for line in screen(watched[0]))


def test_the_stages_make_one_table(watched):
    rows = [re.match(rf"(\S+) +\S+ +{TIME}(?=  \S)", row) for row in watched[1]]
    assert [row[1] for row in rows] == list(STAGES)
    assert len({row.end() for row in rows}) == 1  # one column of seconds
