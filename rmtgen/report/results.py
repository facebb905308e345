"""What a finished run hands to the report, and the table that sums up several.

Risk is squared error summed over outputs: with one-hot-like targets of C classes, predicting zero
costs about (C − 1)/C.
"""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Float64
from pandas.api.types import is_numeric_dtype

from rmtgen.errors import CorruptInputError, UsageError
from rmtgen.report.fits import (
    CLOSE_GAP,
    KEYS,
    MIN_N,
    RISK_COLUMNS,
    WIDE_GAP,
    agreement,
    best,
    loo_warns,
)
from rmtgen.report.wording import (
    compact,
    count_fits,
    dataset_names,
    number,
    percentage,
    scientific,
    shorten,
)

TABLE_WIDTH = 100


@dataclass(frozen=True, eq=False)
class RunResult:
    """Everything the report needs to know about one run, read from its directory by the pipeline.

    Attributes:
        name: Unique slug of the run, such as `resnet50-pretrained-cifar100-n10000-224px-1a2b3c4d`.
        model: Backbone name as timm knows it.
        init: `pretrained` or `random`.
        dataset: Data set name as given to `load_dataset`.
        kernel: `features`, or `entk` and what it was reduced to (`config.kernel_label`).
        config: The resolved configuration.
        risk: One row per (n, trial, ridge) with at least the columns `RISK_COLUMNS`; NaN where a
            value is unknown.
        eigenvalues: Eigenvalues of K/n at the largest n of the first trial, descending.
        target_power: Squared target coefficients summed over outputs, in the order of
            `eigenvalues`.
        null_energy: Target power outside the span of the eigenvectors, in the unit of
            `target_power`.
        spectrum_n: The n at which the spectrum was taken.
        curve: The learning curve dense in n at fixed sum ridges (`pool.CURVE_COLUMNS`), None for a
            run made before there was one.
        theory: The tables of the `theory` stage by analysis (`theory.study`), None for a run
            without it.
        provenance: For each stage, what made it: date, seconds, versions, hashes.

    Raises:
        CorruptInputError: `risk` lacks columns or rows, a key is not finite, the spectrum's two
            arrays differ in length, or their sums are not finite and positive.
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
    curve: pd.DataFrame | None = None
    theory: Mapping[str, pd.DataFrame] | None = None
    provenance: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        missing = [
            name
            for name in RISK_COLUMNS
            if name not in self.risk or not is_numeric_dtype(self.risk[name])
        ]
        if missing:
            raise CorruptInputError(
                f"the risk table needs {len(RISK_COLUMNS)} columns of numbers: {', '.join(missing)}"
                f" missing or not numeric (run {self.name}). Make it again: `make risk`."
            )
        broken = int((~np.isfinite(self.risk[list(KEYS)].to_numpy(float))).any(axis=1).sum())
        if self.risk.empty or broken:
            raise CorruptInputError(
                f"the risk table needs rows with finite {', '.join(KEYS)}: got {len(self.risk)}"
                f" rows, {broken} of them broken (run {self.name}). Make it again: `make risk`."
            )
        if len(self.eigenvalues) != len(self.target_power):
            raise CorruptInputError(
                "the spectrum needs one target power per eigenvalue: expected"
                f" {len(self.eigenvalues)}, got {len(self.target_power)} (run {self.name}). Make it"
                " again: `make spectrum`."
            )
        totals = self.eigenvalues.sum(), self.target_power.sum() + self.null_energy
        if not (np.isfinite(totals).all() and min(totals) > 0):
            raise CorruptInputError(
                "the spectrum needs finite eigenvalues and target power of positive sum: got sums"
                f" {totals[0]:g} and {totals[1]:g} (run {self.name}). Make it again: `make"
                " spectrum`."
            )


def check_runs(results: Sequence[RunResult]) -> None:
    """Refuses what no report can be made of.

    Raises:
        UsageError: no runs, or two runs with one name.
    """
    if not results:
        raise UsageError(
            'a report needs at least one run: got none. Name finished runs: `make compare RUNS="a'
            ' b"`.'
        )
    names = [result.name for result in results]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise UsageError(
            f"a report needs runs of different names: got {', '.join(repeated)} more than once"
            f" among {len(names)} runs. Name each run once."
        )


def summary_table(results: Sequence[RunResult]) -> pd.DataFrame:
    """One row a run: its best fit at the largest n, what GCV said there, and how far GCV was off
    over all n ≥ `MIN_N`.

    Args:
        results: Runs of different names.

    Returns:
        Columns `run model init dataset kernel n relative_ridge test_risk test_risk_se gcv
        accuracy_percent loo_accuracy_percent median_gap worst_gap fits close_fits worst_n
        worst_ridge worst_gcv worst_loo worst_test_risk`. `test_risk_se` is the `total_se` of
        `trial_means`; the gaps are ratios; the rest is `Agreement`, NaN where unknown.

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
        "fits": gap.count,
        "close_fits": gap.close,
        **{
            name: getattr(gap, name)
            for name in ("worst_n", "worst_ridge", "worst_gcv", "worst_loo", "worst_test_risk")
        },
    }


