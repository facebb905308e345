"""The local random matrix law on data: how deviations from it, and errors of GCV, fall with n."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from rmtgen.errors import UsageError
from rmtgen.report.axes import log_axis, positive
from rmtgen.report.chart import Chart, Line, Panel, missing
from rmtgen.report.run_set import Run, RunSet
from rmtgen.report.wording import gapped, listed, number
from rmtgen.theory.local_law import rate

STEM = "local-law"
TITLE = "The local random matrix law"
NEEDS = "local_law"

PANELS = (
    (
        "Quadratic forms",
        {"diagonal_rms": ("diagonal", "-"), "off_diagonal_rms": ("off the diagonal", "--")},
    ),
    (
        "Trace and risk",
        {
            "trace": ("|κ̂ / κ − 1|", "-"),
            "gcv": ("|log GCV / risk|", "--"),
            "loo": ("|log LOO / risk|", ":"),
        },
    ),
)
"""Title of each panel, and the name and dash of each deviation in it by its `test` in the table."""
SLOPE = "n^(−1/2)"


def chart(runs: RunSet) -> Chart:
    """Root mean square deviations against n beside the slope −1/2, and their rates."""
    tested = runs.having(NEEDS)
    panels = tuple(_panel(tested, title, tests) for title, tests in PANELS)
    gaps = sum(missing([line.table for line in panel.lines], panel.x, panel.y) for panel in panels)
    caption = (
        "GCV is right where a local random matrix law holds. First panel: deviation from the law"
        " of quadratic forms of the resolvent of n samples in the eigenvectors of the pool, on"
        " and off the diagonal. Second panel: deviation of the effective ridge of n samples from"
        " that of the pool, and of GCV and leave-one-out of the same samples from the risk on the"
        " rest of the pool, without the sampling error of that risk. The law requires a decay as"
        " n^(−1/2) or faster. Leave-one-out needs no law: what GCV is further off comes from"
        " samples that differ in leverage."
    )
    return Chart(
        stem=STEM,
        title=TITLE,
        caption=gapped(caption, gaps),
        alt=listed("Rates of the local law", [_rates(run) for run in tested]),
        panels=panels,
        groups=runs.labels,
    )


def _panel(runs: RunSet, title: str, tests: Mapping[str, tuple[str, str]]) -> Panel:
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
    """Root mean square of the finite deviations at each size, over ridges, trials and pairs."""
    finite = rows[np.isfinite(rows["deviation"])]
    groups = finite.assign(square=finite["deviation"] ** 2).groupby("n")["square"]
    return (
        pd.DataFrame({"y": groups.mean() ** 0.5, "measurements": groups.size()})
        .rename_axis("x")
        .reset_index()
    )


def _rates(run: Run) -> str:
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
