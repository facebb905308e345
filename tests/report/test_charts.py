"""Charts that every run has, by the data in them."""

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_runs import FEATURES, RIDGES, SIZES, make_run, with_risk

from rmtgen.report import charts as charts_package
from rmtgen.report.chart import as_json
from rmtgen.report.charts import MODULES, learning, make_charts, prediction, ridges, spectra
from rmtgen.report.risk_statistics import best, regrets, trial_means
from rmtgen.report.run_set import RunSet

PRETRAINED, RANDOM = "tiny_net, pretrained", "tiny_net, random"


def made(module, results):
    """A chart with its two panels."""
    chart = module.chart(RunSet.of(results))
    return chart, *chart.panels


def all_charts(results):
    return make_charts(RunSet.of(results))


def of(panel, kind, group=PRETRAINED):
    """The tables of a group and kind."""
    return [line.table for line in panel.lines if (line.group, line.kind) == (group, kind)]


def points(table):
    return table[["x", "y"]].to_numpy(float)


# --------------------------------------------------------------------------------------------------
# ----- every fit


def test_prediction_holds_every_fit_and_the_identity(runs):
    chart, fits, by_size = made(prediction, runs)
    (identity,) = of(fits, "exact", "")
    assert (identity["x"] == identity["y"]).all()
    low, high = fits.y.view
    for run, group in zip(runs, (PRETRAINED, RANDOM), strict=True):
        (gcv,), (train,) = of(fits, "GCV", group), of(fits, "training risk", group)
        (loo,) = of(fits, "LOO where GCV differs", group)
        (ring,) = of(fits, "GCV where LOO differs", group)
        apart = np.abs(np.log(run.risk["gcv"] / run.risk["loo"])) > 0.08
        assert 0 < apart.sum() < len(run.risk) / 2
        np.testing.assert_array_equal(points(gcv), run.risk.loc[~apart, ["test_risk", "gcv"]])
        np.testing.assert_array_equal(points(ring), run.risk.loc[apart, ["test_risk", "gcv"]])
        np.testing.assert_array_equal(points(loo), run.risk.loc[apart, ["test_risk", "loo"]])
        np.testing.assert_array_equal(
            loo[["low", "high", "GCV"]], run.risk.loc[apart, ["loo_low", "loo_high", "gcv"]]
        )
        assert list(ring["LOO"]) == list(loo["y"])
        np.testing.assert_array_equal(points(train), run.risk[["test_risk", "train_risk"]])
        np.testing.assert_array_equal(
            gcv[["n", "ridge", "subset"]],
            run.risk.loc[~apart, ["n", "relative_ridge", "trial"]],
        )
        assert not of(fits, "off the scale", group)
        assert gcv["y"].between(low, high).all()
    groups = (PRETRAINED, RANDOM)
    apart = sum(len(of(fits, "LOO where GCV differs", group)[0]) for group in groups)
    assert f"In {apart} fits GCV and leave-one-out differ by more than 8 %" in chart.caption
    below = sum((run.risk["train_risk"] < low).sum() for run in runs)
    assert below > 0 and f"({below} of them lie below the view)" in chart.caption
    assert low >= min(run.risk[["gcv", "test_risk"]].min().min() for run in runs) / 20
    rows = runs[0].risk.query("n == 60")
    gap = 100 * np.abs(rows["gcv"] / rows["test_risk"] - 1)
    (median,), (worst,) = of(by_size, "median fit"), of(by_size, "worst fit")
    assert points(median)[1] == pytest.approx([60, np.median(gap)])
    assert points(worst)[1] == pytest.approx([60, max(gap)])
    assert "72 fits" in chart.alt and "Left out" not in chart.caption and chart.warnings == ()


