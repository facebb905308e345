"""Charts as files: what matplotlib draws of the data, and what stands in the folder."""

import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.style
import numpy as np
import pandas as pd
import pytest
from made_runs import studied_run
from matplotlib.colors import to_hex

from rmtgen import report
from rmtgen.report.chart import Axis, Chart, Line, Panel
from rmtgen.report.charts import make_charts
from rmtgen.report.figure_files import save_figures
from rmtgen.report.matplotlib_figure import MANY_POINTS, STACKED, WIDE, draw
from rmtgen.report.run_set import RunSet
from rmtgen.report.style import LIGHT, MARKERS, MATPLOTLIB, SERIES, STYLE

FILES = ("svg", "narrow_svg", "png", "pdf")


@pytest.fixture(autouse=True, scope="module")
def styled():
    with matplotlib.style.context(MATPLOTLIB, after_reset=True):
        yield


@pytest.fixture(scope="module")
def files(runs, tmp_path_factory):
    before = dict(matplotlib.rcParams)
    made = save_figures(make_charts(RunSet.of(runs)), tmp_path_factory.mktemp("figures"))
    assert dict(matplotlib.rcParams) == before  # drawing leaves matplotlib as it was
    return made


def chart_of(*lines, y=None, groups=("one", "two")):
    """A chart whose left panel has these lines; its right panel is empty."""
    x = Axis("across", "log", (1.0, 100.0))
    left = Panel("Left", x, y or Axis("up", "log", (0.1, 10.0)), tuple(lines))
    right = Panel("Right", x, Axis("share", "linear", (0.0, 1.0)), ())
    return Chart("stem", "Title", "Caption.", "Alt.", (left, right), tuple(groups))


def table(x=(1, 10, 100), y=(1, 2, 3), **columns):
    return pd.DataFrame({"x": x, "y": y, **columns}, dtype=float)


def drawn_lines(chart):
    """What the left panel holds, as matplotlib knows it."""
    return draw(chart, WIDE).axes[0].lines


# --------------------------------------------------------------------------------------------------
# -------- the files


def test_every_chart_is_four_whole_files(files):
    folder = files[0].svg.parent
    assert [file.svg.name for file in files] == [f"{file.chart.stem}.svg" for file in files]
    assert {path.name for path in folder.iterdir()} == {
        getattr(file, name).name for file in files for name in FILES
    }
    for file in files:
        assert file.png.read_bytes().startswith(b"\x89PNG")
        assert file.pdf.read_bytes().startswith(
            b"%PDF"
        ) and file.pdf.read_bytes().rstrip().endswith(b"%%EOF")
        assert file.narrow_svg.name == f"{file.chart.stem}-narrow.svg"
        wide, narrow = (
            ElementTree.parse(path).getroot().get("viewBox").split()
            for path in (file.svg, file.narrow_svg)
        )
        assert float(wide[2]) > float(wide[3]) and float(narrow[2]) < float(narrow[3])


def test_fonts_of_a_pdf_are_true_type_and_in_it(files):
    for file in files:
        content = file.pdf.read_bytes()
        assert (
            b"/Subtype /CIDFontType2" in content
            and b"/FontFile2" in content
            and b"/Type3" not in content
        )


def test_same_results_give_same_bytes_in_another_process(files, tmp_path):
    code = (
        "import sys; from pathlib import Path; from made_runs import both_runs;"
        "from rmtgen.report import RunSet, make_charts, save_figures;"
        "save_figures(make_charts(RunSet.of(both_runs())), Path(sys.argv[1]))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": str(Path(__file__).parent)}
    again = tmp_path / "new" / "folder"
    subprocess.run([sys.executable, "-c", code, again], check=True, env=environment)
    for path in files[0].svg.parent.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name
    assert not re.search(
        rb"20\d\d-?\d\d-?\d\d", files[0].svg.read_bytes() + files[0].pdf.read_bytes()
    )


def test_charts_of_theory_are_drawn_without_a_warning():
    runs = RunSet.of([studied_run("a", "random"), studied_run("b", "pretrained", bend=0.7)])
    made = make_charts(runs)
    for chart in made[4:]:
        assert [axes.get_title("left") for axes in draw(chart, STACKED).axes] == [
            panel.title for panel in chart.panels
        ]


def test_data_needs_no_matplotlib_and_drawing_no_pyplot():
    for code in (
        "import sys, rmtgen.report.figure_files; sys.exit('matplotlib.pyplot' in sys.modules)",
        "import sys, rmtgen.report.charts; sys.exit('matplotlib' in sys.modules)",
    ):
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0, code


def test_the_package_names_what_it_has():
    assert all(getattr(report, name) is not None for name in dir(report))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = report.nonsense


