"""Linear probes under k-fold cross-validation, by scikit-learn.

Notation: n images, p features, k folds. Both probes standardise every feature by the mean and the
standard deviation of the training folds; one that is constant there is 0. The folds are stratified
and drawn by a seed, from the images in an order of their own: by class, and by the product with a
random vector. So the accuracy does not depend on the order in which the images come.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import ArrayLike
from torch import Tensor

from rmtgen.entrance import public
from rmtgen.errors import MissingInputError, UsageError, warn
from rmtgen.ranking.rivals.inputs import Labelled, labelled_features
from rmtgen.scalars import whole_number

RELATIVE = np.logspace(-6, 1, 15)
"""Ridges of the ridge probe: scikit-learn's `alpha` over np, which is tr K of standard features."""
SPREADS = (1.0, 10.0, 100.0, 1000.0)
"""Strengths of the logistic probe: scikit-learn's `C` times p, the prior variance of a logit."""
STEPS = 1000
"""Largest number of steps of a logistic fit."""


@dataclass(frozen=True)
class Probe:
    """The accuracy of a probe over the folds.

    Attributes:
        accuracy: Mean over the folds, in [0, 1].
        standard_error: Standard deviation over the folds, divided by √k. It takes the folds as
            independent, though their fits share images, and tends to be too small.
    """

    accuracy: float
    standard_error: float


@public
def ridge_probe(
    features: ArrayLike | Tensor, labels: ArrayLike | Tensor, *, folds: int = 5, seed: int = 0
) -> Probe:
    """Accuracy of a ridge classifier (`RidgeClassifierCV`) on images left out.

    The fit is a ridge regression, with an intercept, on 1 for the class and −1 elsewhere. Its ridge
    has the smallest squared leave-one-out error within the training folds, of 15 from 1e-6 to 10
    of tr K: no fold that is left out chooses it.

    Args:
        features: (n, p), float32 or float64; computed in float64 on the CPU.
        labels: (n,) integers.
        folds: Number k ≥ 2 of folds.
        seed: Seed of the folds, ≥ 0.

    Returns:
        Mean and standard error over the folds.

    Raises:
        UsageError: Not a matrix and a vector of integers of one length; fewer than two images or
            classes; equal features for all images; a class of fewer than k images.
        NumericalError: NaN or infinite entries.
        MissingInputError: scikit-learn is not installed.
    """
    data = labelled_features(features, labels)
    classifier = _sklearn("linear_model").RidgeClassifierCV
    model = classifier(alphas=RELATIVE * data.rows.shape[0] * data.rows.shape[1])
    return _probed(data, [model], folds, seed)


@public
def logistic_probe(
    features: ArrayLike | Tensor, labels: ArrayLike | Tensor, *, folds: int = 5, seed: int = 0
) -> Probe:
    """Accuracy of multinomial logistic regression (`LogisticRegression`) on images left out.

    The strength of its L2 penalty, of four with prior variances of a logit from 1 to 1000, has the
    largest mean accuracy over the same folds. The maximum of four is slightly optimistic.

    Args:
        features: (n, p), float32 or float64; computed in float64 on the CPU.
        labels: (n,) integers.
        folds: Number k ≥ 2 of folds.
        seed: Seed of the folds, ≥ 0.

    Returns:
        Mean and standard error over the folds, at the best strength.

    Raises:
        UsageError: As `ridge_probe`.
        NumericalError: NaN or infinite entries.
        MissingInputError: scikit-learn is not installed.

    Warns:
        RmtgenWarning: Fits that have not converged after 1000 steps.
    """
    data = labelled_features(features, labels)
    classifier, p = _sklearn("linear_model").LogisticRegression, data.rows.shape[1]
    models = [classifier(C=spread / p, max_iter=STEPS) for spread in SPREADS]
    return _probed(data, models, folds, seed)


def _sklearn(module: str) -> Any:
    try:
        return import_module(f"sklearn.{module}")
    except ImportError as error:
        raise MissingInputError(
            "The cross-validated probes need scikit-learn >= 1.6, which is not installed"
            f" ({error}). Run: pip install 'rmtgen[sklearn]'"
        ) from error


def _probed(data: Labelled, models: Sequence[Any], folds: int, seed: int) -> Probe:
    """The best of the models by its mean accuracy over the folds."""
    folds = _checked_folds(data, folds)
    seed = whole_number(seed, "seed", least=0, most=2**32 - 1)
    rows, labels = _ordered(data, seed)
    splits = _sklearn("model_selection").StratifiedKFold(folds, shuffle=True, random_state=seed)
    accuracies, unfinished = np.empty((len(models), folds)), 0
    for fold, (train, test) in enumerate(splits.split(rows, labels)):
        scaler = _sklearn("preprocessing").StandardScaler().fit(rows[train])
        inside, outside = scaler.transform(rows[train]), scaler.transform(rows[test])
        for place, model in enumerate(models):
            unfinished += not _fitted(model, inside, labels[train])
            accuracies[place, fold] = model.score(outside, labels[test])
    if unfinished:
        warn(
            f"a logistic probe must converge: {unfinished} of {accuracies.size} fits have not after"
            f" {STEPS} steps, and may be less accurate than they could be."
        )
    best = accuracies[accuracies.mean(axis=1).argmax()]
    return Probe(float(best.mean()), float(best.std(ddof=1)) / folds**0.5)


def _fitted(model: Any, rows: Float64[np.ndarray, "n p"], labels: Int64[np.ndarray, " n"]) -> bool:
    """Fit the model; whether it converged. One that takes no steps always does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", _sklearn("exceptions").ConvergenceWarning)
        model.fit(rows, labels)
    return not hasattr(model, "n_iter_") or bool(np.max(model.n_iter_) < STEPS)


def _checked_folds(data: Labelled, folds: int) -> int:
    folds = whole_number(folds, "folds", least=2)
    smallest = int(data.counts.argmin())
    count, name = int(data.counts[smallest]), int(data.classes[smallest])
    if count < folds:
        raise UsageError(
            f"every fold needs an image of every class: expected {folds} images or more of each,"
            f" got {count} of class {name}. Add images of it, or leave it out"
            f"{f', or take folds={count}' if count > 1 else ''}."
        )
    return folds


def _ordered(
    data: Labelled, seed: int
) -> tuple[Float64[np.ndarray, "n p"], Int64[np.ndarray, " n"]]:
    """Rows and labels in an order that does not depend on the one they came in."""
    rows, labels = data.rows.double().cpu().numpy(), data.labels.cpu().numpy()
    direction = np.random.default_rng(seed).standard_normal(rows.shape[1])
    order = np.lexsort((rows @ direction, labels))
    return rows[order], labels[order]