def run_labels(runs: pd.DataFrame) -> list[str]:
    """Short names for people: model and init, then what else differs or is a sketch; the run's own
    name where that is not enough.

    Args:
        runs: One row a run with the columns `run model init dataset kernel`, as `summary_table`
            makes it.
    """
    sketched = runs["kernel"].str.contains("sketch").any()
    differing = [
        name
        for name in ("dataset", "kernel")
        if runs[name].nunique() > 1 or (name == "kernel" and sketched)
    ]
    parts = ["model", "init", *differing]
    named = runs.assign(dataset=runs["dataset"].map(dataset_names(runs["dataset"])))
    labels = named[parts].astype(str).agg(", ".join, axis=1)
    return list(labels.where(~labels.duplicated(keep=False), runs["run"]))


def summary_cells(table: pd.DataFrame) -> list[dict[str, str]]:
    """The summary table as text, one mapping of heading to cell for each run; the terminal and the
    page both show it.
    """
    return [
        {
            "run": label,
            "n": str(row.n),
            "ridge": scientific(row.relative_ridge),
            "test risk": (
                number(row.test_risk, ".4f")
                + (f" ±{row.test_risk_se:.4f}" if row.test_risk_se >= 0 else "")
            ),
            "GCV": number(row.gcv, ".4f"),
            "acc %": number(row.accuracy_percent, ".1f"),
            "LOO %": number(row.loo_accuracy_percent, ".1f"),
            "gap %": percentage(row.median_gap),
            "max %": percentage(row.worst_gap),
        }
        for label, row in zip(run_labels(table), table.itertuples(), strict=True)
    ]


def summary_notes(table: pd.DataFrame) -> list[str]:
    """For each run whose worst gap passes `WIDE_GAP`, the fit where it is and whether LOO gives
    warning of it.
    """
    notes = []
    for label, row in zip(run_labels(table), table.itertuples(), strict=True):
        if not row.worst_gap > WIDE_GAP:
            continue
        warns = loo_warns(row.worst_gcv, row.worst_loo, row.worst_test_risk)
        notes.append(
            f"{label}: {row.close_fits:,} of {count_fits(row.fits)} within {percentage(CLOSE_GAP)}"
            f" %; worst at n = {row.worst_n:,.0f}, "
            f"ridge {scientific(row.worst_ridge)}: GCV {compact(row.worst_gcv)}, LOO"
            f" {compact(row.worst_loo)}, test risk "
            f"{compact(row.worst_test_risk)}.{' LOO differs there: do not trust GCV.' if warns else ''}"
        )
    return notes


def format_table(table: pd.DataFrame) -> str:
    """The summary table and its notes as plain text of at most 100 columns, without a trailing
    newline.
    """
    cells = summary_cells(table)
    headings = list(cells[0])
    widths = {name: max(len(name), *(len(row[name]) for row in cells)) for name in headings}
    widths["run"] = max(
        12, min(widths["run"], TABLE_WIDTH - sum(widths[name] + 2 for name in headings[1:]))
    )
    rule = {name: "-" * widths[name] for name in headings}
    lines = []
    for row in ({name: name for name in headings}, rule, *cells):
        label = shorten(row["run"], widths["run"]).ljust(widths["run"])
        lines.append("  ".join([label, *(row[name].rjust(widths[name]) for name in headings[1:])]))
    lines.append(
        "ridge: over tr K/N; gap, max: median and worst |GCV / test risk - 1| of all fits with n"
        f" >= {MIN_N}"
    )
    for note in summary_notes(table):
        lines += textwrap.wrap(note, TABLE_WIDTH, subsequent_indent="  ", break_on_hyphens=False)
    return "\n".join(lines)
