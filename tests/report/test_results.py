"""Checks of a run's results, and statistics of its risk table against plain NumPy."""

import dataclasses

import numpy as np
import pytest
from made_runs import RIDGES, TRIALS, with_risk

from rmtgen.errors import CorruptInputError, UsageError
from rmtgen.report.best_fits import best_fits
from rmtgen.report.risk_statistics import agreement, best, loo_warns, regrets
from rmtgen.report.run_set import RunSet
from rmtgen.ridge.columns import RISK_COLUMNS

# --------------------------------------------------------------------------------------------------
# ---------- the input


def test_missing_columns_are_named_with_the_run(runs):
    with pytest.raises(
        CorruptInputError,
        match=f"needs {len(RISK_COLUMNS)} columns of numbers: gcv, loo missing"
        r".*\(run tiny-pretrained-1a2b\)",
    ):
        dataclasses.replace(runs[0], risk=runs[0].risk.drop(columns=["gcv", "loo"]))


def test_text_in_a_number_column_is_refused(runs):
    with pytest.raises(
        CorruptInputError,
        match=f"{len(RISK_COLUMNS)} columns of numbers: test_risk missing or not numeric",
    ):
        with_risk(runs[0], test_risk="high")


def test_risk_without_rows_or_with_broken_keys_is_refused(runs):
    with pytest.raises(CorruptInputError, match="got 0 rows, 0 of them broken"):
        dataclasses.replace(runs[0], risk=runs[0].risk.head(0))
    broken = runs[0].risk["relative_ridge"].where(runs[0].risk["n"] != 15)
    with pytest.raises(CorruptInputError, match="got 36 rows, 12 of them broken"):
        with_risk(runs[0], relative_ridge=broken)


def test_a_spectrum_needs_finite_sums(runs):
    spectrum = runs[0].spectrum
    with pytest.raises(CorruptInputError, match="got sums 0 and .*run tiny-pretrained-1a2b"):
        dataclasses.replace(
            runs[0], spectrum=dataclasses.replace(spectrum, eigenvalues=np.zeros(20))
        )
    with pytest.raises(CorruptInputError, match="and nan"):
        dataclasses.replace(runs[0], spectrum=dataclasses.replace(spectrum, null_energy=np.nan))


def test_no_runs_and_repeated_runs_are_refused(runs):
    with pytest.raises(UsageError, match="at least one run: got none"):
        RunSet.of([])
    with pytest.raises(UsageError, match="got tiny-random-3c4d more than once among 3 runs"):
        RunSet.of([*runs, runs[1]])


# --------------------------------------------------------------------------------------------------
# -------- the numbers


def test_agreement_is_taken_over_finite_rows_of_large_n(runs):
    risk = runs[0].risk.copy()
    large = risk.index[risk["n"] >= 60]
    risk.loc[large[0], "gcv"] = np.nan
    risk.loc[large[1], "test_risk"] = np.inf
    risk.loc[large[5], "gcv"] *= 3
    found = agreement(risk, min_n=60)
    expected = [abs(risk.loc[row, "gcv"] / risk.loc[row, "test_risk"] - 1) for row in large[2:]]
    assert found.median == pytest.approx(np.median(expected), rel=1e-12)
    assert found.worst == pytest.approx(max(expected), rel=1e-12)
    assert (found.count, found.skipped) == (len(expected), 2)
    assert found.close == sum(gap <= 0.1 for gap in expected) and 0 < found.close < found.count
    worst = risk.loc[large[5]]
    assert (found.worst_n, found.worst_ridge) == (60, worst["relative_ridge"])
    assert (found.worst_gcv, found.worst_loo, found.worst_test_risk) == tuple(
        worst[["gcv", "loo", "test_risk"]]
    )


def test_agreement_without_large_n_is_unknown(runs):
    found = agreement(runs[0].risk, min_n=601)
    assert np.isnan(found.median) and np.isnan(found.worst)
    assert (found.count, found.skipped, found.close, found.worst_n, found.worst_ridge) == (
        0,
        0,
        0,
        None,
        None,
    )
    assert np.isnan([found.worst_gcv, found.worst_loo, found.worst_test_risk]).all()


@pytest.mark.parametrize(
    ("gcv", "loo", "test_risk", "expected"),
    [
        (0.4, 5.7e4, 6.2e5, True),  # the leverage of a few samples: LOO sees it
        (3.0, 3.7, 4.7, True),
        (6.0, 4.8, 4.6, True),
        (0.0, 1.0, 2.0, True),
        (3.0, 3.5, 4.7, False),  # LOO is nearer, but within 20 % of GCV
        (3.0, 2.0, 4.7, False),  # LOO differs, the wrong way
        (3.0, 9.0, 4.7, False),  # LOO is farther: a ratio of 1.9 against 1.6
        (2.0, 8.0, 5.0, True),  # nearer by ratio, 1.6 against 2.5, and not by difference
        (3.0, np.nan, 4.7, False),
        (np.nan, np.nan, np.nan, False),
    ],
)
def test_loo_warns_where_it_parts_from_gcv_towards_the_truth(gcv, loo, test_risk, expected):
    assert loo_warns(gcv, loo, test_risk) is expected


