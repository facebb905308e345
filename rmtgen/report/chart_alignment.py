"""Chart 6: how the targets lie in the spectrum, and what is the work of the one and what of the
other.
"""

from collections.abc import Sequence

import pandas as pd

from rmtgen.report.chart import Axis, Chart, Line, Panel, missing
from rmtgen.report.chart_axes import log_axis
from rmtgen.report.chart_runs import Run, labels
from rmtgen.report.theories import swap_pairs, swapped
from rmtgen.report.wording import gapped, listed, number, share

SWAPS = (
    ("pretrained", (1, 1)),
    ("alignment swapped in", (0, 1)),
    ("spectrum swapped in", (1, 0)),
    ("random", (0, 0)),
)
"""The four of a swap from the bottom up, with their places in `Swap.risk`: spectrum of, target
power of."""
LEAST = 0.5
"""Degrees of freedom that a curve begins at."""


def alignment_chart(runs: Sequence[Run]) -> Chart:
    """B(κ) + noise against df1, and the risks of spectra and target powers swapped, or df1 where
    there is no pair to swap.
    """
    known = [run for run in runs if "curves" in run.theory]
    pairs = _pairs([run for run in runs if run.theory])
    panels = _floors(known), _swaps(pairs) if pairs else _dimensions(known)
    gaps = sum(missing([line.table for line in panel.lines], panel.x, panel.y) for panel in panels)
    return Chart(
        stem="alignment",
        title=(
            "Alignment and effective dimension" if not pairs else "Alignment, and spectra swapped"
        ),
        caption=gapped(_caption(pairs), gaps),
        alt=_alt(known, pairs),
        panels=panels,
        groups=labels(runs),
    )


def _pairs(runs: Sequence[Run]) -> list[tuple[Run, Run]]:
    """Random and pretrained runs that differ in nothing else."""
    by_name = {run.result.name: run for run in runs}
    found = swap_pairs([run.result for run in runs])
    return [(by_name[random.name], by_name[pretrained.name]) for random, pretrained in found]


def _curves(run: Run) -> pd.DataFrame:
    return run.theory["curves"].query(f"df1 > {LEAST}")


def _floors(runs: Sequence[Run]) -> Panel:
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
        "Alignment: what is left to learn",
        log_axis("degrees of freedom df1(κ)", *(line.table["x"] for line in lines)),
        log_axis("B(κ) + noise", *(line.table["y"] for line in lines)),
        tuple(lines),
    )


def _dimensions(runs: Sequence[Run]) -> Panel:
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


def _swaps(pairs: Sequence[tuple[Run, Run]]) -> Panel:
    lines = []
    for random, pretrained in pairs:
        found = swapped(random.result, pretrained.result)
        risks = [float(found.risk[place]) for _, place in SWAPS]
        table = {"x": risks, "y": range(len(SWAPS))}
        lines.append(
            Line(pretrained.label, "", pd.DataFrame(table).assign(n=found.n), dash=":", size=7.0)
        )
    return Panel(
        "From random to pretrained",
        log_axis("risk at the best ridge", *(line.table["x"] for line in lines)),
        Axis(
            "",
            "linear",
            (-0.5, len(SWAPS) - 0.5),
            tuple(map(float, range(len(SWAPS)))),
            tuple(name for name, _ in SWAPS),
        ),
        tuple(lines),
    )


def _caption(pairs: Sequence[tuple[Run, Run]]) -> str:
    left = (
        "Left: the targets' power that is not learnt when df1 degrees of freedom are spent, noise"
        " included. The lower the curve, the better the targets align with the leading modes,"
        " whatever their eigenvalues."
    )
    if not pairs:
        return (
            f"{left} Right: the degrees of freedom that an effective ridge leaves: the slower they"
            " grow, the faster the spectrum decays."
        )
    return (
        f"{left} Right: the risk foretold from the spectrum of one run with the target power of"
        " another, for each pretrained run (its colour) and the random one that differs in nothing"
        " else. The nearer a swap comes to pretrained, the more of the gap is its work."
    )


def _alt(runs: Sequence[Run], pairs: Sequence[tuple[Run, Run]]) -> str:
    if pairs:
        return listed(
            "Risks of pretrained and random runs, and of their swaps",
            [_told(*pair) for pair in pairs],
        )
    told = []
    for run in runs:
        last = _curves(run).sort_values("df1").iloc[-1]
        told.append(
            f"{run.label}: {number(last['floor'], '.3g')} is left at {number(last['df1'], ',.0f')}"
            " degrees of freedom"
        )
    return listed("B(κ) + noise against degrees of freedom", told)


def _told(random: Run, pretrained: Run) -> str:
    found = swapped(random.result, pretrained.result)
    risks = ", ".join(f"{name} {number(found.risk[place], '.3g')}" for name, place in SWAPS[::-1])
    made = share(found.alignment_share, found.gap)
    return f"{pretrained.label} at n = {found.n:,}: {risks}; alignment makes {made} of the gap"
