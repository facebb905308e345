"""Bounds below leave-one-out at a ridge, from its residuals at others.

Residuals r = δGY are linear in the weights δ/(s + δ) of the modes, so that those at some ridges
nearly span those at another one: r = a + e with a their combination nearest to r. How near follows
from the spectrum alone, and a from the residuals that are known. With g_i = δG_ii and any m, since
e is orthogonal to a,

    Σ ‖r_i‖²/g_i² = Σ ‖a_i‖²/g_i² + 2 Σ (1/g_i² − m) a_i·e_i + Σ ‖e_i‖²/g_i²
                  ≥ Σ ‖a_i‖²/g_i² − 2‖e‖ (Σ ‖a_i‖² (1/g_i² − m)²)^(1/2) + ‖e‖²/max g_i².

The mean of 1/g_i² with weights ‖a_i‖² is the best m. Where nothing is known, a = 0 leaves
GCV·(mean of g_i/max g_i)². δG is taken times a constant where it may be 0, as in `spectral`.
"""

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from rmtgen.ridge.eigen import Fit
from rmtgen.ridge.spectral import resolvent_scale

MOST = 4
"""Largest number of ridges whose residuals are kept."""
COLLINEAR = 1e-2
"""Smallest singular value of known residuals that counts, relative to the largest: what is less
would take them times so much that float32 had no digits left."""


class Bounds:
    """Leave-one-out losses of a fit, and bounds below them at ridges where they are not known.

    The residuals that it keeps take no more room than the modes, or are those of one ridge.

    Attributes:
        fit: The fit.
    """

    def __init__(self, fit: Fit):
        self.fit = fit
        self._most = min(MOST, max(1, len(fit.modes.values) // fit.null_part.shape[1]))
        self._deltas = list[float]()
        self._coordinates = list[Float64[np.ndarray, " k"]]()
        self._residuals = list[Float[Tensor, "n c"]]()
        self._products = dict[tuple[int, int], Float64[Tensor, " n"]]()

    def losses(self, sum_ridge: float, diagonal: Float64[Tensor, "n 1"]) -> Float64[Tensor, " n"]:
        """Squared leave-one-out residuals at one sum ridge, summed over outputs.

        They are made some samples at a time: at every ridge of a path an n×c matrix takes longer to
        write than to compute.

        Args:
            sum_ridge: δ.
            diagonal: That of `Fit.diagonals` at δ.
        """
        scale = self._diagonal(sum_ridge, diagonal)[:, None]
        losses, shape = torch.empty_like(scale[:, 0]), self.fit.null_part.shape
        kept = None
        if len(self._residuals) < self._most and (scale > 0).all():
            kept = self.fit.modes.vectors.new_empty(shape)
        for place, left_out in self.fit.left_out_rows(sum_ridge, diagonal):
            losses[place] = left_out.square().sum(dim=1)
            if kept is not None:
                torch.mul(left_out, scale[place], out=kept[place])
        if kept is not None:
            self._keep(sum_ridge, kept)
        return losses

    def left_out(
        self, sum_ridge: float, diagonal: Float64[Tensor, "n 1"]
    ) -> Float64[Tensor, "n c"]:
        """Leave-one-out residuals at one sum ridge, from those that are kept if it is theirs.

        Args:
            sum_ridge: δ.
            diagonal: That of `Fit.diagonals` at δ.
        """
        if sum_ridge not in self._deltas:
            return self.fit.left_out(sum_ridge)
        kept = self._residuals[self._deltas.index(sum_ridge)]
        return kept / self._diagonal(sum_ridge, diagonal)[:, None]

    def below(self, sum_ridge: float, diagonal: Float64[Tensor, "n 1"]) -> float:
        """A bound below their mean; NaN where there is none.

        Args:
            sum_ridge: δ.
            diagonal: That of `Fit.diagonals` at δ.
        """
        scale, wanted = self._diagonal(sum_ridge, diagonal), self._weights(sum_ridge)
        largest = scale.max().item() ** 2
        with np.errstate(divide="ignore", invalid="ignore"):
            bound = float(wanted @ wanted / largest)
        if self._residuals and (scale > 0).all():
            known = np.stack(self._coordinates, axis=1)
            shares, *_ = np.linalg.lstsq(known, wanted, rcond=COLLINEAR)
            missed = float(np.linalg.norm(wanted - known @ shares))
            norms, inverse = self._norms(shares), scale.square().reciprocal()
            near = (norms @ inverse).item()
            spread = (inverse - near / norms.sum()).square()
            crossed = missed * (norms @ spread).sqrt().item()
            bound = np.fmax(bound, near - 2 * crossed + missed**2 / largest)
        return bound / len(scale)

    def _diagonal(
        self, sum_ridge: float, diagonal: Float64[Tensor, "n 1"]
    ) -> Float64[Tensor, " n"]:
        """The diagonal of G̃."""
        factor = resolvent_scale(self.fit.spectrum, sum_ridge)
        return torch.add(self.fit.null_leverage, diagonal[:, 0], alpha=factor)

    def _weights(self, sum_ridge: float) -> Float64[np.ndarray, " k"]:
        """Norms of G̃Y on each mode, and on the null space."""
        spectrum = self.fit.spectrum
        weights = resolvent_scale(spectrum, sum_ridge) / (spectrum.eigenvalues + sum_ridge)
        return np.append(weights * np.sqrt(spectrum.power), np.sqrt(spectrum.null_energy))

    def _keep(self, sum_ridge: float, residuals: Float[Tensor, "n c"]) -> None:
        self._deltas.append(sum_ridge)
        self._coordinates.append(self._weights(sum_ridge))
        self._residuals.append(residuals)
        last = len(self._residuals) - 1
        for place, other in enumerate(self._residuals):
            self._products[place, last] = torch.linalg.vecdot(residuals, other).double()

    def _norms(self, shares: Float64[np.ndarray, " k"]) -> Float64[Tensor, " n"]:
        """Squared norms of the rows of a combination of the known residuals."""
        norms = torch.zeros_like(self.fit.null_leverage)
        for (first, second), products in self._products.items():
            both = (1 + (first != second)) * shares[first] * shares[second]
            norms.add_(products, alpha=float(both))
        return norms.clamp_(min=0)
