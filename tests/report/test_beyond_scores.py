"""Scores of the estimates of ensembles and stopped descent, in the report of made-up runs."""

import dataclasses
import html
import json

import numpy as np
import pandas as pd
import pytest
from made_runs import studied_run

from rmtgen.report.beyond_scores import HEADINGS, beyond_scores, beyond_table
from rmtgen.report.charts import make_charts
from rmtgen.report.page import render_page
from rmtgen.report.run_set import RunSet
from rmtgen.report.theory_scores import flat_scores
from rmtgen.runs.columns import write_table
from rmtgen.theory.beyond import ESTIMATORS
from rmtgen.theory.scores import score

ESTIMATES = [(one.analysis, one.name) for one in ESTIMATORS]
HEADING = "Ensembles and gradient descent stopped early"


def pair(dataset="digits"):
    first, second = (f"{dataset}-{number}" for number in (1, 2))
    return [
        studied_run(first, "random", dataset=dataset),
        studied_run(second, "pretrained", dataset=dataset, bend=0.7),
    ]


def without(run, *tables):
    kept = {name: table for name, table in run.theory.items() if name not in tables}
    return dataclasses.replace(run, theory=kept)


def older(run):
    return without(run, "ensembles", "descent")


def test_every_estimate_is_scored_against_its_own_risk():
    scores = beyond_scores(pair()).set_index(["fit", "estimator"])
    assert list(scores.index) == ESTIMATES
    errors = dict(zip(ESTIMATES, (0.2, 0.04, 0.01, 0.04, 0.02, 0.5, 0.01), strict=True))
    for estimate, error in errors.items():
        row = scores.loc[estimate]
        assert row["relative_error"] == pytest.approx(error)
        assert row["worst_error"] == pytest.approx(7 if estimate == ("descent", "gcv") else error)
        assert row["within"] == (error <= 0.1)
    assert (scores["kendall"].drop(index=("descent", "gcv")) > 0.999).all()
    assert scores["fits"].tolist() == [12] * 5 + [24] * 2
    assert (scores["runs"] == 2).all() and (scores["dataset"] == "digits").all()


def test_fits_of_one_run_and_size_are_drawn_together():
    run = pair()[0]
    table = run.theory["descent"]
    off = np.exp(np.random.default_rng(0).standard_normal(len(table)))
    table = table.assign(loo=table["test_risk"] * off)
    run = dataclasses.replace(run, theory=run.theory | {"descent": table})
    found = beyond_scores([run]).set_index(["fit", "estimator"]).loc[("descent", "loo")]
    pairs = table["loo"], table["test_risk"]
    together, alone = score(*pairs, table["n"]), score(*pairs, np.arange(len(table)))
    assert found["relative_error_interval"] == together.relative_error_interval
    assert alone.relative_error_interval != together.relative_error_interval


def test_data_sets_stand_one_after_another():
    runs = [pair("digits")[0], *pair("letters"), pair("digits")[1]]
    scores = beyond_scores(runs)
    assert scores["dataset"].tolist() == ["digits"] * 7 + ["letters"] * 7
    assert (scores["runs"] == 2).all()


def test_the_table_names_fits_and_estimates():
    table = beyond_table(beyond_scores(pair()))
    assert table.headings == HEADINGS
    first, *_, last = table.rows
    assert first == ("digits", "ensembles of 5", "GCV", "20 [20, 20]", "20", "0%")
    assert last == ("digits", "stopped descent", "leave-one-out", "1 [1, 1]", "1", "100%")
    assert [row[2] for row in table.rows if "M" in row[2]] == [
        "corrected GCV, M → ∞",
        "leave-one-out, M → ∞",
    ]


def test_runs_without_such_fits_are_left_out():
    first, second = pair()
    assert (beyond_scores([first, older(second)])["runs"] == 1).all()
    untheoretical = dataclasses.replace(second, theory=None)
    empty = beyond_scores([older(first), untheoretical])
    assert empty.empty and list(empty) == list(beyond_scores(pair()))
    assert beyond_table(empty).rows == ()
    alone = beyond_scores([without(first, "descent")])
    assert set(alone["fit"]) == {"ensembles"}


def test_an_estimate_that_is_never_finite_has_no_row():
    run = pair()[0]
    table = run.theory["ensembles"].assign(gcv_limit=np.nan)
    scores = beyond_scores([dataclasses.replace(run, theory=run.theory | {"ensembles": table})])
    assert list(zip(scores["fit"], scores["estimator"], strict=True)) == [
        one for one in ESTIMATES if one != ("ensembles", "gcv_limit")
    ]


def test_the_csv_describes_its_columns(tmp_path):
    for runs in (pair(), [older(run) for run in pair()]):
        scores = beyond_scores(runs)
        path, sidecar = write_table(tmp_path / "beyond.csv", flat_scores(scores), "errors")
        found, schema = pd.read_csv(path), json.loads(sidecar.read_text())["tableSchema"]
        assert [column["name"] for column in schema["columns"]] == list(found)
        assert schema["primaryKey"] == ["dataset", "fit", "estimator"]
        assert len(found) == len(scores)
        assert found["relative_error_low"].tolist() == pytest.approx(
            [low for low, _ in scores["relative_error_interval"]]
        )


def test_page_and_summary_show_the_table_where_there_is_one():
    runs = RunSet.of(pair())
    page = render_page(runs, make_charts(runs), "title", {})
    assert page.count(f"<summary>{HEADING}</summary>") == 1
    assert page.index("How each theory ranks and scales") < page.index(HEADING)
    assert "<td>700</td>" in page
    table = beyond_table(runs.beyond)
    assert runs.summary.tables[-1] == table
    assert html.escape(table.notes[0][1:]) in page
    before = RunSet.of([older(run) for run in pair()])
    page = render_page(before, make_charts(before), "title", {})
    assert HEADING not in page and 'id="beyond"' not in page
    assert len(before.summary.tables) == len(runs.summary.tables) - 1
