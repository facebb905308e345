"""Kernel ridge regression as a scikit-learn estimator that chooses its ridge by GCV.

Notation: n train samples, m test samples, p features, c outputs, l ridges; K, λ, δ = nλ and G as in
`rmtgen.ridge`, which computes generalised cross-validation (GCV) at every ridge. This module adds
the fit at the ridge that GCV chooses,

    f(x) = k(x)ᵀα + b,    α = GY;    of the linear kernel also f(x) = xᵀw + b,    w = Xᵀα,

and its exact leave-one-out risk, from the same factor (`solution`).

With sample weights w_i the fit minimises (1/n) Σ w_i‖y_i − f(x_i)‖² + λ‖f‖². With S = diag(√w) that
is the problem of SKS and SY, the intercept being the unpenalised direction √w (`weighted`). Then

    GCV(λ) = (1/n) Σ w_i‖y_i − f(x_i)‖² / (1 − df/n)²,
    LOO(λ) = (1/n) Σ w_i‖y_i − f^(−i)(x_i)‖²,    y_i − f^(−i)(x_i) = (y_i − f(x_i))/(1 − h_i),

h_i the leverage of sample i and df their sum, in both. They are those of samples whose noise has a
variance of 1/w_i, n of them. A sample of weight 0 is left out, and not counted in n.

A weight of 2 is not the same as the sample twice. The fit is, at the same nλ. But GCV and LOO count
one sample, which LOO leaves out with its whole weight, where of two copies one would remain to
predict the other: repeated samples make both estimates too small.
"""

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike

from rmtgen.entrance import public
from rmtgen.linalg.modes import EPS64
from rmtgen.ridge.choice import warn_at_edges
from rmtgen.ridge.per_target import solve_outputs
from rmtgen.ridge.scikit import MultiOutputMixin, RegressorMixin
from rmtgen.ridge.solution import Solution, solve_each
from rmtgen.ridge.trained import Trained, checked_weights
from rmtgen.ridge.weighted import Plain
from rmtgen.scalars import flag