def test_fits_off_the_scale_stand_on_its_edge_and_are_counted(runs):
    risk = runs[0].risk
    wild = risk["test_risk"].where(~risk.index.isin([3, 4]), 1e6)
    chart, fits, _ = made(prediction, [with_risk(runs[0], test_risk=wild, loo=risk["gcv"])])
    edge = fits.x.view[1]
    assert risk["test_risk"].max() < edge < 20 * risk["test_risk"].quantile(0.9)
    (off,), (inside,) = of(fits, "off the scale"), of(fits, "GCV")
    np.testing.assert_allclose(
        points(off), np.column_stack([[edge, edge], risk.loc[[3, 4], "gcv"]])
    )
    assert list(off["test risk"]) == [1e6, 1e6] and list(off["GCV"]) == list(
        risk.loc[[3, 4], "gcv"]
    )
    assert len(inside) == len(risk) - 2
    assert "Open points on the edge stand for 2 fits off the scale, up to 1.0e6." in chart.caption
    wild = risk["test_risk"].where((risk["n"] != 60) | (risk["relative_ridge"] != 1e-6), 1e6)
    chart, _, at_fixed = made(learning, [with_risk(runs[0], test_risk=wild)])
    assert (
        at_fixed.y.view[1] < 100
        and "Curves that leave the view reach up to 1.0e6." in chart.caption
    )


def test_points_that_are_not_finite_stay_in_the_data_and_are_counted(runs):
    risk = runs[0].risk
    holed = with_risk(
        runs[0],
        test_risk=risk["test_risk"].where(risk["n"] != 60),
        gcv=risk["gcv"].where(risk.index != 0, -1.0),
        loo=risk["gcv"],
    )
    chart, fits, by_size = made(prediction, [holed])
    (gcv,), (median,) = of(fits, "GCV"), of(by_size, "median fit")
    assert len(gcv) == 36 and gcv["x"].isna().sum() == 12
    assert list(np.isnan(median["y"])) == [False, True, False]
    assert chart.caption.endswith("GCV and test risk: 13 fits.")
    for module in (learning, ridges):
        chart, *_ = made(module, [holed])
        assert chart.caption.endswith("GCV and test risk: 13 fits.")
    (measured,) = of(made(learning, [holed])[1], "test risk ± s.e.")
    assert np.isnan(measured["y"][1])
    json.dumps([as_json(chart) for chart in all_charts([holed])], allow_nan=False)


def test_sizes_are_ticked_where_they_were_measured_and_named_with_room_between(runs):
    risk = pd.concat([runs[0].risk.assign(n=n) for n in (100, 110, 120, 1000)], ignore_index=True)
    _, at_best, _ = made(learning, [dataclasses.replace(runs[0], risk=risk)])
    assert at_best.x.ticks == (100, 110, 120, 1000)
    assert at_best.x.names == ("", "", "120", "1,000")


# --------------------------------------------------------------------------------------------------
# - learning curves


def test_learning_curves_show_best_and_fixed_ridges(runs):
    chart, at_best, at_fixed = made(learning, runs)
    expected = [best(runs[0].risk, n) for n in SIZES]
    (measured,) = of(at_best, "test risk ± s.e.")
    np.testing.assert_allclose(
        points(measured), [[n, row["test_risk"]] for n, row in zip(SIZES, expected, strict=True)]
    )
    np.testing.assert_allclose(
        (measured["high"] - measured["low"]) / 2,
        [row["test_risk_trial_se"] for row in expected],
        atol=1e-15,
    )
    for kind, column in (("GCV", "gcv"), ("LOO, 95 %", "loo"), ("training risk", "train_risk")):
        np.testing.assert_allclose(of(at_best, kind)[0]["y"], [row[column] for row in expected])
    assert not of(at_best, "same-κ transport")
    means = trial_means(runs[0].risk)
    for power, ridge in zip("⁶³¹", RIDGES, strict=False):
        (curve,) = of(at_fixed, f"ridge 10⁻{power}")
        np.testing.assert_allclose(curve["y"], means[means["relative_ridge"] == ridge]["test_risk"])
    assert len({line.dash for line in at_fixed.lines if line.kind != "GCV"}) == 3
    first, last = expected[0]["test_risk"], expected[-1]["test_risk"]
    assert f"{PRETRAINED}: best test risk {first:.3g} at n = 15, {last:.3g} at n = 600" in chart.alt


