"""What the estimators share: the kernel, the grid, the choice of the ridge, and the fit there."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float64
from numpy.typing import ArrayLike

from rmtgen.checks import real_array, ridge_values, target_matrix
from rmtgen.errors import UsageError
from rmtgen.linalg.modes import EPS64
from rmtgen.ridge.choice import default_ridges, warn_at_edges
from rmtgen.ridge.kernel import FeatureKernel, GramKernel
from rmtgen.ridge.path import ridge_path, ridge_path_features
from rmtgen.ridge.per_target import least
from rmtgen.ridge.scikit import BaseEstimator, check_is_fitted, validate_data
from rmtgen.ridge.solution import LeftOut, Solution, solve
from rmtgen.ridge.weighted import Plain

if TYPE_CHECKING:
    from sklearn.utils import Tags

KERNELS = ("linear", "precomputed")


class Trained(BaseEstimator):
    """The part of an estimator that does not depend on what the targets mean."""

    ridges: ArrayLike | None
    kernel: str
    fit_intercept: bool
    solver: str

    def __sklearn_tags__(self) -> "Tags":
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = self.kernel == "precomputed"
        return tags

    def _validated(
        self, X: ArrayLike, y: ArrayLike, **options: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """X and y as scikit-learn checks them.

        Raises:
            UsageError: Another kernel, or X that is no Gram matrix where it should be one.
            ValueError: What scikit-learn refuses.
        """
        if self.kernel not in KERNELS:
            raise UsageError(
                "kernel must be a known one: expected 'linear' or 'precomputed', got"
                f" {self.kernel!r}. Compute any other with"
                " sklearn.metrics.pairwise.pairwise_kernels and pass it as kernel='precomputed'."
            )
        # an intercept alone fits one sample, and leaves nothing to choose a ridge by
        least_samples = 2 if self.fit_intercept else 1
        X, y = validate_data(
            self, X, y, dtype=(np.float64, np.float32), ensure_min_samples=least_samples, **options
        )
        if self.kernel == "precomputed" and X.shape != (len(X), len(X)):
            raise UsageError(
                "kernel='precomputed' needs the Gram matrix of the training samples: expected X of"
                f" shape {(len(X), len(X))}, got {X.shape}. Rows of test samples go to predict."
            )
        return X, y

    def _problem(
        self,
        X: np.ndarray,
        targets: Float64[np.ndarray, "n c"],
        weights: Float64[np.ndarray, " n"] | None,
    ) -> Plain:
        """The problem without weights of the samples that have one above 0."""
        if weights is not None:
            kept = weights > 0
            X = X[np.ix_(kept, kept)] if self.kernel == "precomputed" else X[kept]
            targets, weights = targets[kept], weights[kept]
        kernel = (GramKernel if self.kernel == "precomputed" else FeatureKernel).checked(X, None)
        given = None if weights is None else torch.from_numpy(weights)
        return Plain.of(kernel, target_matrix(targets), bool(self.fit_intercept), given)

    def _grid(self, problem: Plain) -> Float64[np.ndarray, " l"]:
        if self.ridges is None:
            return default_ridges(problem.kernel, problem.intercept)
        return np.unique(ridge_values(self.ridges, "ridges"))

    def _choose(self, problem: Plain) -> tuple[Solution, LeftOut]:
        """One ridge for all outputs, and the fit there."""
        ridges, n = self._grid(problem), len(problem)
        path_of = ridge_path if self.kernel == "precomputed" else ridge_path_features
        options = {"loo": False, "intercept": problem.intercept, "solver": self.solver}
        path = path_of(problem.kernel.train, problem.targets, ridges=ridges, **options)
        self.ridges_, self.gcv_ = ridges, path["gcv"].to_numpy()
        best = least(self.gcv_[:, None])
        largest = problem.targets.abs().max().item()
        floor = np.array([n * (EPS64 * largest) ** 2])
        warn_at_edges(ridges, self.gcv_[:, None], best, floor)
        self.ridge_, self.degrees_of_freedom_ = (
            ridges[best].item(),
            path["df"].to_numpy()[best].item(),
        )
        self.alpha_ = n * self.ridge_
        solution, left_out = solve(problem, self.alpha_)
        self.loo_, *ends = left_out.risk()
        self.loo_interval_ = tuple(ends)
        return solution.of_samples(problem), left_out

    def _keep(
        self,
        solution: Solution,
        outputs: tuple[int, ...],
        weights: Float64[np.ndarray, " n"] | None,
    ) -> None:
        """The fit as NumPy arrays, without the axis of outputs where `y` had none."""
        dual = solution.dual.numpy()
        if weights is not None:
            dual = np.zeros((len(weights), dual.shape[1]))
            dual[weights > 0] = solution.dual.numpy()
        self.dual_coef_ = dual.reshape(-1, *outputs)
        self.intercept_ = (
            solution.offset.numpy().reshape(outputs) if outputs else solution.offset.item()
        )
        self.__dict__.pop("coef_", None)  # of an earlier fit with another kernel
        if solution.weights is not None:
            self.coef_ = solution.weights.mT.numpy().reshape(*outputs, -1)

    def _scores(self, X: ArrayLike) -> np.ndarray:
        """f(X)."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        return (
            X @ (self.dual_coef_ if self.kernel == "precomputed" else self.coef_.T)
            + self.intercept_
        )


def checked_weights(
    sample_weight: ArrayLike | None, n: int, intercept: bool
) -> Float64[np.ndarray, " n"] | None:
    """Weights of the samples; None where there are none.

    Args:
        sample_weight: (n,) or one number for all.
        n: Number of samples.
        intercept: Whether one is fitted, which alone fits a single sample.

    Raises:
        UsageError: Another shape, a weight that is negative or not finite, or too few above 0.
    """
    if sample_weight is None:
        return None
    weights = real_array(sample_weight, "sample_weight")
    if weights.ndim == 0:
        weights = np.full(n, weights)
    if weights.shape != (n,):
        raise UsageError(
            f"sample_weight needs one weight a sample: expected shape ({n},), got {weights.shape}."
            " Leave it out where all count alike."
        )
    wrong = weights[~((weights >= 0) & (weights < np.inf))]
    if len(wrong):
        raise UsageError(
            f"sample_weight must be finite and >= 0: got {wrong[0]} ({len(wrong)} of {n} such)."
            " A weight of 0 leaves a sample out."
        )
    positive, needed = int((weights > 0).sum()), 1 + intercept
    if positive < needed:
        raise UsageError(
            f"sample_weight must leave samples to fit: expected at least {needed} weights above"
            f" zero, got {positive} of {n}."
        )
    return weights
