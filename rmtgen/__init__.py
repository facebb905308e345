"""rmtgen: random matrix theory of generalisation for real networks.

Given a backbone and a labelled image data set, rmtgen computes the Gram matrix of its features or
of its empirical neural tangent kernel, and from it predicts, without a test set, how well ridge
regression on that representation generalises at every sample size and ridge; then it holds the
prediction against the truth.

The names below are the public API. They are imported on first use, so `import rmtgen` needs neither
torch nor timm.
"""

import importlib

__version__ = "0.1.0"

_HOMES = {
    "Backbone": "models.backbones",
    "GramLayout": "store.gram_store",
    "GramStore": "store.gram_store",
    "KernelRidgeGCV": "ridge.estimator",
    "KernelRidgeGCVClassifier": "ridge.classifier",
    "LabelledImages": "datasets",
    "Labelling": "datasets",
    "at_layer": "models.inner_layers",
    "calibrate_norms": "models.calibration",
    "calibration": "theory.accuracy",
    "class_errors": "theory.accuracy",
    "combine_kernels": "ridge.combined",
    "compare_features": "ranking.together",
    "descent_path": "ridge.descent",
    "effective_ridge": "theory.effective_ridge",
    "encode_targets": "ridge.targets",
    "ensemble_path": "ridge.ensemble",
    "entk_features": "kernels.entk",
    "entk_gram": "kernels.entk",
    "entk_plan": "kernels.entk",
    "export_probe": "exports.writing",
    "extract_features": "models.features",
    "feature_modes": "linalg.modes",
    "forecast": "theory.forecast",
    "gcv_loss": "ridge.losses",
    "gram_modes": "linalg.modes",
    "labels_needed": "theory.labels",
    "learn_weights": "ridge.combined",
    "load_backbone": "models.backbones",
    "load_dataset": "datasets",
    "load_probe": "exports.probe",
    "load_run": "runs.run",
    "loo_loss": "ridge.losses",
    "omniscient_risk": "theory.effective_ridge",
    "per_target_path": "ridge.per_target",
    "pool_influence": "theory.forecast",
    "predicted_error": "theory.accuracy",
    "rank": "ranking.ranked",
    "rank_outputs": "ranking.ranked",
    "ridge_path": "ridge",
    "ridge_path_features": "ridge",
    "ridge_path_stored": "ridge",
    "study": "theory.study",
    "transport": "theory.transport",
    "trust_report": "theory.diagnostics",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    """Import a public name from its module the first time it is asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'rmtgen' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"rmtgen.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, imported or not."""
    return sorted([*globals(), *_HOMES])