def test_a_dense_curve_takes_the_place_of_fixed_ridges(runs):
    sizes, ridges = np.arange(15, 601), (1e-5, 1e-1)
    table = pd.DataFrame(
        list(itertools.product(sizes, ridges)), columns=["n", "relative_sum_ridge"]
    )
    table = table.assign(test_risk=1 + 1 / table["n"], gcv=1 + 2 / table["n"])
    dense = [dataclasses.replace(run, curve=table) for run in runs]
    chart, _, at_fixed = made(learning, dense)
    assert at_fixed.title == "Every n, at fixed sum ridges nλ"
    assert {line.kind for line in at_fixed.lines} == {"nλ = 10⁻⁵ tr K", "nλ = 10⁻¹ tr K", "GCV"}
    (risk,) = of(at_fixed, "nλ = 10⁻⁵ tr K")
    np.testing.assert_allclose(points(risk), np.column_stack([sizes, 1 + 1 / sizes]))
    rings = of(at_fixed, "GCV")[0]
    assert 10 <= len(rings) <= 14
    np.testing.assert_allclose(rings["y"], 1 + 2 / rings["x"])
    assert (
        "Second panel: every n, in one random order of the images, at sum ridges nλ fixed relative"
        in chart.caption
    )
    _, _, at_fixed = made(learning, [dense[0], runs[1]])
    assert at_fixed.title == "Test risk at fixed ridges"


def test_runs_on_other_ridges_share_words_not_numbers(runs):
    other = make_run("other", "random", ridges=(1e-4, 1.0), sizes=(30,), trials=1)
    _, _, at_fixed = made(learning, [runs[0], other])
    kinds = list(dict.fromkeys(line.kind for line in at_fixed.lines))
    assert kinds == ["smallest ridge", "GCV", "small ridge", "middle ridge"]


# --------------------------------------------------------------------------------------------------
# ---------- ridges


def test_ridges_show_the_largest_size_and_what_a_choice_costs(runs):
    chart, over_ridge, by_size = made(ridges, runs)
    means = trial_means(runs[0].risk[runs[0].risk["n"] == 600])
    for column, kind in (("test_risk", "test risk"), ("gcv", "GCV")):
        (curve,), (lowest,) = of(over_ridge, kind), of(over_ridge, f"smallest {kind}")
        np.testing.assert_allclose(points(curve), means[["relative_ridge", column]])
        assert points(lowest)[0] == pytest.approx(
            list(means.loc[means[column].idxmin(), ["relative_ridge", column]])
        )
    for by, kind in (("gcv", "chosen by GCV"), ("loo", "chosen by LOO")):
        expected = regrets(runs[0].risk, by)
        (cost,) = of(by_size, kind)
        np.testing.assert_allclose(points(cost), np.column_stack([SIZES, 100 * expected["regret"]]))
        np.testing.assert_allclose(cost["high"] - cost["y"], 100 * expected["se"])
        assert (cost["low"] >= 0).all()
    assert by_size.y.scale == "linear" and by_size.y.view[0] < 0 < by_size.y.view[1]
    last = regrets(runs[0].risk, "gcv").iloc[-1]
    assert (
        f"{PRETRAINED}: {100 * last['regret']:.2g} % by GCV" in chart.alt
        and "at n = 600, at worst" in chart.alt
    )


def test_a_ridge_of_zero_has_a_place_with_its_name(runs):
    zero = with_risk(
        runs[0],
        relative_ridge=runs[0]
        .risk["relative_ridge"]
        .where(runs[0].risk["relative_ridge"] > 1e-6, 0),
    )
    _, over_ridge, _ = made(ridges, [zero])
    (curve,) = of(over_ridge, "test risk")
    assert list(curve["ridge"]) == [0, 1e-3, 1e-1, 1e1]
    place = curve["x"][0]
    assert over_ridge.x.view[0] < place < 1e-3
    assert dict(zip(over_ridge.x.ticks, over_ridge.x.names, strict=True))[place] == "0"


@pytest.mark.parametrize(
    ("grid", "names"),
    [
        ((3e-4,), ["3×10⁻⁴"]),
        ((3e-8, 3e-4), ["10⁻⁷", "10⁻⁶", "10⁻⁵", "10⁻⁴"]),
        ((1e-6, 1e-5), ["10⁻⁶", "10⁻⁵"]),
    ],
)
def test_ridges_are_ticked_inside_the_view(grid, names):
    run = make_run("few", "random", sizes=(40,), ridges=grid, trials=1)
    _, over_ridge, _ = made(ridges, [run])
    assert list(over_ridge.x.names) == names
    assert all(over_ridge.x.view[0] < tick < over_ridge.x.view[1] for tick in over_ridge.x.ticks)