class KernelRidgeGCV(MultiOutputMixin, RegressorMixin, Trained):
    """Kernel ridge regression at the ridge with the smallest GCV.

    The fit minimises (1/n)‖Y − f(X)‖² + λ‖f‖² over f, and λ minimises GCV(λ) = n‖GY‖²/(tr G)².
    No data are held out and nothing is refitted: GCV at every ridge comes from `rmtgen.ridge_path`
    on all training samples.

    λ is the ridge of the *mean* objective. scikit-learn's `alpha` (`Ridge`, `KernelRidge`) is that
    of the sum of squares, α = nλ: both are attributes after `fit`, and
    `KernelRidge(alpha=model.alpha_)` is the same fit, without an intercept. λ keeps its meaning as
    n changes, α does not, so `ridges` are λ.

    All outputs share one ridge, that of the smallest GCV of their sum, unless each has its own.
    Everything is computed and returned in float64, on the CPU. GCV and leave-one-out do not account
    for what earlier steps of a pipeline learnt from `y`, such as a selection of features; there
    they are optimistic.

    Args:
        ridges: λ ≥ 0, an array-like (l,) in the unit of the kernel; 0 is the minimum-norm
            interpolant. None: 41 from 1e-8 to 1e2 of tr K/n, K centred where there is an intercept,
            less those where nλ is no more than rounding of K, float32 above all.
        kernel: "linear", k(x, x') = xᵀx', or "precomputed": `X` is then the Gram matrix (n, n),
            positive semidefinite, and in `predict` the rows k(test, train) (m, n).
        fit_intercept: Fit an unpenalised intercept, which is the same as centring K and Y.
        solver: Solver of the ridge path, as in `rmtgen.ridge_path`. All agree; "auto" takes the
            cheapest that fits in memory. One ridge an output takes "eigen".
        alpha_per_target: Choose a ridge for each output by its own GCV, as scikit-learn's `RidgeCV`
            does by leave-one-out.

    Attributes:
        ridge_: λ chosen, the largest in a tie; (c,) with `alpha_per_target` and y (n, c).
        alpha_: nλ, scikit-learn's `alpha`, likewise.
        ridges_: Every λ tried, (l,), ascending, each once.
        gcv_: GCV at each of `ridges_`, (l,), in squared units of `y`, summed over outputs: an
            estimate of the risk on new samples. With `alpha_per_target` (l, c), of each output.
        loo_: Leave-one-out risk at `ridge_`, exact, of the sum of outputs or (c,) of each.
        loo_interval_: (low, high), the interval of 95 % for the risk of this fit, as in
            `rmtgen.ridge_path`; NaN below eight samples. It does not account for the choice of
            the ridge.
        degrees_of_freedom_: tr KG at `ridge_`, plus 1 for an intercept.
        dual_coef_: α, (n,) or (n, c) as `y`; at λ = 0 the shortest one.
        coef_: w, (p,) or (c, p); of the linear kernel alone.
        intercept_: b, a number or (c,); 0 without an intercept.
        n_features_in_: p, or n of a Gram matrix.
        feature_names_in_: Names of the columns of `X`, where it has them.

    References:
        Golub, Heath & Wahba, Generalized cross-validation as a method for choosing a good ridge
        parameter, 1979. Wei, Hu & Steinhardt, More than a toy: random matrix models predict how
        real-world neural representations generalize, ICML 2022.

    Example:
        >>> import numpy as np
        >>> from rmtgen import KernelRidgeGCV
        >>> X = np.random.default_rng(0).standard_normal((60, 5))
        >>> y = X[:, 0] + 2 * np.sin(40 * X[:, 1])
        >>> model = KernelRidgeGCV(ridges=[1e-3, 1e-1, 10.0]).fit(X, y)
        >>> model.ridge_, model.alpha_
        (0.1, 6.0)
    """

    def __init__(
        self,
        ridges: ArrayLike | None = None,
        *,
        kernel: str = "linear",
        fit_intercept: bool = True,
        solver: str = "auto",
        alpha_per_target: bool = False,
    ):
        self.ridges = ridges
        self.kernel = kernel
        self.fit_intercept = fit_intercept
        self.solver = solver
        self.alpha_per_target = alpha_per_target

    @public
    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> "KernelRidgeGCV":
        """Compute GCV at every ridge, choose the ridge, and fit.

        Args:
            X: Features (n, p), or a Gram matrix (n, n); float32 or float64, else made float64.
            y: Targets (n,) or (n, c).
            sample_weight: w ≥ 0, (n,) or one number; None: 1. What they mean for GCV and
                leave-one-out is in `rmtgen.ridge.estimator`.

        Returns:
            The estimator itself.

        Raises:
            UsageError: Ridges, kernel, solver, weights or shapes that are not valid; a ValueError.
            ValueError: What scikit-learn refuses: NaN, sparse, complex or empty input, and lengths
                that differ.
            NumericalError: An asymmetric or indefinite Gram matrix, or a failed factorisation.
            CapacityError: The solver needs more memory than is available.

        Warns:
            RmtgenWarning: GCV still falls at an edge of the grid other than 0; or a float32 Gram
                matrix does not resolve a ridge.
        """
        X, y = self._validated(X, y, multi_output=True, y_numeric=True)
        weights = checked_weights(sample_weight, len(X), bool(self.fit_intercept))
        targets, outputs = y.astype(np.float64).reshape(len(y), -1), y.shape[1:]
        problem = self._problem(X, targets, weights)
        if flag(self.alpha_per_target, "alpha_per_target"):
            solution = self._choose_each(problem, outputs)
        else:
            solution, _ = self._choose(problem)
        self._keep(solution, outputs, weights)
        return self

    @public
    def predict(self, X: ArrayLike) -> np.ndarray:
        """f(X).

        Args:
            X: Features (m, p), or rows k(test, train) (m, n) of a precomputed kernel.

        Returns:
            Predictions, float64, (m,) or (m, c) as the targets were.

        Raises:
            NotFittedError: `fit` was not called.
            ValueError: Another number of columns than in `fit`, or what `fit` refuses.
        """
        return self._scores(X)

    def _choose_each(self, problem: Plain, outputs: tuple[int, ...]) -> Solution:
        """One ridge an output, and the fits there."""
        ridges, n = self._grid(problem), len(problem)
        modes = problem.kernel.modes(n, problem.intercept)
        targets = problem.taken_back(problem.targets)
        found = solve_outputs(modes, targets, ridges, by="gcv", turn=problem.turn)
        floor = n * (EPS64 * problem.targets.abs().amax(dim=0).numpy()) ** 2
        warn_at_edges(ridges, found.gcv, found.place, floor)
        chosen = ridges[found.place]
        solution, freedom = solve_each(problem, modes, chosen)
        loo = found.loo[found.place, np.arange(len(chosen))]
        self.ridges_, self.gcv_ = ridges, found.gcv.reshape(-1, *outputs)
        self.ridge_, self.alpha_ = _shaped(chosen, outputs), _shaped(n * chosen, outputs)
        self.degrees_of_freedom_, self.loo_ = _shaped(freedom, outputs), _shaped(loo, outputs)
        ends = found.loo_low, found.loo_high
        self.loo_interval_ = tuple(_shaped(end, outputs) for end in ends)
        return solution.of_samples(problem)


def _shaped(
    values: Float64[np.ndarray, " c"], outputs: tuple[int, ...]
) -> float | Float64[np.ndarray, " c"]:
    """A number an output, or the number where `y` had no axis of outputs."""
    return values if outputs else values.item()
