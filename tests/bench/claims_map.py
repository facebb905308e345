"""A figure of GCV's error over n × λ, one panel a run.

`make bench BENCH=claims_map RUNS=DIR,… FIGURE=FILE.png`: the median over subsets of the relative
error of GCV against the test risk, at each size and ridge. Every stage of the runs is finished.
"""

import os
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from rmtgen.report.loading import load_result
from rmtgen.report.style import MATPLOTLIB
from tests.bench.claims import name_of

COLUMNS = 4
SIZE = 2.6, 2.1
"""Width and height of a panel, in inches."""
RANGE = 1e-3, 1.0
"""Errors at the ends of the scale."""


def cells(result):
    """Median errors, one row a ridge > 0 and one column a size."""
    fits = result.theory["predictions"].query("relative_ridge > 0")
    gaps = (fits["gcv"] / fits["test_risk"] - 1).abs()
    keys = [fits["relative_ridge"].round(12), fits["n"]]
    return gaps.groupby(keys).median().unstack("n").replace([np.inf], np.nan)


def drawn(axes, result):
    """One panel."""
    table = cells(result)
    sizes, ridges = np.log10(table.columns.to_numpy(float)), np.log10(table.index.to_numpy(float))
    mesh = axes.pcolormesh(
        sizes, ridges, table, cmap="magma_r", norm=LogNorm(*RANGE, clip=True), shading="nearest"
    )
    axes.set_title(name_of(result), fontsize=7)
    axes.grid(visible=False)
    shown = sizes[:: max(1, len(sizes) // 4)]
    axes.set_xticks(shown, [f"{10**size:,.0f}" for size in shown])
    decades = np.arange(np.ceil(ridges[0]), ridges[-1] + 1, 2)
    axes.set_yticks(decades, [f"$10^{{{decade:.0f}}}$" for decade in decades])
    return mesh


def main() -> None:
    """Write the figure."""
    results = [load_result(Path(run)) for run in os.environ["RUNS"].split(",")]
    rows = -(-len(results) // COLUMNS)
    with mpl.rc_context(MATPLOTLIB):
        figure = Figure((COLUMNS * SIZE[0], rows * SIZE[1]), layout="constrained")
        grid = figure.subplots(rows, COLUMNS, squeeze=False)
        for axes, result in zip(grid.flat, results, strict=False):
            mesh = drawn(axes, result)
        for axes in grid.flat[len(results) :]:
            axes.remove()
        shown = list(grid.flat[: len(results)])
        bar = figure.colorbar(mesh, ax=shown, aspect=40)
        bar.set_label("|GCV / test risk − 1|", fontsize=9)
        bar.set_ticks([0.001, 0.01, 0.1, 1.0], labels=["0.1 %", "1 %", "10 %", "≥ 100 %"])
        figure.supxlabel("training images n", fontsize=9)
        figure.supylabel("ridge λ / (tr K/N)", fontsize=9)
        figure.savefig(os.environ["FIGURE"], dpi=150)
    print(f"{os.environ['FIGURE']}: {len(results)} runs")


if __name__ == "__main__":
    main()
