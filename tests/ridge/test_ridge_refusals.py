"""Arguments and data that the ridge path refuses, each with its message."""

import numpy as np
import pytest
from cases import (
    WIDE,
)

from rmtgen.errors import NumericalError, UsageError
from rmtgen.ridge import resolve_ridges, ridge_path, ridge_path_features

# --- bad input ------------------------------------------------------------------------------------
# ----------------------

GRID = {"ridges": [1.0]}
TEST = {"test_gram": WIDE.test_gram, "test_targets": WIDE.test_targets}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"exactly one grid is needed, ridges \(λ\) or sum_ridges \(nλ\): got none"),
        ({"ridges": [1.0], "sum_ridges": [1.0]}, "got both"),
        ({"ridges": [1.0, -0.5]}, "ridges must be finite and >= 0: got -0.5"),
        ({"sum_ridges": [np.nan]}, "sum_ridges must be finite and >= 0: got nan"),
        ({"ridges": [np.inf]}, "got inf"),
        ({"ridges": []}, r"expected shape \(l,\), l >= 1, got \(0,\)"),
        ({"ridges": [[1.0]]}, r"got \(1, 1\)"),
        ({"ridges": "small"}, "ridges must be an array of numbers: got str 'small'"),
        (GRID | {"sizes": [4, 0]}, r"each in \[1, 16\]: got \[0\]"),
        (GRID | {"sizes": [4, 17, 99]}, r"each in \[1, 16\]: got \[17, 99\]"),
        (GRID | {"sizes": [1], "intercept": True}, r"each in \[2, 16\] \(intercept\): got \[1\]"),
        (GRID | {"sizes": []}, "got none"),
        (GRID | {"sizes": [4.5]}, r"sizes must be whole numbers: got \[4.5\]"),
        (GRID | {"sizes": "four"}, "sizes must be an array of numbers: got str 'four'"),
        (
            GRID | {"solver": "eigne"},
            "solver must be a known one: got 'eigne'. Did you mean eigen?",
        ),
        (GRID | {"test_gram": WIDE.test_gram}, "got test samples without test targets"),
        (GRID | {"test_targets": WIDE.test_targets}, "got test targets without test samples"),
        (
            GRID | TEST | {"test_gram": WIDE.test_gram[:, :14]},
            (
                r"test_gram needs one column per training sample: expected \(m, 16\), got \(15,"
                r" 14\). Build both"
            ),
        ),
        (
            GRID | TEST | {"test_targets": WIDE.test_targets[:9]},
            r"expected \(15, 3\), got \(9, 3\)",
        ),
        (
            GRID | TEST | {"test_targets": WIDE.test_targets[:, 0]},
            r"expected \(15, 3\), got \(15, 1\)",
        ),
        (
            GRID | {"test_gram": WIDE.test_gram[:0], "test_targets": WIDE.test_targets[:0]},
            r"got shape \(0, 16\)",
        ),
    ],
)
def test_bad_arguments_are_refused_with_their_values(options, message):
    with pytest.raises(UsageError, match=message):
        ridge_path(WIDE.gram, WIDE.targets, **options)


@pytest.mark.parametrize(
    ("gram", "targets", "error", "message"),
    [
        (
            WIDE.features,
            WIDE.targets,
            UsageError,
            r"gram must be square: expected \(16, 16\), got \(16, 40\)",
        ),
        (
            WIDE.gram,
            WIDE.targets[:15],
            UsageError,
            "one row per training sample: expected 16, got 15",
        ),
        (WIDE.gram * np.nan, WIDE.targets, NumericalError, "gram must be finite: got 256 NaN"),
        (WIDE.gram, WIDE.targets + np.inf, NumericalError, "targets must be finite: got 48 NaN"),
        (-WIDE.gram, WIDE.targets, NumericalError, "gram must be positive semidefinite"),
    ],
)
def test_bad_data_is_refused(gram, targets, error, message):
    with pytest.raises(error, match=message):
        ridge_path(gram, targets, ridges=[1.0])


def test_bad_features_are_refused():
    spoilt = WIDE.features.copy()
    spoilt[3, 5] = np.inf
    with pytest.raises(
        NumericalError,
        match=r"features must be finite: got 1 NaN .* \(the first at row 3, column 5\)",
    ):
        ridge_path_features(spoilt, WIDE.targets, ridges=[1.0])
    with pytest.raises(
        UsageError,
        match=r"test_features need the train features' width: expected \(m, 40\), got \(2, 39\)",
    ):
        ridge_path_features(
            WIDE.features,
            WIDE.targets,
            ridges=[1.0],
            test_features=spoilt[:2, 1:],
            test_targets=WIDE.targets,
        )


def test_relative_ridges_are_of_the_mean_diagonal():
    np.testing.assert_allclose(
        resolve_ridges([0, 1e-8, 100], trace=50.0, n=10), [0, 5e-8, 500], rtol=1e-15
    )
    with pytest.raises(UsageError, match="relative ridges must be finite and >= 0: got -1.0"):
        resolve_ridges([-1], trace=1.0, n=1)
    with pytest.raises(UsageError, match="needs a positive, finite trace: got tr K = 0.0"):
        resolve_ridges([1], trace=0.0, n=1)
