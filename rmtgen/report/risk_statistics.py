"""Statistics of the risk table of one run: the gap of GCV, the best ridge, the regret of a choice.

The gap is |GCV / test risk − 1|, a ratio: 0.01 is one percent.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from rmtgen.errors import UsageError
from rmtgen.ridge.columns import RISK_COLUMNS
from rmtgen.theory.fit_checks import DIFFERENCE

KEYS = ("n", "trial", "ridge", "relative_ridge")
MIN_N = 500
"""Least sample size of the gaps in the summary.

GCV is an asymptotic statement: at smaller sizes the sampling noise of the fit dominates the gap."""
CLOSE_GAP = 0.1
"""Gap up to which a prediction is good enough to choose a backbone or a ridge by."""
WIDE_GAP = 0.2
"""Gap from which the worst fit of a run is explained in a note."""


@dataclass(frozen=True)
class Agreement:
    """The gap |GCV / test risk − 1| over the fits of a run.

    Attributes:
        median: Median gap, NaN without a finite fit.
        worst: Largest gap, NaN without a finite fit.
        count: Number of fits with a finite gap.
        skipped: Number of fits without a finite gap.
        close: Number of fits with a gap of at most `CLOSE_GAP`.
        worst_n: Sample size of the worst fit, None without a finite fit.
        worst_ridge: Relative ridge of the worst fit, None without a finite fit.
        worst_gcv: GCV of the worst fit, NaN without a finite fit.
        worst_loo: Leave-one-out risk of the worst fit, NaN also where it was not computed.
        worst_test_risk: Test risk of the worst fit, NaN without a finite fit.
    """

    median: float
    worst: float
    count: int
    skipped: int
    close: int
    worst_n: int | None
    worst_ridge: float | None
    worst_gcv: float
    worst_loo: float
    worst_test_risk: float


def gaps(risk: pd.DataFrame) -> pd.Series:
    """|GCV / test risk − 1| for each row, NaN where it is not finite."""
    gap = (risk["gcv"] / risk["test_risk"] - 1).abs()
    return gap.where(np.isfinite(gap) & np.isfinite(risk["test_risk"]))


def agreement(risk: pd.DataFrame, min_n: int = MIN_N) -> Agreement:
    """Median and worst gap over every (n, ridge, trial) with n ≥ min_n and a finite gap."""
    rows = risk[risk["n"] >= min_n].reset_index(drop=True)
    gap = gaps(rows)
    finite = gap.dropna()
    if finite.empty:
        return Agreement(np.nan, np.nan, 0, len(gap), 0, None, None, np.nan, np.nan, np.nan)
    worst = rows.loc[finite.idxmax()]
    return Agreement(
        median=float(finite.median()),
        worst=float(finite.max()),
        count=len(finite),
        skipped=len(gap) - len(finite),
        close=int((finite <= CLOSE_GAP).sum()),
        worst_n=int(worst["n"]),
        worst_ridge=float(worst["relative_ridge"]),
        worst_gcv=float(worst["gcv"]),
        worst_loo=float(worst["loo"]),
        worst_test_risk=float(worst["test_risk"]),
    )


def differing(risk: pd.DataFrame) -> pd.Series:
    """Whether GCV and LOO differ by more than `DIFFERENCE` in each row; False where one is unknown.

    There LOO is the better estimate: GCV replaces the leverage of every sample by the mean.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(risk["gcv"] / risk["loo"]).abs() > DIFFERENCE