# --------------------------------------------------------------------------------------------------
# --------- the lines


def test_a_line_has_the_colour_and_marker_of_its_group_and_the_dash_of_its_kind():
    first, second, own = drawn_lines(
        chart_of(
            Line("two", "a", table(), dash="--", size=7.0),
            Line("one", "b", table(), dash="", hollow=True),
            Line("", "c", table(), marked=False),
        )
    )
    assert (
        first.get_color(),
        first.get_marker(),
        first.get_linestyle(),
        first.get_markersize(),
    ) == (
        SERIES[1],
        "s",
        "--",
        7,
    )
    assert (second.get_color(), second.get_marker(), second.get_linestyle()) == (
        SERIES[0],
        "o",
        "None",
    )
    assert (second.get_markerfacecolor(), second.get_markeredgewidth()) == ("none", 1.2)
    assert (own.get_color(), own.get_marker()) == (LIGHT["neutral"], "none")


def test_groups_keep_their_looks_where_others_are_absent():
    (line,) = drawn_lines(chart_of(Line("nine", "", table()), groups=[*"abcdefgh", "nine"]))
    assert (line.get_color(), line.get_marker()) == (SERIES[8 % 7], MARKERS[0])
    looks = {(place % len(SERIES), place % len(MARKERS)) for place in range(56)}
    assert len(looks) == 56


def test_what_has_no_place_is_a_gap():
    (line,) = drawn_lines(chart_of(Line("one", "", table(y=(1, np.inf, -1)))))
    assert np.isnan(line.get_ydata()).tolist() == [False, True, True]
    linear = Axis("up", "linear", (-2.0, 2.0))
    (line,) = drawn_lines(chart_of(Line("one", "", table(y=(1, np.nan, -1))), y=linear))
    assert np.isnan(line.get_ydata()).tolist() == [False, True, False]


def test_a_dense_line_has_few_markers_and_a_cloud_is_translucent():
    x = np.linspace(1, 100, 200)
    dense, cloud = drawn_lines(
        chart_of(Line("one", "", table(x, x / 20)), Line("two", "", table(x, x / 20), dash=""))
    )
    assert dense.get_markevery() is not None and dense.get_alpha() is None
    assert cloud.get_markevery() is None and not cloud.get_rasterized()
    assert cloud.get_alpha() == STYLE["opacity"]["cloud"]
    x = np.linspace(1, 100, MANY_POINTS + 1)
    dense, cloud = drawn_lines(
        chart_of(Line("one", "", table(x, x / 20)), Line("two", "", table(x, x / 20), dash=""))
    )
    assert cloud.get_rasterized() and not dense.get_rasterized()


def test_a_marker_on_the_edge_is_whole_and_a_line_that_leaves_is_cut():
    inside, leaving = drawn_lines(
        chart_of(Line("one", "", table(y=(1, 2, 10))), Line("two", "", table(y=(1, 2, 11))))
    )
    assert not inside.get_clip_on() and leaving.get_clip_on()


def test_pale_lines_lie_behind_in_a_lighter_colour():
    strong, pale = drawn_lines(
        chart_of(Line("one", "", table()), Line("one", "", table(), pale=True))
    )
    assert pale.get_zorder() < strong.get_zorder()
    assert sum(int(to_hex(pale.get_color())[k : k + 2], 16) for k in (1, 3, 5)) > 600


def test_intervals_are_bars_with_caps_or_bands_and_end_at_the_edge():
    bars = Line("one", "", table(low=(0.5, np.nan, -1), high=(2, np.nan, 1e9)))
    axes = draw(chart_of(bars), WIDE).axes[0]
    first, unknown, last = axes.collections[0].get_segments()
    assert (
        first[:, 1].tolist() == [0.5, 2] and not len(unknown) and last[:, 1].tolist() == [0.1, 10]
    )
    assert [line.get_marker() for line in axes.lines[1:]] == ["_", "_"]
    across = Line("one", "", table(left=(0.5, 9, 90), right=(2, 11, 200)), dash="")
    axes = draw(chart_of(across), WIDE).axes[0]
    assert [segment[:, 0].tolist() for segment in axes.collections[0].get_segments()] == [
        [1, 2],
        [9, 11],
        [90, 100],
    ]
    band = Line("one", "", table(low=(0.5, 1, 2), high=(2, 4, 6)), band=True)
    axes = draw(chart_of(band), WIDE).axes[0]
    assert axes.collections[0].get_alpha() == STYLE["opacity"]["band"] and len(axes.lines) == 1


# -------------------------------------------------------------------------------------------------
# legends and axes


def texts(legend):
    return [text.get_text() for text in legend.get_texts()]


