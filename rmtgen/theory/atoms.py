"""A population of few atoms: what curves go on with where the number of features is known.

Power laws let df1 grow for ever, but p features have df1 ≤ p. Let h_a ≥ 0 of the p eigenvalues be
σ_a, on a grid fixed in advance, with the target power v_a ≥ 0 together, and let noise ≥ 0. Then

    df1 = Σ h_a L_a,    df1 − df2 = Σ h_a L_a(1 − L_a),    B + noise = Σ v_a (1 − L_a)² + noise,

with L_a = σ_a/(σ_a + κ), are linear in what is not known. It is fitted to what a pool measures by
non-negative least squares of the relative errors. Many populations fit as well; of those the fit
prefers Σ h_a = p, h_a and v_a that are smooth in log σ next to a power law, and, of power that
nothing measured tells from noise, noise.

References: Lawson & Hanson 1974, chapter 23 (non-negative least squares); El Karoui 2008 and
Ledoit & Wolf 2015 fit atoms to a spectrum in other ways.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.optimize import nnls

from rmtgen.errors import NumericalError
from rmtgen.theory.curves import TRUSTED, Below, Curves, below

PER_DECADE = 12
"""Number of atoms per decade of σ."""
MOST_ATOMS = 400
"""Largest number of atoms; a wider range has fewer per decade."""
UNRESOLVED = 1e-4
"""Smallest σ, relative to the smallest measured κ: an atom there adds a ten-thousandth of itself to
df1. It is smaller in proportion where p is larger than the pool."""
LARGEST = 10.0
"""Largest σ, relative to the largest measured κ."""
LEAST_DF1 = 0.5
"""Smallest df1 that atoms are fitted to."""
FITTED_POINTS = 70
"""Approximate number of points that atoms are fitted to."""
ROUGHNESS = 2e-4
"""Weight of the second derivative in log10 σ of the atoms over their reference."""
HIDDEN = 1e-3
"""Weight of the power of atoms below the smallest measured κ, over its reference."""
TOTAL = 20.0
"""Weight of the relative error of Σ h_a = p."""
DENSEST = 1.75
"""Largest share of the features per decade that the reference has: more takes roughness."""
RAREST = 1e-9
"""Smallest number of eigenvalues of an atom in the reference of the power, over the largest."""


@dataclass(frozen=True, eq=False)
class Atoms:
    """The eigenvalues of a population on a grid, and what they are fitted to.

    Attributes:
        sigma: σ_a, ascending.
        count: h_a, the number of eigenvalues.
        kappa: κ of the measured points, ascending.
        floor: B(κ) + noise there.
    """

    sigma: Float64[np.ndarray, " m"]
    count: Float64[np.ndarray, " m"]
    kappa: Float64[np.ndarray, " k"]
    floor: Float64[np.ndarray, " k"]

    @classmethod
    def of(cls, whole: Curves, directions: int, features: int) -> "Atoms":
        """The eigenvalues of p features, from the curves of a pool with so many directions.

        Raises:
            NumericalError: Too few points to fit them to.
        """
        chosen = np.flatnonzero(whole.between(LEAST_DF1, TRUSTED * directions, directions))
        chosen = chosen[:: max(1, len(chosen) // FITTED_POINTS)]
        kappa, df1, df2 = whole.kappa[chosen], whole.df1[chosen], whole.df2[chosen]
        sigma = _grid(kappa, min(1.0, directions / features))
        learnt = sigma / (sigma + kappa[:, None])
        reference = _reference(sigma, learnt[0], df1[0], df2[0], features)
        rows = (
            learnt * reference / df1[:, None],
            learnt * (1 - learnt) * reference / (df1 - df2)[:, None],
            TOTAL / features * reference[None],
            _roughness(sigma),
        )
        wanted = np.ones(2 * len(kappa)), [TOTAL], np.zeros(len(sigma) - 2)
        count = _non_negative(np.concatenate(rows), np.concatenate(wanted)) * reference
        return cls(sigma, count, kappa, whole.floor[chosen])

    def power(self) -> tuple[Float64[np.ndarray, " m"], float]:
        """(v_a, noise)."""
        rows, wanted, reference = self._power_fit()
        hidden = np.diag(np.where(self.sigma < self.kappa[0], HIDDEN, 0.0))
        rows, wanted = np.concatenate([rows, hidden]), np.append(wanted, np.zeros(len(hidden)))
        unit = self.floor.min()
        constant = np.append(unit / self.floor, np.zeros(len(wanted) - len(self.floor)))
        *found, noise = _non_negative(np.column_stack([rows, constant]), wanted)
        return np.array(found) * reference, float(noise * unit)

    def noiseless_power(self) -> tuple[Float64[np.ndarray, " m"], float]:
        """(v_a, 0) of targets without noise: what looks like it is power of the smallest atoms."""
        rows, wanted, reference = self._power_fit()
        return _non_negative(rows, wanted) * reference, 0.0

    def _power_fit(
        self,
    ) -> tuple[Float64[np.ndarray, "r m"], Float64[np.ndarray, " r"], np.ndarray]:
        """Rows and right side of the fit without noise, and the unit of its coefficients."""
        unlearnt = self.kappa[:, None] / (self.sigma + self.kappa[:, None])
        reference = np.maximum(self.count, RAREST * self.count.max()) * np.sqrt(self.sigma)
        reference *= self.floor.max() / reference.sum()
        rows = np.square(unlearnt) * reference / self.floor[:, None], _roughness(self.sigma)
        wanted = np.ones(len(self.kappa)), np.zeros(len(rows[1]))
        return np.concatenate(rows), np.concatenate(wanted), reference

    def curves(
        self, kappa: Float64[np.ndarray, " b"], power: Float64[np.ndarray, " m"], noise: float
    ) -> tuple[Float64[np.ndarray, " b"], ...]:
        """df1, df2 and B + noise at effective ridges."""
        learnt = self.sigma / (self.sigma + kappa[:, None])
        squares = np.square(learnt)
        return learnt @ self.count, squares @ self.count, np.square(1 - learnt) @ power + noise


def atomic(whole: Curves, directions: int, features: int) -> Below:
    """The extrapolation of the curves of a pool with so many directions and p features by atoms.

    Raises:
        NumericalError: Too few points to fit them to.
    """
    atoms = Atoms.of(whole, directions, features)
    return _below(whole, directions, atoms, *atoms.power())


def noiseless_atomic(whole: Curves, directions: int, features: int) -> Below:
    """As `atomic`, of targets without noise."""
    atoms = Atoms.of(whole, directions, features)
    return _below(whole, directions, atoms, *atoms.noiseless_power())


def _below(
    whole: Curves,
    directions: int,
    atoms: Atoms,
    power: Float64[np.ndarray, " m"],
    noise: float,
) -> Below:
    """The curves of atoms, joined to the measured ones by a factor that fades as κ falls."""
    first = whole.trusted_from(directions)
    start = whole.kappa[first]
    kappa = below(start)
    fitted = atoms.curves(np.append(kappa, start), power, noise)
    measured = whole.df1[first], whole.df2[first], whole.floor[first]
    df1, df2, floor = (
        values[:-1] * (known / values[-1]) ** (kappa / start)
        for values, known in zip(fitted, measured, strict=True)
    )
    return Below(kappa, df1, np.minimum(df2, df1), floor)


def _grid(kappa: Float64[np.ndarray, " k"], share: float) -> Float64[np.ndarray, " m"]:
    """The grid of σ; `share` is the number of directions over that of features."""
    low, high = np.log10([kappa[0] * UNRESOLVED * share, kappa[-1] * LARGEST])
    return np.logspace(low, high, min(MOST_ATOMS, int((high - low) * PER_DECADE) + 1))


def _reference(
    sigma: Float64[np.ndarray, " m"],
    learnt: Float64[np.ndarray, " m"],
    df1: float,
    df2: float,
    features: int,
) -> Float64[np.ndarray, " m"]:
    """Numbers of eigenvalues by the power law of df1 at the smallest measured κ, below a cap."""
    law = sigma ** -np.clip(1 - df2 / df1, 0.05, 1)
    spacing = np.log10(sigma[1] / sigma[0])
    return np.minimum(law * df1 / (law @ learnt), DENSEST * features * spacing)


def _roughness(sigma: Float64[np.ndarray, " m"]) -> Float64[np.ndarray, "d m"]:
    """Second derivatives in log10 σ, weighted for a sum of squares that is their integral."""
    spacing = np.log10(sigma[1] / sigma[0])
    return ROUGHNESS * spacing**-1.5 * np.diff(np.eye(len(sigma)), 2, axis=0)


def _non_negative(
    rows: Float64[np.ndarray, "r m"], wanted: Float64[np.ndarray, " r"]
) -> Float64[np.ndarray, " m"]:
    try:
        return nnls(rows, wanted)[0]
    except RuntimeError as error:
        raise NumericalError(
            f"a fit of atoms must converge: {error}. Take a larger pool."
        ) from error
