"""How much the risk of an eNTK hangs on the random head that was drawn, beside the other errors.

Runs that differ in the head seed alone are draws of one kernel. They share training images, subsets
and test images, so that what these contribute to all of them alike is not in their spread.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import chi2

from rmtgen.report.risk_statistics import chosen
from rmtgen.report.run_result import RunResult
from rmtgen.report.wording import number, percentage
from rmtgen.store.durable import canonical_json
from rmtgen.tables import Table

FIGURES = ("test_risk", "loo", "gcv", "signed_gap")
"""What is stated over the draws: risks, and GCV / test risk - 1."""
COLUMNS = (
    *("run", "n", "draws", "total_se"),
    *(f"{name}_{what}" for name in FIGURES for what in ("mean", "sd", "sd_interval")),
    *("correlation", "averaged_run", "averaged_heads", "averaged_test_risk", "averaged_loo"),
    *("above", "loo_above"),
)
HEADINGS = (
    *("run", "n", "heads", "test risk", "SD, %", "gap, %", "mean kernel"),
    *("LOO", "SD, %", "r", "GCV", "SD, %"),
)
READING = (
    "runs that differ in the seed of the head alone, each at the ridge that leave-one-out chooses."
    " test risk, LOO, GCV: means over heads, ± the standard error of one head's test risk. SD:"
    " standard deviation over heads, in per cent of the mean, with the 95 % interval of normal"
    " draws; heads share all images, whose draw is in it only as far as heads do differently on"
    " them: on all images heads differ by less. r: correlation over heads of LOO and test risk;"
    " near 1 LOO finds the better heads, near 0 these training and test images make the difference."
    " gap: GCV / test risk - 1, ± SD. mean kernel: test risk of the mean over so many heads"
)


def head_spread(results: Sequence[RunResult]) -> pd.DataFrame:
    """Mean and standard deviation over heads of the risks at the ridge that training images choose.

    Args:
        results: Runs. Those whose heads no other run draws anew are left out, and of two that share
            a head the one of the larger seed.

    Returns:
        Columns `COLUMNS`, one row per network and size with at least two draws. `run` is the one of
        the smallest seed. `total_se` is that of `risk_statistics.trial_means`, averaged over draws;
        each `sd_interval` is the 95 % interval of a standard deviation of normal draws, as a pair.
        `averaged_…` is the run of the mean kernel with the most heads; `above` and `loo_above` are
        the numbers of draws with a larger test risk and LOO. NaN where there is none.
    """
    averaged = _averaged(results)
    rows = [
        _row(draws, averaged.get(_key(draws[0], "heads")), n)
        for draws in draws_of(results)
        for n in sorted({n for draw in draws for n in draw.risk["n"]})
    ]
    return pd.DataFrame([row for row in rows if row], columns=list(COLUMNS))


def draws_of(results: Sequence[RunResult]) -> Iterator[list[RunResult]]:
    """Groups of at least two runs that differ in the head seed alone, without a common head."""
    alike: dict[str, list[RunResult]] = {}
    for result in results:
        if result.config.get("kernel") == "entk":
            alike.setdefault(_key(result), []).append(result)
    for runs in alike.values():
        draws = _apart(sorted(runs, key=_seed))
        if len(draws) > 1:
            yield draws


def _key(result: RunResult, *ignored: str) -> str:
    """What runs have in common that differ in the seed of the head, and in `ignored`, alone."""
    names = set(result.config) - {"head_seed", *ignored}
    shared = {name: result.config[name] for name in names if result.config[name] is not None}
    return canonical_json([result.model, result.dataset, result.init, shared])


def _seed(result: RunResult) -> float:
    """The seed of the first head; that of a head without one comes last."""
    seed = result.config.get("head_seed")
    return np.inf if seed is None else seed


def _apart(runs: Sequence[RunResult]) -> list[RunResult]:
    """Runs in order of their seeds, without those that have a head of an earlier one."""
    kept: list[RunResult] = []
    for run in runs:
        if not kept or _seed(run) >= _seed(kept[-1]) + (kept[-1].config.get("heads") or 1):
            kept.append(run)
    return kept


def _averaged(results: Sequence[RunResult]) -> dict[str, RunResult]:
    """The run of the mean over the most heads, by what it shares with those of one head."""
    means = [result for result in results if result.config.get("heads")]
    by_heads = sorted(means, key=lambda result: result.config["heads"])
    return {_key(result, "heads"): result for result in by_heads}


def _row(draws: Sequence[RunResult], averaged: RunResult | None, n: int) -> dict[str, object]:
    """One row of `head_spread`; empty with less than two draws that have a test risk."""
    fits = pd.DataFrame([chosen(draw.risk, n) for draw in draws if n in draw.risk["n"].values])
    fits = fits[fits["test_risk"] > 0]
    if len(fits) < 2:
        return {}
    fits = fits.assign(signed_gap=fits["gcv"] / fits["test_risk"] - 1)
    row = {"run": draws[0].name, "n": int(n), "draws": len(fits)}
    row["total_se"] = fits["total_se"].mean()
    for name in FIGURES:
        row[f"{name}_mean"] = fits[name].mean()
        row[f"{name}_sd"], row[f"{name}_sd_interval"] = deviation(fits[name])
    row["correlation"] = _correlation(fits["loo"], fits["test_risk"])
    alone = not draws[0].config.get("heads")
    return row | (_beside(averaged, fits, n) if averaged and alone else {})


def deviation(values: pd.Series) -> tuple[float, tuple[float, float]]:
    """The standard deviation of normal draws, and its 95 % interval; NaN unless all are finite."""
    spread = float(values.std(ddof=1, skipna=False))
    freedom = len(values) - 1
    low, high = (spread * np.sqrt(freedom / chi2.ppf(share, freedom)) for share in (0.975, 0.025))
    return spread, (float(low), float(high))


def _correlation(first: pd.Series, second: pd.Series) -> float:
    """Pearson's correlation; NaN for two draws, and where all are the same."""
    varied = min(first.std(), second.std()) > 0 and len(first) > 2
    return float(np.corrcoef(first, second)[0, 1]) if varied else np.nan


