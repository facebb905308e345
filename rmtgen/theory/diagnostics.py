"""Diagnostics of GCV: samples that are not alike, not independent, not those of the test, or few.

The detectors are those of `detector_list`.

Notation: n training samples, m test samples, c outputs, λ the ridge of the mean objective, δ = nλ.
"""

from dataclasses import dataclass

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
from rmtgen.theory.detector_list import DETECTORS, Finding
from rmtgen.theory.observed import Fit
from rmtgen.theory.resolvent import resolvents

RELATIVE_RIDGE = 1e-3
"""Default of λ/(tr K/n)."""
DIAGNOSED = 2_000
"""Largest number of training and of test samples of a pool that are looked at: n×n matrices."""
CARRIERS = 10
"""Number of samples that are named as those which carry the risk."""


@dataclass(frozen=True, eq=False)
class TrustReport:
    """The findings of the detectors that apply.

    Attributes:
        findings: One per detector.
        shares: Share of each training sample in the sum of the leave-one-out losses.
    """

    findings: tuple[Finding, ...]
    shares: Float64[np.ndarray, " n"]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Messages of the detectors that tripped."""
        return tuple(finding.message for finding in self.findings if finding.tripped)

    @property
    def trusted(self) -> bool:
        """Whether none tripped, of the fit or of the data."""
        return not self.warnings

    @property
    def clean(self) -> bool:
        """Whether none that speaks of the data tripped."""
        return not any(finding.tripped and finding.about == "data" for finding in self.findings)

    def frame(self) -> pd.DataFrame:
        """One row per finding: `detector about value threshold tripped message`."""
        columns = ["detector", "about", "value", "threshold", "tripped", "message"]
        return pd.DataFrame(list(self.findings))[columns]

    def suspects(self) -> pd.DataFrame:
        """The samples that findings suspect, and those that carry the risk, one row each.

        Returns:
            The columns `detector split position share`: the name of the detector, or `risk` for the
            `CARRIERS` training samples of largest leave-one-out loss; train or test; the position
            among the samples of the fit; the share of a training sample in the leave-one-out risk,
            NaN for a test sample.
        """
        found = [
            (finding.detector, split, position)
            for finding in self.findings
            for split, positions in (("train", finding.samples), ("test", finding.test_samples))
            for position in positions
        ]
        largest = np.argsort(-self.shares, kind="stable")[:CARRIERS]
        rows = found + [("risk", "train", position) for position in largest.tolist()]
        table = pd.DataFrame(rows, columns=["detector", "split", "position"])
        own = self.shares[np.where(table["split"] == "train", table["position"], 0)]
        return table.assign(share=np.where(table["split"] == "train", own, np.nan))


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
        One finding per detector of `DETECTORS` that applies. *About the fit*, whose numbers may not
        be trusted: `small_sample` always; from 20 samples on `leverage`, with targets that the fit
        does not predict to rounding `gcv_loo_gap`; of a float32 Gram matrix `float32_df` and
        `float32_ridge`. *About the data*, which are not what they claim to be: from 20 samples on
        `near_duplicates`, `exact_duplicates`, `outliers`, `heavy_features`, `successive_features`
        and `successive_scales`, with targets that the fit does not predict to rounding
        `correlated_samples`, `successive_residuals` and `drifting_residuals`, and `heavy_losses`
        where they encode no classes, `ordered_classes` where they do; with 20 test samples
        `covariate_shift`, `mean_shift` and `shared_samples`, with their targets `test_population`,
        and `class_counts` where they encode classes.

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
    findings = tuple(detector.finding(fit) for detector in applicable)
    shares = fit.losses / fit.losses.sum().clamp_min(torch.finfo(torch.float64).tiny)
    return TrustReport(findings, shares.cpu().numpy())


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
