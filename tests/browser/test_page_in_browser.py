"""The report page in headless Chromium. Skipped where there is no Chromium."""

import csv
import json
import math
import shutil

import pytest
from matplotlib.colors import to_hex, to_rgb
from report_pages import HOSTILE, many_runs, page_of, three_runs

from rmtgen.report.charts import make_charts
from rmtgen.report.matplotlib_figure import WIDE, draw
from rmtgen.report.run_set import RunSet
from rmtgen.report.style import SERIES, STYLE

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
FLAGS = (
    *(
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-sync",
    ),
    *("--disable-background-networking", "--disable-component-update"),
)
WIDTHS = (360, 1024, 1920)
EVERY_FIT = "section[aria-labelledby=predicted-vs-measured] figure.chart"
"""The figure that shows all runs."""


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page_of(three_runs()), "utf-8")
    return path


@pytest.fixture
def open_page(browser, page_file):
    """A function that opens the page (or another file) at a width; afterwards: no message of the
    console, no request but the file's."""
    contexts, trouble, asked = [], [], []

    def opened(width=1024, path=page_file, **options):
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, **options))
        page = contexts[-1].new_page()
        page.set_default_timeout(0)
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_selector("html.ready")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert trouble == []
    assert all(url.startswith(("file://", "blob:")) for url in asked)
    assert len([url for url in asked if url.startswith("file://")]) == len(contexts)


def see_all(page):
    """Scroll through the page, so that every chart is drawn."""
    for chart in page.query_selector_all("figure.chart"):
        chart.scroll_into_view_if_needed()
        page.wait_for_function(
            "chart => chart.querySelectorAll('.canvas > svg').length === 2", arg=chart
        )


