"""Charts of runs that have the `theory` stage behind them, by the data in them."""

import dataclasses
import json

import numpy as np
import pytest
from made_runs import studied_run

from rmtgen.report.chart import as_json
from rmtgen.report.charts import make_charts
from rmtgen.report.run_set import RunSet
from rmtgen.report.theory_scores import NAMES

RANDOM, PRETRAINED = "resnet18, random", "resnet18, pretrained"


@pytest.fixture(scope="module")
def pair():
    return [studied_run("a", "random"), studied_run("b", "pretrained", bend=0.7)]


@pytest.fixture(scope="module")
def drawn(pair):
    return {chart.stem: chart for chart in charts(pair)}


def charts(results):
    return make_charts(RunSet.of(results))


def of(panel, kind, group=RANDOM):
    """The table of a group and kind."""
    (table,) = (line.table for line in panel.lines if (line.group, line.kind) == (group, kind))
    return table


def without(run, *tables):
    return dataclasses.replace(
        run, theory={name: table for name, table in run.theory.items() if name not in tables}
    )


def test_every_chart_stands_in_its_order(drawn):
    assert list(drawn) == [
        *("accuracy", "predicted-vs-measured", "learning-curves", "ridges", "spectra"),
        *("theories", "beyond", "alignment", "forecast", "scaling", "local-law"),
    ]
    json.dumps([as_json(chart) for chart in drawn.values()], allow_nan=False)


def test_doubts_about_gcv_stand_where_gcv_is_shown(drawn):
    doubts = (f"{RANDOM}: H is 9 against 3", f"{PRETRAINED}: H is 9 against 3")
    shown = {stem for stem, chart in drawn.items() if chart.warnings == doubts}
    assert shown == {
        *("accuracy", "predicted-vs-measured", "learning-curves", "ridges", "forecast")
    }
    assert all(not chart.warnings for stem, chart in drawn.items() if stem not in shown)


def test_transport_stands_beside_the_best_risk(drawn):
    at_best = drawn["learning-curves"].panels[0]
    measured, predicted = of(at_best, "test risk ± s.e."), of(at_best, "same-κ transport")
    np.testing.assert_allclose(predicted["y"], 1.02 * measured["y"])
    assert "Same-κ transport predicts the risk" in drawn["learning-curves"].caption


def test_modes_have_their_learnability(drawn):
    table = of(drawn["spectra"].panels[1], "learnability of mode m")
    assert table[["x", "y"]].to_numpy().tolist() == [[1, 0.9], [20, 0.5], [400, 0.1]]
    assert (table["r beyond"] == 2).all() and (table["R beyond"] == 3).all()
    assert "modes up to 20 are learnt by half or more" in drawn["spectra"].alt


def test_theories_are_groups_and_so_are_data_sets(pair):
    other = studied_run("c", "random", dataset="folder:/data/other.tar")
    chart = next(chart for chart in charts([*pair, other]) if chart.stem == "theories")
    fits, ranks = chart.panels
    shown = [
        NAMES[name] for name in ("transport", "isotropic", "norm_proxy", "benign", "train_risk")
    ]
    assert chart.groups == (*shown, "digits", "other")
    transport = of(fits, "", "same-κ transport")
    assert len(transport) == 3 * 2 * 3 and set(transport["run"]) >= {"resnet18, random, digits"}
    np.testing.assert_allclose(transport["y"], 1.02 * transport["x"])
    digits, others = of(ranks, "", "digits"), of(ranks, "", "other")
    gcv = digits.set_index("theory").loc["GCV"]
    assert gcv["x"] == pytest.approx(1) and gcv["log-error, %"] == 0
    assert (
        ranks.y.names[round(gcv["y"])] == "GCV" and gcv["left"] <= gcv["x"] <= gcv["right"] + 1e-12
    )
    assert (digits["y"] > others["y"]).all() and (
        np.rint(digits["y"]) == np.rint(others["y"])
    ).all()
    assert "GCV on digits: τ 1.00, log-error 0" in chart.alt


def test_points_of_theories_without_a_place_are_counted(pair):
    wild = pair[0].theory["predictions"].assign(transport=np.nan, benign=1e9)
    chart = charts([dataclasses.replace(pair[0], theory={"predictions": wild})])[-1]
    assert "6 points lie outside the view. 6 points are gaps" in chart.caption


def test_too_few_fits_to_rank_still_make_a_chart(pair):
    few = pair[0].theory["predictions"].head(2)
    chart = charts([dataclasses.replace(pair[0], theory={"predictions": few})])[-1]
    assert chart.stem == "theories" and [line.kind for line in chart.panels[1].lines] == [""]


