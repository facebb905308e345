"""Rows and summaries in the width of a terminal."""

import re
from pathlib import Path

import pytest

from rmtgen.cli.terminal import Transcript
from rmtgen.stages.engine import Outcome
from rmtgen.units import duration

NAME = "tf_efficientnet_lite0-pretrained-cifar100-n49990-64px-4b3311b3"


@pytest.mark.parametrize("columns", [40, 60, 80, 90, 100, 110, 200])
def test_rows_keep_to_the_width_and_names_stay_distinct(columns, monkeypatch, capsys):
    monkeypatch.setattr("rmtgen.cli.terminal.terminal_columns", lambda: columns)
    transcript = Transcript("spectrum")
    names = [NAME, NAME.replace("pretrained", "random").replace("4b3311b3", "17d41602")]
    transcript.align(names)
    for name in names:
        what = "60 images × 512 sketched gradients; kernel off by 3.2% (bound 9.1%)"
        transcript.add(Outcome("spectrum", name, Path(name), "computed", 5399.0, what))
        transcript.add(Outcome("spectrum", name, Path(name), "reused", 1.0, f"taken from {NAME}"))
        transcript.add(Outcome("spectrum", name, Path(name), "not needed", None, "not needed: …"))
    shown = capsys.readouterr().out
    lines = shown.splitlines()
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
    assert "off by 3.2%" in re.sub(r"\s+", " ", shown)
    assert columns < 60 or all(name[:23] in shown for name in names)


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
def test_names_are_short_where_their_start_differs(others, shown, monkeypatch, capsys):
    monkeypatch.setattr("rmtgen.cli.terminal.terminal_columns", lambda: 80)
    transcript = Transcript("spectrum")
    transcript.align([NAME, NAME.replace(*others)])
    transcript.add(Outcome("spectrum", NAME, Path(NAME), "cached"))
    assert capsys.readouterr().out == f"spectrum {shown}\n"


def test_a_pipe_gets_whole_names_and_one_line_per_run(capsys):
    transcript = Transcript("extract")
    transcript.align([NAME])
    transcript.add(Outcome("extract", NAME, Path(NAME), "computed", 12.34, "x" * 100))
    assert capsys.readouterr().out == f"extract  {NAME}    12.3 s  {'x' * 100}\n"


def test_durations_have_a_unit_of_their_size():
    seconds = (0.04, 59.9, 90, 5399, 5400)
    assert list(map(duration, seconds)) == ["0.0 s", "59.9 s", "1.5 min", "90.0 min", "1.5 h"]


@pytest.mark.parametrize("status", ["cached", "reused", "not needed", "verified", "deleted"])
def test_every_status_without_seconds_has_a_word(status, capsys):
    transcript = Transcript("clean")
    transcript.align([NAME])
    transcript.add(Outcome("clean", NAME, Path(NAME), status))
    assert capsys.readouterr().out.split()[:2] == ["clean", NAME]