def test_one_wild_size_does_not_press_the_regrets_of_others_onto_zero(runs):
    risk = runs[0].risk
    lost = (risk["n"] == 15) & (risk["relative_ridge"] == 1e-6)
    wild = with_risk(
        runs[0], gcv=risk["gcv"].where(~lost, 1e-9), test_risk=risk["test_risk"].where(~lost, 1e5)
    )
    chart, _, by_size = made(ridges, [wild, *runs[1:]])
    assert of(by_size, "chosen by GCV")[0]["y"][0] > 1e6
    assert 1 < by_size.y.view[1] < 110
    assert "In “Regret of the choice”, curves that leave the view reach up to" in chart.caption


# --------------------------------------------------------------------------------------------------
# --------- spectra


def test_spectra_show_shares_and_cumulative_power(runs):
    chart, decay, power = made(spectra, runs)
    for run, group in zip(runs, (PRETRAINED, RANDOM), strict=True):
        (shares,), (captured,) = of(decay, "", group), of(power, "target power C(m)", group)
        values, powers = run.spectrum.eigenvalues, run.spectrum.power
        np.testing.assert_allclose(shares["y"], values / values.sum())
        total = powers.sum() + run.spectrum.null_energy
        expected = [powers[:m].sum() / total for m in range(1, FEATURES + 1)]
        np.testing.assert_allclose(
            points(captured), np.column_stack([range(1, FEATURES + 1), expected])
        )
    assert "n = 600" in chart.caption and "lie below the view" not in chart.caption
    assert "Learnability" not in chart.caption


def test_eigenvalues_lost_to_rounding_do_not_stretch_the_axis(runs):
    eigenvalues = np.concatenate([runs[0].spectrum.eigenvalues[:17], [1e-30, 0.0, -1e-20]])
    spectrum = dataclasses.replace(runs[0].spectrum, eigenvalues=eigenvalues)
    chart, decay, _ = made(spectra, [dataclasses.replace(runs[0], spectrum=spectrum)])
    low, high = decay.y.view
    shares = eigenvalues[:17] / eigenvalues.sum()
    assert shares.min() / 1.3 < low < shares.min() < shares.max() < high < 1.3 * shares.max()
    assert "3 eigenvalues lie below the view" in chart.caption


def test_many_runs_keep_a_short_alt(runs):
    many = [
        dataclasses.replace(runs[0], name=f"run-{place}", model=f"net_{place}")
        for place in range(9)
    ]
    chart, *_ = made(spectra, many)
    assert (
        chart.alt.endswith("and 3 more runs.") and "net_5" in chart.alt and "net_6" not in chart.alt
    )
    assert chart.groups == tuple(f"net_{place}, pretrained" for place in range(9))


# --------------------------------------------------------------------------------------------------
# --- all of them


def test_every_module_of_the_package_is_in_the_registry():
    modules = {path.stem for path in Path(charts_package.__file__).parent.glob("[a-z]*.py")}
    assert modules == set(MODULES) and len(MODULES) == len(modules)


def test_without_theory_there_are_four_charts(runs):
    assert [chart.stem for chart in all_charts(runs)] == [
        "predicted-vs-measured",
        "learning-curves",
        "ridges",
        "spectra",
    ]


def test_one_fit_and_no_finite_fit_still_make_charts():
    run = make_run("lonely", "random", sizes=(40,), ridges=(0.0,), trials=1)
    assert not any("Left out" in chart.caption for chart in all_charts([run]))
    _, over_ridge, by_size = made(ridges, [run])
    assert points(of(by_size, "chosen by GCV", RANDOM)[0]).tolist() == [[40, 0]]
    assert over_ridge.x.names[0] == "0"
    blank = with_risk(run, gcv=np.nan, loo=np.nan, test_risk=np.nan)
    found = all_charts([blank])
    assert sum("GCV and test risk: 1 fit." in chart.caption for chart in found) == 3
    assert "no finite fit to choose" in found[2].alt
    json.dumps([as_json(chart) for chart in found], allow_nan=False)
