"""What labels are by their type, and what is refused because it would be a guess."""

import numpy as np
import pytest

from rmtgen.errors import NumericalError, UsageError
from rmtgen.tasks import label_array, order_of, require_varying, task_of


@pytest.mark.parametrize(
    ("given", "task", "expected"),
    [
        (np.array([2, 0, 1], np.uint8), "classes", np.array([2, 0, 1])),
        (np.array([[True, False], [False, False]]), "labels", np.array([[1, 0], [0, 0]], bool)),
        (np.array([[1, 0], [0, 1]], np.int32), "labels", np.array([[1, 0], [0, 1]], bool)),
        (np.array([1.0, 2.0]), "values", np.array([[1.0], [2.0]])),
        (np.array([[1, 2.5]], np.float32), "values", np.array([[1, 2.5]])),
    ],
)
def test_the_type_says_what_labels_are(given, task, expected):
    found = label_array(given, "labels")
    assert task_of(found) == task
    assert found.dtype == expected.dtype and found.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (np.array([True, False]), UsageError, r"got \(2,\) bool\. Write integers for two classes"),
        (
            np.zeros((2, 0)),
            UsageError,
            r"floats, the targets of a regression: got \(2, 0\) float64",
        ),
        (np.zeros((2, 2, 2)), UsageError, r"got \(2, 2, 2\)"),
        (np.array([1j]), UsageError, r"got \(1,\) complex128"),
        (
            np.array([[0, 1], [1, 7]]),
            UsageError,
            r"0 and 1, .*: got 7 \(row 1, column 1\)\.",
        ),
        (np.array([[1e200]]), NumericalError, r"at most 1e\+150: got 1e\+200 \(row 0, column 0"),
        (np.array([1.0, np.inf]), NumericalError, r"got inf \(row 1, column 0; 1 such\)\. Leave"),
    ],
)
def test_what_would_be_a_guess_is_refused(given, error, message):
    with pytest.raises(error, match=message):
        label_array(given, "labels")


def test_what_does_not_vary_is_named():
    values = np.stack([np.arange(4.0), np.full(4, 7.0), np.full(4, 1e9) + 1e-7 * np.arange(4)], 1)
    with pytest.raises(UsageError, match=r"2 of 3 of set are the same in 4 images \(b, c\)\. Take"):
        require_varying(values, "abc", "set")
    require_varying(values[:, :1], "a", "set")
    marks = np.array([[True, False, True], [True, False, False]])
    require_varying(marks, "abc", "set")
    with pytest.raises(UsageError, match=r"none of the 2 of set is, among 2 images \(a, b\)"):
        require_varying(marks[:, :2], "ab", "set")


def test_the_order_is_that_of_accuracy_where_there_is_one():
    assert order_of("classes", None) == order_of("classes", "accuracy") == "accuracy"
    assert order_of("labels", None) == order_of("values", None) == "risk"
    assert order_of("classes", "risk") == order_of("values", "risk") == "risk"
    with pytest.raises(UsageError, match=r"by=accuracy is for classes: got values\. Order by risk"):
        order_of("values", "accuracy")
