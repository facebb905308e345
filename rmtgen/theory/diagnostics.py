"""Diagnostics of GCV: samples that are not alike, not independent, not those of the test, or few.

`DETECTORS` is the registry. A detector is a function that measures a quantity (`detectors`) and one
entry here, which says when it applies, what its quantity is, and what to do where it trips.

Notation: n training samples, m test samples, c outputs, λ the ridge of the mean objective, δ = nλ.
"""

import operator
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from rmtgen.checks import finite_matrix, real_number, square_matrix, target_matrix
from rmtgen.entrance import public
from rmtgen.errors import NumericalError, UsageError
from rmtgen.linalg.modes import symmetrised
from rmtgen.scalars import flag
from rmtgen.theory import detectors
from rmtgen.theory.detectors import Measurement
from rmtgen.theory.observed import Fit
from rmtgen.theory.resolvent import explained, resolvents

RELATIVE_RIDGE = 1e-3
"""Default of λ/(tr K/n)."""


@dataclass(frozen=True)
class Detector:
    """One detector of a situation in which GCV fails.

    Attributes:
        name: Name in a report and in theory.h5.
        quantity: Description of the quantity; `{}` fields take the `numbers` of the measurement.
        advice: What to do where it trips.
        measure: The quantity of a fit, and its threshold.
        applies: Whether a fit has what `measure` needs.
        trips: Comparison of the value with the threshold.
        matters: Whether it changes what is reported of a fit; where not, it does not trip.
    """

    name: str
    quantity: str
    advice: str
    measure: Callable[[Fit], Measurement]
    applies: Callable[[Fit], bool] = lambda fit: fit.enough
    trips: Callable[[float, float], bool] = operator.gt
    matters: Callable[[Fit], bool] = lambda fit: True

    def finding(self, fit: Fit) -> "Finding":
        """What it sees in a fit."""
        seen = self.measure(fit)
        tripped = bool(self.trips(seen.value, seen.threshold)) and self.matters(fit)
        statement = (
            f"{self.quantity.format(**seen.numbers)} is {seen.value:.4g} against a threshold of"
            f" {seen.threshold:.4g}"
        )
        message = f"{statement}: {self.advice}." if tripped else f"{statement}."
        return Finding(self.name, seen.value, seen.threshold, tripped, message)


@dataclass(frozen=True)
class Finding:
    """What one detector saw: value, threshold, and a sentence with both and what to do."""

    detector: str
    value: float
    threshold: float
    tripped: bool
    message: str


@dataclass(frozen=True, eq=False)
class TrustReport:
    """The findings of the detectors that apply."""

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
        """One row per finding: `detector value threshold tripped message`."""
        return pd.DataFrame([asdict(finding) for finding in self.findings])