def test_alignment_and_the_swap_of_a_pair(pair, drawn):
    floors, swaps = drawn["alignment"].panels
    curve = of(floors, "")
    np.testing.assert_allclose(curve["y"], curve["x"] ** -0.8)
    ((swapped,)) = RunSet.of(pair).swaps
    found = swapped.swap
    table = of(swaps, "", PRETRAINED)
    assert table["x"].tolist() == [
        found.risk[1, 1],
        found.risk[0, 1],
        found.risk[1, 0],
        found.risk[0, 0],
    ]
    assert swaps.y.names == ("pretrained", "alignment swapped in", "spectrum swapped in", "random")
    assert (
        "alignment accounts for 100% of the gap" in drawn["alignment"].alt
    )  # the spectra are equal


def test_without_a_pair_the_effective_dimension_stands_in_the_place_of_the_swap(pair):
    chart = next(chart for chart in charts(pair[:1]) if chart.stem == "alignment")
    table = of(chart.panels[1], "")
    np.testing.assert_allclose(table["y"], table["x"] ** (-1 / 1.5))
    assert (
        "remains at 300 degrees of freedom" in chart.alt
        and "Second panel: the degrees of freedom" in chart.caption
    )


def test_forecast_parts_at_the_end_of_the_pools_reach(drawn):
    by_size = drawn["forecast"].panels[0]
    known, tail = of(by_size, "predicted, 95 %"), of(by_size, "extrapolated")
    assert known["x"].tolist() == [100, 200, 400] and tail["x"].tolist() == [400, 800, 1600]
    np.testing.assert_allclose(tail["low"], 0.9 * tail["x"] ** -0.25)
    assert of(by_size, "from a tenth of the pool")[["x", "y", "seen"]].to_numpy().tolist() == [
        [400, 0.5, 40]
    ]
    assert of(by_size, "measured")[["x", "y"]].to_numpy() == pytest.approx(
        np.array([[100, 0.6], [400, 0.525]])
    )


def test_labels_out_of_reach_are_gaps_and_endless_intervals_end_at_the_edge(drawn):
    panel = drawn["forecast"].panels[1]
    table = of(panel, "")
    assert table["x"].tolist() == [0.4, 0.3, 0.1] and table["y"].tolist() == [900, 4e4, np.inf]
    assert table["low"].tolist()[:2] == [700, 9e3] and table["high"].tolist()[:2] == [
        1200,
        panel.y.view[1],
    ]
    assert table["interval"].tolist()[:2] == ["", "no upper end"] and 4e4 < panel.y.view[1] < 1e5
    assert "2 of 6 such risks are out of reach" in drawn["forecast"].caption
    assert "2 intervals have no upper end and stop at the edge." in drawn["forecast"].caption
    assert (
        f"{RANDOM}: risk 0.158 (0.142 to 0.174) at n = 1,600, 0.4 needs 900 labels"
        in drawn["forecast"].alt
    )


def test_a_run_from_before_labels_were_counted_shows_how_far_its_hindcast_was_off(pair):
    old = without(pair[0], "labels", "modes")
    chart = next(chart for chart in charts([old]) if chart.stem == "forecast")
    table = of(chart.panels[1], "")
    assert table[["x", "y", "low", "high"]].to_numpy()[0] == pytest.approx(
        [400, *(100 * (risk / 0.55 - 1) for risk in (0.5, 0.4, 0.6))]
    )
    assert "from a tenth of the pool" in chart.caption
    bare = without(pair[0], "labels", "hindcast")
    assert not next(chart for chart in charts([bare]) if chart.stem == "forecast").panels[1].lines


def test_power_laws_go_through_the_curves_they_were_fitted_to(drawn):
    curves, _ = drawn["scaling"].panels
    kappa, risk = (
        line.table for line in curves.lines if (line.group, line.kind) == (RANDOM, "power law")
    )
    assert kappa["x"].tolist() == [30, 100] and (kappa["exponent"] == -1.5).all()
    np.testing.assert_allclose(kappa["y"], kappa["x"] ** -1.5, rtol=0.01)
    np.testing.assert_allclose(np.diff(np.log(risk["y"])) / np.diff(np.log(risk["x"])), -0.25)
    pool = of(curves, "κ(0, n), pool")
    assert pool["x"].between(15, 200).all() and len(pool) > 10
    np.testing.assert_allclose(of(curves, "κ̂(0, n), subsets")["y"], [2 / 100, 2 / 400])
    assert of(curves, "risk − noise")["y"].tolist() == pytest.approx([0.6, 0.525])


