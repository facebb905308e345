"""Which theory ranks and scales: the table over runs of one data set, and what the figures need of
it.
"""

import functools
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import fields

import pandas as pd

from rmtgen.linalg.spectrum import Spectrum
from rmtgen.report.results import TABLE_WIDTH, RunResult
from rmtgen.report.wording import dataset_names, number, percentage, share
from rmtgen.store.durable import canonical_json
from rmtgen.theory.alignment import Swap, swap
from rmtgen.theory.registry import THEORIES
from rmtgen.theory.scores import Score, score_table

NAMES = {name: theory.label for name, theory in THEORIES.items()}
"""Names of the theories for people, in the order of the table."""
SWAP_SHARE = 8
"""The swap is made at n = N/8, where the pool's own eigenvalues may stand for the population's."""
HEADINGS = ("data set", "theory", "Kendall τ", "log-error, %", "shape error, %")


def theory_scores(results: Sequence[RunResult]) -> pd.DataFrame:
    """How each theory ranks and scales the fits of all runs on one data set (`theory.scores`), data
    sets in the order of the runs.

    Args:
        results: Runs; those without the `theory` stage are left out.

    Returns:
        Columns `dataset runs theory` and the fields of `Score`; no rows where no run has theory.
    """
    return _theory_scores(tuple(results))


@functools.lru_cache(maxsize=2)
def _theory_scores(results: tuple[RunResult, ...]) -> pd.DataFrame:
    """Kept, because the page, two drawings and the terminal all show it and its intervals take
    seconds.
    """
    rows = []
    for dataset in dict.fromkeys(result.dataset for result in results):
        tables = [
            result.theory["predictions"].assign(run=result.name)
            for result in results
            if result.dataset == dataset and result.theory
        ]
        if tables:
            rows += _scored(dataset, pd.concat(tables, ignore_index=True))
    return pd.DataFrame(
        rows, columns=["dataset", "runs", "theory", *(field.name for field in fields(Score))]
    )


def _scored(dataset: str, fits: pd.DataFrame) -> list[dict[str, object]]:
    blocks = (fits["run"] + " " + fits["n"].astype(str)).to_numpy()
    table = score_table(fits, tuple(NAMES), blocks)
    runs = fits["run"].nunique()
    return [{"dataset": dataset, "runs": runs, **row} for row in table.to_dict("records")]


def flat_scores(table: pd.DataFrame) -> pd.DataFrame:
    """The table with an interval's ends in two columns, `NAME_low` and `NAME_high`, for a CSV."""
    columns = {}
    for name in table:
        stem = name.removesuffix("_interval")
        ends = [table[name].str[0], table[name].str[1]] if name != stem else [table[name]]
        columns |= dict(
            zip([f"{stem}_low", f"{stem}_high"] if name != stem else [name], ends, strict=True)
        )
    return pd.DataFrame(columns)


def theory_cells(table: pd.DataFrame) -> list[dict[str, str]]:
    """The table as text: one mapping of heading to cell for each data set and theory."""
    names = dataset_names(table["dataset"])
    return [
        {
            "data set": names[row.dataset],
            "theory": NAMES[row.theory],
            "Kendall τ": _with_interval(
                row.kendall, row.kendall_interval, lambda value: number(value, ".2f")
            ),
            "log-error, %": _with_interval(row.log_error, row.log_error_interval, percentage),
            "shape error, %": _with_interval(row.shape_error, row.shape_error_interval, percentage),
        }
        for row in table.itertuples()
    ]


def format_theories(table: pd.DataFrame) -> str:
    """The table as plain text of at most 100 columns, with a line on how to read it; nothing where
    it has no rows.
    """
    if table.empty:
        return ""
    cells = theory_cells(table)
    widths = {name: max(len(name), *(len(row[name]) for row in cells)) for name in HEADINGS}
    rows = [
        dict(zip(HEADINGS, HEADINGS, strict=True)),
        {name: "-" * widths[name] for name in HEADINGS},
        *cells,
    ]
    lines = ["  ".join(row[name].ljust(widths[name]) for name in HEADINGS).rstrip() for row in rows]
    return "\n".join(lines + textwrap.wrap(READING, TABLE_WIDTH, subsequent_indent="  "))


READING = (
    "every (n, ridge, subset) of every run; 95 % intervals over (run, n). Kendall τ: 1 is the right"
    " order of all fits. log-error: median 100 |log(predicted / test risk)|; shape error: the same"
    " after the best factor, since bounds leave one free"
)


def format_notes(notes: Sequence[str]) -> str:
    """Notes as plain text of at most 100 columns."""
    lines = (
        textwrap.wrap(note, TABLE_WIDTH, subsequent_indent="  ", break_on_hyphens=False)
        for note in notes
    )
    return "\n".join(line for wrapped in lines for line in wrapped)


