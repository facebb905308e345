"""The page, by parsing it."""

import dataclasses
import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from made_runs import RIDGES, SIZES, leveraged, make_run, with_risk

from rmtgen.report.best_fits import best_fits_table, wide_gap_notes
from rmtgen.report.chart import Axis, Chart, Line, Panel, as_json
from rmtgen.report.charts import make_charts
from rmtgen.report.page import render_page
from rmtgen.report.risk_statistics import trial_means
from rmtgen.report.run_set import RunSet


class Reader(HTMLParser):
    """Elements of the page with their attributes, and its visible text."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.words, self.silent = [], [], False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.silent = tag in ("style", "script")

    def handle_endtag(self, tag):
        self.silent = False

    def handle_data(self, data):
        if not self.silent:
            self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def charts(results):
    return make_charts(RunSet.of(results))


def page_of(results, title):
    runs = RunSet.of(results)
    return render_page(runs, make_charts(runs), title)


@pytest.fixture(scope="module")
def html(runs):
    return page_of(runs, "Blobs & <b>bold</b>")


def data_of(html):
    """The object that the page's script reads."""
    return json.loads(
        re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)[1]
    )


def test_page_needs_nothing_from_outside(html):
    reader = Reader(html)
    links = [
        value
        for _, found in reader.elements
        for name, value in found.items()
        if name in ("href", "xlink:href", "src")
    ]
    assert links and all(link.startswith("#") for link in links)
    assert "http" not in html.replace("http://www.w3.org/2000/svg", "")
    assert "@import" not in html and not reader.all("link") and not re.search(r"url\((?!#)", html)
    assert re.search(r"\b(fetch|XMLHttpRequest|WebSocket|import)\s*\(", html) is None


def test_ids_are_unique_and_every_reference_is_kept(html):
    reader = Reader(html)
    ids = [found["id"] for _, found in reader.elements if "id" in found]
    assert len(ids) == len(set(ids))
    used = {found["href"][1:] for found in reader.all("a")} | {
        found["aria-labelledby"] for found in reader.all("section")
    }
    assert len(used) >= 6 and used <= set(ids)


def test_charts_stand_in_the_page_as_data_with_their_words(html, runs):
    drawn, reader = charts(runs), Reader(html)
    assert [chart["stem"] for chart in data_of(html)["charts"]] == [chart.stem for chart in drawn]
    for chart, stored in zip(drawn, data_of(html)["charts"], strict=True):
        assert " ".join(chart.caption.split()) in reader.text
        assert " ".join(chart.alt.split()) in reader.text
        for panel, stored_panel in zip(chart.panels, stored["panels"], strict=True):
            for line, stored_line in zip(panel.lines, stored_panel["lines"], strict=True):
                known = line.table["y"].replace([np.inf, -np.inf], np.nan).to_numpy(float)
                found = np.array(
                    [np.nan if value is None else value for value in stored_line["columns"]["y"]],
                    dtype=float,
                )
                np.testing.assert_allclose(found, known, rtol=1e-4)
                group = stored_line["group"]
                assert (stored["groups"][group] if line.group else group) == (line.group or -1)


def test_text_columns_are_coded_and_numbers_are_short():
    axis = Axis("x", "linear", (0, 1))
    table = pd.DataFrame(
        {"x": [1.0, 2.0, np.nan], "y": [1 / 3, np.inf, 49990], "run": ["a", "b", "a"]}
    )
    (panel,) = as_json(
        Chart("s", "t", "c", "a", (Panel("p", axis, axis, (Line("a", "", table),)),), ("a",))
    )["panels"]
    assert panel["lines"][0]["columns"] == {
        "x": [1, 2, None],
        "y": [0.33333, None, 49990],
        "run": {"words": ["a", "b"], "at": [0, 1, 0]},
    }