def test_exponents_of_pool_measured_and_predicted_stand_in_their_rows(drawn):
    chart = drawn["scaling"]
    panel = chart.panels[1]
    pool, measured, predicted = (
        of(panel, kind).set_index("quantity")
        for kind in ("pool, 95 %", "measured, ± 2 s.e.", "predicted")
    )
    assert pool.loc["decay a", ["x", "left", "right"]].tolist() == pytest.approx([1.5, 1.4, 1.6])
    assert measured.loc["decay a", "x"] == 1.4  # of subsets
    assert measured.loc["risk at best λ", ["x", "left", "right"]].tolist() == [-0.3, -0.35, -0.2]
    assert predicted.loc["κ(0, n)", "x"] == -1.5 and np.isnan(predicted.loc["decay a", "x"])
    names = dict(zip(panel.y.ticks, panel.y.names, strict=True))
    assert all(names[np.rint(row.y)] == row.Index for row in pool.itertuples())
    assert "4 exponents are missing" in chart.caption  # ridgeless and fixed sum ridge, of two runs
    assert (
        f"{RANDOM}: decay a 1.50, measured 1.40, alignment s 0.80, slope of the risk at the best"
        " ridge -0.25, measured -0.30" in chart.alt
    )


def test_scaling_of_a_run_without_measured_slopes(pair):
    scaling = pair[0].theory["scaling"].drop(columns=["measured", "measured_low", "measured_high"])
    old = dataclasses.replace(
        pair[0], theory=without(pair[0], "curves", "forecast").theory | {"scaling": scaling[:-1]}
    )
    chart = next(chart for chart in charts([old]) if chart.stem == "scaling")
    assert of(chart.panels[1], "measured, ± 2 s.e.")["x"].isna().all()
    assert {line.kind for line in chart.panels[0].lines} == {"κ̂(0, n), subsets", "risk − noise"}


def test_the_local_law_is_shown_beside_its_slope(drawn):
    forms, traces = drawn["local-law"].panels
    for panel, kind in ((forms, "diagonal"), (forms, "off the diagonal"), (traces, "|κ̂ / κ − 1|")):
        table = of(panel, kind)
        np.testing.assert_allclose(table["y"], table["x"] ** -0.5)
        assert table["x"].tolist() == [50, 100, 200]
    slope = of(forms, "n^(−1/2)", "")
    np.testing.assert_allclose(slope["y"], slope["x"] ** -0.5)
    assert "diagonal n^-0.50 ± 0.00" in drawn["local-law"].alt


def test_estimates_stand_over_the_test_risk_at_their_degrees_of_freedom(drawn):
    ensembles, descent = drawn["beyond"].panels
    for name, factor in {"GCV": 1.2, "corrected GCV": 0.96, "leave-one-out": 1.01}.items():
        table = of(ensembles, "", name)
        np.testing.assert_allclose(table["y"], factor)
        assert set(table["x"]) == {0.5, 0.2, 0.25, 0.1}
        assert set(table["run"]) == {RANDOM, PRETRAINED} and set(table["ridge"]) == {0.0, 0.1}
    table = of(descent, "", "GCV")
    assert table.loc[table["t"] == 64, "y"].tolist() == pytest.approx([8.0] * 6)
    assert table.loc[table["t"] < 64, "y"].tolist() == pytest.approx([1.5] * 18)
    np.testing.assert_allclose(of(descent, "", "leave-one-out")["y"], 1.01)
    assert not [line for line in descent.lines if line.group == "corrected GCV"]
    assert [panel.x.view[1] for panel in (ensembles, descent)] == pytest.approx([0.51, 1.02])
    assert drawn["beyond"].alt == (
        "Median and worst error of the estimates. ensembles of 5 on digits: GCV 20 % and 20 %,"
        " corrected GCV 4 % and 4 %, leave-one-out 1 % and 1 %; stopped descent on digits: GCV 50 %"
        " and 700 %, leave-one-out 1 % and 1 %."
    )


def test_without_stopped_descent_its_panel_is_empty(pair):
    alone = [without(run, "descent") for run in pair]
    (chart,) = (chart for chart in charts(alone) if chart.stem == "beyond")
    assert [len(panel.lines) for panel in chart.panels] == [4, 1]
    assert "stopped descent" not in chart.alt
    older = [without(run, "descent", "ensembles") for run in pair]
    assert "beyond" not in {chart.stem for chart in charts(older)}
    mixed = next(c for c in charts([pair[0], older[1]]) if c.stem == "beyond")
    assert set(of(mixed.panels[0], "", "GCV")["run"]) == {RANDOM}


def test_estimates_that_are_not_finite_are_gaps_and_said(pair):
    run = pair[0]
    table = run.theory["descent"].assign(gcv=np.inf)
    other = dataclasses.replace(run, theory=run.theory | {"descent": table})
    (chart,) = (chart for chart in charts([other]) if chart.stem == "beyond")
    assert "12 points are gaps" in chart.caption
    assert of(chart.panels[1], "", "GCV")["y"].isna().all()
