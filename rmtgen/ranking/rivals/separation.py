"""How far the classes are apart: the regularised H-score, and TransRate.

Notation: n images, p features, c classes, n_k images of class k; X centred over all images, and
S = XᵀX/n its covariance.
"""

import math

import torch
from jaxtyping import Float64
from numpy.typing import ArrayLike
from torch import Tensor

from rmtgen.checks import largest_entry, real_number
from rmtgen.entrance import public
from rmtgen.errors import NumericalError, UsageError
from rmtgen.linalg.modes import EPS64, feature_modes
from rmtgen.ranking.rivals.inputs import labelled_features


@public
def regularised_h_score(features: ArrayLike | Tensor, labels: ArrayLike | Tensor) -> float:
    """The H-score with a shrunk covariance: (1 − α) tr(S_α⁻¹ B).

    B = Σ (n_k/n) m_k m_kᵀ is the covariance of the class means m_k of X, and
    S_α = (1 − α)S + α(tr S/p) I that of the features with the shrinkage α of Ledoit and Wolf. Both
    covariances divide by n. All comes from one singular value decomposition: no matrix p×p is
    inverted where p > n. The score lies in [0, c − 1], and does not depend on the unit, the origin
    or the basis of the features.

    Args:
        features: (n, p), float32 or float64; computed in float64.
        labels: (n,) integers.

    Returns:
        The score; larger is better.

    Raises:
        UsageError: Not a matrix and a vector of integers of one length; fewer than two images or
            classes; equal features for all images.
        NumericalError: NaN or infinite entries, features that differ by no more than rounding, or a
            failed decomposition.

    References:
        Ibrahim, Ponomareva & Mazumder, Newer is not always better: rethinking transferability
        metrics, their peculiarities, stability and performance, ECML PKDD 2022. Ledoit & Wolf, A
        well-conditioned estimator for large-dimensional covariance matrices, 2004.
    """
    data = labelled_features(features, labels)
    modes = feature_modes(data.rows, intercept=True)
    if not len(modes.values):
        raise NumericalError(
            "features must differ between images by more than rounding: got"
            f" {modes.n} rows that are their mean to 16 digits. Subtract it in float64 first."
        )
    n, p = data.rows.shape
    values = modes.values / modes.values[0]  # the unit drops out, and may not be square in float64
    coefficients, _ = modes.split_rows(data.onehot)
    means = values * (coefficients.square() @ (1 / data.counts.double()))
    shrinkage = _ledoit_wolf(values, modes.vectors, p)
    shrunk = (1 - shrinkage) * values + shrinkage * values.sum() / p
    return ((1 - shrinkage) * (means / shrunk).sum()).item()


def _ledoit_wolf(values: Float64[Tensor, " r"], vectors: Float64[Tensor, "n r"], p: int) -> float:
    """Shrinkage α = min(β, δ)/δ of nS of p features, from the modes of XXᵀ.

    δ = ‖S − (tr S/p) I‖² is the distance of S from its target, and β = Σ‖x xᵀ − S‖²/n² its error;
    here both times n².
    """
    energy = values.square().sum()
    distance = energy - values.sum().square() / p
    if distance <= 10 * len(values) * EPS64 * energy:  # S is its target, as always for p = 1
        return 0.0
    norms = vectors.square() @ values
    error = norms.square().sum() - energy / len(vectors)
    return (error / distance).clamp(0, 1).item()


@public
def transrate(
    features: ArrayLike | Tensor, labels: ArrayLike | Tensor, *, distortion: float = 1e-4
) -> float:
    """TransRate: the coding rate of all features less that within the classes.

    With R(Z) = ½ log det(I + ZᵀZ/(εn)) of the n rows of Z, it is R(X) − Σ (n_k/n) R(X_k), where X_k
    are the rows of class k. The listing of the paper takes the plain mean over classes, which is
    the same where they are balanced. The score does not depend on the origin or the basis of the
    features; it does depend on their unit, since ε is a squared length.

    Args:
        features: (n, p), float32 or float64; computed in float64.
        labels: (n,) integers.
        distortion: ε > 0, the squared error up to which rows are coded, in the squared unit of the
            features.

    Returns:
        The score in nats; larger is better.

    Raises:
        UsageError: As `regularised_h_score`; an ε that is not positive and finite.
        NumericalError: NaN or infinite entries, or a rate beyond float64.

    References:
        Huang, Huang, Rong, Yang & Wei, Frustratingly easy transferability estimation, ICML 2022.
    """
    data = labelled_features(features, labels)
    distortion = real_number(distortion, "distortion")
    if not 0 < distortion < float("inf"):
        raise UsageError(
            f"distortion must be positive and finite: got {distortion}. The paper has 1e-4."
        )
    rows = data.rows.double()
    rows = rows - rows.mean(dim=0)
    within = sum(
        len(part) * _coding_rate(part, distortion)
        for part in (rows[data.labels == k] for k in range(len(data.classes)))
    )
    score = _coding_rate(rows, distortion) - within / len(rows)
    if not math.isfinite(score):
        raise NumericalError(
            f"features must be codable in float64 at this distortion: got {score} at {distortion}"
            f" for entries up to {largest_entry(data.rows):.3g}. Change their unit, or the"
            " distortion."
        )
    return score


def _coding_rate(rows: Float64[Tensor, "k p"], distortion: float) -> float:
    """½ log det(I + ZᵀZ/(εn)), in the smaller of Z and Zᵀ."""
    narrow = rows if rows.shape[0] >= rows.shape[1] else rows.mT
    scaled = narrow / (distortion * len(rows)) ** 0.5
    matrix = scaled.mT @ scaled
    matrix.diagonal().add_(1)
    return torch.linalg.slogdet(matrix).logabsdet.item() / 2
