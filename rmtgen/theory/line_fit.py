"""The power law through positive numbers: a least-squares line in logarithms, with its error."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.stats import linregress


@dataclass(frozen=True)
class PowerLaw:
    """y ≈ constant · x^slope, by least squares in logarithms.

    Attributes:
        slope: Exponent.
        standard_error: Standard error of the exponent, from the scatter about the line; with three
            points it has one degree of freedom.
        constant: Value of the line at x = 1.
        points: Number of points of the fit.
        first: Smallest x.
        last: Largest x.
    """

    slope: float
    standard_error: float
    constant: float
    points: int
    first: float
    last: float

    @classmethod
    def of(cls, x: Float64[np.ndarray, " k"], y: Float64[np.ndarray, " k"]) -> "PowerLaw":
        """The line through (log x, log y).

        Args:
            x: Ascending, positive, three or more.
            y: Positive.
        """
        line = linregress(np.log(x), np.log(y))
        return cls(
            slope=float(line.slope),
            standard_error=float(line.stderr),
            constant=float(np.exp(line.intercept)),
            points=len(x),
            first=float(x[0]),
            last=float(x[-1]),
        )
