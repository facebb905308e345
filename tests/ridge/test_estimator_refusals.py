"""What `KernelRidgeGCV` refuses, each with its message."""

import doctest
import sys

import numpy as np
import pytest
from estimator_fits import kernels, noisy
from sklearn.exceptions import NotFittedError

import rmtgen
from rmtgen.errors import MissingInputError, NumericalError, UsageError
from rmtgen.ridge.estimator import KernelRidgeGCV

# --- what is refused ------------------------------------------------------------------------------
# -----------------------

FEATURES, TARGETS = noisy()
GRAM = FEATURES @ FEATURES.T


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ridges": [0.1, -1.0]}, r"ridges must be finite and >= 0: got -1\.0"),
        ({"ridges": [0.1, np.nan]}, "ridges must be finite and >= 0: got nan"),
        (
            {"ridges": []},
            r"ridges must be a list of numbers: expected shape \(l,\), l >= 1, got \(0,\)",
        ),
        ({"ridges": [[0.1]]}, r"ridges must be a list of numbers: .* got \(1, 1\)"),
        ({"ridges": "log"}, "ridges must be an array of numbers: got str 'log'"),
        (
            {"kernel": "rbf"},
            "expected 'linear' or 'precomputed', got 'rbf'. Compute any other with sklearn",
        ),
        ({"kernel": np.dot}, "expected 'linear' or 'precomputed', got <"),
        ({"solver": "eigne"}, "solver must be a known one: got 'eigne'. Did you mean eigen?"),
        ({"solver": "matrix_free"}, "solver='matrix_free' estimates within a budget, got none"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_parameters_that_make_no_sense_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        KernelRidgeGCV(**options).fit(FEATURES, TARGETS)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["X", "y", "predict"])
@kernels
def test_entries_that_are_not_finite_are_refused(value, where, kernel):
    data, targets = (FEATURES if kernel == "linear" else GRAM).copy(), TARGETS.copy()
    model = KernelRidgeGCV(kernel=kernel).fit(data, targets)
    (targets if where == "y" else data)[3] = value
    with pytest.raises(ValueError, match="NaN|infinity"):
        model.predict(data) if where == "predict" else model.fit(data, targets)


def test_a_gram_matrix_that_is_not_square_is_refused():
    with pytest.raises(
        UsageError,
        match=r"training samples: expected X of shape \(60, 60\), got \(60, 8\)\. Rows of test",
    ):
        KernelRidgeGCV(kernel="precomputed").fit(FEATURES, TARGETS)


@pytest.mark.parametrize(
    ("gram", "message"),
    [
        (GRAM - 9 * np.eye(60), "positive semidefinite: .* got -9"),
        (GRAM + np.triu(GRAM), "gram must be symmetric"),
    ],
    ids=["indefinite", "asymmetric"],
)
def test_a_matrix_that_is_no_kernel_is_refused(gram, message):
    with pytest.raises(NumericalError, match=message):
        KernelRidgeGCV(kernel="precomputed").fit(gram, TARGETS)


@pytest.mark.parametrize(
    ("kernel", "data", "expected"), [("linear", FEATURES, 8), ("precomputed", GRAM, 60)]
)
def test_other_columns_than_in_fit_are_refused(kernel, data, expected):
    model = KernelRidgeGCV(kernel=kernel).fit(data, TARGETS)
    with pytest.raises(
        ValueError, match=f"X has 5 features, but KernelRidgeGCV is expecting {expected} features"
    ):
        model.predict(data[:, :5])


def test_one_sample_is_refused_with_an_intercept_alone():
    with pytest.raises(ValueError, match="1 sample"):
        KernelRidgeGCV().fit(FEATURES[:1], TARGETS[:1])
    model = KernelRidgeGCV([0.0], fit_intercept=False).fit(FEATURES[:1], TARGETS[:1])
    np.testing.assert_allclose(model.predict(FEATURES[:1]), TARGETS[:1], rtol=1e-12)


def test_lengths_that_differ_are_refused():
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        KernelRidgeGCV().fit(FEATURES, TARGETS[:-1])


def test_predictions_before_a_fit_are_refused():
    with pytest.raises(NotFittedError, match="KernelRidgeGCV instance is not fitted yet"):
        KernelRidgeGCV().predict(FEATURES)


def test_without_scikit_learn_one_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.base", None)
    for name in ("estimator", "trained", "scikit"):
        monkeypatch.delitem(sys.modules, f"rmtgen.ridge.{name}")
    monkeypatch.delitem(vars(rmtgen), "KernelRidgeGCV", raising=False)
    with pytest.raises(
        MissingInputError, match=r"needs scikit-learn >= 1\.6, .*pip install 'rmtgen\[sklearn\]'"
    ):
        _ = rmtgen.KernelRidgeGCV


def test_the_example_runs():
    assert doctest.testmod(sys.modules["rmtgen.ridge.estimator"]) == (0, 6)


def test_it_is_public():
    assert rmtgen.KernelRidgeGCV.__module__ == "rmtgen.ridge.estimator"
    assert "KernelRidgeGCV" in rmtgen.__all__