@pytest.mark.parametrize("width", WIDTHS)
def test_every_figure_is_seen_without_sideways_scroll(open_page, width):
    page = open_page(width)
    see_all(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    charts = page.query_selector_all("figure.chart")
    assert (
        len(charts)
        == len(page.evaluate("JSON.parse(document.getElementById('data').textContent).charts"))
        >= 6
    )
    for svg in page.query_selector_all("figure.chart .canvas > svg"):
        box = svg.bounding_box()
        assert box["width"] > 0.7 * min(width, 480) - 60
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert svg.query_selector(".line, .mark") is not None
        assert len(svg.query_selector_all(".tick")) >= 3
        assert svg.get_attribute("aria-label")


@pytest.mark.parametrize("width", WIDTHS)
def test_ticks_do_not_lie_on_each_other(open_page, width):
    page = open_page(width)
    see_all(page)
    overlaps = page.evaluate(
        """() => [...document.querySelectorAll('.canvas > svg')].flatMap(svg => {
          const ticks = [...svg.querySelectorAll('.tick')];
          const boxes = ticks.map(tick => tick.getBoundingClientRect());
          return boxes.flatMap((one, i) => boxes.slice(i + 1).filter(other =>
            one.left < other.right - 1 && other.left < one.right - 1
            && one.top < other.bottom - 3 && other.top < one.bottom - 3));
        }).length"""
    )
    assert overlaps == 0


def test_numbers_on_the_axes_are_those_of_the_data(open_page):
    """Where a point stands is checked against the ticks: linear in the logarithm between two of
    them."""
    page = open_page(1200)
    see_all(page)
    chart = page.evaluate("JSON.parse(document.getElementById('data').textContent).charts[0]")
    line = next(line for line in chart["panels"][1]["lines"] if line["dash"] == "-")
    panel = page.query_selector_all("figure.chart")[0].query_selector_all(".canvas")[1]
    panel.focus()
    page.keyboard.press("ArrowRight")
    tip = panel.evaluate("node => node.parentNode.querySelector('.tip').innerText")
    assert chart["panels"][1]["x"]["label"] in tip
    assert f"{line['columns']['x'][0]:,}" in tip
    ends = panel.evaluate(
        "node => [...node.querySelectorAll('.tick[text-anchor=middle]')].map(tick =>"
        " [tick.textContent, Number(tick.getAttribute('x'))])"
    )
    (first, x0), (last, x1) = [(float(name.replace(",", "")), x) for name, x in (ends[-1], ends[0])]
    halo = float(panel.evaluate("node => node.querySelector('.halo').getAttribute('cx')"))
    share = math.log(line["columns"]["x"][0] / first) / math.log(last / first)
    assert halo == pytest.approx(x0 + share * (x1 - x0), abs=0.6)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_series_has_the_colour_of_the_style_file_that_matplotlib_draws_it_in(open_page, scheme):
    page = open_page(color_scheme=scheme)
    see_all(page)
    strokes = page.evaluate(
        f"[...document.querySelectorAll('{EVERY_FIT} .legend:first-child .toggle .line')]"
        ".map(line => getComputedStyle(line).stroke)"
    )
    colours = [to_rgb(colour) for colour in STYLE[scheme]["series"]]
    expected = [f"rgb({', '.join(str(round(255 * c)) for c in rgb)})" for rgb in colours]
    assert strokes[:3] == expected[:3] and len(strokes) >= 3
    if scheme == "light":
        chart = next(
            chart
            for chart in make_charts(RunSet.of(three_runs()))
            if chart.stem == "predicted-vs-measured"
        )
        drawn = draw(chart, WIDE).legends[0].get_lines()
        assert [to_hex(line.get_color()) for line in drawn] == list(SERIES[:3])


def test_hovering_shows_the_point(open_page):
    page = open_page()
    see_all(page)
    canvas = page.query_selector(f"{EVERY_FIT} .canvas")
    canvas.scroll_into_view_if_needed()
    canvas.focus()
    page.keyboard.press("ArrowRight")
    at = canvas.evaluate(
        "node => { const halo = node.querySelector('.halo'), box = node.getBoundingClientRect();"
        " return [box.x + Number(halo.getAttribute('cx')), box.y +"
        " Number(halo.getAttribute('cy'))]; }"
    )
    page.keyboard.press("Escape")
    tip = canvas.evaluate_handle("node => node.parentNode.querySelector('.tip')").as_element()
    assert not tip.is_visible()
    page.mouse.move(*at)
    assert tip.is_visible()
    assert "measured test risk" in tip.inner_text()
    page.mouse.move(5, 5)
    assert not tip.is_visible()


def test_every_point_is_reached_by_keyboard_and_said(open_page):
    page = open_page()
    see_all(page)
    canvas = page.query_selector_all("figure.chart .canvas")[1]
    canvas.focus()
    said = set()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"):
        page.keyboard.press(key)
        said.add(
            canvas.evaluate("node => node.parentNode.querySelector('[aria-live]').textContent")
        )
    assert len(said) >= 4
    assert all("training images n" in text for text in said)


def test_lines_toggle(open_page):
    page = open_page()
    see_all(page)
    chart = page.query_selector("figure.chart")
    count = "chart => chart.querySelectorAll('.canvas svg g g').length"
    whole = chart.evaluate(count)
    buttons = chart.query_selector_all(".toggle")
    buttons[0].click()
    page.wait_for_function(f"chart => ({count})(chart) < {whole}", arg=chart)
    assert buttons[0].get_attribute("aria-pressed") == "false"
    buttons[0].press("Enter")
    page.wait_for_function(f"chart => ({count})(chart) === {whole}", arg=chart)
    kinds = chart.query_selector_all(".legend:nth-of-type(2) .toggle")
    assert len(kinds) >= 2
    for kind in kinds:
        kind.click()
    page.wait_for_function(f"chart => ({count})(chart) === 0", arg=chart)


def test_axes_switch_between_log_and_linear(open_page):
    page = open_page()
    see_all(page)
    panel = page.query_selector("figure.chart .panel")
    ticks = "panel => [...panel.querySelectorAll('.tick')].map(tick => tick.textContent).join(' ')"
    before = panel.evaluate(ticks)
    switches = panel.query_selector_all(".switch")
    assert [switch.inner_text() for switch in switches][0] == "x: log"
    switches[0].click()
    assert switches[0].inner_text() == "x: linear"
    assert panel.evaluate(ticks) != before
    switches[0].click()
    assert panel.evaluate(ticks) == before


def test_the_theme_follows_the_system_and_the_button(open_page):
    page = open_page(color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    button = page.query_selector("#theme")
    button.click()
    light = page.evaluate(ground)
    assert light == "rgb(255, 255, 255)" != dark
    button.click()
    assert page.evaluate(ground) == dark
    page.emulate_media(color_scheme="light")
    assert page.evaluate(ground) == dark
    button.click()
    assert page.evaluate(ground) == light
    assert open_page(color_scheme="light").evaluate(ground) == light


def test_printing_draws_every_figure_on_white(open_page):
    page = open_page(color_scheme="dark")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(
        "[...document.querySelectorAll('.canvas')].every(canvas => canvas.querySelector('svg'))"
    )
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert len(page.pdf()) > 20_000


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1024])
def test_axe_finds_nothing_serious(open_page, scheme, width):
    from axe_playwright_python.sync_playwright import Axe

    page = open_page(width, color_scheme=scheme)
    see_all(page)
    assert page.query_selector(".warning") is not None
    page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true; })")
    page.wait_for_selector("details.data tbody tr")
    found = Axe().run(page).response["violations"]
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    assert not serious, json.dumps(
        [[one["id"], [node["html"][:200] for node in one["nodes"]][:3]] for one in serious]
    )


