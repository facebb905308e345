"""The study of a pool: every theory of its test risk, and every analysis, each one a table.

`study` makes one from a Gram matrix. A method of `Study` with an entry in `ANALYSES` is an
analysis; the stage `theory` stores them all by name.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from torch import Tensor

from rmtgen.checks import ridge_values
from rmtgen.entrance import public
from rmtgen.errors import NumericalError, UsageError, warn
from rmtgen.linalg.cells import Cell
from rmtgen.linalg.modes import Modes
from rmtgen.linalg.rows import Rows
from rmtgen.linalg.spectrum import Spectra, Spectrum
from rmtgen.linalg.verified import MEMORY
from rmtgen.ridge.columns import RISK_COLUMNS
from rmtgen.ridge.kernel import GramKernel
from rmtgen.ridge.pool import CURVE_RIDGES, Pool, dense_sizes
from rmtgen.ridge.problem import Problem
from rmtgen.ridge.targets import Targets
from rmtgen.scalars import whole_number
from rmtgen.theory import beyond, registry, representation
from rmtgen.theory.accuracy import predicted_error
from rmtgen.theory.diagnostics import DIAGNOSED, TrustReport, trust_report
from rmtgen.theory.extrapolation import likely_curves
from rmtgen.theory.fit_checks import fit_checks
from rmtgen.theory.forecast import forecast, pool_influence
from rmtgen.theory.influence import Influence
from rmtgen.theory.labels import labels_needed
from rmtgen.theory.local_law import law_tests
from rmtgen.theory.registry import THEORIES, Fits
from rmtgen.theory.scaling import scaling_table
from rmtgen.theory.scores import score_table

RELATIVE_RIDGES = (0.0, *(10.0**exponent for exponent in range(-6, 2)))
"""Default of λ/(tr K/N)."""
SIZES = 8
"""Number of default sizes, in geometric steps up to N."""
FEWEST = 100
"""Smallest number of samples that a hindcast starts from."""
HIDDEN = 10
"""A hindcast sees one sample in so many."""
FORECAST_FACTORS = 2.0 ** np.arange(-6, 7)
"""Sizes of the forecast, relative to N."""
WANTED = (0.98, 0.95, 0.9, 0.8, 0.7, 0.5)
"""Risks whose labels are counted, relative to the best risk of the pool."""


@dataclass(frozen=True, eq=False, repr=False)
class Study:
    """A pool, the fits of its subsets, and what theory says of both.

    Every analysis is a method that returns a table; the eigendecomposition of the pool that they
    share is made when the first of them needs it. An analysis that the data is too small for raises
    a `UsageError` or a `NumericalError` that says what it needs.

    Without a test set the columns of measured risks are NaN, `trust` lacks what it says of test
    samples, and `scores` has no rows.

    Attributes:
        pool: N training samples, and M test samples if there are any.
        risk: Fits: one row per n, trial and ridge, with the columns `RISK_COLUMNS`.
        spectra: Spectrum of each (n, trial) of `risk`.
        curve: Learning curve of the first trial, dense in n at fixed sum ridges, with the columns
            `CURVE_COLUMNS`; None without one.
        seed: Seed of the shuffles that subsets are the first samples of.
        memory: Bytes that the eigensolve of the pool may take beside it, on CUDA.
        features: Number of features that a Gram matrix is made of, for an eNTK its parameters; None
            where it is not known, or the pool has the features.
    """

    pool: Pool
    risk: pd.DataFrame
    spectra: Spectra
    curve: pd.DataFrame | None = None
    seed: int = 0
    memory: int = MEMORY
    features: int | None = None

    def __repr__(self) -> str:
        sizes = ", ".join(f"{n:,}" for n in self.risk["n"].unique())
        tests = f"{self.pool.tests:,} test samples" if self.pool.tests else "no test set"
        return (
            f"Study({len(self.pool):,} samples, {tests}, {self.pool.targets.values.shape[1]}"
            f" outputs; {len(self.risk):,} fits at n = {sizes}; analyses: {', '.join(ANALYSES)})"
        )

    @cached_property
    def eigenmodes(self) -> Modes:
        """Modes of the whole pool, in its order."""
        return self._modes(np.arange(len(self.pool)))

    @cached_property
    def influence(self) -> Influence:
        """Influence of each sample of the pool on its predictions."""
        return self._influence(self.eigenmodes, self.pool.targets.values)

    @property
    def spectrum(self) -> Spectrum:
        """Spectrum of the whole pool."""
        return self.influence.pool

    def tables(self) -> dict[str, pd.DataFrame]:
        """Every analysis that the data is large enough for, by name.

        Warns:
            RmtgenWarning: An analysis is left out, with the reason.
        """
        found = {}
        for name, analyse in ANALYSES.items():
            try:
                found[name] = analyse(self)
            except (UsageError, NumericalError) as error:
                warn(f"analysis {name} is left out: {error}")
        return found

    def predictions(self) -> pd.DataFrame:
        """Every theory for every fit, beside the measured risk: `registry.PREDICTION_COLUMNS`."""
        return registry.predictions(self._fits())

    def scores(self) -> pd.DataFrame:
        """Rank correlation and error of each theory over all fits (`scores.score_table`)."""
        fits = self.predictions()
        return score_table(fits, tuple(THEORIES), fits["n"].to_numpy())

    def curves(self) -> pd.DataFrame:
        """κ, df1, df2 and B + noise of the pool (`alignment.bias_against_df`)."""
        return representation.curve_table(self.spectrum)

    def modes(self) -> pd.DataFrame:
        """Eigenvalue, power and learnability of the pool's modes (`representation.mode_table`)."""
        return representation.mode_table(self.spectrum)

    def representation(self) -> pd.DataFrame:
        """Numbers that describe the representation (`representation.summary_table`)."""
        return representation.summary_table(self.spectrum, self.pool.targets.values)

    def forecast(self) -> pd.DataFrame:
        """The risk at the best ridge for sizes from N/64 to 64 N (`forecast.forecast`)."""
        return forecast(self.influence, self._forecast_sizes())

    def accuracy(self) -> pd.DataFrame:
        """The 0-1 error at the ridge of smallest risk, at these sizes (`predicted_error`)."""
        return predicted_error(self.influence, self._forecast_sizes())

    def labels(self) -> pd.DataFrame:
        """Labels for risks from 2 % below the pool's best to half of it (`labels_needed`)."""
        _, best, _ = likely_curves(self.influence).best(self.spectrum.n)
        return labels_needed(self.influence, best * np.array(WANTED))

    def hindcast(self) -> pd.DataFrame:
        """A forecast from N/10 samples alone, of the risk at the larger sizes of the study.

        Returns:
            The columns of `forecast` and `test_risk test_risk_se`, measured at the ridge that is
            best there, and `seen`, the number of samples that the forecast is made from.

        Raises:
            UsageError: No size of the study is larger, or N/10 is too small to forecast from.
        """
        order = Cell(len(self.pool) // HIDDEN, 0).order(self.seed, len(self.pool))
        truth = self._best_risks()
        truth = truth[truth["n"] > len(order)]
        if truth.empty or len(order) < FEWEST:
            raise UsageError(
                f"a hindcast sees N/{HIDDEN} samples, at least {FEWEST}, and needs larger sizes to"
                f" predict: got N = {len(self.pool)}, sizes up to {self.risk['n'].max()}. Take a"
                " larger pool."
            )
        seen = self._influence(self._modes(order), self.pool.targets.values[order])
        predicted = forecast(seen, truth["n"])
        return predicted.merge(truth, on="n").assign(seen=len(order))

    def scaling(self) -> pd.DataFrame:
        """Exponents, and slopes of predicted and measured risks (`scaling.scaling_table`)."""
        return scaling_table(self.influence, self.risk, self.curve)

    def local_law(self) -> pd.DataFrame:
        """Tests of the local law (`local_law.law_tests`)."""
        return law_tests(self.eigenmodes, self.spectrum, self.pool.targets.values)

    def trust(self) -> pd.DataFrame:
        """Diagnostics of GCV on the first samples of the pool (`diagnostics.trust_report`)."""
        return self._diagnosed.frame()

    def suspects(self) -> pd.DataFrame:
        """The samples that these diagnostics suspect, and those that carry the risk.

        Positions are those in the pool and in the test set (`diagnostics.TrustReport.suspects`).
        """
        return self._diagnosed.suspects()

    @cached_property
    def _diagnosed(self) -> TrustReport:
        gram, tests = self.pool.block(DIAGNOSED)
        targets, known = self.pool.targets, self.pool.test_targets
        return trust_report(
            gram,
            targets.values[: len(gram)],
            test_gram=tests,
            test_targets=None if known is None else known.values[: len(tests)],
            intercept=targets.intercept,
        )

    def checks(self) -> pd.DataFrame:
        """What each fit says of GCV, of its interval, and of the test set (`fit_checks`)."""
        return fit_checks(self.risk)

    def ensembles(self) -> pd.DataFrame:
        """Estimates and risks of ensembles of ridge fits, at these ridges (`beyond.ensembles`)."""
        return beyond.ensembles(self.pool, np.unique(self.risk["ridge"]), self.seed)

    def descent(self) -> pd.DataFrame:
        """Estimates and risks of gradient descent stopped early (`beyond.descent`)."""
        return beyond.descent(self.pool, self.seed)

    def _influence(self, modes: Modes, targets: Tensor | Rows) -> Influence:
        if self.features is None:
            return pool_influence(modes, targets)
        # the rounding of a float32 matrix can look like more modes than there are features
        return pool_influence(modes, targets, features=max(self.features, len(modes.values)))

    def _forecast_sizes(self) -> np.ndarray:
        sizes = np.unique(np.round(self.spectrum.n * FORECAST_FACTORS))
        return sizes[sizes >= 2]

    def _fits(self) -> Iterator[Fits]:
        largest = self.pool.largest_diagonal
        for key, rows in self.risk.groupby(["n", "trial"], sort=False):
            yield Fits(rows, self.spectra[Cell(*key)], self.influence, largest)

    def _best_risks(self) -> pd.DataFrame:
        """`n test_risk test_risk_se` at the best ridge of each size, means over trials."""
        measured = ["test_risk", "test_risk_se"]
        means = self.risk.groupby(["n", "ridge"], as_index=False)[measured].mean()
        ordered = means.sort_values("test_risk", kind="stable").drop_duplicates("n")
        return ordered.sort_values("n")[["n", *measured]]

    def _modes(self, order: np.ndarray) -> Modes:
        return next(self.pool.modes([order], self.memory))


ANALYSES: Mapping[str, Callable[[Study], pd.DataFrame]] = {
    analysis.__name__: analysis
    for analysis in (
        Study.predictions,
        Study.curves,
        Study.modes,
        Study.representation,
        Study.forecast,
        Study.accuracy,
        Study.labels,
        Study.hindcast,
        Study.scaling,
        Study.local_law,
        Study.trust,
        Study.suspects,
        Study.checks,
        Study.ensembles,
        Study.descent,
    )
}
"""The analyses by name, in the order in which the stage runs and stores them."""


@public
def study(  # noqa: PLR0913 - one public function for one question; the test set is optional
    gram: np.ndarray | Tensor,
    targets: np.ndarray | Tensor,
    *,
    test_gram: np.ndarray | Tensor | None = None,
    test_targets: np.ndarray | Tensor | None = None,
    sizes: ArrayLike | None = None,
    ridges: ArrayLike | None = None,
    trials: int = 1,
    intercept: bool = False,
    seed: int = 0,
    features: int | None = None,
) -> Study:
    """Fit random subsets of a pool at several ridges, and study what theory says of the fits.

    Costs one eigendecomposition per size and trial and, once an analysis is asked for, one of the
    whole pool and one inverse of at most 2,000 samples.

    Args:
        gram: K of the pool (N, N), symmetric and positive semidefinite, float32 or float64, NumPy
            or torch; the work runs where it lies.
        targets: (N,) or (N, c), centred or one-hot for classes; risks are summed over outputs.
        test_gram: k(test, pool) (M, N).
        test_targets: (M,) or (M, c).
        sizes: Sample sizes n ≤ N; default 8 in geometric steps from min(100, N/8) to N.
        ridges: λ ≥ 0 of the mean objective, the same at every size; default 0 and 10⁻⁶ to 10 times
            tr K/N.
        trials: Number of random subsets per size below N; all subsets of a trial are nested.
        intercept: Add an unpenalised intercept.
        seed: Seed of the random subsets.
        features: Number of features that K is made of, for an eNTK its parameters: forecasts beyond
            the pool keep within it. Default: not known.

    Returns:
        The study; its methods return the tables, `predictions()` first of all. It works without a
        test set, where columns of measured risks are NaN.

    Raises:
        UsageError: Shapes, sizes, ridges or trials that make no sense, or half a test set.
        NumericalError: Non-finite input, an asymmetric, indefinite or zero Gram matrix, or a failed
            eigensolve.

    Warns:
        RmtgenWarning: As `ridge_path`, for a float32 Gram matrix.

    References:
        Wei, Hu, Steinhardt 2022 (arXiv 2203.06176).
    """
    kernel = GramKernel.checked(gram, test_gram)
    problem = Problem.checked(kernel, targets, test_targets, loo=True, intercept=intercept)
    trials = whole_number(trials, "trials", least=1)
    seed = whole_number(seed, "seed", least=0)
    if features is not None:
        features = whole_number(features, "features", least=1, cure="None is not known.")
    tests = None if problem.test_targets is None else Targets(problem.test_targets, intercept)
    pool = Pool(kernel, Targets(problem.targets, intercept), tests)
    if not pool.trace > 0:
        raise NumericalError(
            f"gram must have a positive trace: got tr K = {pool.trace:.3g}. Check for all-zero"
            " features."
        )
    wanted = dict.fromkeys(problem.sizes(_default_sizes(len(pool)) if sizes is None else sizes))
    cells = [Cell(n, trial) for n in wanted for trial in range(trials if n < len(pool) else 1)]
    unit = pool.trace / len(pool)
    ridges = unit * np.array(RELATIVE_RIDGES) if ridges is None else ridge_values(ridges, "ridges")
    dense = dense_sizes(min(wanted), len(pool), is_gram=True)
    return Study(
        pool,
        risk=pd.concat([_risk(pool, cell, ridges, seed) for cell in cells], ignore_index=True),
        spectra=Spectra({cell: _spectrum(pool, cell, seed) for cell in cells}),
        curve=pool.curve(dense, CURVE_RIDGES, seed=seed),
        seed=seed,
        features=features,
    )


def _default_sizes(pool_size: int) -> np.ndarray:
    least = max(2, min(100, pool_size // 8))
    return np.unique(np.geomspace(min(least, pool_size), pool_size, SIZES).round().astype(int))


def _risk(pool: Pool, cell: Cell, ridges: np.ndarray, seed: int) -> pd.DataFrame:
    path = pool.path(cell.order(seed, len(pool)), ridges=ridges)
    relative, outputs = ridges / (pool.trace / len(pool)), path.attrs["outputs"]
    columns = path.assign(trial=cell.trial, relative_ridge=relative, outputs=outputs)
    return columns[list(RISK_COLUMNS)]


def _spectrum(pool: Pool, cell: Cell, seed: int) -> Spectrum:
    return next(pool.spectra([cell.order(seed, len(pool))], MEMORY))
