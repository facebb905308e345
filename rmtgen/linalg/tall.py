"""Modes of many samples of few features, from XᵀX, with long products in float32.

XᵀX = V diag(s) Vᵀ is p×p, summed in float64; the modes U = XV diag(s)^(−1/2) are one product of
float32, which is a perturbation of each feature vector by its last digit. A thin singular value
decomposition of X (`feature_modes`) does several times the work, all of it in float64. What it
keeps and this does not are modes below `CUT` of tr K: at a sum ridge δ above 100 times that they
are shrunk to 1 % and less.

Notation: n samples, p features, r modes; K = XXᵀ.
"""

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from rmtgen.linalg.modes import Modes
from rmtgen.linalg.rows import Matrix
from rmtgen.linalg.verified import symmetric_eigh

CUT = 1e-11
"""Eigenvalue at or below which a direction counts as null, relative to tr K."""
ROWS = 4096
"""Number of samples in a product."""
COLUMNS = 128
"""Number of rows of XᵀX in a product: what lies above the diagonal is hardly computed."""


Room = Callable[[int, int], Float32[Tensor, "n r"]]
"""What makes a matrix to be filled, of so many rows and columns."""


def tall_modes(features: Matrix, intercept: bool, room: Room | None = None) -> Modes:
    """Modes of K = XXᵀ for n well above p, to about six digits.

    Beside the features it holds U in float32, and a few matrices p×p.

    Args:
        features: X (n, p), finite, of a scale whose squares are float64 (`FeatureKernel.unit`).
        intercept: Subtract the mean feature vector.
        room: What U is written to; None: memory.

    Returns:
        The modes, with U in float32 and V.

    Raises:
        NumericalError: The eigensolve failed, or its check.
    """
    means = _means(features) if intercept else None
    square = _square(features, means)
    trace = square.diagonal().sum().item()
    if means is not None:
        trace += len(features) * means.square().sum().item()
    (system,) = symmetric_eigh(square[None], [trace])
    kept = system.values.flip(0) > CUT * trace
    values, right = system.values.flip(0)[kept], system.vectors.flip(1)[:, kept]
    turn = (right / values.sqrt()).float()
    vectors = (room or turn.new_empty)(len(features), len(values))
    for place, rows in _centred(features, means, torch.float32):
        torch.mm(rows, turn, out=vectors[place])
    checks = system.residual, system.orthogonality
    return Modes(values, vectors, intercept, CUT * trace, *checks, right)


def _means(features: Matrix) -> Float64[Tensor, " p"]:
    parts = [rows.sum(dim=0, dtype=torch.float64) for rows in features.split(ROWS)]
    return torch.stack(parts).sum(dim=0) / len(features)


def _centred(
    features: Matrix, means: Float64[Tensor, " p"] | None, dtype: torch.dtype
) -> Iterator[tuple[slice, Float[Tensor, "b p"]]]:
    """Rows of features less some means, and where they stand, in turn: each overwrites the last."""
    kept = features[:1].new_empty(min(ROWS, len(features)), features.shape[1], dtype=dtype)
    for start in range(0, len(features), ROWS):
        rows = features[start : start + ROWS]
        place, part = slice(start, start + len(rows)), kept[: len(rows)]
        if means is None:
            yield place, rows if rows.dtype == dtype else part.copy_(rows)
        else:
            yield place, torch.sub(rows, means, out=part)


def _square(features: Matrix, means: Float64[Tensor, " p"] | None) -> Float64[Tensor, "p p"]:
    """XᵀX of features less some means; hardly more than the lower triangle is computed."""
    p = features.shape[1]
    square = torch.zeros(p, p, dtype=torch.float64, device=features.device)
    for _, rows in _centred(features, means, torch.float64):
        for low in range(0, p, COLUMNS):
            high = min(low + COLUMNS, p)
            square[low:high, :high].addmm_(rows[:, low:high].mT, rows[:, :high])
    lower = square.tril(-1)
    return square.diagonal().diag() + lower + lower.mT
