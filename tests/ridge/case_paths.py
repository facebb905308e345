"""What the tests of the ridge path share: the path of a case, and a comparison of two."""

import numpy as np
import pytest
from cases import CASES

from rmtgen.ridge import ridge_path, ridge_path_features

cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
intercepts = pytest.mark.parametrize("intercept", [False, True], ids=["plain", "intercept"])
sources = pytest.mark.parametrize("source", ["gram", "features"])


def path(case, source, **options):
    if source == "gram":
        return ridge_path(
            case.gram,
            case.targets,
            test_gram=case.test_gram,
            test_targets=case.test_targets,
            **options,
        )
    tests = {"test_features": case.test_features, "test_targets": case.test_targets}
    return ridge_path_features(case.features, case.targets, **tests, **options)


def assert_frames_close(found, expected, rtol=1e-9, atol=0.0):
    assert list(found.columns) == list(expected.columns)
    for column in expected.columns:
        np.testing.assert_allclose(
            found[column], expected[column], rtol=rtol, atol=atol, err_msg=column
        )
