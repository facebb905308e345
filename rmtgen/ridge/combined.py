"""Weights of several kernels of the same samples, learned by minimising the leave-one-out risk.

With kernels K_j of the parts of a network, or of several representations, the fit has the kernel
K = Σ_j w_j K_j, w_j ≥ 0: a ridge of its own, λ/w_j, for each part (banded ridge regression). Only
the ratios w_j/λ matter. With τ_j the mean of the diagonal of K_j, the loss is minimised over
log(w_j τ_j/λ) in [−`REACH`, `REACH`] by L-BFGS-B, from equal weights w_j at their best ridge. At
the lower end a kernel has no part in the fit, and its weight is 0. The trace of K is then that of
Σ_j K_j.

The minimum is optimistic: the weights adapt to the samples that measure it. They are therefore
learned again on the samples without each of some folds, whose mean loss is compared with the
leave-one-out risk at the optimum of the same samples. Both are of fits of the same size, and the
same samples enter both, so that their difference is better known than either. It is the optimism of
the smaller sizes; as 1/n it falls to that of all n samples.

References: Nunez-Elizalde, Huth & Gallant 2019 and Dupré la Tour, Eickenberg, Nunez-Elizalde &
Gallant 2022 (banded ridge); Tibshirani & Tibshirani 2009 (the optimism of a minimum of
cross-validation, from its folds); Schwab, Kelly, Malamud & Xu 2025 (KARE as a loss).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from scipy.optimize import minimize
from torch import Tensor

from rmtgen.checks import finite_matrix, real_array, square_matrix, target_matrix
from rmtgen.entrance import public
from rmtgen.errors import NumericalError, UsageError
from rmtgen.ridge.losses import gcv_of, left_out_losses, solved
from rmtgen.scalars import choice, flag, kind_of, whole_number

REACH = 12.0
"""Largest logarithm, up or down, of a kernel's mean diagonal over the ridge: 1.6e5."""
SCALES = 13
"""Number of ridges at which equal weights are tried before the best is refined."""
LEAST_SAMPLES = 16
"""Sample size below which no weights are learned."""
STEPS = 200
"""Most steps of the minimiser."""

Kernels = Mapping[str, np.ndarray | Tensor]


@dataclass(frozen=True, eq=False)
class LearnedWeights:
    """Weights of kernels, and what they are worth beside equal ones; risks are sums over outputs.

    Attributes:
        weights: w_j by name; Σ_j w_j K_j has the trace of Σ_j K_j.
        ridge: λ that belongs to them.
        loss: What was minimised, `loo` or `gcv`, at the optimum: optimistic.
        loo: Leave-one-out risk at the optimum: optimistic, too.
        optimism: What the loss of samples that the weights were not learned on has beyond that.
        corrected: `loo` + `optimism`, the estimate of the test risk.
        held_out: Mean loss of the folds, of weights learned without them.
        plain_ridge: λ of equal weights, w_j = 1, at the minimum of the same loss.
        plain_loo: Leave-one-out risk there.
        plain_held_out: Mean loss of the folds at equal weights, with the ridge learned without
            them.
        gain: plain_held_out − held_out, what the weights are worth.
        gain_se: Its standard error over samples, the folds of both being the same.
    """

    weights: dict[str, float]
    ridge: float
    loss: float
    loo: float
    optimism: float
    corrected: float
    held_out: float
    plain_ridge: float
    plain_loo: float
    plain_held_out: float
    gain: float
    gain_se: float