DETECTORS = (
    Detector(
        "small_sample",
        "the number of samples n",
        "the fluctuations of GCV are large at this size, so take more samples or average over"
        " draws",
        lambda fit: detectors.small_sample(len(fit.matrix)),
        applies=lambda fit: True,
        trips=operator.lt,
    ),
    Detector(
        "leverage",
        "the leverage ratio H = CV(diag G)/sqrt(2(κ̂' - 1)/n), of note where GCV and LOO differ,",
        "the samples differ in scale, so trust LOO and not GCV",
        lambda fit: detectors.leverage(fit.resolvent),
        matters=lambda fit: fit.misses and fit.gap.value > fit.gap.threshold,
    ),
    Detector(
        "near_duplicates",
        "the share of samples with a near-copy among the others",
        "a left-out sample is predicted from its copy, so remove the copies or leave each group out"
        " as a whole",
        lambda fit: detectors.near_duplicates(fit.matrix),
    ),
    Detector(
        "gcv_loo_gap",
        "the gap |log(GCV/LOO)|",
        "a few samples of large leverage carry the difference, so trust LOO and not GCV",
        lambda fit: fit.gap,
        applies=lambda fit: fit.misses,
    ),
    Detector(
        "correlated_samples",
        "the log-ratio of the risk on left-out runs of {size} neighbours to that on {size} random"
        " samples",
        "samples near each other in the order given are alike, so trust blocked cross-validation"
        " and neither GCV nor LOO",
        lambda fit: detectors.correlated_samples(fit.resolvent, fit.dual),
        applies=lambda fit: fit.misses,
    ),
    Detector(
        "successive_residuals",
        "the z-score of the correlation of successive leave-one-out residuals",
        "the noise of neighbours in the order given is alike, so the risk fluctuates by more than"
        " its standard error says",
        lambda fit: detectors.successive_residuals(fit.resolvent, fit.dual),
        applies=lambda fit: fit.misses,
    ),
    Detector(
        "ordered_classes",
        "the z-score of {pairs} pairs of neighbours of equal class, where a shuffle gives"
        " {mean:.0f},",
        "the order carries the class, so shuffle before the first n samples are taken",
        lambda fit: detectors.ordered_classes(fit.code.decode(fit.targets)),
        applies=lambda fit: fit.classified,
    ),
    Detector(
        "covariate_shift",
        "the Kolmogorov-Smirnov distance between what fits explain of left-out train samples and of"
        " test samples",
        "GCV describes samples like the train samples, so look for copies among these, or measure"
        " the risk on labelled test samples",
        lambda fit: detectors.covariate_shift(*explained(fit.matrix, fit.centred, fit.tests)),
        applies=lambda fit: fit.tested,
    ),
    Detector(
        "mean_shift",
        "the squared distance between the mean train and the mean test sample over that of random"
        " splits",
        "GCV describes samples like the train samples, so measure the risk on labelled test"
        " samples",
        lambda fit: detectors.mean_shift(fit.matrix, fit.tests),
        applies=lambda fit: fit.tested,
    ),
    Detector(
        "test_population",
        "the distance |z| of leave-one-out from the test risk, in standard errors of both",
        "the test samples are not of the population of the train samples, so look for another class"
        " prior, wrong labels, or samples in both",
        lambda fit: detectors.test_population(
            fit.resolvent, fit.dual, fit.fitted, fit.test_targets
        ),
        applies=lambda fit: fit.labelled and fit.misses,
    ),
    Detector(
        "class_counts",
        "the z-score of χ² of {classes} class counts among train and test samples",
        "the classes have other shares among the test samples, so weigh the risk by class",
        lambda fit: detectors.class_counts(
            *(fit.code.decode(part) for part in (fit.targets, fit.test_targets))
        ),
        applies=lambda fit: fit.coded,
    ),
    Detector(
        "float32_df",
        "df/n of a float32 Gram matrix",
        "float32 does not resolve what is left of it, so compute the Gram matrix in float64 or take"
        " a larger ridge",
        lambda fit: detectors.float32_df(fit.resolvent),
        applies=lambda fit: fit.single,
    ),
    Detector(
        "float32_ridge",
        "nλ of a float32 Gram matrix (rounding 10·eps32·s_max)",
        "float32 does not resolve the eigenvalues there, so compute the Gram matrix in float64 or"
        " take a larger ridge",
        lambda fit: detectors.float32_ridge(fit.resolvent, fit.matrix),
        applies=lambda fit: fit.single,
        trips=operator.le,
    ),
)
"""The detectors, in the order of a report."""


