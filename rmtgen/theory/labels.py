"""The labels that a risk or an error needs: forecasts, inverted."""

import numpy as np
import pandas as pd
from jaxtyping import Float64
from numpy.typing import ArrayLike

from rmtgen.checks import real_array, real_number
from rmtgen.entrance import public
from rmtgen.errors import UsageError
from rmtgen.theory.accuracy import predicted_error
from rmtgen.theory.forecast import FEWEST, labels_for_risks
from rmtgen.theory.influence import Influence

STEP = 2**0.5
"""Ratio of the sizes between which errors are interpolated."""


@public
def labels_needed(
    influence: Influence,
    risks: ArrayLike | None = None,
    *,
    errors: ArrayLike | None = None,
    most: float = 1e9,
) -> pd.DataFrame:
    """Number of labels that a risk, or a 0-1 error, needs at the ridge of smallest risk.

    Args:
        influence: Influence of the pool, from `pool_influence`.
        risks: Wanted test risks, in the squared unit of the targets. Exactly one of `risks` and
            `errors`.
        errors: Wanted 0-1 errors, in (0, 1), of a pool whose targets encode classes.
        most: Largest number of the search.

    Returns:
        One row per risk or error: `labels_for_risks`, or `error labels low high extrapolated`, the
        labels interpolated between sizes a factor of √2 apart; ∞ where n = `most` does not reach
        it. `extrapolated` marks numbers beyond the pool.

    Raises:
        UsageError: Neither or both of risks and errors, none of them, one out of range, a search
            without an end, or targets that encode no classes.
        NumericalError: A pool too small to forecast from.
    """
    if (risks is None) == (errors is None):
        given = "neither" if risks is None else "both"
        raise UsageError(f"labels are counted for risks or for errors: got {given}. Pass one.")
    if errors is None:
        return labels_for_risks(influence, risks, most)
    errors, most = np.atleast_1d(real_array(errors, "errors")).ravel(), real_number(most, "most")
    if not errors.size or not ((errors > 0) & (errors < 1)).all():
        seen = errors[~((errors > 0) & (errors < 1))][0] if errors.size else "none"
        raise UsageError(f"errors must lie in (0, 1): got {seen}. They are shares, not per cent.")
    if not 2 * FEWEST <= most < np.inf:
        raise UsageError(f"most must be finite and >= {2 * FEWEST}: got {most}.")
    steps = int(np.log(most / FEWEST) / np.log(STEP))
    sizes = np.unique(np.round(FEWEST * STEP ** np.arange(steps + 1)))
    curve = predicted_error(influence, np.unique([*sizes, np.floor(most)]))
    names = {"labels": "predicted_error", "low": "low", "high": "high"}
    found = {
        name: [_first(curve["n"].to_numpy(), curve[column].to_numpy(), error) for error in errors]
        for name, column in names.items()
    }
    rows = pd.DataFrame({"error": errors} | found)
    return rows.assign(extrapolated=rows["labels"] > influence.pool.n)


def _first(sizes: np.ndarray, errors: Float64[np.ndarray, " t"], wanted: float) -> float:
    """The smallest n whose error is the wanted one, linear in log n between the sizes."""
    least = np.minimum.accumulate(np.where(np.isnan(errors), np.inf, errors))
    if least[-1] > wanted:
        return np.inf
    place = int(np.argmax(least <= wanted))
    if not place or np.isinf(least[place - 1]):
        return float(sizes[place])
    share = (least[place - 1] - wanted) / (least[place - 1] - least[place])
    low, high = np.log(sizes[place - 1 : place + 1])
    return float(np.ceil(np.exp((1 - share) * low + share * high)))