@public
def combine_kernels(
    kernels: Kernels, weights: Mapping[str, float] | np.ndarray | Tensor
) -> Float64[Tensor, "n m"]:
    """Σ_j w_j K_j in float64, differentiable in the weights: of training as of test blocks.

    Args:
        kernels: K_j (n, m) by name, such as `entk_gram` gives with `by="layer"`.
        weights: w_j ≥ 0 by name, as in `LearnedWeights`, or (J,) in the order of the kernels.

    Returns:
        The sum, on the device of the first kernel.

    Raises:
        UsageError: Kernels of different shapes, weights of other names or number, or negative ones.
        NumericalError: Non-finite kernels.
    """
    matrices = _checked(kernels, square=False)
    if isinstance(weights, Mapping):
        if set(weights) != set(matrices):
            raise UsageError(
                "weights must have the names of the kernels: expected"
                f" {sorted(map(str, matrices))!r:.60}, got {sorted(map(str, weights))!r:.60}. Pass"
                " both from one split."
            )
        weights = [weights[name] for name in matrices]
    values = real_array(weights.detach() if isinstance(weights, Tensor) else weights, "weights")
    if values.shape != (len(matrices),) or not ((values >= 0) & (values < np.inf)).all():
        raise UsageError(
            f"weights must be one finite number >= 0 per kernel: expected shape ({len(matrices)},),"
            f" got {values!r:.80}."
        )
    if isinstance(weights, Tensor) and weights.requires_grad:
        return _combined(list(matrices.values()), weights.double())
    return _combined(list(matrices.values()), torch.from_numpy(values))


