"""The ranking of representations of the same samples, with its doubts."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from rmtgen.ranking.areas import Area
from rmtgen.ranking.explained import OUTPUTS
from rmtgen.ranking.paired import (
    Difference,
    area_difference,
    error_difference,
    risk_difference,
)
from rmtgen.ranking.probe import Probe
from rmtgen.scalars import choice
from rmtgen.tasks import ORDERS

MORE = 10
"""Multiple of the images for which the order is foreseen."""
COLUMNS = (
    *("representation", "place", "place_low", "place_high"),
    *("loo", "loo_low", "loo_high", "behind", "behind_low", "behind_high", "tied"),
    *("accuracy", "accuracy_low", "accuracy_high"),
    *("accuracy_behind", "accuracy_behind_low", "accuracy_behind_high"),
    *("with_more", "with_more_low", "with_more_high", "place_with_more"),
    *("accuracy_with_more", "accuracy_with_more_low", "accuracy_with_more_high"),
    *("r2", "r2_low", "r2_high", "r2_with_more", "r2_with_more_low", "r2_with_more_high"),
    *("auc", "auc_low", "auc_high", "auc_behind", "auc_behind_low", "auc_behind_high"),
    *("ridge", "df", "participation_ratio", "alignment", "balanced"),
)
"""Columns of a ranking."""
BY_OUTPUT = ("output", "representation", *OUTPUTS)
"""Columns of what is explained of each output."""


def ranking(probes: Mapping[str, Probe], by: str) -> pd.DataFrame:
    """Representations in the order of their accuracy or risk, each compared with each.

    Args:
        probes: Probes of the same samples, by the name of their representation.
        by: `accuracy`, of targets that encode classes, or `risk`.

    Returns:
        One row per representation, the best first, with the columns `COLUMNS`. `place_low` to
        `place_high` are the places that the paired intervals of 95 % leave it; `behind` is its risk
        less that of the first and `accuracy_behind` the accuracy of the first less its own; `tied`
        is whether the interval of the one that the order is by holds 0. Columns `…with_more` are
        for `MORE` times the samples, at the best ridge there; `place_with_more` is the order of
        these accuracies or risks. Accuracies are shares in [0, 1], NaN for targets that encode no
        classes; R² is NaN for those that do, and `auc`, the mean over labels, for all but labels;
        `auc_behind` is that of the first less its own. Where `balanced`, every class counts the
        same in risks and accuracies.

    Raises:
        UsageError: Another order; or probes of different numbers of samples.
    """
    apart = _DIFFERENCES[choice(by, "by", ORDERS)]
    names = sorted(probes, key=lambda name: _rank_of(name, probes[name], by))
    places = _places([probes[name] for name in names], apart)
    rows = [
        _row(name, probes[name], probes[names[0]], place)
        | {"tied": name == names[0] or not apart(probes[name], probes[names[0]]).sure}
        for name, place in zip(names, places, strict=True)
    ]
    table = pd.DataFrame(rows)
    later = 1 - table["accuracy_with_more"] if by == "accuracy" else table["with_more"]
    return table.assign(place_with_more=later.rank(method="min"))[list(COLUMNS)]


_DIFFERENCES: Mapping[str, Callable[[Probe, Probe], Difference]] = {
    "accuracy": error_difference,
    "risk": risk_difference,
}
"""The paired difference of two representations, in each of `ORDERS`."""


def _rank_of(name: str, probe: Probe, by: str) -> tuple[float, float, str]:
    """What representations are sorted by; of one accuracy, by risk."""
    loo = float(probe.best["loo"])
    return (probe.figures["error"] if by == "accuracy" else loo, loo, name)


def _places(
    ordered: list[Probe], apart: Callable[[Probe, Probe], Difference]
) -> list[dict[str, int]]:
    """The place of each, and those that the others surely better and surely worse leave it."""
    better, worse = np.zeros(len(ordered), int), np.zeros(len(ordered), int)
    for here, first in enumerate(ordered):
        for there in range(here + 1, len(ordered)):
            if apart(first, ordered[there]).sure:
                better[there] += 1
                worse[here] += 1
    return [
        {
            "place": place + 1,
            "place_low": int(better[place]) + 1,
            "place_high": len(ordered) - int(worse[place]),
        }
        for place in range(len(ordered))
    ]


def _row(name: str, probe: Probe, first: Probe, place: dict[str, int]) -> dict[str, object]:
    best, figures = probe.best, probe.figures
    behind = Difference(0.0, 0.0) if probe is first else risk_difference(probe, first)
    wrong = Difference(0.0, 0.0) if probe is first else error_difference(probe, first)
    more = _with_more(probe)
    return {
        "representation": name,
        **place,
        **{column: best[column] for column in ("loo", "loo_low", "loo_high", "ridge", "df")},
        **_three("behind", behind.value, *behind.interval),
        **_accuracy("accuracy", figures["error"], figures["error_low"], figures["error_high"]),
        **_three("accuracy_behind", wrong.value, *wrong.interval),
        **_three("with_more", more["predicted_risk"], more["low"], more["high"]),
        **_accuracy(
            "accuracy_with_more", more["predicted_error"], more["error_low"], more["error_high"]
        ),
        **_explained(probe, more),
        **_area(probe, first),
        "participation_ratio": figures["participation_ratio"],
        "alignment": figures["alignment"],
        "balanced": probe.balanced,
    }


def _explained(probe: Probe, more: Mapping[str, float]) -> dict[str, float]:
    """R² with its interval, now and with more images; NaN for classes."""
    known = probe.explained
    if known is None:
        none = (np.nan,) * 3
        return _three("r2", *none) | _three("r2_with_more", *none)
    risks = (more["predicted_risk"], more["high"], more["low"])
    later = (known.r2_at(risk, MORE * probe.n) for risk in risks)
    return _three("r2", known.r2, known.low, known.high) | _three("r2_with_more", *later)


def _area(probe: Probe, first: Probe) -> dict[str, float]:
    """The mean AUC with its interval, and how far it is below the first; NaN but for labels."""
    known = Area.none() if probe.explained is None else probe.explained.area
    behind = area_difference(first, probe)
    return _three("auc", known.value, known.low, known.high) | _three(
        "auc_behind", behind.value, *behind.interval
    )


def output_table(probes: Mapping[str, Probe], names: Sequence[str]) -> pd.DataFrame:
    """What each representation explains of each value or label, one at a time.

    The ridge of a representation is that of all of them together.

    Args:
        probes: Probes of the same samples, by the name of their representation.
        names: The names of the values or labels.

    Returns:
        One row per representation and output, with the columns `BY_OUTPUT`: the outputs in their
        order, and of each the representations by `r2`, the best first; without rows for classes.
    """
    named = {"output": list(names), "at": range(len(names))}
    parts = [
        probe.explained.outputs.assign(representation=name, **named)
        for name, probe in probes.items()
        if probe.explained is not None
    ]
    if not parts:
        return pd.DataFrame(columns=list(BY_OUTPUT))
    order = ["at", "r2", "representation"]
    table = pd.concat(parts).sort_values(order, ascending=[True, False, True], kind="stable")
    return table[list(BY_OUTPUT)].reset_index(drop=True)


def _with_more(probe: Probe) -> Mapping[str, float]:
    rows = probe.outlook[probe.outlook["n"] == MORE * probe.n]
    return rows.iloc[0] if len(rows) else dict.fromkeys(probe.outlook.columns, np.nan)


def _three(name: str, value: float, low: float, high: float) -> dict[str, float]:
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def _accuracy(name: str, error: float, low: float, high: float) -> dict[str, float]:
    """The three numbers of an accuracy, whose interval has its ends the other way round."""
    return _three(name, 1 - error, 1 - high, 1 - low)


def pareto_front(gains: ArrayLike, costs: ArrayLike) -> np.ndarray:
    """Which of several choices no other one beats: none gains as much for less or more for as much.

    Args:
        gains: (k,), more is better; NaN is beaten by all.
        costs: (k,), less is better; NaN is beaten by all.

    Returns:
        Booleans, (k,).
    """
    gains, costs = np.asarray(gains, float), np.asarray(costs, float)
    known = np.isfinite(gains) & np.isfinite(costs)
    front = known.copy()
    for place in np.flatnonzero(known):
        no_worse = (gains >= gains[place]) & (costs <= costs[place])
        front[place] = not (no_worse & ((gains > gains[place]) | (costs < costs[place]))).any()
    return front