def test_best_is_the_ridge_of_smallest_mean_test_risk(runs):
    risk = runs[0].risk
    top = best(risk, 60)
    by_ridge = {
        ridge: risk[(risk["n"] == 60) & (risk["relative_ridge"] == ridge)] for ridge in RIDGES
    }
    ridge = min(RIDGES, key=lambda ridge: np.mean(by_ridge[ridge]["test_risk"]))
    rows = by_ridge[ridge]
    assert (top["n"], top["relative_ridge"], top["trials"]) == (60, ridge, TRIALS)
    for name in ("test_risk", "gcv", "loo", "test_error", "train_risk"):
        assert top[name] == pytest.approx(np.mean(rows[name]), rel=1e-12)
    over_trials = np.std(rows["test_risk"], ddof=1) / np.sqrt(TRIALS)
    assert top["test_risk_trial_se"] == pytest.approx(over_trials, rel=1e-12)
    assert top["total_se"] == pytest.approx(
        np.hypot(over_trials, np.mean(rows["test_risk_se"])), rel=1e-12
    )


def test_one_trial_has_the_sampling_error_of_the_test_images_only(runs):
    top = best(runs[0].risk.query("trial == 0"), 60)
    assert np.isnan(top["test_risk_trial_se"])
    assert top["total_se"] == pytest.approx(top["test_risk_se"], rel=1e-12)


def test_a_ridge_measured_in_fewer_trials_cannot_win(runs):
    risk = runs[0].risk.copy()
    winner = best(risk, 60)["relative_ridge"]
    rows = risk.index[(risk["n"] == 60) & (risk["relative_ridge"] == winner)]
    risk.loc[rows[0], "test_risk"] = np.nan
    assert best(risk, 60)["relative_ridge"] != winner


def test_best_of_nothing_is_unknown_and_of_another_size_refused(runs):
    nothing = best(runs[0].risk.assign(test_risk=np.nan), 60)
    assert nothing["n"] == 60 and nothing.drop("n").isna().all()
    with pytest.raises(UsageError, match="expected one of 15, 60, 600, got 61"):
        best(runs[0].risk, 61)


@pytest.mark.parametrize("by", ["gcv", "loo"])
def test_regret_is_what_the_choice_of_each_subset_costs(runs, by):
    risk = runs[0].risk
    table = regrets(risk, by)
    assert list(table["n"]) == [15, 60, 600] and (table["trials"] == TRIALS).all()
    for row in table.itertuples():
        cells = [risk[(risk["n"] == row.n) & (risk["trial"] == trial)] for trial in range(TRIALS)]
        chosen = [cell.loc[cell[by].idxmin()] for cell in cells]
        costs = [
            one["test_risk"] / cell["test_risk"].min() - 1
            for one, cell in zip(chosen, cells, strict=True)
        ]
        assert row.regret == pytest.approx(np.mean(costs), abs=1e-15) and row.regret >= 0
        assert row.se == pytest.approx(np.std(costs, ddof=1) / np.sqrt(TRIALS), abs=1e-15)
        assert row.ridge == np.median([one["relative_ridge"] for one in chosen])
    assert table["regret"].max() > 0


def test_regret_of_one_ridge_is_zero_and_of_none_has_no_row(runs):
    risk = runs[0].risk
    assert (regrets(risk[risk["relative_ridge"] == 1e-3], "gcv")["regret"] == 0).all()
    assert regrets(risk.assign(loo=np.nan), "loo").empty
    holed = risk["gcv"].where((risk["n"] != 60) & (risk["relative_ridge"] != 10), -np.inf)
    assert list(regrets(risk.assign(gcv=holed), "gcv")["n"]) == [15, 600]


def test_summary_has_one_row_a_run_at_its_largest_size(runs):
    table = best_fits(runs)
    assert list(table["run"]) == [run.name for run in runs]
    for row, run in zip(table.itertuples(), runs, strict=True):
        top, gap = best(run.risk, 600), agreement(run.risk)
        assert (row.model, row.init, row.n, row.relative_ridge) == (
            run.model,
            run.init,
            600,
            top["relative_ridge"],
        )
        assert (row.test_risk, row.test_risk_se, row.gcv) == (
            top["test_risk"],
            top["total_se"],
            top["gcv"],
        )
        assert row.accuracy_percent == pytest.approx(100 - 100 * top["test_error"])
        assert row.loo_accuracy_percent == pytest.approx(100 - 100 * top["loo_error"])
        assert (row.median_gap, row.worst_gap) == (gap.median, gap.worst)
        assert (row.fits, row.close_fits) == (len(RIDGES) * TRIALS, gap.close)
        assert (row.worst_n, row.worst_ridge, row.worst_gcv) == (
            600,
            gap.worst_ridge,
            gap.worst_gcv,
        )
        assert (row.worst_loo, row.worst_test_risk) == (gap.worst_loo, gap.worst_test_risk)
        assert (
            0 < row.median_gap < row.worst_gap < 0.5
        )  # a real ridge problem: GCV must be near the truth
