"""Ensembles of ridge fits on subsamples: exact leave-one-out, corrected GCV, and the limit M → ∞.

M members are fitted to k of the n samples each, drawn without replacement, at one λ (sum ridge kλ),
and predict by their mean. Without sample i a member loses it from its bag, or does not change:

    e_i = (1/M) Σ_m [ r_mi/(1 − h_mi) where i is in bag m, r_mi where it is not ],

r_mi the residual and h_mi the leverage of member m: the leave-one-out residual of the ensemble,
exactly. In GCV the mean over samples takes the place of each. With d = df/n of a member, its
residual is on average (1 − df/k) of its error on the k samples of its bag, and its error on the
others, so that

    ‖r_m‖²/n  ≈ R_mm [(1 − d)² + d²(n/k − 1)],      r_m·r_l/n  ≈ R_ml (1 − d)²   for m ≠ l.

R_mm is the risk of a member and R_ml what the errors of two share, and the risk of M members is
R_mm/M + (1 − 1/M) R_ml. Usual GCV divides both by (1 − d)², which is wrong for every finite M. The
same two numbers from any estimate extrapolate it to every M, to M → ∞ by R_ml alone.

References: Bellec, Du, Koriyama, Patil & Tan 2023 (2310.01374, the corrected GCV); Du & Patil 2024
(the extrapolation in M, and both on neural representations).
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float64, Int64
from numpy.typing import ArrayLike
from torch import Tensor

from rmtgen.entrance import public
from rmtgen.ridge.columns import ENSEMBLE_COLUMNS
from rmtgen.ridge.eigen import Fit, Fits
from rmtgen.ridge.kernel import GramKernel
from rmtgen.ridge.problem import Grid, Problem
from rmtgen.ridge.spectral import spectral_columns
from rmtgen.scalars import whole_number

LEAST_KEPT = 1e-12
"""Smallest (1 − df/n)² with enough digits: below it every sample is interpolated."""


@public
def ensemble_path(  # noqa: PLR0913 - one public function; the grid, the bags and the test set
    gram: np.ndarray | Tensor,
    targets: np.ndarray | Tensor,
    *,
    ridges: ArrayLike,
    subsample: int,
    members: int,
    intercept: bool = False,
    test_gram: np.ndarray | Tensor | None = None,
    test_targets: np.ndarray | Tensor | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """The mean of M ridge fits on k samples each: exact leave-one-out, GCV, corrected GCV, M → ∞.

    One eigendecomposition per member serves all ridges. From the columns of a member and of the
    limit, the risk of any number M of members is member/M + (1 − 1/M)·limit, on average over bags.

    Args:
        gram: K of the pool (n, n), float32 or float64; the work runs on its device.
        targets: (n,) or (n, c).
        ridges: λ ≥ 0 of every member, whose sum ridge is kλ.
        subsample: k, samples per member, drawn without replacement.
        members: M. The first bags of a larger ensemble are those of a smaller one.
        intercept: Add an unpenalised intercept to every member.
        test_gram: k(test, pool) (m, n).
        test_targets: (m,) or (m, c).
        seed: Seed of the bags.

    Returns:
        One row per ridge, with the columns:

        n, subsample, members, ridge: n, k, M and λ.
        train_risk: Of the ensemble, on all n samples.
        gcv: train_risk/(1 − df/n)², wrong for every finite M > 1 with k < n.
        gcv_corrected, gcv_limit: corrected GCV, and its limit M → ∞.
        loo, loo_member, loo_limit: exact leave-one-out risk of the ensemble, the mean of its
            members', and the limit M → ∞.
        df: mean degrees of freedom of a member.
        train_error, loo_error, test_error, test_risk, test_risk_se: as in `ridge_path`.
        test_limit: test risk of the limit M → ∞.

        Limits are NaN for one member, and GCV where every sample is interpolated. Risks sum over
        outputs.

    Raises:
        UsageError: Shapes that do not fit, a negative ridge, k or M out of range.
        NumericalError: Non-finite input, an asymmetric or indefinite Gram matrix.

    References:
        Bellec, Du, Koriyama, Patil & Tan 2023; Du & Patil 2024.
    """
    kernel = GramKernel.checked(gram, test_gram)
    problem = Problem.checked(kernel, targets, test_targets, loo=True, intercept=intercept)
    n, grid = len(problem.targets), Grid.checked(ridges, None)
    subsample = whole_number(subsample, "subsample", least=1 + problem.intercept, most=n)
    members = whole_number(members, "members", least=1, most=2**31)
    seed = whole_number(seed, "seed", least=0)
    unit = kernel.unit()
    scaled, pairs = problem.over(unit), grid.over(unit).at(subsample)
    cells = [_Cell(scaled) for _ in pairs]
    for number in range(members):
        order = np.random.default_rng([seed, number]).permutation(n)[:subsample]
        bag = torch.from_numpy(np.sort(order)).to(kernel.device)
        member = _member(scaled, bag)
        fits = Fits(member, member.kernel.modes(subsample, member.intercept))
        for cell, (_, sum_ridge) in zip(cells, pairs, strict=True):
            cell.add(fits.at(sum_ridge), sum_ridge, bag)
    keys = {"n": n, "subsample": subsample, "members": members}
    rows = [
        cell.row() | keys | {"ridge": ridge}
        for cell, ridge in zip(cells, grid.values.tolist(), strict=True)
    ]
    frame = pd.DataFrame(rows, columns=ENSEMBLE_COLUMNS)
    frame.attrs["outputs"] = problem.targets.shape[1]
    return frame


def _member(problem: Problem, bag: Int64[Tensor, " k"]) -> Problem:
    """The problem of one member: its bag, tested on all samples and on the test set."""
    kernel, targets = problem.kernel, problem.targets
    tested = (kernel.train, kernel.test) if kernel.test is not None else (kernel.train,)
    rows = torch.cat([block[:, bag] for block in tested])
    blocks = replace(kernel, train=kernel.train[bag[:, None], bag], test=rows)
    return replace(problem, kernel=blocks, targets=targets[bag], test_targets=targets)


class _Cell:
    """Sums over the members at one ridge.

    Attributes:
        problem: The problem of all samples.
        residual: Σ_m r_m.
        left_out: Σ_m of the leave-one-out residuals.
        tested: Σ_m of the predictions on the test set.
        members: Of each member its residual, leave-one-out and test risk, and df.
    """

    def __init__(self, problem: Problem):
        self.problem = problem
        self.residual, self.left_out = (torch.zeros_like(problem.targets) for _ in range(2))
        self.tested = problem.targets.new_zeros(problem.tests, problem.targets.shape[1])
        self.members: list[tuple[float, float, float, float]] = []

    def add(self, fit: Fit, sum_ridge: float, bag: Int64[Tensor, " k"]) -> None:
        """Add one member."""
        targets = self.problem.targets
        predictions = fit.predictions(sum_ridge)
        residual, tested = targets - predictions[: len(targets)], predictions[len(targets) :]
        left_out = residual.clone()
        left_out[bag] = fit.left_out(sum_ridge)
        self.residual += residual
        self.left_out += left_out
        self.tested += tested
        off = tested - self.problem.test_targets if self.problem.tests else tested
        risks = (_risk(values) for values in (residual, left_out, off))
        self.members.append((*risks, spectral_columns(fit.spectrum, sum_ridge)["df"]))
        self.subsample = len(bag)

    def row(self) -> dict[str, float]:
        """Every column but the keys."""
        problem, count = self.problem, len(self.members)
        n = len(problem.targets)
        risks, left_out, tested, df = np.array(self.members).T
        row = dict.fromkeys(ENSEMBLE_COLUMNS, np.nan)
        row |= problem.train_columns(self.residual / count)
        whole = _risk(self.left_out / count)
        row |= {
            "df": df.mean(),
            "loo": whole,
            "loo_member": left_out.mean(),
            "loo_limit": _limit(whole, left_out.mean(), count),
            "loo_error": problem.train_errors(self.left_out / count)["train_error"],
        }
        row |= self._gcv(row["train_risk"], risks, df / n)
        if problem.tests:
            row |= problem.test_columns(self.tested / count)
            row["test_limit"] = _limit(row["test_risk"], tested.mean(), count)
        return row

    def _gcv(
        self, train_risk: float, risks: Float64[np.ndarray, " m"], shares: Float64[np.ndarray, " m"]
    ) -> dict[str, float]:
        """Usual and corrected GCV from the training risks and df/n of the members."""
        count, outside = len(risks), len(self.problem.targets) / self.subsample - 1
        kept = (1 - shares.mean()) ** 2
        of_members = (1 - shares) ** 2 + shares**2 * outside
        if not kept > LEAST_KEPT:
            return {}
        member = (risks / of_members).mean()
        limit = _limit(train_risk, risks.mean(), count) / kept
        corrected = member if count == 1 else member / count + (1 - 1 / count) * limit
        return {"gcv": train_risk / kept, "gcv_corrected": corrected, "gcv_limit": limit}


def _risk(residual: Float64[Tensor, "n c"]) -> float:
    """Mean over the samples of the squared loss, NaN without any."""
    return residual.square().sum().item() / len(residual) if len(residual) else np.nan


def _limit(whole: float, member: float, count: int) -> float:
    """Risk of infinitely many members, from that of `count` and the mean of theirs.

    It is the mean over pairs of different members of what their errors share, without bias.
    """
    return (count * whole - member) / (count - 1) if count > 1 else np.nan