def test_page_shows_the_table_and_all_numbers(html, runs):
    reader = Reader(html)
    prepared = RunSet.of(runs)
    for row in best_fits_table(prepared.best_fits, prepared.labels).rows:
        assert all(cell in reader.text for cell in row)
    said = (
        "2 runs of tiny_net (pretrained and random) on blobs, features kernel: ridge regression at"
        " 3 sample sizes"
    )
    assert said in reader.text
    assert "(15 to 600 training images), 4 ridges and 3 random subsets of each size" in reader.text
    assert "with 3 balanced classes, predicting zero costs about 0.67" in reader.text
    assert (
        reader.text.count("tiny-random-3c4d") == 1
        and "ridges: [1e-06, 0.001, 0.1, 10.0]" in reader.text
    )
    assert "seconds: 1.25" in reader.text
    for run, table in zip(runs, data_of(html)["runs"], strict=True):
        means = trial_means(run.risk)
        assert len(table["rows"]) == len(SIZES) * len(RIDGES) == len(means)
        assert table["headings"][:4] == ["n", "ridge", "subsets", "test risk"]
        np.testing.assert_allclose([row[3] for row in table["rows"]], means["test_risk"], rtol=1e-4)
    assert len(reader.all("h1")) == 1 and "Blobs & <b>bold</b>" in reader.text


def test_page_shows_the_notes_beside_the_table(runs):
    wild = [leveraged(runs[0], gcv=0.375, loo=57139.0, test_risk=616584.0), runs[1]]
    text = Reader(page_of(wild, "notes")).text
    prepared = RunSet.of(wild)
    (note,) = wide_gap_notes(prepared.best_fits, prepared.labels)
    assert text.index("n ≥ 500") < text.index(note) < text.index("First panel: each strong point")


def test_runs_left_out_and_warnings_are_shown_as_such(runs):
    doubtful = dataclasses.replace(
        charts(runs)[0], warnings=("tiny: the samples <i>are</i> copies.",)
    )
    text = Reader(
        render_page(RunSet.of(runs), [doubtful], "half", {"half-1a2b": "not <b>finished</b>"})
    ).text
    assert "Not reported: half-1a2b: not <b>finished</b>" in text
    assert "Doubtful: tiny: the samples <i>are</i> copies." in text


def test_names_are_text_in_the_page(runs):
    nasty = [
        "<script>alert(1)</script>",
        "_hidden",
        r"cost $\frac$ more",
        '--!><img src=x onerror="x">',
        "</script><!--",
    ]
    odd = [
        dataclasses.replace(runs[0], name=f"{name}!", model=name, config={"</pre>": name})
        for name in nasty
    ]
    html = page_of(odd, nasty[0])
    reader = Reader(html)
    assert len(reader.all("script")) == 2 and not reader.all("img")
    assert "<!--" not in html
    assert all(f"{name}, pretrained" in reader.text and f"{name}!" in reader.text for name in nasty)
    assert data_of(html)["runs"][4]["stem"] == f"{nasty[4]}!"


def test_one_fit_and_no_finite_fit_still_make_a_report():
    run = make_run("lonely", "random", sizes=(40,), ridges=(0.0,), trials=1)
    blank = dataclasses.replace(
        with_risk(run, gcv=np.nan, test_risk=np.nan), name="blank", init="unknown"
    )
    html = page_of([run, blank], "few")
    text = Reader(html).text
    assert "at 1 sample size (40 training images), 1 ridge and 1 random subset of each size" in text
    assert text.count("GCV and test risk: 1 fit.") >= 2
    assert "NaN" not in json.dumps(data_of(html))
    prepared = RunSet.of([blank])
    (row,) = best_fits_table(prepared.best_fits, prepared.labels).rows
    assert row[1:] == ("40", *["–"] * 8)


def test_table_of_many_runs_names_counts_not_lists(runs):
    many = [
        dataclasses.replace(runs[0], name=f"run-{place}", model=f"net_{place}")
        for place in range(5)
    ]
    assert "5 runs of 5 backbones (pretrained) on blobs" in Reader(page_of(many, "many")).text


def test_runs_of_different_outputs_share_no_cost_of_predicting_zero(runs):
    text = Reader(page_of([runs[0], with_risk(runs[1], outputs=7)], "outputs")).text
    assert "squared error summed over the outputs. Ridges are" in text
