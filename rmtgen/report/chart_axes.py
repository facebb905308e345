"""Axes of the charts: what can stand on a log axis, how far it reaches, and where sample sizes are
ticked.

Points that are not finite and positive cannot stand on a log axis: they are left out as gaps, and
the caption counts them.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from rmtgen.report.chart import Axis

ROOM = 0.12
"""The share of an axis that two labels are apart at least."""


def drawable(risk: pd.DataFrame) -> pd.DataFrame:
    """The rows whose GCV and test risk can stand on log axes."""
    pair = risk[["gcv", "test_risk"]]
    return risk[((pair > 0) & np.isfinite(pair)).all(axis=1)]


def positive(*columns: Sequence[float]) -> np.ndarray:
    """Every finite positive value of the columns, one after another."""
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
    """`limits` cut at ten times the 90th percentile: a ridgeless fit of risk 1e6 would press all
    others into a corner.
    """
    values = positive(*columns)
    return (
        limits(values[values <= 10 * np.quantile(values, 0.9)]) if values.size else limits(values)
    )


def log_axis(label: str, *columns: Sequence[float]) -> Axis:
    """A log axis over every finite positive value of the columns."""
    return Axis(label, "log", limits(*columns))


def size_axis(tables: Iterable[pd.DataFrame]) -> Axis:
    """Sample sizes on a log axis, ticked where they were measured and labelled where there is room,
    from the largest down.

    Args:
        tables: with a column `n` each.
    """
    sizes = np.unique(np.concatenate([table["n"] for table in tables]))
    low, high = limits(sizes)
    labelled = [sizes[-1]]
    for n in sizes[-2::-1]:
        if np.log(labelled[-1] / n) > ROOM * np.log(high / low):
            labelled.append(n)
    names = tuple(f"{n:,}" if n in labelled else "" for n in sizes)
    return Axis("training images n", "log", (low, high), tuple(float(n) for n in sizes), names)