def _beside(averaged: RunResult, fits: pd.DataFrame, n: int) -> dict[str, object]:
    """The run of the mean kernel beside those of one head."""
    if n not in averaged.risk["n"].values:
        return {}
    fit = chosen(averaged.risk, n)
    return {
        "averaged_run": averaged.name,
        "averaged_heads": averaged.config["heads"],
        "averaged_test_risk": fit["test_risk"],
        "averaged_loo": fit["loo"],
        "above": int((fits["test_risk"] > fit["test_risk"]).sum()),
        "loo_above": int((fits["loo"] > fit["loo"]).sum()),
    }


def spread_table(spread: pd.DataFrame, labels: Mapping[str, str]) -> Table:
    """The spread over heads as a table of text.

    Args:
        spread: Rows of `head_spread`.
        labels: Labels of the networks, by the name in the column `run`.
    """
    rows = tuple(
        (
            labels[row.run],
            str(row.n),
            str(row.draws),
            f"{row.test_risk_mean:.4f} ±{number(row.total_se, '.4f')}",
            _relative(row.test_risk_sd_interval, row.test_risk_sd, row.test_risk_mean),
            _with_spread(row.signed_gap_mean, row.signed_gap_sd),
            _mean_kernel(row.averaged_test_risk, row.averaged_heads),
            number(row.loo_mean, ".4f"),
            percentage(_over(row.loo_sd, row.loo_mean)),
            number(row.correlation, ".2f"),
            number(row.gcv_mean, ".4f"),
            percentage(_over(row.gcv_sd, row.gcv_mean)),
        )
        for row in spread.itertuples()
    )
    return Table(HEADINGS, rows, "<" + ">" * (len(HEADINGS) - 1), notes=(READING,))


def _over(part: float, whole: float) -> float:
    return part / whole if whole else np.nan


def _relative(interval: tuple[float, float], spread: float, mean: float) -> str:
    low, high = (percentage(end / mean) for end in interval)
    return f"{percentage(spread / mean)} [{low}, {high}]"


def _with_spread(mean: float, spread: float) -> str:
    return f"{percentage(mean)} ±{percentage(spread)}"


def _mean_kernel(risk: float, heads: float) -> str:
    return f"{risk:.4f} ({heads:.0f})" if np.isfinite(risk) else "–"


def spread_notes(spread: pd.DataFrame, labels: Mapping[str, str]) -> list[str]:
    """A sentence per network, at its largest size."""
    largest = spread.loc[spread.groupby("run", sort=False)["n"].idxmax()]
    return [_sentence(row, labels[row.run]) for _, row in largest.iterrows()]


def _sentence(row: pd.Series, label: str) -> str:
    spread = _relative(row.test_risk_sd_interval, row.test_risk_sd, row.test_risk_mean)
    errors = number(_over(row.test_risk_sd, row.total_se), ".2g")
    text = (
        f"{label}, n = {row.n:,}: over {row.draws} heads the test risk has a standard deviation of"
        f" {spread} %, {errors} of one head's standard error; GCV is off by"
        f" {_with_spread(row.signed_gap_mean, row.signed_gap_sd)} %"
    )
    if not np.isfinite(row.averaged_test_risk):
        return f"{text}."
    less = 1 - row.averaged_test_risk / row.test_risk_mean
    side = "below" if less >= 0 else "above"
    return (
        f"{text}. The mean kernel of {row.averaged_heads:.0f} heads has a risk"
        f" {percentage(abs(less))} % {side} their mean, and a smaller one than {row.above:.0f}, by"
        f" LOO than {row.loo_above:.0f}."
    )
