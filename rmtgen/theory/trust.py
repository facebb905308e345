"""When GCV must not be trusted: samples that are not alike, not independent, not those of the test,
or too few.

Notation: n train samples, m test samples, c outputs, k blocks of b samples, λ the ridge of the mean
objective, δ = nλ, G = (K + δI)⁻¹. With an intercept P = G − wwᵀ/(1ᵀw), w = G1, takes the place of
G. Everything comes from that one inverse: its diagonal leaves one sample out, its blocks leave
several out, and what it explains of a left-out sample can be compared with what it explains of a
test sample.

Where a distribution under "nothing is wrong" is needed, it comes from the data: other blocks, other
splits of the same samples. The random ones are drawn with a fixed seed, so that a report repeats.
"""

from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from rmtgen.checks import finite_matrix, target_matrix
from rmtgen.errors import NumericalError, UsageError
from rmtgen.linalg.modes import EPS32, EPS64, symmetrised
from rmtgen.ridge.targets import ClassCode
from rmtgen.theory.resolvent import Resolvent, explained, left_out, resolvents

# Calibrated on i.i.d. draws with linear targets and noise .3, at relative ridges 1e-4 and 1e-2, and
# 1e-3 with an intercept, m = n. Share of reports in which anything tripped: n = 300, 200 draws a
# cell: isotropic Gaussian 0 %, power law i^-1.5 1 %, i^-.7 1 %, uniform 0 %, ReLU features of 20
# Gaussian inputs 0 %, of 5 inputs 1 %, mixture of 10 classes 1 %, a mean of 10 0 %; n = 1000, 40
# draws a cell: isotropic and power law 0 %. Most of these come from `mean_shift`, which exceeds all
# its splits once in 200 draws. The largest that these draws gave, or the quantile it should have,
# is in brackets. Failures caught by their own detector at n = 300, 30 draws a cell: 90 to 100 %,
# except t₃ features with p = n/3 at 1e-4: 43 % by the leverage ratio, 87 % by that or the gap.
LEVERAGE_FLOOR = 3.0
"""Of H [1.1 for Gaussian features]."""
LEVERAGE = 0.3
"""H grows as √n at a fixed spread of the samples' scale, so this is times √n [.29 for 5 inputs; .3
to .6 for t₃ features]."""
GAP = 0.15
"""|log(GCV/LOO)| [.15 for 20 inputs, .05 for Gaussian features]."""
CLOSE = 0.03
"""Squared distance of a near-copy over that of the far neighbour, at most."""
CHANCE = 3e-4
"""Probability, about, that a far neighbour's ball holds a near-copy by chance."""
COPIES = 0.05
"""Share of samples with a near-copy [.02]."""
BLOCKED = 0.1
"""Log-ratio of the risks on blocks below which correlation is of no matter [.11]."""
DEVIATIONS = 3.0
"""Of the log-ratio among random blocks [probability .0013]."""
SHIFT = 0.1
"""Kolmogorov–Smirnov distance below which a shift is of no matter."""
KOLMOGOROV = 2.0
"""Of that distance, in units of √(2/n + 1/m) [probability .0007]."""
MEANS = 0.02
"""Squared distance of the means in units of the samples' variance, below which a difference is of
no matter."""
ORDERED = 3.5
"""z-score [probability .0002]."""
FEW = 100
"""Samples."""
FULL = 0.99
"""df/n."""
RELATIVE_RIDGE = 1e-3
"""Default of λ/(tr K/n)."""
ENOUGH = 20
"""Samples, train or test, from which on there is something to compare."""
BLOCKINGS = 64
"""Random choices of blocks."""
SPLITS = 199
"""Random splits of train and test samples; the largest of them is the threshold."""
POWER_STEPS = 30
ROWS = 256
"""Rows that are looked at a time."""
SILENT = 1e-20
"""Of the targets' energy: what leaving one out misses, below that, is rounding."""


@dataclass(frozen=True)
class Finding:
    """What one detector saw: its number, the threshold at which it trips, and a sentence that names
    both and what to do.
    """

    detector: str
    value: float
    threshold: float
    tripped: bool
    message: str


