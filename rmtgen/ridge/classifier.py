"""A classifier by kernel ridge regression on coded classes, as RidgeClassifierCV is beside RidgeCV.

Each class is an output that is 1 for its samples and −1 for the others; of two classes the second
alone. The fit, its weights, GCV and leave-one-out are those of `estimator`. A sample is wrong in
leave-one-out where the fit without it predicts another class.
"""

import numpy as np
import torch
from jaxtyping import Float64, Int64
from numpy.typing import ArrayLike

from rmtgen.entrance import public
from rmtgen.errors import UsageError
from rmtgen.ridge.scikit import (
    ClassifierMixin,
    check_classification_targets,
    compute_sample_weight,
)
from rmtgen.ridge.shares import Labelled, error_interval
from rmtgen.ridge.targets import ClassCode
from rmtgen.ridge.trained import Trained, checked_weights

CODE = ClassCode(-1.0, 1.0)


class KernelRidgeGCVClassifier(ClassifierMixin, Trained):
    """Ridge classification at the ridge with the smallest GCV, and its accuracy without a test set.

    The fit is that of `KernelRidgeGCV` to targets ±1, one output a class; of two classes there is
    one output. All outputs share one ridge. A prediction is the class of the largest output, in a
    tie the first.

    `loo_error_` is the share of samples that the fit without them classifies wrongly, exact and
    without a refit. It estimates 1 − `score` on new samples, and `loo_error_interval_` is an
    interval of 95 % for that of this fit. Neither accounts for the choice of the ridge, which GCV
    makes by squared loss, nor for what earlier steps of a pipeline learnt from `y`.

    With `class_weight` the weights multiply the squared loss of the samples of a class
    (`rmtgen.ridge.estimator` has what weights mean), which changes the fit, GCV and `loo_`. They
    are no part of what an error counts: `loo_error_` counts every sample alike, or by its
    `sample_weight`, as `score` does.

    Args:
        ridges: As in `KernelRidgeGCV`, like the next three.
        kernel: "linear" or "precomputed".
        fit_intercept: Fit an unpenalised intercept.
        solver: Solver of the ridge path.
        class_weight: Weights of the classes, a dictionary by label, 1 where one is missing;
            "balanced": n/(k n_c) for each of k classes with n_c of the n samples; None: 1.

    Attributes:
        classes_: Labels, ascending, (k,); k = 2 has one output, k > 2 has k.
        ridge_: λ chosen, the largest in a tie.
        alpha_: nλ, scikit-learn's `alpha`.
        ridges_: Every λ tried, (l,), ascending, each once.
        gcv_: GCV at each of `ridges_`, (l,), summed over outputs.
        loo_: Leave-one-out risk at `ridge_`, the squared loss on targets ±1 summed over outputs.
        loo_interval_: (low, high) of the risk, as in `KernelRidgeGCV`.
        loo_error_: Share of samples that leave-one-out classifies wrongly, in [0, 1].
        loo_error_interval_: (low, high) of the error; NaN below eight samples, and where two are
            the same to the kernel at a ridge near 0.
        degrees_of_freedom_: tr KG at `ridge_`, plus 1 for an intercept.
        dual_coef_: α, (n, 1) or (n, k).
        coef_: w, (1, p) or (k, p); of the linear kernel alone.
        intercept_: b, (1,) or (k,).
        n_features_in_: p, or n of a Gram matrix.
        feature_names_in_: Names of the columns of `X`, where it has them.

    References:
        As in `KernelRidgeGCV`; Rifkin & Lippert, Notes on regularized least squares, 2007.

    Example:
        >>> import numpy as np
        >>> from rmtgen import KernelRidgeGCVClassifier
        >>> rng = np.random.default_rng(0)
        >>> X = rng.standard_normal((200, 40))
        >>> y = np.where(X[:, 0] + rng.standard_normal(200) > 0, "ash", "birch")
        >>> model = KernelRidgeGCVClassifier(ridges=[1e-3, 1e-1, 10.0]).fit(X, y)
        >>> model.ridge_, model.predict(X[:3]).tolist(), round(model.loo_error_, 3)
        (0.1, ['ash', 'birch', 'ash'], 0.265)
    """

    def __init__(
        self,
        ridges: ArrayLike | None = None,
        *,
        kernel: str = "linear",
        fit_intercept: bool = True,
        solver: str = "auto",
        class_weight: dict | str | None = None,
    ):
        self.ridges = ridges
        self.kernel = kernel
        self.fit_intercept = fit_intercept
        self.solver = solver
        self.class_weight = class_weight

    @public
    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> "KernelRidgeGCVClassifier":
        """Compute GCV at every ridge, choose the ridge, and fit.

        Args:
            X: Features (n, p), or a Gram matrix (n, n); float32 or float64, else made float64.
            y: Labels of any type, (n,), of at least two classes.
            sample_weight: w ≥ 0, (n,) or one number; None: 1.

        Returns:
            The estimator itself.

        Raises:
            UsageError: A single class; ridges, kernel, solver, weights or shapes that are not
                valid; a ValueError.
            ValueError: What scikit-learn refuses: NaN, sparse, complex or empty input, lengths that
                differ, continuous targets, and weights of classes that it does not know.
            NumericalError: An asymmetric or indefinite Gram matrix, or a failed factorisation.
            CapacityError: The solver needs more memory than is available.

        Warns:
            RmtgenWarning: As in `KernelRidgeGCV.fit`.
        """
        X, y = self._validated(X, y)
        check_classification_targets(y)
        counts = checked_weights(sample_weight, len(X), bool(self.fit_intercept))
        kept = np.ones(len(X), dtype=bool) if counts is None else counts > 0
        self.classes_, own = np.unique(y[kept], return_inverse=True)
        if len(self.classes_) < 2:
            raise UsageError(
                "KernelRidgeGCVClassifier needs samples of at least 2 classes: got 1 class,"
                f" {self.classes_[0]!r}. Add samples of another, with a weight above zero."
            )
        targets = np.full((len(X), _outputs(self.classes_)), CODE.low)
        targets[kept] = _coded(own, len(self.classes_))
        weights = counts
        if self.class_weight is not None:
            weights = np.ones(len(X)) if counts is None else counts.copy()
            weights[kept] *= compute_sample_weight(self.class_weight, y[kept])
            weights = checked_weights(weights, len(X), bool(self.fit_intercept))
        self._train(X, targets, weights, counts)
        return self

    @public
    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """f(X).

        Args:
            X: Features (m, p), or rows k(test, train) (m, n) of a precomputed kernel.

        Returns:
            Outputs, float64: (m,) for two classes, above 0 for the second; else (m, k).

        Raises:
            NotFittedError: `fit` was not called.
            ValueError: Another number of columns than in `fit`, or what `fit` refuses.
        """
        scores = self._scores(X)
        return scores[:, 0] if scores.shape[1] == 1 else scores

    @public
    def predict(self, X: ArrayLike) -> np.ndarray:
        """The class of each sample.

        Args:
            X: As in `decision_function`.

        Returns:
            Labels (m,), of the type of `classes_`.

        Raises:
            NotFittedError, ValueError: As `decision_function`.
        """
        places = CODE.decode(torch.from_numpy(self._scores(X))).long()
        return self.classes_[places.numpy()]

    def _train(
        self,
        X: np.ndarray,
        targets: Float64[np.ndarray, "n c"],
        weights: Float64[np.ndarray, " n"] | None,
        counts: Float64[np.ndarray, " n"] | None,
    ) -> None:
        """Fit, with the error of leave-one-out.

        Args:
            X: Features or a Gram matrix.
            targets: Coded classes.
            weights: What the squared loss of a sample is multiplied by.
            counts: What its error counts.
        """
        problem = self._problem(X, targets, weights)
        solution, left_out = self._choose(problem)
        kept = slice(None) if weights is None else weights > 0
        words = torch.from_numpy(targets[kept])
        ones = words.new_ones(len(words))
        counted = ones if counts is None else torch.from_numpy(counts[kept])
        samples = Labelled(words, CODE, ones if problem.root is None else problem.root, counted)
        parts = left_out.residuals, left_out.inverse, left_out.dual
        self.loo_error_, *ends = error_interval(samples, *parts)
        self.loo_error_interval_ = tuple(ends)
        self._keep(solution, targets.shape[1:], weights)


def _outputs(classes: np.ndarray) -> int:
    """Number of outputs."""
    return 1 if len(classes) == 2 else len(classes)


def _coded(labels: Int64[np.ndarray, " n"], classes: int) -> Float64[np.ndarray, "n c"]:
    """The words of the classes; of two that of the second."""
    own = labels[:, None] == np.arange(classes)
    return np.where(own[:, 1:] if classes == 2 else own, CODE.high, CODE.low)
