"""A ridge probe in which every class counts the same, in its fit and in what is measured of it.

The loss of sample i is taken times w_i = n/(C n_c), n_c the number of the n samples that have its
class, C the number of classes. The fit is then that of √w_i·x_i and √w_i·y_i (`ridge.weighted`),
whose leave-one-out residuals are √w_i times those of the samples: every number of a `Probe` of
these is that of the balanced risk (1/C) Σ_c E‖y − f(x)‖² and of the balanced 0-1 error.

The sample that is left out takes its weight with it; the others keep theirs. The numbers n_c are
taken as given (`ridge.strata`), so that the interval is for the risk of this fit on new samples, as
many of one class as of another. Of targets one-hot − 1/C the balanced mean is 0: to know nothing
costs 1 − 1/C whatever the classes, of one-hot targets 1, and an intercept would have only the mean
of the features to learn.

There is no forecast of more samples. That of a plain risk rests on samples that are alike, so that
leave-one-out and GCV agree; weights make them unlike, and it lies well above the risk that fits of
more samples have.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float64, Int64
from numpy.typing import ArrayLike
from torch import Tensor

from rmtgen.errors import UsageError
from rmtgen.ranking.best_ridge import Best, best_ridge
from rmtgen.ranking.probe import FIGURES, OUTLOOK, PATH, Probe, doubts_of
from rmtgen.ridge.eigen import Fit
from rmtgen.ridge.interval import LEAST_SAMPLES, centred_covariance, interval_columns
from rmtgen.ridge.problem import Grid, Problem
from rmtgen.ridge.shares import wilson
from rmtgen.ridge.strata import Strata, require_pairs
from rmtgen.ridge.targets import ClassCode
from rmtgen.ridge.weighted import scaled_problem
from rmtgen.tasks import require_balance
from rmtgen.theory.alignment import kernel_target_alignment, participation_ratio
from rmtgen.theory.loo_scores import LooScores, Scores


def balanced_probe(problem: Problem, ridges: ArrayLike) -> Probe:
    """The probe of all samples of a problem in which every class counts the same.

    Args:
        problem: Kernel, and targets of `encode_targets`, without an intercept; a test set is not
            looked at.
        ridges: λ ≥ 0.

    Raises:
        UsageError: Targets that encode no classes, an intercept, a class of a single sample, or
            ridges that make no sense.
        NumericalError: A failed decomposition, or no finite leave-one-out risk.
    """
    known, grid = _Known.of(problem), Grid.checked(ridges, None)
    weighted = scaled_problem(problem, known.root)
    unit = weighted.kernel.unit()
    weighted, pairs = weighted.over(unit), grid.over(unit).at(len(known.labels))
    best = best_ridge(weighted, pairs)
    ridge, sum_ridge = pairs[best.place]
    fit = best.fits.at(sum_ridge)
    changes, wrong = fit.changes(sum_ridge), _Wrong.of(known, fit, sum_ridge, best.left_out)
    spectrum = best.fits.at(0.0).spectrum
    alignment = kernel_target_alignment(spectrum, weighted.targets)
    figures = participation_ratio(spectrum.eigenvalues), alignment, *wrong.interval
    return Probe(
        path=_path(best, changes, wrong).assign(ridge=grid.values),
        losses=best.left_out.square().sum(dim=1).cpu().numpy(),
        changes=np.full((1, 1), np.nan) if changes is None else changes.cpu().numpy(),
        moves=wrong.moves,
        outlook=pd.DataFrame(columns=list(OUTLOOK), dtype=float),
        figures=dict(zip(FIGURES, map(float, figures), strict=True)),
        doubts=doubts_of(problem.over(unit), ridge),
        classes=known.labels,
    )


@dataclass(frozen=True, eq=False)
class _Known:
    """Classes, and what they count.

    Attributes:
        words: The targets.
        code: Their class code.
        labels: Their classes.
        strata: The same, without those that have no sample.
    """

    words: Float64[Tensor, "n c"]
    code: ClassCode
    labels: Int64[np.ndarray, " n"]
    strata: Strata

    @classmethod
    def of(cls, problem: Problem) -> "_Known":
        """Those of a problem.

        Raises:
            UsageError: As `balanced_probe`.
        """
        if problem.code is None:
            raise UsageError(
                "every class counts the same where there are classes: got targets that are no words"
                " of a class code. Encode labels: encode_targets."
            )
        require_balance("classes", problem.intercept)
        words = problem.targets[:]
        labels = problem.code.decode(words).long().cpu().numpy()
        require_pairs(labels)
        return cls(words, problem.code, labels, Strata.of(labels))

    @cached_property
    def root(self) -> Float64[Tensor, " n"]:
        """√w."""
        return torch.from_numpy(np.sqrt(self.strata.weights)).to(self.words)


@dataclass(frozen=True, eq=False)
class _Wrong:
    """Which samples the fits without them classify wrongly.

    Attributes:
        strata: The classes.
        chances: 1 for a sample that is wrong, else 0.
        moves: Change of the balanced error when each sample leaves; NaN for too few samples.
    """

    strata: Strata
    chances: Float64[np.ndarray, " n"]
    moves: Float64[np.ndarray, " n"]

    @classmethod
    def of(
        cls, known: _Known, fit: Fit, sum_ridge: float, left_out: Float64[Tensor, "n c"]
    ) -> "_Wrong":
        """Those of a fit, from √w times its leave-one-out residuals.

        With e the residuals times √w, score i changes by (G_ij/G_ii)·e_j/√w_i when sample j leaves;
        with g the slopes of the chances in the scores the error does by what `Scores.learnt` says
        of √w_i g_i.
        """
        root, modes = known.root[:, None], fit.modes
        parts = known.words - left_out / root, left_out, fit.diagonals(np.array([sum_ridge]))
        pool = LooScores(modes, known.words, known.code)
        scores = Scores(pool, sum_ridge, *(part.to(modes.vectors.dtype) for part in parts))
        chances = scores.wrong(1.0).cpu().numpy()
        moves = np.full(len(chances), np.nan)
        if len(chances) >= LEAST_SAMPLES:
            slopes = (root * scores.slopes(1.0)).to(modes.vectors.dtype)
            learnt = scores.learnt(slopes).cpu().numpy()
            moves = learnt / len(chances) + known.strata.moves(chances)
        return cls(known.strata, chances, moves)

    @property
    def error(self) -> float:
        """The balanced error."""
        return min(self.strata.mean(self.chances), 1.0)

    @property
    def interval(self) -> tuple[float, float, float]:
        """The error and both ends of its interval.

        Of a class in which none is wrong the jackknife knows nothing: it is taken to be as sure at
        most as if all classes had one error.
        """
        error, count = self.error, self.strata.effective
        least = (error * (1 - error) / count) ** 0.5
        return error, *wilson(error, np.maximum(self.strata.spread(self.moves), least), count)


def _path(best: Best, changes: Float64[Tensor, "m m"] | None, wrong: _Wrong) -> pd.DataFrame:
    """The path, with the interval and the 0-1 error at the best ridge."""
    losses, covariance = best.left_out.square().sum(dim=1), np.nan
    if changes is not None:
        covariance = centred_covariance(changes, spare=torch.empty_like(changes))
    variance = len(losses) * wrong.strata.variance(losses.cpu().numpy())
    found = {"loo": losses.mean().item(), "loo_error": wrong.error}
    path = best.path.reindex(columns=PATH)
    for column, value in (found | interval_columns(losses, covariance, variance=variance)).items():
        path.loc[best.place, column] = value
    return path