@public
def learn_weights(
    kernels: Kernels,
    targets: np.ndarray | Tensor,
    *,
    loss: str = "loo",
    intercept: bool = False,
    folds: int = 10,
    seed: int = 0,
) -> LearnedWeights:
    """Weights w_j ≥ 0 and the ridge of Σ_j w_j K_j that minimise its leave-one-out risk.

    The minimum is a local one. `corrected` is an estimate of
    the test risk; `gain` with `gain_se` says whether the weights beat equal ones.

    Args:
        kernels: K_j (n, n) of the same samples by name, positive semidefinite, such as `entk_gram`
            gives with `by="layer"`; the work runs in float64 on the device of the first.
        targets: (n,) or (n, c).
        loss: `loo` or `gcv`, what is minimised.
        intercept: Add an unpenalised intercept.
        folds: Number of folds of the correction; the weights are learned once more for each. With
            few of them the fits without a fold are worse than that of all samples.
        seed: Seed of the folds.

    Returns:
        The weights, with their estimates of the risk.

    Raises:
        UsageError: Kernels that do not fit, fewer than 16 samples or 2 per fold, an unknown loss.
        NumericalError: Non-finite input, a kernel without a positive trace, or an indefinite one.

    References:
        Nunez-Elizalde, Huth & Gallant 2019; Tibshirani & Tibshirani 2009; Schwab, Kelly, Malamud &
        Xu 2025.
    """
    matrices = _checked(kernels, square=True)
    names, parts = list(matrices), list(matrices.values())
    choice(loss, "loss", ("loo", "gcv"))
    values = target_matrix(targets).to(parts[0].device)
    n = len(parts[0])
    if len(values) != n:
        raise UsageError(
            f"targets need one row per training sample: expected {n}, got {len(values)}. Take both"
            " from one split."
        )
    if n < LEAST_SAMPLES:
        raise UsageError(
            f"learned weights need >= {LEAST_SAMPLES} samples: got {n}. Take equal weights."
        )
    cure = f"A fold needs 2 of the {n} samples."
    folds = whole_number(folds, "folds", least=2, most=n // 2, cure=cure)
    seed = whole_number(seed, "seed", least=0)
    sample = _Sample(parts, values, flag(intercept, "intercept"), loss)
    plain, bands = sample.learned()
    order = np.random.default_rng(seed).permutation(n)
    held = _held_out(sample, [np.sort(part) for part in np.array_split(order, folds)])
    ridge = sample.means.sum() / (bands @ sample.means)
    loo, optimism = sample.left_out(bands).mean().item(), held.optimism
    return LearnedWeights(
        weights=dict(zip(names, (ridge * bands).tolist(), strict=True)),
        ridge=float(ridge),
        loss=sample.value(bands),
        loo=loo,
        optimism=optimism,
        corrected=loo + optimism,
        held_out=float(held.learned.mean()),
        plain_ridge=float(1 / plain[0]),
        plain_loo=sample.left_out(plain).mean().item(),
        plain_held_out=float(held.plain.mean()),
        gain=float((held.plain - held.learned).mean()),
        gain_se=float((held.plain - held.learned).std(ddof=1) / n**0.5),
    )


def _checked(kernels: Kernels, *, square: bool) -> dict[str, Float[Tensor, "n m"]]:
    """Kernels by name as finite matrices of one shape, on the device of the first."""
    if not isinstance(kernels, Mapping) or not kernels:
        raise UsageError(
            f"kernels must be one or more matrices by name: got {kind_of(kernels)}. Pass a"
            ' dictionary, such as entk_gram(..., by="layer").'
        )
    matrices: dict[str, Tensor] = {}
    for name, kernel in kernels.items():
        found = f"kernels[{name!r:.60}]"
        matrix = (
            square_matrix(kernel, found, cure="Pass the train blocks alone.")
            if square
            else finite_matrix(kernel, found)
        )
        first = next(iter(matrices.values()), matrix)
        if matrix.shape != first.shape:
            raise UsageError(
                f"{found} must have the shape of the first: expected {tuple(first.shape)}, got"
                f" {tuple(matrix.shape)}. Take all from the same samples."
            )
        mean = matrix.diagonal().double().mean().item()
        if square and not mean > 0:
            raise NumericalError(
                f"{found} must have a positive trace: got a mean diagonal of {mean:.4g}. Leave it"
                " out: it has no part in any fit."
            )
        matrices[name] = matrix.to(first.device)
    return matrices


def _combined(
    parts: list[Float[Tensor, "n m"]], weights: Float64[Tensor, " j"]
) -> Float64[Tensor, "n m"]:
    total = torch.zeros_like(parts[0], dtype=torch.float64)
    for part, weight in zip(parts, weights.to(total.device), strict=True):
        total = total + weight * part.double()
    return total


@dataclass(frozen=True, eq=False)
class _Sample:
    """Kernels of some samples with their targets, and fits at bands w_j/λ of them.

    Attributes:
        parts: K_j.
        targets: Y.
        intercept: Whether there is an unpenalised intercept.
        loss: What is minimised.
    """

    parts: list[Float[Tensor, "n n"]]
    targets: Float64[Tensor, "n c"]
    intercept: bool
    loss: str

    @cached_property
    def means(self) -> Float64[np.ndarray, " j"]:
        """τ_j, means of the diagonals."""
        return np.array([part.diagonal().double().mean().item() for part in self.parts])

    def learned(self) -> tuple[Float64[np.ndarray, " j"], Float64[np.ndarray, " j"]]:
        """The bands of equal weights at their best ridge, and those at the optimum."""
        equal = np.log(self.means / self.means.max())
        levels = np.linspace(-REACH / 2, REACH, SCALES)
        first = min(levels, key=lambda level: self.value(np.exp(equal + level) / self.means))
        reach = levels[1] - levels[0]
        bounds = [(first - reach, first + reach)]
        level = self._minimised(lambda x: x + equal, np.array([first]), bounds)
        plain = level + equal
        bounds = [(-REACH, REACH)] * len(equal)
        found = self._minimised(lambda x: x, np.clip(plain, -REACH, REACH), bounds)
        return np.exp(plain) / self.means, np.where(found > -REACH, np.exp(found), 0) / self.means

    def _minimised(
        self,
        logarithms: Callable[[Float64[np.ndarray, " k"]], Float64[np.ndarray, " j"]],
        start: Float64[np.ndarray, " k"],
        bounds: list[tuple[float, float]],
    ) -> Float64[np.ndarray, " k"]:
        """The point within the bounds whose log(w_j τ_j/λ) = `logarithms` have the least loss."""
        unit = self.value(np.exp(logarithms(start)) / self.means) or 1.0

        def objective(x: Float64[np.ndarray, " k"]) -> tuple[float, Float64[np.ndarray, " k"]]:
            bands = torch.from_numpy(np.exp(logarithms(x)) / self.means).requires_grad_()
            value = self._value(bands) / unit
            value.backward()
            slopes = (bands.grad * bands.detach()).numpy()
            return value.item(), slopes if len(x) > 1 else slopes.sum(keepdims=True)

        options = {"maxiter": STEPS, "ftol": 1e-10, "gtol": 1e-7}
        method = {"method": "L-BFGS-B", "jac": True, "bounds": bounds, "options": options}
        return minimize(objective, start, **method).x

    def value(self, bands: Float64[np.ndarray, " j"]) -> float:
        """The loss."""
        return self._value(torch.from_numpy(bands)).item()

    def left_out(self, bands: Float64[np.ndarray, " j"]) -> Float64[Tensor, " n"]:
        """Leave-one-out losses."""
        return left_out_losses(*self._solved(torch.from_numpy(bands)))

    def losses(
        self,
        bands: Float64[np.ndarray, " j"],
        rows: list[Float[Tensor, "m n"]],
        targets: Float64[Tensor, "m c"],
    ) -> Float64[Tensor, " m"]:
        """Losses of other samples, whose kernels with these are `rows`."""
        values = torch.from_numpy(bands)
        dual, _ = self._solved(values)
        offset = 0.0
        if self.intercept:
            offset = (self.targets - _combined(self.parts, values) @ dual).mean(dim=0)
        return (targets - _combined(rows, values) @ dual - offset).square().sum(dim=1)

    def chosen(self, some: Int64[Tensor, " k"]) -> "_Sample":
        """That of some of the samples."""
        parts = [part[some[:, None], some] for part in self.parts]
        return _Sample(parts, self.targets[some], self.intercept, self.loss)

    def _value(self, bands: Float64[Tensor, " j"]) -> Float64[Tensor, ""]:
        fit = self._solved(bands)
        return left_out_losses(*fit).mean() if self.loss == "loo" else gcv_of(*fit)

    def _solved(
        self, bands: Float64[Tensor, " j"]
    ) -> tuple[Float64[Tensor, "n c"], Float64[Tensor, "n n"]]:
        matrix = _combined(self.parts, bands)
        return solved((matrix + matrix.mT) / 2, self.targets, 1.0, self.intercept)


@dataclass(frozen=True, eq=False)
class _HeldOut:
    """Losses of every sample of fits that its fold had no part in.

    Attributes:
        learned: At weights learned without the fold.
        plain: At equal weights, with the ridge learned without the fold.
        left_out: Leave-one-out loss at weights learned without another fold, the mean over these.
        share: Samples without a fold, over all.
    """

    learned: Float64[np.ndarray, " n"]
    plain: Float64[np.ndarray, " n"]
    left_out: Float64[np.ndarray, " n"]
    share: float

    @property
    def optimism(self) -> float:
        """What a loss has beyond the leave-one-out loss where the weights were learned on it."""
        return self.share * float((self.learned - self.left_out).mean())


def _held_out(sample: _Sample, folds: list[Int64[np.ndarray, " m"]]) -> _HeldOut:
    n, device = len(sample.targets), sample.targets.device
    learned, plain, left_out = np.zeros(n), np.zeros(n), np.zeros(n)
    for fold in folds:
        outside = np.setdiff1d(np.arange(n), fold)
        held, rest = (torch.from_numpy(part).to(device) for part in (fold, outside))
        inner = sample.chosen(rest)
        equal, bands = inner.learned()
        tests = [part[held[:, None], rest] for part in sample.parts], sample.targets[held]
        learned[fold] = inner.losses(bands, *tests).cpu()
        plain[fold] = inner.losses(equal, *tests).cpu()
        left_out[outside] += inner.left_out(bands).cpu().numpy() / (len(folds) - 1)
    return _HeldOut(learned, plain, left_out, 1 - 1 / len(folds))