@dataclass(frozen=True, eq=False)
class TrustReport:
    """What the detectors found, those that had something to look at."""

    findings: tuple[Finding, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Messages of the detectors that tripped."""
        return tuple(finding.message for finding in self.findings if finding.tripped)

    @property
    def trusted(self) -> bool:
        """Whether none tripped."""
        return not self.warnings

    def frame(self) -> pd.DataFrame:
        """One row a finding: `detector value threshold tripped message`."""
        return pd.DataFrame([asdict(finding) for finding in self.findings])


def trust_report(
    gram: np.ndarray | Tensor,
    targets: np.ndarray | Tensor,
    *,
    ridge: float | None = None,
    test_gram: np.ndarray | Tensor | None = None,
    intercept: bool = False,
) -> TrustReport:
    """Look for what makes GCV(λ) = n‖GY‖²/(tr G)² differ from the test risk, and say which number
    gives it away.

    The order of the samples matters: it is the order in which correlation and sorting are looked
    for. One factorisation and inverse, O(n³) in float64 where `gram` lies, and a peak memory of
    about three and a half float64 matrices n×n beside the arguments.

    Args:
        gram: K (n, n), symmetric and positive semidefinite up to rounding, float32 or float64.
        targets: (n,) or (n, c).
        ridge: λ > 0 of the mean objective; default 1e-3·tr K/n.
        test_gram: k(test, train) (m, n); k(test, test) is never needed.
        intercept: The regression has an unpenalised intercept.

    Returns:
        One finding a detector: `small_sample` always; from 20 samples on `leverage` and
        `near_duplicates`, with targets that the fit does not predict to rounding `gcv_loo_gap` and
        `correlated_samples`, with targets that encode classes `ordered_classes`, and with 20 test
        samples `covariate_shift` and `mean_shift`; of a float32 Gram matrix `float32_df` and
        `float32_ridge`.

    Raises:
        UsageError: A ridge that is not positive, shapes that do not fit, or a matrix of another
            type.
        NumericalError: Non-finite input, a K that is zero, asymmetric or indefinite beyond the
            ridge.

    References:
        Golub, Heath & Wahba 1979 (GCV and LOO); Roberts et al. 2017 (blocked cross-validation);
        Wei, Hu, Steinhardt 2022 (arXiv 2203.06176).
    """
    gram = finite_matrix(gram, "gram")
    single = gram.dtype == torch.float32
    matrix, targets, tests = _checked(gram, targets, test_gram)
    plain, centred = resolvents(matrix, _sum_ridge(ridge, matrix))
    used, n = centred if intercept else plain, len(matrix)
    findings = [small_sample(n)]
    if n >= ENOUGH:
        findings += [leverage(used), near_duplicates(matrix), *_with_targets(used, targets)]
        if tests is not None and len(tests) >= ENOUGH:
            findings += [
                covariate_shift(*explained(matrix, centred, tests)),
                mean_shift(matrix, tests),
            ]
    if single:
        findings += [float32_df(used), float32_ridge(used, _largest_eigenvalue(matrix))]
    return TrustReport(tuple(findings))


def leverage(resolvent: Resolvent) -> Finding:
    """H = CV(diag G)/sqrt(2(κ̂' − 1)/n): about 1 for Gaussian features, much more where samples
    differ in scale.
    """
    diagonal, n = resolvent.diagonal, len(resolvent.removed)
    expected = max(2 * (resolvent.kappa_prime - 1) / n, EPS64) ** 0.5
    return _finding(
        "leverage",
        (diagonal.std(correction=0) / diagonal.mean()).item() / expected,
        max(LEVERAGE_FLOOR, LEVERAGE * n**0.5),
        "the leverage ratio H = CV(diag G)/sqrt(2(κ̂' - 1)/n)",
        "the samples differ in scale, so trust LOO and not GCV",
    )


def leave_one_out_gap(resolvent: Resolvent, dual: Float64[Tensor, "n c"]) -> Finding:
    """|log(GCV/LOO)| of the dual solution GY: what replacing G_ii by its mean does."""
    diagonal = resolvent.diagonal
    gcv, loo = (
        dual.square().sum() / diagonal.mean().square(),
        (dual / diagonal[:, None]).square().sum(),
    )
    return _finding(
        "gcv_loo_gap",
        (gcv / loo).log().abs().item(),
        GAP,
        "the gap |log(GCV/LOO)|",
        "a few samples of large leverage carry the difference, so trust LOO and not GCV",
    )


def near_duplicates(matrix: Float64[Tensor, "n n"]) -> Finding:
    """Share of samples with a near-copy: a neighbour closer than samples of a continuous
    distribution come by chance.

    The squared distance K_ii + K_jj − 2K_ij to the nearest neighbour is held against that of a far
    neighbour, rank f of about n/20, and not against K_ii, since a large mean makes every cosine 1.
    In d dimensions the ratio of the distances falls below t with probability about f·t^d; d ≥ 1 is
    estimated from ranks f/2 and f, where copies hardly count, so that few dimensions raise no
    alarm. Where the far neighbour is of another cluster, the nearest neighbours of the other
    samples, their 90 % quantile, take its place; tight clusters of two or three samples and some
    singletons still count as copies.
    """
    n = len(matrix)
    far = min(max(n // 20, 5), 30)
    distances = torch.cat([_nearest(matrix, low, far) for low in range(0, n, ROWS)])
    nearest, outer = distances[:, 0], distances[:, -1]
    growth = (outer / distances[:, far // 2 - 1]).nan_to_num(
        nan=torch.inf, posinf=torch.inf
    ).median().log().item() / 2
    half, whole = torch.digamma(torch.tensor([far // 2, far], dtype=torch.float64)).tolist()
    cutoff = min(
        CLOSE, CHANCE ** (2 * min(growth / (whole - half), 1.0))
    )  # E log(r_f/r_h) = (ψ(f) − ψ(h))/d
    typical = outer.minimum(nearest.quantile(0.9)).maximum(CLOSE * outer)
    return _finding(
        "near_duplicates",
        (nearest <= cutoff * typical).double().mean().item(),
        COPIES,
        "the share of samples with a near-copy among the others",
        "a left-out sample is predicted from its copy, so remove the copies or leave each group out"
        " as a whole",
    )


def correlated_samples(resolvent: Resolvent, dual: Float64[Tensor, "n c"]) -> Finding:
    """Log-ratio of the risk on left-out contiguous blocks, e_B = (G_BB)⁻¹(GY)_B, to that on random
    blocks of the same size.

    Under exchangeable samples the contiguous blocks are one more random choice, whose spread the
    random ones show.
    """
    n, size = len(dual), min(max(len(dual) // 15, 2), 100)
    generator = torch.Generator().manual_seed(0)
    orders = [torch.arange(n), *(torch.randperm(n, generator=generator) for _ in range(BLOCKINGS))]
    blockings = (order[: n - n % size].view(-1, size).to(dual.device) for order in orders)
    risks = torch.stack(
        [left_out(resolvent, dual, blocks).square().mean() for blocks in blockings]
    ).log()
    return _finding(
        "correlated_samples",
        (risks[0] - risks[1:].mean()).item(),
        max(BLOCKED, DEVIATIONS * risks[1:].std().item()),
        f"the log-ratio of the risk on left-out runs of {size} neighbours to that on {size} random"
        " samples",
        "samples near each other in the order given are alike, so trust blocked cross-validation"
        " and neither GCV nor LOO",
    )


def ordered_classes(classes: Int64[Tensor, " n"] | Bool[Tensor, " n"]) -> Finding:
    """Deviations by which more neighbours share a class than after a shuffle; ∞ where there is one
    class alone.

    References:
        Wald & Wolfowitz 1940; Mood 1940 for the variance with several classes.
    """
    n, counts = len(classes), classes.unique(return_counts=True)[1].double()
    squares, cubes = counts.square().sum().item(), counts.pow(3).sum().item()
    pairs, mean = (classes[1:] == classes[:-1]).sum().item(), squares / n - 1
    variance = (squares * (squares + n * (n + 1)) - 2 * n * cubes - n**3) / (n**2 * (n - 1))
    return _finding(
        "ordered_classes",
        (pairs - mean) / max(variance, EPS64) ** 0.5 if len(counts) > 1 else np.inf,
        ORDERED,
        f"the z-score of {pairs} pairs of neighbours of equal class, where a shuffle gives"
        f" {mean:.0f},",
        "the order carries the class, so shuffle before the first n samples are taken",
    )


def covariate_shift(train: Float64[Tensor, " n"], test: Float64[Tensor, " m"]) -> Finding:
    """Kolmogorov–Smirnov distance of the two samples of `explained`.

    Two train samples enter each other's value, which can double the variance of their distribution
    function: 2/n in place of 1/n.
    """
    points = torch.cat([train, test])
    shares = [
        torch.searchsorted(part.sort().values, points, right=True).double() / len(part)
        for part in (train, test)
    ]
    return _finding(
        "covariate_shift",
        (shares[0] - shares[1]).abs().max().item(),
        max(SHIFT, KOLMOGOROV * (2 / len(train) + 1 / len(test)) ** 0.5),
        "the Kolmogorov-Smirnov distance between what fits explain of left-out train samples and of"
        " test samples",
        "GCV speaks of samples like the train samples, so look for copies among these, or measure"
        " the risk on labelled test samples",
    )


def mean_shift(matrix: Float64[Tensor, "n n"], tests: Float[Tensor, "m n"]) -> Finding:
    """Squared distance of the mean embeddings of train and test, at the train samples, over that of
    random splits of all n + m.

    The embeddings are column means of k(·, x_j), sample j left out of its own mean, and centred
    over j. The threshold is the largest of the random splits, and at least a distance that matters.
    """
    n, m = len(matrix), len(tests)
    tested = _memberships(n, m).to(matrix.device)
    own, total = tested[:, :n], matrix.sum(dim=0) - matrix.diagonal()
    sums = own @ matrix - own * matrix.diagonal()
    for low in range(0, m, ROWS):
        rows = tests[low : low + ROWS].double()
        sums += tested[:, n + low : n + low + ROWS] @ rows
        total += rows.sum(dim=0)
    gaps = sums / (m - own) - (total - sums) / (n - 1 + own)
    energy = (gaps - gaps.mean(dim=1, keepdim=True)).square().sum(dim=1)
    energy /= energy[1:].mean().clamp_min(torch.finfo(torch.float64).tiny)
    return _finding(
        "mean_shift",
        energy[0].item(),
        max(energy[1:].max().item(), MEANS * n * m / (n + m)),
        "the squared distance between the mean train and the mean test sample over that of random"
        " splits",
        "GCV speaks of samples like the train samples, so measure the risk on labelled test"
        " samples",
    )


def small_sample(n: int) -> Finding:
    """Random matrix theory is asymptotic: n itself."""
    cure = (
        "the fluctuations of GCV are large at this size, so take more samples or average over draws"
    )
    return _finding("small_sample", n, FEW, "the number of samples n", cure, tripped=n < FEW)


def float32_df(resolvent: Resolvent) -> Finding:
    """df/n = 1 − λ tr G of a float32 Gram matrix, which does not resolve the last 1 %."""
    full = 1 - resolvent.sum_ridge * resolvent.diagonal.mean().item()
    cure = (
        "float32 does not resolve what is left of it, so compute the Gram matrix in float64 or take"
        " a larger ridge"
    )
    return _finding("float32_df", full, FULL, "df/n of a float32 Gram matrix", cure)


def float32_ridge(resolvent: Resolvent, largest: float) -> Finding:
    """nλ of a float32 Gram matrix against its rounding 10·eps32·s_max."""
    rounding = 10 * EPS32 * largest
    return _finding(
        "float32_ridge",
        resolvent.sum_ridge,
        rounding,
        "nλ of a float32 Gram matrix (rounding 10·eps32·s_max)",
        "float32 does not resolve the eigenvalues there, so compute the Gram matrix in float64 or"
        " take a larger ridge",
        tripped=resolvent.sum_ridge <= rounding,
    )


def _finding(  # noqa: PLR0913 - the fields of a finding and the parts of its message
    detector: str,
    value: float,
    threshold: float,
    saw: str,
    cure: str,
    *,
    tripped: bool | None = None,
) -> Finding:
    """A finding that trips above its threshold, unless told otherwise."""
    tripped = value > threshold if tripped is None else tripped
    told = f"{saw} is {value:.4g} against a threshold of {threshold:.4g}"
    return Finding(
        detector, value, threshold, tripped, f"{told}: {cure}." if tripped else f"{told}."
    )


def _with_targets(resolvent: Resolvent, targets: Float64[Tensor, "n c"]) -> list[Finding]:
    findings, dual, code = [], resolvent.times(targets), ClassCode.of(targets)
    missed = (dual / resolvent.diagonal[:, None]).square().sum()
    if missed > SILENT * targets.square().sum():
        findings += [leave_one_out_gap(resolvent, dual), correlated_samples(resolvent, dual)]
    return findings + ([ordered_classes(code.decode(targets))] if code else [])


def _nearest(matrix: Float64[Tensor, "n n"], low: int, far: int) -> Float64[Tensor, "rows far"]:
    """Squared distances of a block of samples to their nearest others, ascending."""
    norms, rows = matrix.diagonal(), matrix[low : low + ROWS]
    distances = (norms[low : low + ROWS, None] + norms - 2 * rows).clamp_min(0)
    distances.diagonal(low).fill_(torch.inf)
    return distances.topk(far, largest=False).values


def _memberships(n: int, m: int) -> Float64[Tensor, "splits n_plus_m"]:
    """1 where a sample counts as test: as it is, then `SPLITS` random splits of n + m samples."""
    generator = torch.Generator().manual_seed(0)
    tested = torch.zeros(SPLITS + 1, n + m, dtype=torch.float64)
    tested[0, n:] = 1
    for row in tested[1:]:
        row[torch.randperm(n + m, generator=generator)[:m]] = 1
    return tested


def _largest_eigenvalue(matrix: Float64[Tensor, "n n"]) -> float:
    """s_max by power iteration, from below; a few digits, which is what a threshold needs."""
    vector = torch.randn(
        len(matrix), generator=torch.Generator().manual_seed(0), dtype=torch.float64
    ).to(matrix.device)
    for _ in range(POWER_STEPS):
        vector = matrix @ (vector / vector.norm())
    return vector.norm().item()


def _checked(
    gram: Float[Tensor, "n n"], targets: np.ndarray | Tensor, test_gram: np.ndarray | Tensor | None
) -> tuple[Float64[Tensor, "n n"], Float64[Tensor, "n c"], Float[Tensor, "m n"] | None]:
    n = len(gram)
    if gram.shape != (n, n):
        raise UsageError(
            f"gram must be square: expected ({n}, {n}), got {tuple(gram.shape)}. Pass the train"
            " block alone."
        )
    targets = target_matrix(targets).to(gram.device)
    if len(targets) != n:
        raise UsageError(
            f"targets need one row per training sample: expected {n}, got {len(targets)}. Take both"
            " from one split."
        )
    tests = None if test_gram is None else finite_matrix(test_gram, "test_gram").to(gram.device)
    if tests is not None and tests.shape[1] != n:
        raise UsageError(
            f"test_gram needs one column per training sample: expected (m, {n}), got"
            f" {tuple(tests.shape)}. Build both blocks from one split."
        )
    return symmetrised(gram), targets, tests


def _sum_ridge(ridge: float | None, matrix: Float64[Tensor, "n n"]) -> float:
    """δ = nλ, of a Gram matrix that is not zero."""
    n, trace = len(matrix), matrix.trace().item()
    if not trace > 0:
        raise NumericalError(
            f"gram must have a positive trace: got tr K = {trace:.3g}. Check for all-zero features."
        )
    usual = RELATIVE_RIDGE * trace / n
    ridge = usual if ridge is None else float(ridge)
    if not 0 < ridge < np.inf:
        raise UsageError(
            f"ridge must be positive and finite: got {ridge:.4g}. Leave it out for {usual:.4g},"
            " 1e-3·tr K/n."
        )
    return n * ridge
