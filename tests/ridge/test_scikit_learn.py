"""scikit-learn's own checks of the estimators."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from rmtgen.errors import NumericalError
from rmtgen.ridge.classifier import KernelRidgeGCVClassifier
from rmtgen.ridge.estimator import KernelRidgeGCV


def is_no_kernel(estimator, name, options):
    """Checks that hand over a Gram matrix rounded or truncated beyond its type, or less its
    mean."""
    return estimator.kernel == "precomputed" and (
        name == "check_estimators_dtypes"
        or (name in TRAIN and options.get("X_dtype") == "float32")
        or (name == "check_positive_only_tag_during_fit" and not estimator.fit_intercept)
    )


TRAIN = ("check_regressors_train", "check_classifiers_train")


def fails(estimator, name):
    """The message of a check that does not hold, for a reason; None where it holds.

    A weight is as many copies for the fit at one nλ, not for GCV, which chooses λ. Without an
    intercept no weights of classes make one class win everywhere, nor in scikit-learn's
    `RidgeClassifierCV`.
    """
    if name == "check_sample_weight_equivalence_on_dense_data" and estimator.kernel == "linear":
        return "not equivalent to fitting with removed or repeated"
    if name == "check_class_weight_classifiers" and not estimator.fit_intercept:
        return "^$|0.87"
    return None


# The checks fit whatever comes: noise, whose best ridge is the largest, and float32 Gram matrices
# that interpolate.
@pytest.mark.filterwarnings("ignore::rmtgen.errors.RmtgenWarning")
@parametrize_with_checks(
    [
        estimator(kernel=kernel, fit_intercept=intercept)
        for estimator in (KernelRidgeGCV, KernelRidgeGCVClassifier)
        for kernel in ("linear", "precomputed")
        for intercept in (True, False)
    ]
    + [KernelRidgeGCV(alpha_per_target=True), KernelRidgeGCVClassifier(class_weight="balanced")]
)
def test_scikit_learn_accepts_it(estimator, check):
    name, message = check.func.__name__, fails(estimator, check.func.__name__)
    if message is not None:
        with pytest.raises(AssertionError, match=message):
            check(estimator)
    elif is_no_kernel(estimator, name, check.keywords):
        with pytest.raises(
            (NumericalError, AssertionError), match="positive semidefinite|raised NumericalError"
        ):
            check(estimator)
    else:
        check(estimator)
