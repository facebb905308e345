"""Tables as text of a terminal, as Markdown and as JSON."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtgen.tables import LEAST_NAME, Table, shorten, wrapped

NOTES = ("a note of many words that goes on for a while, and then goes on and ends", "another note")
SUMMARY = Table(
    ("run", "n", "test risk", "gap %", "max %"),
    (
        ("tf_efficientnet_lite0, pretrained", "9", "0.8834 ±0.0035", "0.42", "30"),
        ("tf_efficientnet_lite0, random", "9", "0.9826 ±0.0006", "0.068", "52"),
    ),
    notes=NOTES,
)
WIDE = """\
run                                n       test risk  gap %  max %
---------------------------------  -  --------------  -----  -----
tf_efficientnet_lite0, pretrained  9  0.8834 ±0.0035   0.42     30
tf_efficientnet_lite0, random      9  0.9826 ±0.0006  0.068     52
a note of many words that goes on for a while, and then goes on and ends
another note"""
SMALL = Table(("name", "unit", "count"), (("a|b", "–", "1,000"), ("c", "m", "2")), align="<<>")


@pytest.mark.parametrize("width", [None, 72, 100, 300])
def test_a_table_that_fits_has_its_natural_width(width):
    assert SUMMARY.text(width) == WIDE


def test_columns_are_aligned_as_asked_without_trailing_spaces():
    lines = SMALL.text().splitlines()
    assert lines == [
        "name  unit  count",
        "----  ----  -----",
        "a|b   –     1,000",
        "c     m         2",
    ]
    left = Table(("name", "word"), (("a", "bb"), ("ccc", "d")), align="<<").text()
    assert left.splitlines()[3] == "ccc   d"


def test_markdown_escapes_pipes_and_says_what_is_right_aligned():
    assert SMALL.markdown().splitlines() == [
        "| name | unit | count |",
        "|---|---|---:|",
        r"| a\|b | – | 1,000 |",
        "| c | m | 2 |",
    ]


@pytest.mark.parametrize("table", [SUMMARY, SMALL])
def test_json_gives_the_table_back(table):
    assert Table.from_json(json.loads(json.dumps(table.as_json()))) == table


@pytest.mark.parametrize("width", [30, 36, 40, 50, 60])
def test_a_narrow_table_gives_up_its_names_then_gaps_then_last_columns(width):
    lines = SUMMARY.text(width).splitlines()
    assert max(map(len, lines)) <= width
    heading, rule, first, second = lines[:4]
    assert set(rule) == {"-", " "}
    assert ("  " in rule) == (width >= 50)
    assert first.startswith("tf_ef") and first != second
    assert "0.8834 ±0.0035" in first
    left_out = [line for line in lines if line.startswith("no room for ")]
    missing = [name for name in ("gap %", "max %") if name not in heading]
    assert left_out == ([f"no room for {', '.join(missing)}"] if missing else [])
    assert bool(left_out) == (width < 50)
    said = "\n".join(lines[4 + len(left_out) :]).replace("\n  ", " ")
    assert said == "\n".join(NOTES)


def test_a_first_column_that_has_room_left_takes_it():
    narrow = Table(("run", "a long heading"), (("x" * 40, "1"),))
    assert narrow.text(20).splitlines()[2] == shorten("x" * 40, 20)
    assert narrow.text(30).splitlines()[2].split() == [shorten("x" * 40, 14), "1"]


def test_names_are_never_shortened_until_two_of_them_are_alike():
    """They differ in their middle alone, which is what gives way first."""
    names = [
        f"vit_base_patch{size}, random, cifar100, {kernel}"
        for size in ("16", "32", "8")
        for kernel in ("features", "entk")
    ]
    cells = [(name, "50,000", "0.1234 ±0.0010", "0.1234", "93.1", "92.8") for name in names]
    table = Table(("run", "n", "test risk", "GCV", "acc %", "LOO %"), tuple(cells))
    for width in (30, 50, 60, 80):
        lines = table.text(width).splitlines()
        first = len(lines[1].split()[0])
        assert len({line[:first] for line in lines[2 : 2 + len(names)]}) == len(names)
        assert max(map(len, lines)) <= max(width, first)
    assert "no room for" in table.text(50) and "no room for" not in table.text(100)


@settings(max_examples=60)
@given(
    st.lists(
        st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1, max_size=99),
        min_size=1,
        max_size=5,
        unique=True,
    ),
    st.integers(100, 160),
)
def test_any_names_have_room_in_a_wide_terminal(names, width):
    table = Table(("run", "n", "risk"), tuple((name, "1000", "0.25") for name in names))
    lines = table.text(width).splitlines()
    assert max(map(len, lines)) <= width and len(lines) == 2 + len(names)


@settings(max_examples=40)
@given(st.text(max_size=60), st.integers(3, 50))
def test_shorten_keeps_both_ends(text, width):
    short = shorten(text, width)
    assert len(short) <= width
    assert short == text or (short[0], short[-1], "…" in short) == (text[0], text[-1], True)


def test_names_are_shortened_in_the_middle():
    name = "tf_efficientnet_lite0-pretrained-cifar100-n49990-64px-4b3311b3"
    assert shorten("abcdefgh", 8) == "abcdefgh"
    assert shorten("abcdefgh", 7) == "abc…fgh"
    assert shorten(name, 24, 8) == "tf_efficientnet…4b3311b3"


def test_notes_are_wrapped_with_an_indent_and_never_wider_than_a_page():
    assert wrapped(["one two three"], 8) == ["one two", "  three"]
    assert max(map(len, wrapped(["word " * 100], 300))) <= 100
    assert wrapped([]) == []


def test_a_table_without_rows_is_its_headings():
    assert Table(("run", "n"), ()).text(50).splitlines() == ["run  n", "---  -"]
    assert len("run") < LEAST_NAME
