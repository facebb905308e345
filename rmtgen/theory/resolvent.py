"""One inverse, and fits without a sample, without a block and beside test samples from it.

Notation: n training samples, m test samples, k blocks of b samples, δ the sum ridge, G = (K +
δI)⁻¹, with an intercept P = G − wwᵀ/(1ᵀw), w = G1.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from rmtgen.errors import NumericalError

GRAIN = 1e-10
"""Rounding of a difference, relative to its terms."""
ROWS = 256
"""Number of test samples per step."""


@dataclass(frozen=True, eq=False)
class Resolvent:
    """P = G − rrᵀ at δ: r = G1/√(1ᵀG1) with an intercept, and r = 0, P = G without.

    Attributes:
        inverse: G.
        removed: r.
        sum_ridge: δ.
    """

    inverse: Float64[Tensor, "n n"]
    removed: Float64[Tensor, " n"]
    sum_ridge: float

    @property
    def diagonal(self) -> Float64[Tensor, " n"]:
        """P_ii."""
        return self.inverse.diagonal() - self.removed.square()

    @property
    def directions(self) -> int:
        """n, less one for an intercept."""
        return len(self.removed) - bool(self.removed.any())

    @property
    def kappa_prime(self) -> float:
        """κ̂' = n tr(P²)/(tr P)² ≥ 1, n the number of directions."""
        removed = self.removed
        square = torch.linalg.vector_norm(self.inverse).square() - 2 * removed @ (
            self.inverse @ removed
        )
        square += removed.square().sum().square()
        return max(1.0, (self.directions * square / self.diagonal.sum().square()).item())

    def times(self, columns: Float64[Tensor, "n c"]) -> Float64[Tensor, "n c"]:
        """P times columns."""
        return self.inverse @ columns - torch.outer(self.removed, self.removed @ columns)

    def blocks(self, index: Int64[Tensor, "k b"]) -> Float64[Tensor, "k b b"]:
        """P_BB of k blocks of samples."""
        rows, columns = index[:, :, None], index[:, None, :]
        found = self.inverse.take(rows * len(self.inverse) + columns)
        if self.directions < len(self.removed):
            found -= self.removed[rows] * self.removed[columns]
        return found


def resolvents(matrix: Float64[Tensor, "n n"], sum_ridge: float) -> tuple[Resolvent, Resolvent]:
    """The resolvents without and with an intercept; they share G.

    Raises:
        NumericalError: K + δI is not positive definite.
    """
    shifted = matrix.clone()
    shifted.diagonal().add_(sum_ridge)
    factor, failed = torch.linalg.cholesky_ex(shifted)
    del shifted
    if failed:
        raise NumericalError(
            "gram + nλI must be positive definite: its factorisation failed at row"
            f" {int(failed) - 1} with nλ = {sum_ridge:.3g}. Take a larger ridge, or compute the"
            " Gram matrix in float64."
        )
    lean = torch.cholesky_solve(matrix.new_ones(len(matrix), 1), factor)[:, 0]
    inverse = torch.cholesky_inverse(factor)
    return tuple(
        Resolvent(inverse, part, sum_ridge)
        for part in (torch.zeros_like(lean), lean / lean.sum().sqrt())
    )


def left_out(
    resolvent: Resolvent, dual: Float64[Tensor, "n c"], blocks: Int64[Tensor, "k b"]
) -> Float64[Tensor, "k b c"]:
    """Residuals Y_B − f_{−B}(X_B) of fits without each block at the same δ: (P_BB)⁻¹(PY)_B.

    With M = K + δI in blocks B and the rest C, G_BB = (M_BB − M_BC M_CC⁻¹ M_CB)⁻¹ is a Schur
    complement, and (GY)_B = G_BB(Y_B − M_BC M_CC⁻¹ Y_C), where the product is the prediction of the
    fit to C. With an intercept the same holds for the inverse of the bordered system, of which P is
    a block.
    """
    return torch.linalg.solve(resolvent.blocks(blocks), dual[blocks])


def explained(
    matrix: Float64[Tensor, "n n"], centred: Resolvent, tests: Float[Tensor, "m n"]
) -> tuple[Float64[Tensor, " n"], Float64[Tensor, " m"]]:
    """What a fit explains, k(x)ᵀPk(x), of each left-out training sample and each test sample.

    k is centred on the fit's own samples. With h_i = (HKH)_ii, H = I − 11ᵀ/n, a left-out sample
    lies at the squared distance (n/(n − 1))²h_i from the mean of the others, and 1/P_ii, a Schur
    complement, is that distance less what the fit explains of it, plus δ for the sample and
    δ/(n − 1) for the mean. So the fit explains (n/(n − 1))²h_i + δn/(n − 1) − 1/P_ii.

    A test sample has the mean over the n fits that leave a training sample j out, each of n − 1
    samples: k(x)ᵀPk(x) − Σ_j(α_j + 1/n)²/(nP_jj) + Σ_j h_j/(n(n − 1)²) + δ/(n(n − 1)), α = Pk(x).
    Under i.i.d. samples both have the same expectation, whether or not the regression has an
    intercept. Both are rounded to `GRAIN` of their terms, since ranks compare even the last digit.

    Args:
        matrix: K.
        centred: The resolvent with an intercept.
        tests: k(test, train).

    Returns:
        One value per training sample, and one per test sample.
    """
    n, sum_ridge, diagonal, means = (
        len(matrix),
        centred.sum_ridge,
        centred.diagonal,
        matrix.mean(dim=0),
    )
    norms = matrix.diagonal() - 2 * means + means.mean()
    train = (n / (n - 1)) ** 2 * norms + sum_ridge * n / (n - 1) - 1 / diagonal
    missing = norms.mean() / (n - 1) ** 2 + sum_ridge / (n * (n - 1))
    parts = []
    for rows in tests.split(ROWS):
        columns = (rows.double() - means).mT
        dual = centred.times(columns)
        lost = (dual + 1 / n).square().mT @ (1 / diagonal) / n
        parts.append((columns * dual).sum(dim=0) - lost + missing)
    grain = GRAIN * (norms.max() + sum_ridge)
    return (train / grain).round() * grain, (torch.cat(parts) / grain).round() * grain
