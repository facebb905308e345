"""The sentence of each run and the first figure: the number, its interval, trust, more labels."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from made_runs import make_run, studied_run, with_risk

from rmtgen.report.answers import answers, predicted_accuracy
from rmtgen.report.chart import Chart
from rmtgen.report.charts import make_charts
from rmtgen.report.risk_statistics import chosen, trial_means
from rmtgen.report.run_set import RunSet
from rmtgen.theory.accuracy import interval

LABEL = "resnet18, pretrained"


@pytest.fixture
def run():
    """At n = 400 the ridge 0 has the smallest risk, and a predicted error of .4 ± .02."""
    found = studied_run("a", "pretrained")
    return dataclasses.replace(found, config=found.config | {"test": 400})


def answer(run):
    return answers([run], [LABEL]).get(LABEL)


def with_theory(run, **tables):
    return dataclasses.replace(run, theory=run.theory | tables)


def test_the_sentence_of_a_run(run):
    low, high = interval(0.4, 0.02, 400)
    assert answer(run) == (
        f"accuracy 60.0 % [{100 * (1 - high):.1f}, {100 * (1 - low):.1f}] on new images, from its"
        " 400 training images alone; measured 50.0 ±2.5 %. Doubtful: H is 9 against 3. With 800:"
        " 99.0 % [98.8, 99.2], extrapolated."
    )


def test_no_test_image_has_a_part_in_the_choice_of_the_ridge(run):
    risk = run.risk.assign(loo=run.risk["ridge"].map({0.0: 3.0, 0.1: 1.0, 1.0: 2.0}))
    told = answer(dataclasses.replace(run, risk=risk))
    assert told.startswith("accuracy 59.0 %")
    other = risk.assign(test_risk=risk["test_risk"].max() - risk["test_risk"] + 1)
    assert answer(dataclasses.replace(run, risk=other)) == told


def test_trust_in_words(run):
    trust = run.theory["trust"]
    clean = with_theory(run, trust=trust.assign(tripped=False))
    assert "No check warns." in answer(clean)
    twice = with_theory(run, trust=pd.concat([trust, trust]))
    assert "Doubtful: H is 9 against 3 and 1 more." in answer(twice)
    unchecked = {name: table for name, table in run.theory.items() if name != "trust"}
    assert "warns" not in answer(dataclasses.replace(run, theory=unchecked))


def test_a_run_of_no_classes_speaks_of_the_risk(run):
    told = answer(with_risk(run, loo_error=np.nan, test_error=np.nan))
    best = chosen(run.risk, 400)
    assert told.startswith(
        f"risk {best['loo']:.4f} [{best['loo_low']:.4f}, {best['loo_high']:.4f}] on new images,"
        f" from its 400 training images alone; measured {best['test_risk']:.4f} ±"
    )
    assert "With 800: 0.1880 [0.1692, 0.2068], extrapolated." in told
    assert "%" not in told


def test_a_run_without_theory_states_what_it_knows():
    told = answer(make_run("a", "random"))
    assert told.startswith("accuracy ") and told.count("[") == 0 and told.count(".") == 3


def test_a_run_without_leave_one_out_has_no_sentence_and_a_ridge(run):
    blind = with_risk(run, loo=np.nan)
    assert answers([blind, run], ["blind", LABEL]).keys() == {LABEL}
    assert chosen(blind.risk, 400)["relative_ridge"] == 0.0  # of the smallest GCV
    assert np.isnan(chosen(with_risk(blind, gcv=np.nan).risk, 400)["relative_ridge"])
    assert isinstance(make_charts(RunSet.of([blind]))[0], Chart)


def test_runs_older_than_predicted_errors(run):
    fit = chosen(run.risk, 400)
    old = run.theory["predictions"].drop(columns="predicted_error")
    assert np.isnan(predicted_accuracy(old, fit)["low"])
    assert answer(with_theory(run, predictions=old)).startswith("accuracy 50.0 % on new images")


def test_a_forecast_that_ends_early_promises_nothing(run):
    table = run.theory["accuracy"]
    assert "With" not in answer(with_theory(run, accuracy=table[table["n"] <= 400]))
    unknown = table.assign(predicted_error=np.nan)
    assert "With" not in answer(with_theory(run, accuracy=unknown))
    certain = answer(with_theory(run, accuracy=table.assign(extrapolated=False)))
    assert certain.endswith("With 800: 99.0 % [98.8, 99.2].")


def test_the_figure_holds_predictions_beside_what_was_measured(run):
    chart = make_charts(RunSet.of([run]))[0]
    accuracy, against = chart.panels
    tables = {line.kind: line.table for line in accuracy.lines}
    assert tables["predicted, 95 %"]["y"].tolist() == [60.0, 60.0]
    assert (tables["measured"]["y"] == 50).all()
    beyond = tables["for more images"]
    assert beyond["x"].tolist() == [400, 800, 1600]
    assert beyond["y"].tolist() == pytest.approx([60.0, 99.0, 99.5])
    for table in (tables["predicted, 95 %"], beyond):
        assert ((table["low"] < table["y"]) & (table["y"] < table["high"])).all()
    assert accuracy.y.view[1] <= 100
    points = against.lines[0].table
    best = trial_means(run.risk).query("relative_ridge == 0")
    np.testing.assert_allclose(points["y"], 100 * (best["loo"] / best["test_risk"] - 1))
    np.testing.assert_allclose(points["low"], 100 * (best["loo_low"] / best["test_risk"] - 1))
    assert (
        chart.alt
        == f"Accuracy. {LABEL}: 50.0 % by leave-one-out and 50.0 % measured at n = 400" + "."
    )
