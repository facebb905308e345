"""Axes of the charts: limits of log axes, and ticks at the sample sizes of the runs."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from rmtgen.report.chart import Axis

ROOM = 0.12
"""Least distance of two labels, as a share of the axis."""


def drawable(risk: pd.DataFrame) -> pd.DataFrame:
    """Rows whose GCV and test risk are finite and positive, as a log axis needs."""
    pair = risk[["gcv", "test_risk"]]
    return risk[((pair > 0) & np.isfinite(pair)).all(axis=1)]


def positive(*columns: Sequence[float]) -> np.ndarray:
    """All finite positive values of the columns, concatenated."""
    values = (
        np.concatenate([np.asarray(column, dtype=float) for column in columns])
        if columns
        else np.array([])
    )
    return values[np.isfinite(values) & (values > 0)]


def limits(*columns: Sequence[float]) -> tuple[float, float]:
    """Limits of a log axis that holds every finite positive value with a margin."""
    values = positive(*columns)
    if not values.size:
        return 0.1, 1.0
    low, high = values.min(), values.max()
    margin = max((high / low) ** 0.06, 1.04)
    return float(low / margin), float(high * margin)


def view_limits(*columns: Sequence[float]) -> tuple[float, float]:
    """`limits` of the values up to ten times their 90th percentile.

    A single ridgeless fit of risk 1e6 would press all others into a corner.
    """
    values = positive(*columns)
    return (
        limits(values[values <= 10 * np.quantile(values, 0.9)]) if values.size else limits(values)
    )


def log_axis(label: str, *columns: Sequence[float]) -> Axis:
    """A log axis over every finite positive value of the columns."""
    return Axis(label, "log", limits(*columns))


def size_axis(tables: Iterable[pd.DataFrame]) -> Axis:
    """A log axis of sample sizes, with a tick at every size and labels where there is room.

    Args:
        tables: Tables with a column `n`.
    """
    sizes = np.unique(np.concatenate([table["n"] for table in tables]))
    low, high = limits(sizes)
    labelled = [sizes[-1]]
    for n in sizes[-2::-1]:
        if np.log(labelled[-1] / n) > ROOM * np.log(high / low):
            labelled.append(n)
    names = tuple(f"{n:,}" if n in labelled else "" for n in sizes)
    return Axis("training images n", "log", (low, high), tuple(float(n) for n in sizes), names)
