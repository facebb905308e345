"""Notes on the theory of each run: transport, forecast, labels, hindcast, and doubts about GCV."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from rmtgen.report.run_result import RunResult
from rmtgen.report.swaps import PairSwap
from rmtgen.report.wording import dataset_names, number, percentage, share

FILES = 3
"""Number of files that a warning lists."""


def theory_notes(results: Sequence[RunResult], swaps: Sequence[PairSwap]) -> list[str]:
    """One paragraph per run with theory, its warnings, and one sentence per swap."""
    datasets = dataset_names(result.dataset for result in results)
    notes = []
    for result in results:
        if result.theory:
            dataset = datasets[result.dataset]
            name = f"{result.model}, {result.init}, {dataset}, {result.kernel}"
            notes += [f"{name}: {text}" for text in (_predictions(result), *_warnings(result))]
    return notes + [_swap_note(pair, datasets[pair.random.dataset]) for pair in swaps]


def _predictions(result: RunResult) -> str:
    parts = (
        _transport(result.theory["predictions"]),
        _forecast(result.theory.get("forecast")),
        _labels(result.theory.get("labels")),
        _hindcast(result.theory.get("hindcast")),
    )
    return " ".join(part for part in parts if part)


def _warnings(result: RunResult) -> list[str]:
    if "trust" not in result.theory:
        return []
    tripped, suspects = result.theory["trust"].query("tripped"), result.theory.get("suspects")
    if suspects is None:  # a run may be older than the names of samples
        return list(tripped["message"])
    pairs = zip(tripped["detector"], tripped["message"], strict=True)
    return [message + _files(suspects, detector) for detector, message in pairs]


def _files(suspects: pd.DataFrame, detector: str) -> str:
    """The files that a detector suspects, the first few."""
    found = suspects[(suspects["detector"] == detector) & (suspects["file"] != "")]["file"]
    if found.empty:
        return ""
    more = f", and {len(found) - FILES} more" if len(found) > FILES else ""
    return f" Files: {', '.join(found.head(FILES))}{more}."


def _transport(fits: pd.DataFrame) -> str:
    means = fits.groupby(["n", "ridge"], as_index=False)[["transport", "test_risk"]].mean()
    gap = (means["transport"] / means["test_risk"] - 1).abs()
    gap = gap[np.isfinite(gap)]
    return (
        f"transport from the pool is off by {percentage(gap.median())} % in the median over"
        f" (n, ridge), {percentage(gap.max())} % at worst."
    )


def _forecast(table: pd.DataFrame | None) -> str:
    if table is None:
        return ""
    last = table.iloc[-1]
    risk, low, high = (number(last[name], ".3g") for name in ("predicted_risk", "low", "high"))
    found = f"At n = {last['n']:,.0f} it predicts a risk of {risk} [{low}, {high}]"
    if not {"at_least", "at_most"} <= set(table):  # a run may be older than the bracket
        return f"{found}."
    least, most = (number(last[name], ".3g") for name in ("at_least", "at_most"))
    return f"{found}, between {least} and {most} however the pool is extrapolated."


def _labels(table: pd.DataFrame | None) -> str:
    """The labels that the first and the last risk within reach need."""
    if table is None:
        return ""
    within = table[table["labels"] < np.inf]
    needs = [
        f"{row.risk:.3g} needs {row.labels:,.0f} labels [{row.low:,.0f}, {_upper_end(row.high)}]"
        for row in within.iloc[[0, -1] if len(within) > 1 else slice(None)].itertuples()
    ]
    if not needs:
        return "No number of labels reaches a risk 2 % lower."
    return f"A risk of {', one of '.join(needs)}."


def _upper_end(value: float) -> str:
    return f"{value:,.0f}" if np.isfinite(value) else "no upper end"


def _hindcast(table: pd.DataFrame | None) -> str:
    if table is None:
        return ""
    last = table.iloc[-1]
    risk, low, high, measured, error = (
        number(last[name], ".4f")
        for name in ("predicted_risk", "low", "high", "test_risk", "test_risk_se")
    )
    return (
        f"From {last['seen']:,.0f} images alone it predicts {risk} [{low}, {high}] at"
        f" n = {last['n']:,.0f}; measured {measured} ±{error}."
    )


def _swap_note(pair: PairSwap, dataset: str) -> str:
    """The parts of the gap between two initialisations that are due to spectrum and alignment."""
    random, found = pair.random, pair.swap
    low, high = (number(end, ".3f") for end in found.spectrum_interval)
    return (
        f"{random.model}, {dataset}, {random.kernel}: pretrained against random at n = {found.n:,}:"
        f" log risk falls by {found.gap:.3f}, {share(found.alignment_share, found.gap)} of it by"
        f" alignment and {share(found.spectrum_share, found.gap)} by the spectrum"
        f" ({number(found.spectrum_share, '.3f')} [{low}, {high}])."
    )
