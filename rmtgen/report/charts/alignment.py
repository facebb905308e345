"""Alignment of the targets with the leading modes, and the effect of swapping two spectra."""

import pandas as pd

from rmtgen.report.axes import log_axis
from rmtgen.report.chart import Axis, Chart, Line, Panel, missing
from rmtgen.report.run_set import Run, RunSet
from rmtgen.report.swaps import PairSwap
from rmtgen.report.wording import gapped, listed, number, share

STEM = "alignment"
TITLE = "Alignment of targets and spectrum"
NEEDS = "curves"

SWAPS = (
    ("pretrained", (1, 1)),
    ("alignment swapped in", (0, 1)),
    ("spectrum swapped in", (1, 0)),
    ("random", (0, 0)),
)
"""The four risks of a swap from the bottom row up, and their indices in `Swap.risk`: the spectrum,
then the target power, of the random (0) or the pretrained (1) run."""
LEAST = 0.5
"""Degrees of freedom at the start of a curve."""


def chart(runs: RunSet) -> Chart:
    """B(κ) + noise against df1, beside the risks of swapped spectra.

    Without a pair of runs to swap, df1 against κ takes the place of the swaps.
    """
    known = runs.having(NEEDS)
    panels = _floors(known), _swaps(runs) if runs.swaps else _dimensions(known)
    gaps = sum(missing([line.table for line in panel.lines], panel.x, panel.y) for panel in panels)
    return Chart(
        stem=STEM,
        title=TITLE,
        caption=gapped(_caption(swapped=bool(runs.swaps)), gaps),
        alt=_alt(known, runs),
        panels=panels,
        groups=runs.labels,
    )


def _curves(run: Run) -> pd.DataFrame:
    return run.theory["curves"].query(f"df1 > {LEAST}")


def _floors(runs: RunSet) -> Panel:
    lines = []
    for run in runs:
        curves = _curves(run)
        table = {
            "x": curves["df1"],
            "y": curves["floor"],
            "κ over tr K/N": curves["relative_kappa"],
        }
        lines.append(Line(run.label, "", pd.DataFrame(table)))
    return Panel(
        "What remains to be learnt",
        log_axis("degrees of freedom df1(κ)", *(line.table["x"] for line in lines)),
        log_axis("B(κ) + noise", *(line.table["y"] for line in lines)),
        tuple(lines),
    )


def _dimensions(runs: RunSet) -> Panel:
    lines = []
    for run in runs:
        curves = _curves(run)
        lines.append(
            Line(run.label, "", pd.DataFrame({"x": curves["relative_kappa"], "y": curves["df1"]}))
        )
    return Panel(
        "Effective dimension at matched κ",
        log_axis("effective ridge κ over tr K/N", *(line.table["x"] for line in lines)),
        log_axis("degrees of freedom df1(κ)", *(line.table["y"] for line in lines)),
        tuple(lines),
    )


def _swaps(runs: RunSet) -> Panel:
    labels = _labels(runs)
    lines = []
    for pair in runs.swaps:
        risks = [float(pair.swap.risk[place]) for _, place in SWAPS]
        table = pd.DataFrame({"x": risks, "y": range(len(SWAPS)), "n": pair.swap.n})
        lines.append(Line(labels[pair.pretrained.name], "", table, dash=":", size=7.0))
    rows = tuple(map(float, range(len(SWAPS))))
    names = tuple(name for name, _ in SWAPS)
    return Panel(
        "From random to pretrained",
        log_axis("risk at the best ridge", *(line.table["x"] for line in lines)),
        Axis("", "linear", (-0.5, len(SWAPS) - 0.5), rows, names),
        tuple(lines),
    )


def _labels(runs: RunSet) -> dict[str, str]:
    """Labels of the runs by their names."""
    return {run.result.name: run.label for run in runs}


def _caption(*, swapped: bool) -> str:
    first = (
        "First panel: the power of the targets that remains to be learnt once df1 degrees of"
        " freedom are spent, noise included. A lower curve means better alignment of the targets"
        " with the leading modes, whatever their eigenvalues."
    )
    if swapped:
        return (
            f"{first} Second panel: the risk predicted from the spectrum of one run and the target"
            " power of another, for each pretrained run (in its colour) and the random run that"
            " differs in nothing else. The nearer a swap comes to the pretrained run, the more of"
            " the gap it explains."
        )
    return (
        f"{first} Second panel: the degrees of freedom at an effective ridge. Slower growth means"
        " faster decay of the spectrum."
    )


def _alt(known: RunSet, runs: RunSet) -> str:
    if runs.swaps:
        labels = _labels(runs)
        return listed(
            "Risks of pretrained and random runs, and of their swaps",
            [f"{labels[pair.pretrained.name]} {_swapped(pair)}" for pair in runs.swaps],
        )
    return listed("B(κ) + noise against degrees of freedom", [_last_floor(run) for run in known])


def _swapped(pair: PairSwap) -> str:
    found = pair.swap
    risks = ", ".join(f"{name} {number(found.risk[place], '.3g')}" for name, place in SWAPS[::-1])
    part = share(found.alignment_share, found.gap)
    return f"at n = {found.n:,}: {risks}; alignment accounts for {part} of the gap"


def _last_floor(run: Run) -> str:
    last = _curves(run).sort_values("df1").iloc[-1]
    floor, df1 = number(last["floor"], ".3g"), number(last["df1"], ",.0f")
    return f"{run.label}: {floor} remains at {df1} degrees of freedom"