@public
def trust_report(  # noqa: PLR0913 - one public function for one question; tests are optional
    gram: np.ndarray | Tensor,
    targets: np.ndarray | Tensor,
    *,
    ridge: float | None = None,
    test_gram: np.ndarray | Tensor | None = None,
    test_targets: np.ndarray | Tensor | None = None,
    intercept: bool = False,
) -> TrustReport:
    """Search for what makes GCV(λ) = n‖GY‖²/(tr G)² differ from the test risk.

    The order of the samples matters: correlation and sorting are searched for in it. One
    factorisation and inverse, O(n³) in float64 where `gram` lies, and a peak memory of about three
    and a half float64 matrices n×n beside the arguments.

    Args:
        gram: K (n, n), symmetric and positive semidefinite up to rounding, float32 or float64.
        targets: (n,) or (n, c).
        ridge: λ > 0 of the mean objective; default 1e-3·tr K/n.
        test_gram: k(test, train) (m, n); k(test, test) is never needed.
        test_targets: (m,) or (m, c), where they are known.
        intercept: Whether the regression has an unpenalised intercept.

    Returns:
        One finding per detector of `DETECTORS` that applies: `small_sample` always; from 20 samples
        on `leverage` and `near_duplicates`, with targets that the fit does not predict to rounding
        `gcv_loo_gap`, `correlated_samples` and `successive_residuals`, with targets that encode
        classes `ordered_classes`, and with 20 test samples `covariate_shift` and `mean_shift`, with
        their targets `test_population`, and `class_counts` where they encode classes; of a float32
        Gram matrix `float32_df` and `float32_ridge`.

    Raises:
        UsageError: A ridge that is not positive, shapes that do not fit, or a matrix of another
            type.
        NumericalError: Non-finite input, a K that is zero, asymmetric or indefinite beyond the
            ridge.

    References:
        Golub, Heath & Wahba 1979 (GCV and LOO); Roberts et al. 2017 (blocked cross-validation);
        Wei, Hu, Steinhardt 2022 (arXiv 2203.06176).
    """
    gram, intercept = (
        square_matrix(gram, "gram", cure="Pass the train block alone."),
        flag(intercept, "intercept"),
    )
    matrix, targets, tests = _checked(gram, targets, test_gram)
    test_targets = _checked_tests(tests, test_targets, targets)
    plain, centred = resolvents(matrix, _sum_ridge(ridge, matrix))
    single = gram.dtype == torch.float32
    resolvent = centred if intercept else plain
    fit = Fit(matrix, targets, tests, test_targets, resolvent, centred, single)
    applicable = (detector for detector in DETECTORS if detector.applies(fit))
    return TrustReport(tuple(detector.finding(fit) for detector in applicable))


def _checked(
    gram: Float[Tensor, "n n"], targets: np.ndarray | Tensor, test_gram: np.ndarray | Tensor | None
) -> tuple[Float64[Tensor, "n n"], Float64[Tensor, "n c"], Float[Tensor, "m n"] | None]:
    n = len(gram)
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


def _checked_tests(
    tests: Float[Tensor, "m n"] | None,
    test_targets: np.ndarray | Tensor | None,
    targets: Float64[Tensor, "n c"],
) -> Float64[Tensor, "m c"] | None:
    if test_targets is None:
        return None
    if tests is None:
        raise UsageError(
            "test_targets need the test samples: expected test_gram, got None. Pass both, or"
            " neither."
        )
    test_targets = target_matrix(test_targets).to(targets.device)
    expected = (len(tests), targets.shape[1])
    if tuple(test_targets.shape) != expected:
        raise UsageError(
            f"test_targets need one row per test sample and the outputs of targets: expected"
            f" {expected}, got {tuple(test_targets.shape)}. Take both from one split."
        )
    return test_targets


def _sum_ridge(ridge: float | None, matrix: Float64[Tensor, "n n"]) -> float:
    """δ = nλ, of a Gram matrix that is not zero."""
    n, trace = len(matrix), matrix.trace().item()
    if not trace > 0:
        raise NumericalError(
            f"gram must have a positive trace: got tr K = {trace:.3g}. Check for all-zero features."
        )
    default = RELATIVE_RIDGE * trace / n
    ridge = default if ridge is None else real_number(ridge, "ridge")
    if not 0 < ridge < np.inf:
        raise UsageError(
            f"ridge must be positive and finite: got {ridge:.4g}. Leave it out for {default:.4g},"
            " 1e-3·tr K/n."
        )
    return n * ridge
