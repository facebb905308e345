"""The best fit of each run: the first table of the report, and its notes."""

from collections.abc import Sequence

import pandas as pd

from rmtgen.report.risk_statistics import (
    CLOSE_GAP,
    MIN_N,
    WIDE_GAP,
    agreement,
    best,
    differing,
    loo_warns,
)
from rmtgen.report.run_result import RunResult
from rmtgen.report.wording import compact, count_fits, number, percentage, scientific
from rmtgen.tables import Table

HEADINGS = (
    *("run", "n", "ridge", "test risk", "GCV", "LOO, 95 %"),
    *("acc %", "LOO %", "gap %", "max %"),
)
LEGEND = (
    "ridge: over tr K/N; LOO, 95 %: interval of the risk of a fit from its training images; gap,"
    f" max: median and worst |GCV / test risk - 1| of all fits with n >= {MIN_N}"
)


def best_fits(results: Sequence[RunResult]) -> pd.DataFrame:
    """One row per run: its best fit at the largest n, GCV there, and the gap over all n ≥ `MIN_N`.

    Args:
        results: Runs of different names.

    Returns:
        Columns `run model init dataset kernel n relative_ridge test_risk test_risk_se gcv
        loo loo_low loo_high accuracy_percent loo_accuracy_percent median_gap worst_gap fits
        close_fits worst_n worst_ridge worst_gcv worst_loo worst_test_risk`. `test_risk_se` is the
        `total_se` of `trial_means`; gaps are ratios; the rest is `Agreement`, NaN where unknown.
    """
    return pd.DataFrame([_best_fit(result) for result in results])


def _best_fit(result: RunResult) -> dict[str, object]:
    top = best(result.risk, result.risk["n"].max())
    gap = agreement(result.risk)
    worst = ("worst_n", "worst_ridge", "worst_gcv", "worst_loo", "worst_test_risk")
    return {
        "run": result.name,
        "model": result.model,
        "init": result.init,
        "dataset": result.dataset,
        "kernel": result.kernel,
        "n": int(top["n"]),
        "relative_ridge": top["relative_ridge"],
        "test_risk": top["test_risk"],
        "test_risk_se": top["total_se"],
        **{name: top[name] for name in ("gcv", "loo", "loo_low", "loo_high")},
        "accuracy_percent": 100 * (1 - top["test_error"]),
        "loo_accuracy_percent": 100 * (1 - top["loo_error"]),
        "median_gap": gap.median,
        "worst_gap": gap.worst,
        "fits": gap.count,
        "close_fits": gap.close,
        **{name: getattr(gap, name) for name in worst},
    }


def fit_notes(fits: pd.DataFrame, labels: Sequence[str]) -> list[str]:
    """What a reader must know of some runs beside their numbers."""
    return [*differing_notes(fits, labels), *wide_gap_notes(fits, labels)]


def best_fits_table(fits: pd.DataFrame, labels: Sequence[str]) -> Table:
    """The best fits as a table of text.

    Args:
        fits: One row per run, from `best_fits`.
        labels: One label per run.
    """
    rows = tuple(
        (
            label,
            str(row.n),
            scientific(row.relative_ridge),
            number(row.test_risk, ".4f")
            + (f" ±{row.test_risk_se:.4f}" if row.test_risk_se >= 0 else ""),
            number(row.gcv, ".4f"),
            _interval(row.loo_low, row.loo_high),
            number(row.accuracy_percent, ".1f"),
            number(row.loo_accuracy_percent, ".1f"),
            percentage(row.median_gap),
            percentage(row.worst_gap),
        )
        for label, row in zip(labels, fits.itertuples(), strict=True)
    )
    return Table(HEADINGS, rows, notes=(LEGEND, *fit_notes(fits, labels)))


def _interval(low: float, high: float) -> str:
    return f"{low:.3f}–{high:.3f}" if low <= high else "–"


def differing_notes(fits: pd.DataFrame, labels: Sequence[str]) -> list[str]:
    """One note per run at whose best fit GCV and LOO differ."""
    return [
        f"{label}: GCV and LOO ({compact(row.loo)}) differ at this fit: LOO is the estimate."
        for label, row, differs in zip(labels, fits.itertuples(), differing(fits), strict=True)
        if differs
    ]


def wide_gap_notes(fits: pd.DataFrame, labels: Sequence[str]) -> list[str]:
    """One note per run whose worst gap exceeds `WIDE_GAP`: the fit, and whether LOO warns of it."""
    notes = []
    for label, row in zip(labels, fits.itertuples(), strict=True):
        if not row.worst_gap > WIDE_GAP:
            continue
        warns = loo_warns(row.worst_gcv, row.worst_loo, row.worst_test_risk)
        notes.append(
            f"{label}: {row.close_fits:,} of {count_fits(row.fits)} within"
            f" {percentage(CLOSE_GAP)} %; worst at n = {row.worst_n:,.0f}, ridge"
            f" {scientific(row.worst_ridge)}: GCV {compact(row.worst_gcv)}, LOO"
            f" {compact(row.worst_loo)}, test risk {compact(row.worst_test_risk)}."
            + (" LOO differs there: do not trust GCV." if warns else "")
        )
    return notes