def loo_warns(gcv: float, loo: float, test_risk: float) -> bool:
    """Whether LOO, which needs no test images either, shows that GCV is off.

    GCV is LOO with the leverage of every sample replaced by the mean leverage (Golub, Heath & Wahba
    1979), so the two differ where a few samples carry the fit. LOO warns where the two differ by
    more than `WIDE_GAP` and the ratio of LOO to the test risk is nearer to 1.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        gcv_off, loo_off = np.log([gcv, loo]) - np.log(test_risk)
        return bool(abs(loo_off) < abs(gcv_off) and abs(loo_off - gcv_off) > np.log1p(WIDE_GAP))


def trial_means(risk: pd.DataFrame) -> pd.DataFrame:
    """Means over trials, one row per (n, relative ridge), with standard errors.

    The trials of a run share one test set, so its sampling error does not average out: `total_se`
    adds it to the standard error over trials in quadrature. At n = N every trial holds the same
    images and only the sampling error is left.

    Args:
        risk: Rows per (n, trial, ridge), columns `RISK_COLUMNS`.

    Returns:
        The columns of `risk` but `trial`, averaged over finite values, and: `trials`, the number of
        finite test risks; `test_risk_trial_se` and `gcv_trial_se`, standard errors over trials, NaN
        for a single one; `total_se`.
    """
    finite = risk[list(RISK_COLUMNS)].replace([np.inf, -np.inf], np.nan)
    groups = finite.groupby(["n", "relative_ridge"])
    table = groups.mean().drop(columns="trial")
    table["trials"] = groups["test_risk"].count()
    table["test_risk_trial_se"] = groups["test_risk"].sem()
    table["gcv_trial_se"] = groups["gcv"].sem()
    errors = table[["test_risk_trial_se", "test_risk_se"]]
    table["total_se"] = errors.pow(2).sum(axis=1, min_count=1).pow(0.5)
    return table.reset_index()


def best(risk: pd.DataFrame, n: int) -> pd.Series:
    """The row of `trial_means` at size n whose ridge has the smallest mean test risk.

    Only ridges measured in the most trials compete: a mean over fewer draws could win by luck.
    Where no test risk is finite there is no best ridge, and all but n is NaN.

    Raises:
        UsageError: no row has that n.
    """
    rows = risk[risk["n"] == n]
    if rows.empty:
        sizes = ", ".join(str(size) for size in sorted(risk["n"].unique()))
        raise UsageError(
            f"n must be a size of the run: expected one of {sizes}, got {n}. Choose one of them."
        )
    table = trial_means(rows)
    rivals = table[table["trials"] == table["trials"].max()]
    row = rivals.iloc[int(rivals["test_risk"].fillna(np.inf).argmin())]
    return row if np.isfinite(row["test_risk"]) else row.where(row.index == "n")


def chosen(risk: pd.DataFrame, n: int) -> pd.Series:
    """The row of `trial_means` at size n whose ridge leave-one-out chooses, without a test image.

    GCV chooses where no leave-one-out risk is finite; where none of either is, all but n is NaN.
    """
    table = trial_means(risk[risk["n"] == n])
    by = "loo" if np.isfinite(table["loo"]).any() else "gcv"
    row = table.iloc[int(table[by].fillna(np.inf).argmin())]
    return row if np.isfinite(row[by]) else row.where(row.index == "n")


def regrets(risk: pd.DataFrame, by: str) -> pd.DataFrame:
    """Regret of choosing the ridge by `by`: test risk at its minimum over the best test risk − 1.

    The ridge is chosen on each subset separately, since a user has only one. Fits whose `by` or
    test risk is not finite do not compete.

    Args:
        risk: Rows per (n, trial, ridge), columns `RISK_COLUMNS`.
        by: `gcv` or `loo`.

    Returns:
        One row per size with a finite fit: `n regret se ridge trials`. `regret` is the mean over
        subsets, a ratio ≥ 0; `se` its standard error, NaN for a single subset; `ridge` the median
        of the relative ridges chosen.
    """
    finite = risk[np.isfinite(risk[[by, "test_risk"]]).all(axis=1)].reset_index(drop=True)
    groups = finite.groupby(["n", "trial"])
    chosen = finite.loc[groups[by].idxmin()]
    lowest = finite.loc[groups["test_risk"].idxmin(), "test_risk"]
    rows = chosen.assign(regret=chosen["test_risk"].to_numpy() / lowest.to_numpy() - 1).groupby("n")
    table = rows.agg(
        regret=("regret", "mean"), se=("regret", "sem"), ridge=("relative_ridge", "median")
    )
    return table.assign(trials=rows.size()).reset_index()


def best_curve(risk: pd.DataFrame) -> pd.DataFrame:
    """`best` at every size, one row per size in ascending order."""
    return pd.DataFrame([best(risk, n) for n in sorted(risk["n"].unique())]).reset_index(drop=True)
