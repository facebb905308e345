"""NCE and LEEP: how well the classes of a source head predict the labels.

Notation: n images, s source classes z with probabilities θ(x)_z of image x, c classes y.
"""

import torch
from jaxtyping import Float64
from numpy.typing import ArrayLike
from torch import Tensor

from rmtgen.entrance import public
from rmtgen.ranking.rivals.inputs import Labelled, labelled_probabilities


@public
def nce(probabilities: ArrayLike | Tensor, labels: ArrayLike | Tensor) -> float:
    """NCE: −H(y | z), the mean of log P(y | z) over the images, z the likeliest source class.

    P is the share among these images. 0 is the best value: each source class has one label.

    Args:
        probabilities: θ (n, s) of a source head, rows that sum to 1. The first of equally likely
            classes counts.
        labels: (n,) integers.

    Returns:
        The score in nats, ≤ 0; larger is better.

    Raises:
        UsageError: Not a matrix and a vector of integers of one length; rows that are no
            probabilities; fewer than two images or classes; equal probabilities for all images.
        NumericalError: NaN or infinite entries.

    References:
        Tran, Nguyen & Hassner, Transferability and hardness of supervised classification tasks,
        ICCV 2019.
    """
    data = labelled_probabilities(probabilities, labels)
    likeliest = data.rows.double().argmax(dim=1)
    chosen = torch.zeros_like(data.rows, dtype=torch.float64)
    return _mean_log_share(data, chosen.scatter_(1, likeliest[:, None], 1.0))


@public
def leep(probabilities: ArrayLike | Tensor, labels: ArrayLike | Tensor) -> float:
    """LEEP: the mean of log Σ_z P(y | z) θ(x)_z over the images.

    P(y, z) is the mean of θ(x)_z over all images, counting those of label y alone, and P(y | z) is
    P(y, z) over its sum on y.

    Args:
        probabilities: θ (n, s) of a source head, rows that sum to 1.
        labels: (n,) integers.

    Returns:
        The score in nats, ≤ 0; larger is better.

    Raises:
        UsageError: As `nce`.
        NumericalError: NaN or infinite entries.

    References:
        Nguyen, Hassner, Seeger & Archambeau, LEEP: a new measure to evaluate transferability of
        learned representations, ICML 2020.
    """
    data = labelled_probabilities(probabilities, labels)
    return _mean_log_share(data, data.rows.double())


def _mean_log_share(data: Labelled, weights: Float64[Tensor, "n s"]) -> float:
    """The mean of log Σ_z P(y | z) w_z of images with weights w over source classes."""
    joint = weights.new_zeros(len(data.classes), weights.shape[1])
    joint.index_add_(0, data.labels, weights)
    totals = joint.sum(dim=0)
    conditional = joint / totals.where(totals > 0, 1.0)  # what no image has predicts nothing
    return (weights * conditional[data.labels]).sum(dim=1).log().mean().item()
