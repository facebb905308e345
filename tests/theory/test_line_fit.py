"""The exponent of a power law: planted ones, and refusals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtgen.errors import UsageError
from rmtgen.theory.scaling import (
    power_law,
)


@settings(max_examples=50)
@given(
    st.floats(-3, 3).filter(lambda a: abs(a) > 0.01),
    st.floats(-3, 3),
    st.integers(3, 20),
    st.floats(4.01, 1000),
)
def test_a_planted_power_law_is_found(exponent, log_factor, points, span):
    x = np.geomspace(7, 7 * span, points)
    law = power_law(x, np.exp(log_factor) * x**exponent, "y")
    assert law.slope == pytest.approx(exponent, abs=1e-9)
    assert law.standard_error == pytest.approx(0, abs=1e-6)
    assert (law.points, law.first, law.last) == (points, x[0], x[-1])


def test_the_standard_error_is_that_of_least_squares():
    """Against the textbook formula, and against the spread of 300 draws."""
    rng, x, slopes = np.random.default_rng(0), np.geomspace(10, 400, 9), []
    t = np.log(x) - np.log(x).mean()
    for _ in range(300):
        y = x**-1.2 * np.exp(0.05 * rng.standard_normal(9))
        law = power_law(x, y, "y")
        left = np.log(y) - np.log(y).mean() - law.slope * t
        assert law.standard_error == pytest.approx(np.sqrt(left @ left / 7 / (t @ t)), rel=1e-6)
        slopes.append(law.slope)
    assert np.std(slopes) == pytest.approx(0.05 / np.sqrt(t @ t), rel=0.2)


X = np.array([30.0, 60.0, 90.0, 120.0])


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (
            X[[0, 3]],
            [2.0, 1.0],
            (
                "an exponent of κ needs at least 3 points over a factor of 4: got 2 from 30 to 120."
                " Take more"
            ),
        ),
        (X[:0], [], "at least 3 points over a factor of 4: got 0. Take"),
        (X[:3], [3.0, 2.0, 1.0], "over a factor of 4: got 3 from 30 to 90"),
        (X, [4.0, np.nan, 2.0, 1.0], "an exponent of κ needs finite, positive values: got nan"),
        (X, [4.0, 3.0, np.inf, 1.0], "finite, positive values: got inf"),
        (X, [4.0, 3.0, 2.0, 0.0], "finite, positive values: got 0"),
        (X, [4.0, 3.0, -2.0, 1.0], "finite, positive values: got -2"),
        (
            X,
            [4.0, 3.0, 3.5, 1.0],
            "an exponent of κ needs values that rise or fall throughout: got 3 at 60, then 3.5",
        ),
        (X, [1.0, 2.0, 2.0, 4.0], "rise or fall throughout: got 2 at 60, then 2"),
    ],
)
def test_a_curve_without_an_exponent_is_refused(x, y, message):
    with pytest.raises(UsageError, match=message):
        power_law(x, np.array(y), "κ")


def test_a_factor_of_four_is_enough():
    assert power_law(X, 1 / X, "κ").slope == pytest.approx(-1, rel=1e-12)
    assert power_law(X, X**2, "κ").slope == pytest.approx(2, rel=1e-12)