def theory_notes(results: Sequence[RunResult]) -> list[str]:
    """For each run with theory: how far transport is from the measured risk, the forecast, and what
    makes GCV doubtful.
    """
    names = dataset_names(result.dataset for result in results)
    known = [result for result in results if result.theory]
    notes = [
        note
        for result in known
        for note in _notes(
            result, f"{result.model}, {result.init}, {names[result.dataset]}, {result.kernel}"
        )
    ]
    return notes + [_swap_note(*pair, names[pair[0].dataset]) for pair in swap_pairs(known)]


def swap_pairs(results: Sequence[RunResult]) -> list[tuple[RunResult, RunResult]]:
    """Random and pretrained runs that differ in nothing else."""
    alike = {}
    for result in results:
        shared = {
            name: value for name, value in result.config.items() if name not in ("init", "weights")
        }
        key = canonical_json(
            [result.model, result.dataset, result.kernel, result.spectrum_n, shared]
        )
        alike.setdefault(key, {})[result.init] = result
    return [
        (pair["random"], pair["pretrained"])
        for pair in alike.values()
        if {"random", "pretrained"} <= set(pair)
    ]


@functools.lru_cache(maxsize=64)
def swapped(random: RunResult, pretrained: RunResult) -> Swap:
    """The four risks of a pair at n = N/`SWAP_SHARE` (`alignment.swap`), kept for the chart and the
    note.
    """
    return swap(_pool(random), _pool(pretrained), max(2, random.spectrum_n // SWAP_SHARE))


def _swap_note(random: RunResult, pretrained: RunResult, dataset: str) -> str:
    """How much of the gap between two initialisations is spectrum, and how much alignment."""
    found = swapped(random, pretrained)
    return (
        f"{random.model}, {dataset}, {random.kernel}: pretrained against random at n = {found.n:,}:"
        f" log risk falls by {found.gap:.3f}, {share(found.alignment_share, found.gap)} of it by"
        f" alignment and {share(found.spectrum_share, found.gap)} by the spectrum."
    )


def _pool(result: RunResult) -> Spectrum:
    return Spectrum.of_power(
        result.eigenvalues * result.spectrum_n,
        result.target_power,
        result.null_energy,
        result.spectrum_n,
        intercept=result.config["targets"] == "intercept",
    )


def _notes(result: RunResult, name: str) -> list[str]:
    fits = result.theory["predictions"]
    means = fits.groupby(["n", "ridge"], as_index=False)[["transport", "test_risk"]].mean()
    gap = (means["transport"] / means["test_risk"] - 1).abs()
    gap = gap[gap < float("inf")]
    notes = [
        f"{name}: transport from the pool is off by {percentage(gap.median())} % in the median over"
        f" (n, ridge), {percentage(gap.max())} % at worst."
    ]
    if "forecast" in result.theory:
        last = result.theory["forecast"].iloc[-1]
        notes[0] += (
            f" At n = {last['n']:,.0f} it foretells a risk of"
            f" {number(last['predicted_risk'], '.3g')} [{number(last['low'], '.3g')},"
            f" {number(last['high'], '.3g')}]."
        )
    if "labels" in result.theory:
        notes[0] += _labels(result.theory["labels"])
    if "hindcast" in result.theory:
        last = result.theory["hindcast"].iloc[-1]
        notes[0] += (
            f" From {last['seen']:,.0f} images alone it foretells"
            f" {number(last['predicted_risk'], '.4f')} [{number(last['low'], '.4f')},"
            f" {number(last['high'], '.4f')}] at n = {last['n']:,.0f}; measured"
            f" {number(last['test_risk'], '.4f')} ±{number(last['test_risk_se'], '.4f')}."
        )
    if "trust" in result.theory:
        tripped = result.theory["trust"].query("tripped")
        notes += [f"{name}: {message}" for message in tripped["message"]]
    return notes


def _labels(table: pd.DataFrame) -> str:
    """How many labels the first and the last risk take that are within reach."""
    within = table[table["labels"] < float("inf")]
    told = [
        f"{row.risk:.3g} takes {row.labels:,.0f} labels [{row.low:,.0f}, {row.high:,.0f}]".replace(
            "inf]", "no upper end]"
        )
        for row in within.iloc[[0, -1] if len(within) > 1 else slice(None)].itertuples()
    ]
    return (
        f" A risk of {', one of '.join(told)}."
        if told
        else " No number of labels reaches a risk 2 % lower."
    )


def _with_interval(
    value: float, interval: tuple[float, float], form: Callable[[float], str]
) -> str:
    low, high = (form(end) for end in interval)
    return f"{form(value)} [{low}, {high}]"
