"""Chart 9: the local random matrix law on data: how fast its four deviations fall with n."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from rmtgen.errors import UsageError
from rmtgen.report.chart import Chart, Line, Panel, missing
from rmtgen.report.chart_axes import log_axis, positive
from rmtgen.report.chart_runs import Run, labels
from rmtgen.report.wording import gapped, listed, number
from rmtgen.theory.local_law import rate

PANELS = (
    (
        "Quadratic forms",
        {"diagonal_rms": ("diagonal", "-"), "off_diagonal_rms": ("off the diagonal", "--")},
    ),
    ("Trace and risk", {"trace": ("|κ̂ / κ − 1|", "-"), "gcv": ("|log GCV / test risk|", ":")}),
)
SLOPE = "n^(−1/2)"


def law_chart(runs: Sequence[Run]) -> Chart:
    """Root mean square deviations against n beside the slope −1/2, and their rates."""
    tested = [run for run in runs if "local_law" in run.theory]
    panels = tuple(_panel(tested, title, tests) for title, tests in PANELS)
    gaps = sum(missing([line.table for line in panel.lines], panel.x, panel.y) for panel in panels)
    caption = (
        "GCV is right where a local random matrix law holds. Left: quadratic forms of the resolvent"
        " of n samples in the pool's eigenvectors, off what the law says by so much, on the"
        " diagonal and off it. Right: the effective ridge of n samples against that of the pool,"
        " and GCV against the test risk, net of the test set's own error. The law asks for n^(−1/2)"
        " or faster."
    )
    return Chart(
        stem="local-law",
        title="The local random matrix law",
        caption=gapped(caption, gaps),
        alt=listed("Rates of the local law", [_told(run) for run in tested]),
        panels=panels,
        groups=labels(runs),
    )


def _panel(runs: Sequence[Run], title: str, tests: Mapping[str, tuple[str, str]]) -> Panel:
    lines = []
    for run in runs:
        table = run.theory["local_law"]
        for test, (name, dash) in tests.items():
            rms = _rms(table[table["test"] == test])
            if len(rms):
                lines.append(Line(run.label, name, rms, dash=dash, size=4.0))
    values = [line.table["y"] for line in lines]
    sizes = positive(*(line.table["x"] for line in lines))
    ends = np.array([sizes.min(), sizes.max()]) if sizes.size else np.ones(2)
    slope = max(positive(*(rms[:1] for rms in values)), default=1.0) * (ends / ends[0]) ** -0.5
    lines.append(Line("", SLOPE, pd.DataFrame({"x": ends, "y": slope}), dash="-.", marked=False))
    return Panel(
        title, log_axis("training images n", ends), log_axis("deviation", *values), tuple(lines)
    )


def _rms(rows: pd.DataFrame) -> pd.DataFrame:
    """Root mean square of the finite deviations of each size, over ridges, trials and pairs."""
    finite = rows[np.isfinite(rows["deviation"])]
    groups = finite.assign(square=finite["deviation"] ** 2).groupby("n")["square"]
    return (
        pd.DataFrame({"y": groups.mean() ** 0.5, "measurements": groups.size()})
        .rename_axis("x")
        .reset_index()
    )


def _told(run: Run) -> str:
    table, slopes = run.theory["local_law"], []
    for test, name in (("diagonal_rms", "diagonal"), ("off_diagonal_rms", "off the diagonal")):
        rows = table[table["test"] == test]
        try:
            found = rate(rows["n"], rows["deviation"])
        except UsageError:
            continue
        slopes.append(
            f"{name} n^{number(found.slope, '.2f')} ± {number(found.standard_error, '.2f')}"
        )
    return f"{run.label}: {', '.join(slopes) or 'too few sizes for a rate'}"
