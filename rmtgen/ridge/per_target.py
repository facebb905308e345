"""One ridge an output: leave-one-out and GCV of each output at each ridge from one decomposition.

Notation of `rmtgen.ridge`: n samples, c outputs, r modes, l ridges. Outputs share the kernel, so
that they share its modes and, at each ridge, the leverages. Beside the eigensolve a ridge costs the
product U(wC), 2nrc operations, whether its squares are then summed over samples and outputs or over
samples alone. GCV of each output adds 2rc, and the interval at the ridge that is chosen a few
products m×m, m ≤ 384, an output (`output_pairs`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int64
from numpy.typing import ArrayLike
from torch import Tensor

from rmtgen.checks import ridge_values
from rmtgen.entrance import public
from rmtgen.errors import UsageError
from rmtgen.linalg.modes import Modes
from rmtgen.ridge.interval import LEAST_SAMPLES, bounds, paired, risk_error
from rmtgen.ridge.left_out import Parts, Turn
from rmtgen.ridge.output_pairs import pair_covariances
from rmtgen.ridge.path import warn_single
from rmtgen.scalars import instance

OUTPUTS_AT_ONCE = 256
"""Number of outputs whose residuals are held at a time."""


@dataclass(frozen=True, eq=False)
class PerTargetPath:
    """Leave-one-out and GCV of each output, and the ridge of its least leave-one-out risk.

    Attributes:
        ridges: λ, ascending, each once.
        loo: Leave-one-out risk of each output at each ridge.
        gcv: GCV, likewise.
        ridge: λ of the least `loo` of each output, the largest in a tie.
        loo_low: Lower end of the interval of 95 % for the risk of the fit at `ridge`, as in
            `ridge_path`; NaN below eight samples, and where two samples are the same to the kernel
            at a ridge near 0. It does not account for the choice of the ridge.
        loo_high: Its upper end.
    """

    ridges: Float64[np.ndarray, " l"]
    loo: Float64[np.ndarray, "l c"]
    gcv: Float64[np.ndarray, "l c"]
    ridge: Float64[np.ndarray, " c"]
    loo_low: Float64[np.ndarray, " c"]
    loo_high: Float64[np.ndarray, " c"]


@public
def per_target_path(
    modes: Modes, targets: np.ndarray | Tensor, *, ridges: ArrayLike
) -> PerTargetPath:
    """Exact leave-one-out and GCV of each output at each ridge, as if each were fitted alone.

    For many outputs whose best ridges differ, such as voxels. The columns `loo` and `gcv` of
    `ridge_path` are the sums over outputs. Beside the arguments and the result a few times
    n × `OUTPUTS_AT_ONCE` numbers are held.

    Args:
        modes: Modes of the samples, from `gram_modes` or `feature_modes`, which also say whether
            there is an intercept.
        targets: (n,) or (n, c).
        ridges: λ ≥ 0, a number or (l,); 0 is the minimum-norm interpolant.

    Returns:
        The path, in squared units of the targets.

    Raises:
        UsageError: No modes, ridges that are not valid, another number of targets than of samples,
            or a single sample with an intercept.
        NumericalError: Targets that are not finite.

    Warns:
        RmtgenWarning: A float32 Gram matrix does not resolve a ridge, as in `ridge_path`.

    References:
        Golub, Heath & Wahba 1979; Allen 1974 (PRESS). One ridge a voxel: Nunez-Elizalde, Huth &
        Gallant, Voxelwise encoding models with non-spherical multivariate normal priors, 2019.

    Example:
        >>> import numpy as np
        >>> from rmtgen import feature_modes, per_target_path
        >>> X = np.random.default_rng(0).standard_normal((60, 5))
        >>> Y = np.stack([X[:, 0], 2 * np.sin(40 * X[:, 1])], axis=1)
        >>> path = per_target_path(feature_modes(X, intercept=True), Y, ridges=[1e-3, 1e-1, 10.0])
        >>> path.ridge.tolist()
        [0.001, 10.0]
    """
    cure = "Call gram_modes or feature_modes."
    modes = instance(modes, Modes, "modes", cure)
    values, wanted = np.unique(ridge_values(ridges, "ridges")), modes.matched(targets)
    if not modes.n_eff:
        raise UsageError(
            "an intercept needs at least 2 samples: got 1. Take modes with intercept=False."
        )
    found = solve_outputs(modes, wanted, values, by="loo")
    return PerTargetPath(
        values, found.loo, found.gcv, values[found.place], found.loo_low, found.loo_high
    )


@dataclass(frozen=True, eq=False)
class Outputs:
    """What `PerTargetPath` has, with the place of each ridge that is chosen."""

    loo: Float64[np.ndarray, "l c"]
    gcv: Float64[np.ndarray, "l c"]
    place: Int64[np.ndarray, " c"]
    loo_low: Float64[np.ndarray, " c"]
    loo_high: Float64[np.ndarray, " c"]


def solve_outputs(
    modes: Modes,
    targets: Float64[Tensor, "n c"],
    ridges: Float64[np.ndarray, " l"],
    *,
    by: str,
    turn: Turn | None = None,
) -> Outputs:
    """Every output at every ridge, and its choice by the least "loo" or "gcv".

    Args:
        modes: Those of K, or of RKR.
        targets: Y in the basis of the samples.
        ridges: λ, ascending.
        by: The criterion.
        turn: R.
    """
    loo, variance, gcv = curves = np.empty((3, len(ridges), targets.shape[1]))
    families = list(_families(modes, modes.n * ridges, turn))
    if modes.untruncated is not None:
        warn_single([row for family in families for row in family.rows(modes.tolerance)])
    for family in families:
        curves[:, family.places] = family.curves(targets)
    place, outputs = least({"loo": loo, "gcv": gcv}[by]), np.arange(targets.shape[1])
    covariance = np.full(len(outputs), np.nan)
    if modes.n >= LEAST_SAMPLES:
        for family in families:
            family.add_covariances_(covariance, place, targets)
    error = risk_error(variance[place, outputs], covariance, modes.n)
    known = np.where(modes.n < LEAST_SAMPLES, np.nan, loo[place, outputs])
    return Outputs(loo, gcv, place, *bounds(known, error))


def least(curves: Float64[np.ndarray, "l c"]) -> Int64[np.ndarray, " c"]:
    """The place of the smallest of each curve, the last in a tie."""
    return len(curves) - 1 - curves[::-1].argmin(axis=0)


def _families(
    modes: Modes, sum_ridges: Float64[np.ndarray, " l"], turn: Turn | None
) -> Iterator["_Family"]:
    """The ridges with the modes that count at them: those of a float32 Gram matrix differ."""
    fine = np.array([modes.at(sum_ridge) is modes for sum_ridge in sum_ridges.tolist()])
    for places in (fine.nonzero()[0], (~fine).nonzero()[0]):
        if len(places):
            own = sum_ridges[places]
            yield _Family.of(Parts.of(modes.at(own[0].item()), turn), places, own)


@dataclass(frozen=True, eq=False)
class _Family:
    """Ridges that share their modes.

    Attributes:
        parts: K in its modes.
        places: Places of the ridges on the grid.
        sum_ridges: δ of each.
        diagonals: Diagonals of U diag(w) Uᵀ, a column each.
    """

    parts: Parts
    places: Int64[np.ndarray, " k"]
    sum_ridges: Float64[np.ndarray, " k"]
    diagonals: Float64[Tensor, "n k"]

    @classmethod
    def of(
        cls, parts: Parts, places: Int64[np.ndarray, " k"], sum_ridges: Float64[np.ndarray, " k"]
    ) -> "_Family":
        """The ridges, with what all outputs share."""
        shifts = parts.modes.values.new_tensor(sum_ridges)
        return cls(parts, places, sum_ridges, parts.diagonals(shifts))

    def rows(self, rounding: float) -> list[dict[str, float]]:
        """What says whether a float32 Gram matrix resolves each ridge."""
        modes, found = self.parts.modes, []
        for sum_ridge in self.sum_ridges.tolist():
            freedom = (modes.values / (modes.values + sum_ridge)).sum().item() + modes.intercept
            row = {"n": modes.n, "ridge": sum_ridge / modes.n, "df": freedom}
            found.append(row | {"rounding": rounding})
        return found

    def curves(self, targets: Float64[Tensor, "n c"]) -> Float64[np.ndarray, "3 k c"]:
        """The leave-one-out risk, the variance of its losses, and GCV of each output."""
        blocks = targets.split(OUTPUTS_AT_ONCE, dim=1)
        return np.concatenate([self._curves(block) for block in blocks], axis=-1)

    def _curves(self, targets: Float64[Tensor, "n c"]) -> Float64[np.ndarray, "3 k c"]:
        parts, n = self.parts, len(targets)
        coefficients, null_part = parts.split(targets)
        power, null_energy = coefficients.square(), null_part.square().sum(dim=0)
        rows = []
        for number, sum_ridge in enumerate(self.sum_ridges.tolist()):
            diagonal = self.diagonals[:, number : number + 1]
            losses = parts.residuals(sum_ridge, coefficients, null_part, diagonal).square_()
            variance, mean = torch.var_mean(losses, dim=0, correction=int(n > 1))
            energy = parts.scaled(sum_ridge).square() @ power + null_energy
            rows.append(torch.stack([mean, variance, n * energy / parts.trace(sum_ridge) ** 2]))
        return torch.stack(rows, dim=1).cpu().numpy()

    def add_covariances_(
        self,
        covariance: Float64[np.ndarray, " c"],
        place: Int64[np.ndarray, " c"],
        targets: Float64[Tensor, "n c"],
    ) -> None:
        """Fill in `interval.pair_covariance_` of the outputs whose ridge is one of these.

        Args:
            covariance: That of each output.
            place: The place of its ridge on the grid.
            targets: Y.
        """
        chosen = torch.from_numpy(paired(len(targets))).to(targets.device)
        for number, sum_ridge in zip(self.places, self.sum_ridges.tolist(), strict=True):
            own = (place == number).nonzero()[0]
            if len(own):
                outputs = torch.from_numpy(own).to(targets.device)
                dual = self.parts.dual(sum_ridge, targets[:, outputs], chosen)
                found = pair_covariances(self.parts.block(sum_ridge, chosen), dual)
                covariance[own] = found.cpu().numpy()