def test_names_are_text(open_page, tmp_path):
    """A run, a class or a data set called <script> is text wherever it shows."""
    path = tmp_path / "hostile.html"
    path.write_text(page_of(three_runs(HOSTILE), title=HOSTILE), "utf-8")
    page = open_page(path=path)
    see_all(page)
    page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true; })")
    assert page.evaluate("window.harmed") is None
    assert page.query_selector("h1").inner_text() == HOSTILE
    assert HOSTILE in page.query_selector(".toggle").inner_text()
    assert page.evaluate("document.querySelectorAll('script').length") == 2
    assert page.evaluate("document.querySelectorAll('img').length") == 0


def test_tables_fold_turn_pages_and_download(open_page):
    page = open_page()
    see_all(page)
    fold = page.query_selector(f"{EVERY_FIT} details.data")
    fold.query_selector("summary").click()
    page.wait_for_function("fold => fold.querySelectorAll('tbody tr').length > 0", arg=fold)
    chart = page.evaluate("JSON.parse(document.getElementById('data').textContent).charts[1]")
    lines = [line for panel in chart["panels"] for line in panel["lines"]]
    points = sum(len(line["columns"]["x"]) for line in lines)
    assert len(fold.query_selector_all("tbody tr")) == min(100, points)
    assert f"of {points:,}" in fold.query_selector("[aria-live]").inner_text()
    first = fold.query_selector("tbody tr").inner_text()
    fold.wait_for_selector("text=next").click()
    assert fold.query_selector("tbody tr").inner_text() != first
    with page.expect_download() as download:
        fold.wait_for_selector("text=Download CSV").click()
    assert download.value.suggested_filename == f"{chart['stem']}.csv"
    with download.value.path().open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == points
    assert [float(row["x"]) for row in rows[: len(lines[0]["columns"]["x"])]] == pytest.approx(
        lines[0]["columns"]["x"]
    )


def exported(page, stem):
    """The rows of the CSV that a figure's fold gives."""
    fold = page.query_selector(f"section[aria-labelledby={stem}] details.data")
    fold.query_selector("summary").click()
    with page.expect_download() as download:
        fold.wait_for_selector("text=Download CSV").click()
    with download.value.path().open(newline="") as file:
        return list(csv.DictReader(file))


def test_ridges_and_sizes_are_numbers_in_tips_and_tables(open_page):
    """Their axes are written with names (10⁻², 1,000), which are no categories."""
    page = open_page()
    see_all(page)
    rows = [row for row in exported(page, "ridges") if row["kind"] == "test risk"]
    assert {float(row["x"]) for row in rows if float(row["ridge"])} == {1e-4, 1e-3, 1e-2, 1e-1, 1.0}
    assert all(float(row["x"]) == float(row["ridge"]) for row in rows if float(row["ridge"]))
    sizes = exported(page, "learning-curves")
    assert {float(row["x"]) for row in sizes if row["panel"].startswith("At the best")} == {
        60,
        125,
        250,
        500,
        1000,
    }
    canvas = page.query_selector_all("section[aria-labelledby=learning-curves] .canvas")[1]
    canvas.focus()
    page.keyboard.press("ArrowRight")
    assert "training images n 60" in canvas.evaluate(
        "node => node.parentNode.querySelector('.tip').innerText"
    )
    shown = {row["y"] for row in exported(page, "theories") if row["panel"].startswith("Rank")}
    assert {"GCV", "norm, Arora"} <= shown


def test_points_that_are_missing_are_gaps(open_page, tmp_path):
    runs = three_runs()
    runs[0].risk.loc[runs[0].risk.index[3:9], "gcv"] = float("nan")
    path = tmp_path / "gaps.html"
    path.write_text(page_of(runs), "utf-8")
    page = open_page(path=path)
    see_all(page)
    assert "NaN" not in page.evaluate(
        "[...document.querySelectorAll('.canvas svg')].map(svg => svg.innerHTML).join()"
    )
    assert "Left out" in page.query_selector(f"{EVERY_FIT} figcaption").inner_text()


def test_fifty_runs_stay_small_and_all_have_a_toggle(open_page, tmp_path):
    path = tmp_path / "many.html"
    path.write_text(page_of(many_runs(50)), "utf-8")
    assert path.stat().st_size < 10e6
    page = open_page(path=path)
    see_all(page)
    assert (
        len(page.query_selector_all("figure.chart:first-of-type .legend:first-child .toggle")) >= 50
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 1024


def test_without_a_script_the_words_and_tables_are_there(browser, page_file):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(page_file.as_uri())
    assert page.query_selector("noscript") is not None
    assert "figures/" in page.inner_text("body")
    assert page.query_selector(".summary tbody tr") is not None
    context.close()
