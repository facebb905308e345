"""Nearest neighbours: the accuracy of leave-one-out votes.

Notation: n images, p features, c classes, k neighbours, b rows of a block.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float64, Int64
from numpy.typing import ArrayLike
from torch import Tensor

from rmtgen.entrance import public
from rmtgen.errors import UsageError
from rmtgen.ranking.rivals.inputs import Labelled, labelled_features
from rmtgen.scalars import choice, whole_number

NEIGHBOURS = (1, 5, 10, 20)
"""Numbers of neighbours that are tried unless others are asked for."""
METRICS = ("cosine", "euclidean")
"""Distances between images."""
ENTRIES = 2**22
"""Number of distances that are held at a time."""
TIE = 1e-12
"""Difference of two squared distances, relative to the squared norms, below which they tie."""
SAME = 1e-9
"""Difference of two numbers of votes below which they tie."""


@public
def neighbour_accuracy(
    features: ArrayLike | Tensor,
    labels: ArrayLike | Tensor,
    *,
    neighbours: Sequence[int] | None = None,
    metric: str = "cosine",
) -> float:
    """The accuracy of k nearest neighbours, leaving each image out, at the best k.

    The k images nearest to an image vote for its class. Ties depend on no order: where images at
    the distance of the k-th are more than the votes left, they share these equally; where several
    classes lead, an image of one of them counts 1/(their number) as right. Distances to a block of
    images are held at a time, never all n².

    Args:
        features: (n, p), float32 or float64; computed in float64 on their device.
        labels: (n,) integers.
        neighbours: Numbers k from 1 to n − 1. None: 1, 5, 10 and 20, as far as n − 1 allows.
        metric: "cosine", or "euclidean" after the mean is subtracted.

    Returns:
        The largest accuracy over k, in [0, 1].

    Raises:
        UsageError: Not a matrix and a vector of integers of one length; fewer than two images or
            classes; equal features for all images; no k, or one out of range; an unknown metric; a
            row of zeros, which has no cosine.
        NumericalError: NaN or infinite entries.

    References:
        Cover & Hart, Nearest neighbor pattern classification, 1967.
    """
    data = labelled_features(features, labels)
    tried = _checked_neighbours(neighbours, len(data.labels) - 1)
    rows = _placed(data, choice(metric, "metric", METRICS))
    norms = rows.square().sum(dim=1)
    right = rows.new_zeros(len(tried))
    size = max(1, ENTRIES // len(rows))
    for start in range(0, len(rows), size):
        block = slice(start, start + size)
        distances = (norms[block, None] + norms).addmm_(rows[block], rows.mT, alpha=-2)
        distances[:, block].fill_diagonal_(torch.inf)
        right += _right(distances, norms[block], data, tried, start)
    return right.max().item() / len(rows)


def _checked_neighbours(neighbours: Sequence[int] | None, most: int) -> list[int]:
    if neighbours is None:
        return [k for k in NEIGHBOURS if k <= most]
    cure = "An image has no other neighbours than the rest."
    tried = [whole_number(k, "neighbours", least=1, most=most, cure=cure) for k in neighbours]
    if not tried:
        raise UsageError("neighbours must be one number or more: got none. Pass (1, 5), say.")
    return tried


def _placed(data: Labelled, metric: str) -> Float64[Tensor, "n p"]:
    """Rows whose squared Euclidean distances order neighbours as the metric does."""
    rows = data.rows.double()
    if metric == "euclidean":
        return rows - rows.mean(dim=0)
    lengths = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    if not lengths.all():
        row = int((lengths == 0).nonzero()[0, 0])
        raise UsageError(
            f"features must have a direction for the cosine: got zeros alone in row {row}. Pass"
            " metric='euclidean', or leave out that image."
        )
    return rows / lengths


def _right(
    distances: Float64[Tensor, "b n"],
    norms: Float64[Tensor, " b"],
    data: Labelled,
    tried: Sequence[int],
    start: int,
) -> Float64[Tensor, " k"]:
    """How many rows of a block, from row `start` on, each k has right."""
    most = max(tried)
    nearest = distances.topk(most, largest=False).values
    cutoffs = nearest + TIE * (norms[:, None] + nearest)
    row, column = (distances <= cutoffs[:, -1:]).nonzero(as_tuple=True)
    near, label = distances[row, column], data.labels[column]
    truth = data.labels[start : start + len(distances), None]
    right = []
    for k in tried:
        weights = _weights(near, row, nearest[:, k - 1], cutoffs[:, k - 1], k)
        votes = distances.new_zeros(len(distances), len(data.classes))
        votes.index_put_((row, label), weights, accumulate=True)
        leading = (votes >= votes.amax(dim=1, keepdim=True) - SAME).double()
        right.append((leading.gather(1, truth)[:, 0] / leading.sum(dim=1)).sum())
    return torch.stack(right)


def _weights(
    near: Float64[Tensor, " pairs"],
    row: Int64[Tensor, " pairs"],
    kth: Float64[Tensor, " b"],
    cutoff: Float64[Tensor, " b"],
    k: int,
) -> Float64[Tensor, " pairs"]:
    """The vote of each neighbour: 1 within the k-th distance, a share of what is left at it."""
    inside = near < (2 * kth - cutoff)[row]
    tied = (near <= cutoff[row]) & ~inside
    counts = [torch.zeros_like(kth).index_add_(0, row, mask.double()) for mask in (inside, tied)]
    share = (k - counts[0]) / counts[1]
    return inside + tied * share[row]