def test_legends_name_the_groups_that_are_there_and_the_kinds_of_each_panel():
    figure = draw(
        chart_of(
            Line("two", "risk", table()),
            Line("two", "predicted", table(), dash=""),
            Line("", "exact", table(), dash=":"),
        ),
        WIDE,
    )
    assert texts(figure.legends[0]) == ["two"]
    assert texts(figure.axes[0].get_legend()) == ["risk", "predicted", "exact"]
    assert figure.axes[1].get_legend() is None
    assert [axes.get_title("left") for axes in figure.axes] == ["Left", "Right"]
    assert [axes.get_ylabel() for axes in figure.axes] == ["up", "share"]


def test_points_alone_have_no_line_in_the_legend():
    figure = draw(chart_of(Line("one", "", table(), dash=""), Line("two", "", table())), WIDE)
    assert [mark.get_linestyle() for mark in figure.legends[0].get_lines()] == ["None", "-"]


def test_names_are_text_and_long_ones_give_way_in_their_middle():
    names = (r"cost $\frac$ more", "<script>", "_hidden", "begin" + 200 * "x" + "end")
    figure = draw(chart_of(*(Line(name, "", table()) for name in names), groups=names), STACKED)
    shown = texts(figure.legends[0])
    assert shown[:3] == [
        r"cost \$\frac\$ more",
        "<script>",
        "_hidden",
    ]  # matplotlib draws \$ as a dollar sign
    assert len(shown[3]) < 60 and shown[3].startswith("begin") and shown[3].endswith("end")


@pytest.mark.parametrize("form", [WIDE, STACKED], ids=["wide", "stacked"])
def test_fifty_long_names_leave_the_panels_room(form):
    groups = tuple(
        f"tf_efficientnet_lite{place}, pretrained, cifar100, features" for place in range(50)
    )
    kinds = ("test risk ± s.e.", "same-κ transport", "GCV", "LOO", "training risk")
    figure = draw(
        chart_of(
            *(Line(group, kind, table()) for group in groups for kind in kinds), groups=groups
        ),
        form,
    )
    boxes = [axes.get_window_extent() for axes in figure.axes]
    legend, key = (
        figure.legends[0].get_window_extent(),
        figure.axes[0].get_legend().get_window_extent(),
    )
    assert all(box.height > 200 and box.width > 250 for box in boxes)
    assert legend.x1 <= figure.bbox.x1 and legend.y0 >= max(box.y1 for box in boxes)
    assert key.y0 >= boxes[0].y1 and key.x1 <= figure.bbox.x1


@pytest.mark.parametrize("low", [0.7, 0.05, 1e-3, 1e-12])
def test_log_axes_have_a_few_labelled_ticks(low):
    axes = draw(
        chart_of(Line("one", "", table(y=(0.8, 0.9, 1))), y=Axis("up", "log", (low, 1.0))), WIDE
    ).axes[0]
    labels = zip(axes.get_yticklabels(), axes.get_yticks(), strict=True)
    inside = [tick.get_text() for tick, y in labels if low <= y <= 1]
    assert 3 <= len(inside) <= 8 and all(inside) and len(set(inside)) == len(inside)


def test_large_numbers_are_written_out():
    axes = draw(chart_of(Line("one", "", table()), y=Axis("labels", "log", (2e4, 4e6))), WIDE).axes[
        0
    ]
    assert "1,000,000" in [tick.get_text() for tick in axes.get_yticklabels()]


def test_ticks_of_the_chart_stand_where_it_says_and_those_without_a_name_are_short():
    rows = Axis("", "linear", (-0.5, 2.5), (0.0, 1.0, 2.0), ("zero", "", "two"))
    axes = draw(chart_of(Line("one", "", table(y=(0, 1, 2))), y=rows), WIDE).axes[0]
    assert axes.get_yticks().tolist() == [0, 2] and [
        tick.get_text() for tick in axes.get_yticklabels()
    ] == [
        "zero",
        "two",
    ]
    assert axes.get_yticks(minor=True).tolist() == [1]


def test_titles_side_by_side_stand_at_one_height():
    kinds = [
        Line("one", kind, table())
        for kind in ("a long name of a kind", "another such name", "and a third one")
    ]
    wide = draw(chart_of(*kinds), WIDE)
    heights = [axes._left_title.get_window_extent().y0 for axes in wide.axes]
    assert heights[0] == pytest.approx(heights[1])
    frames = [axes.get_window_extent().y1 for axes in wide.axes]
    assert all(
        high > low
        for low, high in pairwise(
            [frames[0], wide.axes[0].get_legend().get_window_extent().y1, heights[0]]
        )
    )
