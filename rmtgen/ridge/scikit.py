"""What the estimators take of scikit-learn, or an error that says how to install it."""

from rmtgen.errors import MissingInputError

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, MultiOutputMixin, RegressorMixin
    from sklearn.utils.class_weight import compute_sample_weight
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise MissingInputError(
        f"KernelRidgeGCV needs scikit-learn >= 1.6, which is not installed ({error}). Run: pip"
        " install 'rmtgen[sklearn]'"
    ) from error

__all__ = [
    "BaseEstimator",
    "ClassifierMixin",
    "MultiOutputMixin",
    "RegressorMixin",
    "check_classification_targets",
    "check_is_fitted",
    "compute_sample_weight",
    "validate_data",
]
