"""One style for files and page: no colour has a second home, and every colour has contrast."""

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
from matplotlib.colors import CSS4_COLORS, to_rgb

from rmtgen import report
from rmtgen.report.style import LIGHT, MARKERS, SERIES, STYLE, css_properties, page_style

FOLDER = Path(report.__file__).parent
SOURCES = [path for path in FOLDER.rglob("*") if path.suffix in (".py", ".js", ".css", ".j2")]
LITERAL = re.compile(
    r"#(?:[0-9a-f]{3,4}){1,2}\b|\b(?:rgb|hsl|lab|lch|hwb|oklch|color-mix)a?\(", re.I
)
NAMES = "|".join(sorted({*CSS4_COLORS, "canvastext"}))
NAMED = re.compile(
    rf"""["'](?:{NAMES}|tab:\w+|C\d)["']|(?:color|colour|fill|stroke|background)\w*\s*[:=]\s*(?:{NAMES})\b""",
    re.I,
)


def luminance(colour):
    """Relative luminance of WCAG 2."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_colour_is_written_beside_the_style_file(path):
    text = path.read_text("utf-8")
    assert LITERAL.findall(text) == []
    assert NAMED.findall(text) == []


@pytest.mark.parametrize(
    "text",
    ["color: #fff;", "'#0072B2'", "rgb(0 0 0 / .1)", "color='red'", "fill: white;", '"tab:blue"'],
)
def test_the_search_for_colours_finds_them(text):
    assert LITERAL.search(text) or NAMED.search(text)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_colour_has_contrast_with_its_ground(theme):
    colours = STYLE[theme]
    for ground in (colours["ground"], colours["tint"]):
        assert min(contrast(colours[name], ground) for name in ("ink", "quiet", "accent")) >= 4.5
    assert min(contrast(colour, colours["ground"]) for colour in colours["series"]) >= 3
    assert len(set(colours["series"])) == len(colours["series"])


def test_both_themes_have_the_same_colours():
    assert STYLE["light"].keys() == STYLE["dark"].keys()
    assert len(STYLE["light"]["series"]) == len(STYLE["dark"]["series"])


def test_the_page_reads_the_colours_of_the_files():
    properties = css_properties()
    for place, colour in enumerate(SERIES):
        assert f"--series-{place}: {colour};" in properties.splitlines()[0]
    assert page_style()["colours"] == len(SERIES)
    assert len(page_style()["markers"]) == len(MARKERS) == len(set(MARKERS))
    assert json.loads(json.dumps(page_style())) == page_style()


def test_every_property_of_the_style_sheet_is_defined():
    used = set(re.findall(r"var\((--[\w-]+)", (FOLDER / "page.css").read_text("utf-8")))
    defined = set(re.findall(r"(--[\w-]+):", css_properties()))
    assert used - {"--c"} <= defined


def test_outlines_of_markers_turn_around_their_centre():
    for marker in STYLE["markers"][1:]:
        outline = marker["outline"]
        area = sum(x * v - u * y for (x, y), (u, v) in pairwise([*outline, outline[0]]))
        assert abs(area) > 0.5, marker["name"]
        assert abs(sum(x for x, _ in outline)) < 0.05 * len(outline)
    assert LIGHT["series"] == list(SERIES)
