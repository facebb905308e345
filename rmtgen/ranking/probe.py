"""A ridge probe: what the training images alone say of a representation on new ones.

The ridge is that of the smallest leave-one-out risk. Beside the risk and the 0-1 error there, the
probe keeps what a comparison with another representation of the same images needs, sample by
sample: losses, their changes when another sample is left out too (`rmtgen.ridge.interval`), and how
the error moves when a sample leaves (`rmtgen.theory.errors_within`).

Notation: n training samples, c outputs, m samples whose pairs are looked at.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float64, Int64
from numpy.typing import ArrayLike
from torch import Tensor

from rmtgen.errors import NumericalError, RmtgenError
from rmtgen.linalg.spectrum import Spectrum
from rmtgen.ranking.best_ridge import Best, best_ridge
from rmtgen.ranking.explained import Explained
from rmtgen.ridge.interval import centred_covariance, paired
from rmtgen.ridge.problem import Grid, Problem
from rmtgen.ridge.strata import Strata
from rmtgen.theory.accuracy import errors_foreseen, interval
from rmtgen.theory.alignment import kernel_target_alignment, participation_ratio
from rmtgen.theory.diagnostics import trust_report
from rmtgen.theory.errors_within import Fit, Within, error_within
from rmtgen.theory.forecast import Forecasts, influence_of, sizes_and_ridges
from rmtgen.theory.influence import Influence

PATH = ("ridge", "gcv", "loo", "loo_se", "loo_low", "loo_high", "loo_kurtosis", "df", "loo_error")
"""Columns of the path of a probe."""
LOOKED = 1_024
"""Number of samples whose influence on forecasts is computed: their standard errors vary by a few
per cent with the choice, as they do with the draws that the intervals are of."""
DOUBTED = 1_000
"""Number of samples that are searched for what makes the data doubtful, in a time that counts even
where there are many representations."""
MULTIPLES = (2, 4, 10)
"""Numbers of images that the outlook is given for, relative to n."""
OUTLOOK = (
    *("n", "predicted_risk", "low", "high", "at_least", "at_most", "extrapolated"),
    *("predicted_error", "error_low", "error_high"),
)
"""Columns of the outlook."""
FIGURES = ("participation_ratio", "alignment", "error", "error_low", "error_high")
"""Numbers that a probe keeps beside its path."""


@dataclass(frozen=True, eq=False)
class Probe:
    """A representation, judged by its training samples.

    Attributes:
        path: One row per ridge, with the columns `PATH`. Leave-one-out is NaN where it is larger
            than at the chosen ridge and was not computed; its interval and 0-1 error are those of
            the chosen ridge.
        losses: Leave-one-out losses at the chosen ridge, summed over outputs.
        changes: Those losses when another sample is left out as well, less themselves, of the
            samples that are `paired`; NaN where a pair leaves too few digits, and for fewer than 8
            samples.
        moves: Change of the 0-1 error when each sample leaves; NaN where that is not known, and for
            targets that encode no classes.
        outlook: Risk and 0-1 error at `MULTIPLES` of n, with the columns `OUTLOOK`; without rows
            where the samples are too few to say.
        figures: The numbers `FIGURES`.
        doubts: Reasons to doubt that the samples are what they claim to be, one sentence each, from
            the first `DOUBTED` of them (`rmtgen.trust_report`).
        explained: What is explained of values or of several labels; None for classes.
        classes: The class of each sample where every class counts the same
            (`rmtgen.ranking.balanced`): then losses and changes are times the weights, and risk and
            0-1 error are means over classes. None where every sample does.
    """

    path: pd.DataFrame
    losses: Float64[np.ndarray, " n"]
    changes: Float64[np.ndarray, "m m"]
    moves: Float64[np.ndarray, " n"]
    outlook: pd.DataFrame
    figures: Mapping[str, float]
    doubts: tuple[str, ...] = ()
    explained: Explained | None = None
    classes: Int64[np.ndarray, " n"] | None = None

    @classmethod
    def of(
        cls,
        problem: Problem,
        ridges: ArrayLike,
        features: int | None = None,
        task: str = "classes",
    ) -> "Probe":
        """The probe of all samples of a problem, from one decomposition.

        Args:
            problem: Kernel and targets; a test set is not looked at.
            ridges: λ ≥ 0.
            features: Number of features that a Gram matrix is made of, for an eNTK its parameters;
                None where it is not known, or the kernel has the features.
            task: What the targets are, of `rmtgen.tasks.TASKS`. Values and several labels, which
                need an intercept, have no 0-1 error.

        Raises:
            UsageError: Ridges that make no sense.
            NumericalError: A failed decomposition, no finite leave-one-out risk, or targets
                without any power.
        """
        n, grid, unit = len(problem.kernel), Grid.checked(ridges, None), problem.kernel.unit()
        problem, pairs = problem.over(unit), grid.over(unit).at(n)
        best = best_ridge(problem, pairs)
        (ridge, sum_ridge), fits = pairs[best.place], best.fits
        fit = fits.at(sum_ridge)
        changes = fit.changes(sum_ridge)
        whole = fits.at(0.0)
        looked = paired(n, LOOKED)
        influence = influence_of(
            whole.spectrum,
            fits.modes,
            problem.targets,
            features,
            looked=looked,
            least=best.least,
            split=(whole.coefficients, whole.null_part),
        )
        if task != "classes":  # a single target of two values would look like two classes
            influence = replace(influence, scores=None)
        within = _within(influence, best, ridge, sum_ridge)
        return cls(
            path=_path(problem, best, changes).assign(ridge=grid.values),
            losses=best.left_out.square().sum(dim=1).cpu().numpy(),
            changes=np.full((1, 1), np.nan) if changes is None else changes.cpu().numpy(),
            moves=np.full(n, np.nan) if within is None else within.moves,
            outlook=_outlook(influence, within),
            figures=_figures(whole.spectrum, problem, within),
            doubts=doubts_of(problem, ridge),
            explained=None if task == "classes" else Explained.of(fit, sum_ridge, task),
        )

    @property
    def best(self) -> pd.Series:
        """The row of the chosen ridge."""
        smallest = self.path[self.path["loo"] == self.path["loo"].min()]
        return smallest.loc[smallest["ridge"].idxmax()]

    @property
    def n(self) -> int:
        """Number of training samples."""
        return len(self.losses)

    @property
    def balanced(self) -> bool:
        """Whether every class counts the same."""
        return self.classes is not None

    @cached_property
    def strata(self) -> Strata:
        """The classes that count the same; all samples as one of them where every sample does."""
        return Strata.one(self.n) if self.classes is None else Strata.of(self.classes)


def _within(influence: Influence, best: Best, ridge: float, sum_ridge: float) -> Within | None:
    """The 0-1 error at the best ridge, from its leave-one-out residuals; None without classes."""
    scores, n = influence.scores, influence.pool.n
    if scores is None:
        return None
    if best.fits.modes.at(sum_ridge) is not best.fits.modes:  # the scores are of the truncated ones
        return error_within(influence, n, ridge, 1)
    known = scores.of_residuals(sum_ridge, best.diagonal, best.left_out)
    return Fit(n, ridge, known, 1.0).predicted()


def _path(problem: Problem, best: Best, changes: Float64[Tensor, "m m"] | None) -> pd.DataFrame:
    """The path, with the interval and the 0-1 error at the best ridge."""
    covariance = np.nan
    if changes is not None:
        covariance = centred_covariance(changes, spare=torch.empty_like(changes))
    path = best.path.reindex(columns=PATH)
    for column, value in problem.loo_columns(best.left_out, covariance).items():
        path.loc[best.place, column] = value
    return path


def doubts_of(problem: Problem, ridge: float) -> tuple[str, ...]:
    """What detectors that speak of the data say at the chosen ridge.

    Nothing where it is 0, or so small that K + nλI is not positive definite to rounding.
    """
    if ridge == 0:
        return ()
    gram, _ = problem.kernel.block(DOUBTED)
    targets = problem.targets[: len(gram)]
    try:
        report = trust_report(gram, targets, ridge=ridge, intercept=problem.intercept)
    except NumericalError:
        return ()
    return tuple(one.message for one in report.findings if one.tripped and one.about == "data")


def _figures(spectrum: Spectrum, problem: Problem, within: Within | None) -> dict[str, float]:
    error = low = high = np.nan
    if within is not None:
        error = within.error
        low, high = interval(error, within.spread, len(within.chances))
    values = (
        participation_ratio(spectrum.eigenvalues),
        kernel_target_alignment(spectrum, problem.targets),
        *(error, low, high),
    )
    return dict(zip(FIGURES, map(float, values), strict=True))


def _outlook(influence: Influence, within: Within | None) -> pd.DataFrame:
    """What the pool says of more images; no rows where it is too small."""
    pairs = sizes_and_ridges(np.round(np.array(MULTIPLES) * influence.pool.n), None)
    try:
        found = Forecasts.of(influence)
        risks = found.table(pairs)
    except NumericalError:
        return pd.DataFrame(columns=list(OUTLOOK), dtype=float)
    errors = dict.fromkeys(("predicted_error", "error_low", "error_high"), np.nan)
    if influence.scores is not None:
        try:
            wrong = errors_foreseen(influence, found, pairs, 1, within)
            errors = {
                "predicted_error": wrong["predicted_error"],
                "error_low": wrong["low"],
                "error_high": wrong["high"],
            }
        except RmtgenError:  # the risks hold all the same
            pass
    return risks.assign(**errors)[list(OUTLOOK)]
