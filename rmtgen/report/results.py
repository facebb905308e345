"""What a finished run hands to the report, and the few numbers that sum it up.

Risk is squared error summed over outputs: with one-hot-like targets of C classes, predicting zero costs about (C − 1)/C.
`gap` is everywhere |GCV / test risk − 1|, a ratio: 0.01 is one percent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Float64
from pandas.api.types import is_numeric_dtype

from rmtgen.errors import CorruptInputError, UsageError

KEYS = ("n", "trial", "ridge", "relative_ridge")
MEASURES = (
    *("train_risk", "gcv", "loo", "df", "kappa", "kappa_prime", "norm2"),
    *("train_error", "loo_error", "test_risk", "test_risk_se", "test_error", "outputs"),
)
RISK_COLUMNS = KEYS + MEASURES
MIN_N = 500  # GCV is an asymptotic statement: below this, sampling noise of the fit hides what the summary asks about
TABLE_WIDTH = 100


@dataclass(frozen=True, eq=False)
class RunResult:
    """Everything the report needs to know about one run, read from its directory by the pipeline.

    Attributes:
        name: Unique slug of the run, such as `resnet50-pretrained-cifar100-n10000-224px-1a2b3c4d`.
        model: Backbone name as timm knows it.
        init: `pretrained` or `random`.
        dataset: Data set name as given to `load_dataset`.
        kernel: `features` or `entk`.
        config: The resolved configuration.
        risk: One row per (n, trial, ridge) with at least the columns `RISK_COLUMNS`; NaN where a value is unknown.
        eigenvalues: Eigenvalues of K/n at the largest n of the first trial, descending.
        target_power: Squared target coefficients summed over outputs, in the order of `eigenvalues`.
        null_energy: Target power outside the span of the eigenvectors, in the unit of `target_power`.
        spectrum_n: The n at which the spectrum was taken.
        provenance: For each stage, what made it: date, seconds, versions, hashes.

    Raises:
        CorruptInputError: `risk` lacks columns or rows, a key is not finite, the spectrum's two arrays differ in length,
            or their sums are not finite and positive.
    """

    name: str
    model: str
    init: str
    dataset: str
    kernel: str
    config: Mapping[str, object]
    risk: pd.DataFrame
    eigenvalues: Float64[np.ndarray, " r"]
    target_power: Float64[np.ndarray, " r"]
    null_energy: float
    spectrum_n: int
    provenance: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        missing = [name for name in RISK_COLUMNS if name not in self.risk or not is_numeric_dtype(self.risk[name])]
        if missing:
            raise CorruptInputError(
                f"the risk table needs {len(RISK_COLUMNS)} columns of numbers: {', '.join(missing)} missing or not "
                f"numeric (run {self.name}). Make it again: `make risk`."
            )
        broken = int((~np.isfinite(self.risk[list(KEYS)].to_numpy(float))).any(axis=1).sum())
        if self.risk.empty or broken:
            raise CorruptInputError(
                f"the risk table needs rows with finite {', '.join(KEYS)}: got {len(self.risk)} rows, {broken} of them "
                f"broken (run {self.name}). Make it again: `make risk`."
            )
        if len(self.eigenvalues) != len(self.target_power):
            raise CorruptInputError(
                f"the spectrum needs one target power per eigenvalue: expected {len(self.eigenvalues)}, got "
                f"{len(self.target_power)} (run {self.name}). Make it again: `make spectrum`."
            )
        totals = self.eigenvalues.sum(), self.target_power.sum() + self.null_energy
        if not (np.isfinite(totals).all() and min(totals) > 0):
            raise CorruptInputError(
                f"the spectrum needs finite eigenvalues and target power of positive sum: got sums {totals[0]:g} and "
                f"{totals[1]:g} (run {self.name}). Make it again: `make spectrum`."
            )


@dataclass(frozen=True)
class Agreement:
    """How far GCV is from the measured test risk: the gap |GCV / test risk − 1| over the fits of a run.

    Attributes:
        median: Median gap, NaN without a finite fit.
        worst: Largest gap, NaN without a finite fit.
        count: Fits the two are taken over.
        skipped: Fits left out because their gap is not finite.
        worst_n: Sample size of the worst fit, None without a finite fit.
        worst_ridge: Relative ridge of the worst fit, None without a finite fit.
    """

    median: float
    worst: float
    count: int
    skipped: int
    worst_n: int | None
    worst_ridge: float | None


def check_runs(results: Sequence[RunResult]) -> None:
    """Refuses what no report can be made of.

    Raises:
        UsageError: no runs, or two runs with one name.
    """
    if not results:
        raise UsageError('a report needs at least one run: got none. Name finished runs: `make compare RUNS="a b"`.')
    names = [result.name for result in results]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise UsageError(
            f"a report needs runs of different names: got {', '.join(repeated)} more than once among {len(names)} runs. "
            "Name each run once."
        )


def gaps(risk: pd.DataFrame) -> pd.Series:
    """|GCV / test risk − 1| for each row, NaN where it is not finite."""
    gap = (risk["gcv"] / risk["test_risk"] - 1).abs()
    return gap.where(np.isfinite(gap) & np.isfinite(risk["test_risk"]))


def agreement(risk: pd.DataFrame, min_n: int = MIN_N) -> Agreement:
    """Median and worst |GCV / test risk − 1| over every (n, ridge, trial) with n ≥ min_n and a finite gap."""
    rows = risk[risk["n"] >= min_n].reset_index(drop=True)
    gap = gaps(rows)
    finite = gap.dropna()
    if finite.empty:
        return Agreement(np.nan, np.nan, 0, len(gap), None, None)
    worst = rows.loc[finite.idxmax()]
    return Agreement(
        median=float(finite.median()),
        worst=float(finite.max()),
        count=len(finite),
        skipped=len(gap) - len(finite),
        worst_n=int(worst["n"]),
        worst_ridge=float(worst["relative_ridge"]),
    )


def trial_means(risk: pd.DataFrame) -> pd.DataFrame:
    """Means over trials, one row per (n, relative ridge), with the errors of the mean test risk and GCV.

    The trials of a run share one test set, so its sampling error does not average out: `total_se` adds it to the error
    over trials in quadrature. At n = N every trial holds the same images and only the sampling error is left.

    Args:
        risk: Rows per (n, trial, ridge), columns `RISK_COLUMNS`.

    Returns:
        The columns of `risk` but `trial`, averaged over finite values, and: `trials`, the number of finite test risks;
        `test_risk_trial_se` and `gcv_trial_se`, standard errors over trials, NaN for a single one; `total_se`.
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

    Only ridges measured in the most trials compete: a mean over fewer draws could win by luck. Where no test risk is finite there is
    no best ridge, and all but n is NaN.

    Raises:
        UsageError: no row has that n.
    """
    rows = risk[risk["n"] == n]
    if rows.empty:
        sizes = ", ".join(str(size) for size in sorted(risk["n"].unique()))
        raise UsageError(f"n must be a size of the run: expected one of {sizes}, got {n}. Choose one of them.")
    table = trial_means(rows)
    rivals = table[table["trials"] == table["trials"].max()]
    row = rivals.iloc[int(rivals["test_risk"].fillna(np.inf).argmin())]
    return row if np.isfinite(row["test_risk"]) else row.where(row.index == "n")


def best_curve(risk: pd.DataFrame) -> pd.DataFrame:
    """`best` at every size, one row each, by ascending n."""
    return pd.DataFrame([best(risk, n) for n in sorted(risk["n"].unique())]).reset_index(drop=True)


def summary_table(results: Sequence[RunResult]) -> pd.DataFrame:
    """One row a run: its best fit at the largest n, what GCV said there, and how far GCV was off over all n ≥ `MIN_N`.

    Args:
        results: Runs of different names.

    Returns:
        Columns `run model init dataset kernel n relative_ridge test_risk test_risk_se gcv accuracy_percent
        loo_accuracy_percent median_gap worst_gap`. `test_risk_se` is the `total_se` of `trial_means`; the gaps are ratios.

    Raises:
        UsageError: no runs, or two with one name.
    """
    check_runs(results)
    return pd.DataFrame([_summary(result) for result in results])


def _summary(result: RunResult) -> dict[str, object]:
    top = best(result.risk, result.risk["n"].max())
    gap = agreement(result.risk)
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
        "gcv": top["gcv"],
        "accuracy_percent": 100 * (1 - top["test_error"]),
        "loo_accuracy_percent": 100 * (1 - top["loo_error"]),
        "median_gap": gap.median,
        "worst_gap": gap.worst,
    }


def run_labels(runs: pd.DataFrame) -> list[str]:
    """Short names for people: model and init, then what else differs; the run's own name where that is not enough.

    Args:
        runs: One row a run with the columns `run model init dataset kernel`, as `summary_table` makes it.
    """
    parts = ["model", "init"] + [name for name in ("dataset", "kernel") if runs[name].nunique() > 1]
    labels = runs[parts].astype(str).agg(", ".join, axis=1)
    return list(labels.where(~labels.duplicated(keep=False), runs["run"]))


def shorten(text: str, width: int) -> str:
    """`text` in at most `width` characters: the middle gives way, for a slug begins with its model and ends with its hash."""
    if len(text) <= width:
        return text
    tail = (width - 1) // 2
    return f"{text[: width - 1 - tail]}…{text[len(text) - tail :]}"


def summary_cells(table: pd.DataFrame) -> list[dict[str, str]]:
    """The summary table as text, one mapping of heading to cell for each run; the terminal and the page both show it."""
    return [
        {
            "run": label,
            "n": str(row.n),
            "ridge": scientific(row.relative_ridge),
            "test risk": number(row.test_risk, ".4f") + (f" ±{row.test_risk_se:.4f}" if row.test_risk_se >= 0 else ""),
            "GCV": number(row.gcv, ".4f"),
            "acc %": number(row.accuracy_percent, ".1f"),
            "LOO %": number(row.loo_accuracy_percent, ".1f"),
            "gap %": percentage(row.median_gap),
            "max %": percentage(row.worst_gap),
        }
        for label, row in zip(run_labels(table), table.itertuples(), strict=True)
    ]


def number(value: float, form: str = ".4g") -> str:
    """`value` in the format `form`; an unknown value is a dash."""
    return format(value, form) if np.isfinite(value) else "–"


def scientific(value: float) -> str:
    """Two figures and a short exponent, 0.00123 as `1.2e-3`; an exact zero, the ridgeless limit, stays 0."""
    if value == 0 or not np.isfinite(value):
        return number(value, "g")
    digits, exponent = f"{value:.1e}".split("e")
    return f"{digits}e{int(exponent)}"


def percentage(ratio: float) -> str:
    """100 × ratio with two figures below ten percent and none behind the point above."""
    return number(100 * ratio, ".2g" if ratio < 0.1 else ".0f")


def format_table(table: pd.DataFrame) -> str:
    """The summary table as aligned plain text of at most 100 columns, without a trailing newline."""
    cells = summary_cells(table)
    headings = list(cells[0])
    widths = {name: max(len(name), *(len(row[name]) for row in cells)) for name in headings}
    widths["run"] = max(12, min(widths["run"], TABLE_WIDTH - sum(widths[name] + 2 for name in headings[1:])))
    rule = {name: "-" * widths[name] for name in headings}
    lines = []
    for row in ({name: name for name in headings}, rule, *cells):
        label = shorten(row["run"], widths["run"]).ljust(widths["run"])
        lines.append("  ".join([label, *(row[name].rjust(widths[name]) for name in headings[1:])]))
    lines.append(f"ridge: over tr K/N; gap, max: median and worst |GCV / test risk - 1| of all fits with n >= {MIN_N}")
    return "\n".join(lines)
