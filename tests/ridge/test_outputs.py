"""Labels of any kind as targets: the same transform for test images, and no unit that counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmtgen import encode_targets
from rmtgen.errors import UsageError
from rmtgen.ridge.outputs import coding_of, split_targets


def test_classes_are_coded_as_ever():
    labels, tests = np.array([0, 2, 1]), np.array([1])
    for coding in ("onehot", "centered", "intercept"):
        train, test = split_targets(labels, tests, 3, coding)
        plain = encode_targets(labels, 3, coding)
        assert train.values[:].equal(plain.values) and train.intercept == plain.intercept
        assert test.values[:].equal(encode_targets(tests, 3, coding).values)
    assert coding_of("classes", "onehot") == "onehot"


@given(scale=st.floats(1e-6, 1e6), shift=st.floats(-1e6, 1e6), seed=st.integers(0, 99))
def test_no_unit_and_no_origin_of_a_value_counts(scale, shift, seed):
    rng = np.random.default_rng(seed)
    values, tests = rng.standard_normal((9, 2)), rng.standard_normal((3, 2))
    plain = split_targets(values, tests, 2, "centered")
    other = split_targets(shift + scale * values, shift + scale * tests, 2, "intercept")
    tolerance = 1e-9 + 1e-14 * abs(shift) / scale
    for one, two in zip(plain, other, strict=True):
        assert one.intercept and two.intercept
        assert two.values.numpy() == pytest.approx(one.values.numpy(), abs=1e3 * tolerance)
    assert plain[0].values.mean(dim=0).numpy() == pytest.approx(0, abs=1e-12)
    assert plain[0].values.square().mean(dim=0).numpy() == pytest.approx(1, rel=1e-12)
    assert plain[1].values.numpy() == pytest.approx((tests - values.mean(0)) / values.std(0))


def test_labels_are_0_and_1_with_an_intercept():
    marks = np.array([[True, False], [False, False]])
    train, test = split_targets(marks, marks[:0], 2, "centered")
    assert train.values.tolist() == [[1, 0], [0, 0]] and train.intercept
    assert test.values.shape == (0, 2)


def test_what_has_no_intercept_or_does_not_vary_is_refused():
    with pytest.raises(UsageError, match=r"targets=onehot for values, whose regression has an int"):
        coding_of("values", "onehot")
    with pytest.raises(UsageError, match="coding must be a known one: got 'other'"):
        coding_of("labels", "other")
    values = np.array([[1.0, 3.0], [2.0, 3.0]])
    with pytest.raises(UsageError, match=r"1 of 2 of labels are the same in 2 images \(1\)"):
        split_targets(values, values, 2, "intercept")
