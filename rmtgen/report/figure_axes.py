"""Axes of the figures: what can stand on a log axis, how far it reaches, and where its ticks are.

Points that are not finite and positive cannot stand on a log axis: they are left out as gaps, and the caption counts them.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogFormatterMathtext,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
)

from rmtgen.report.figure_style import Series


def drawable(risk: pd.DataFrame) -> pd.DataFrame:
    """The rows whose GCV and test risk can stand on log axes."""
    pair = risk[["gcv", "test_risk"]]
    return risk[((pair > 0) & np.isfinite(pair)).all(axis=1)]


def positive(*columns: Sequence[float]) -> np.ndarray:
    """Every finite positive value of the columns, one after another."""
    values = np.concatenate([np.asarray(column, dtype=float) for column in columns])
    return values[np.isfinite(values) & (values > 0)]


def limits(*columns: Sequence[float]) -> tuple[float, float]:
    """Limits of a log axis that holds every finite positive value with a margin."""
    values = positive(*columns)
    if not values.size:
        return 0.1, 1.0
    low, high = values.min(), values.max()
    margin = max((high / low) ** 0.06, 1.04)
    return low / margin, high * margin


def view_limits(*columns: Sequence[float]) -> tuple[float, float]:
    """`limits` cut at ten times the 90th percentile: a ridgeless fit of risk 1e6 would press all others into a corner."""
    values = positive(*columns)
    return limits(values[values <= 10 * np.quantile(values, 0.9)]) if values.size else limits(values)


def log_axis(axes: Axes, which: str, ends: tuple[float, float]) -> None:
    """A log axis whose ticks stay few and readable over a tenth of a decade as over twelve."""
    axes.set(**{f"{which}scale": "log", f"{which}lim": ends})
    axis = getattr(axes, f"{which}axis")
    axis.set_minor_locator(NullLocator())
    decades = np.log10(ends[1] / ends[0])
    if decades > 3.5:
        axis.set_major_locator(LogLocator(numticks=7))
        axis.set_major_formatter(LogFormatterMathtext())
        return
    axis.set_major_locator(
        MaxNLocator(6, steps=[1, 2, 2.5, 5, 10])
        if decades < 0.8
        else LogLocator(subs=(1, 2, 5) if decades < 2.2 else (1, 3))
    )
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def size_axis(axes: Axes, series: list[Series]) -> None:
    """Sample sizes on a log axis, ticked where they were measured and labelled where there is room, from the largest down."""
    sizes = np.unique(np.concatenate([item.result.risk["n"] for item in series]))
    low, high = limits(sizes)
    axes.set(xlabel="training images n", xscale="log", xlim=(low, high))
    labelled = [sizes[-1]]
    for n in sizes[-2::-1]:
        if np.log(labelled[-1] / n) > 0.12 * np.log(high / low):
            labelled.append(n)
    axes.xaxis.set_major_locator(FixedLocator(labelled))
    axes.xaxis.set_minor_locator(FixedLocator(sizes))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
