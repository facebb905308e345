"""Figure 6: the local random matrix law on data: how fast its four deviations fall with n."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from rmtgen.errors import UsageError
from rmtgen.report.figure_axes import limits, log_axis, positive
from rmtgen.report.figure_style import GREY, Series, Words, key, mark
from rmtgen.report.wording import listed, number
from rmtgen.theory.local_law import rate

PANELS = (
    ("Quadratic forms", {"diagonal_rms": "-", "off_diagonal_rms": "--"}, {"diagonal": "-", "off the diagonal": "--"}),
    ("Trace and risk", {"trace": "-", "gcv": ":"}, {"|κ̂ / κ − 1|": "-", "|log GCV / test risk|": ":"}),
)


def draw_law(series: list[Series], forms: Axes, traces: Axes) -> Words:
    """Draw root mean square deviations against n beside the slope −1/2, and say the rates."""
    tables = [(item, item.result.theory["local_law"]) for item in series if "local_law" in item.result.theory]
    for axes, (title, tests, names) in zip((forms, traces), PANELS, strict=True):
        drawn = []
        for item, table in tables:
            for test, line in tests.items():
                rms = _rms(table[table["test"] == test])
                axes.plot(rms.index, rms, color=item.color, marker=item.marker, markersize=4, linestyle=line)
                drawn.append(rms)
        values = pd.concat(drawn) if drawn else pd.Series([1.0], index=[1.0])
        ends = np.array([values.index.min(), values.index.max()], dtype=float)
        highest = positive(values).max() if positive(values).size else 1.0
        axes.plot(ends, highest * (ends / ends[0]) ** -0.5, color=GREY, linewidth=1, linestyle="-.")
        axes.set(title=title, xlabel="training images n", ylabel="deviation")
        log_axis(axes, "x", limits(ends))
        log_axis(axes, "y", limits(values))
        key(
            axes,
            "best",
            {name: mark(GREY, line=line) for name, line in names.items()} | {"n^(−1/2)": mark(GREY, line="-.")},
        )
    caption = (
        "GCV is right where a local random matrix law holds. Left: quadratic forms of the resolvent of n samples in the pool's "
        "eigenvectors, off what the law says by so much, on the diagonal and off it. Right: the effective ridge of n samples against "
        "that of the pool, and GCV against the test risk, net of the test set's own error. The law asks for n^(−1/2) or faster."
    )
    return Words(caption, listed("Rates of the local law", [_told(item, table) for item, table in tables]))


def _rms(rows: pd.DataFrame) -> pd.Series:
    """Root mean square of the finite deviations of each size, over ridges, trials and pairs."""
    finite = rows[np.isfinite(rows["deviation"])]
    return finite.assign(deviation=finite["deviation"] ** 2).groupby("n")["deviation"].mean().pow(0.5)


def _told(item: Series, table: pd.DataFrame) -> str:
    slopes = []
    for test, name in (("diagonal_rms", "diagonal"), ("off_diagonal_rms", "off the diagonal")):
        rows = table[table["test"] == test]
        try:
            found = rate(rows["n"], rows["deviation"])
        except UsageError:
            continue
        slopes.append(f"{name} n^{number(found.slope, '.2f')} ± {number(found.standard_error, '.2f')}")
    return f"{item.label}: {', '.join(slopes) or 'too few sizes for a rate'}"
