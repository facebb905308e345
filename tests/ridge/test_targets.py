import numpy as np
import pytest
import torch

from rmtgen.checks import finite_matrix, target_matrix
from rmtgen.errors import NumericalError, UsageError
from rmtgen.ridge.targets import ClassCode, encode_targets

LABELS = [2, 0, 1, 2]


@pytest.mark.parametrize(
    ("coding", "row", "intercept"),
    [
        ("onehot", [0, 0, 1], False),
        ("centered", [-1 / 3, -1 / 3, 2 / 3], False),
        ("intercept", [0, 0, 1], True),
    ],
)
@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_each_coding(coding, row, intercept, kind):
    targets = encode_targets(kind(LABELS), 3, coding)
    assert targets.values.shape == (4, 3)
    assert targets.values.dtype == torch.float64
    assert targets.intercept is intercept
    np.testing.assert_allclose(targets.values[0], row, rtol=1e-15)
    assert targets.values.argmax(dim=1).tolist() == LABELS


def test_a_class_missing_from_the_labels_keeps_its_output():
    assert encode_targets(np.array([0, 1]), 5, "onehot").values.sum(dim=0).tolist() == [
        1,
        1,
        0,
        0,
        0,
    ]


@pytest.mark.parametrize(
    ("labels", "classes", "coding", "message"),
    [
        (LABELS, 3, "centred", "coding must be a known one: got 'centred'. Did you mean centered?"),
        (LABELS, 1, "onehot", r"classes must be a whole number in \[2, 2147483648\]: got 1"),
        ([0, 3, 1, 7], 3, "onehot", r"labels must lie in \[0, 3\): got 3 \(label 1, 2 such\)"),
        ([0, -1], 3, "onehot", r"labels must lie in \[0, 3\): got -1 \(label 1, 1 such\)"),
        ([0.0, 1.0], 3, "onehot", r"expected \(n,\) integers, got \(2,\) torch.float64"),
        ([True, False], 3, "onehot", "torch.bool"),
        ([[0, 1]], 3, "onehot", r"got \(1, 2\) torch.int64"),
    ],
)
def test_bad_labels_are_refused(labels, classes, coding, message):
    with pytest.raises(UsageError, match=message):
        encode_targets(np.array(labels), classes, coding)


def test_matrices_share_memory_where_they_can_and_are_not_modified():
    array = np.arange(6.0).reshape(2, 3)
    assert finite_matrix(array, "features").data_ptr() == array.ctypes.data
    array.flags.writeable = False
    assert finite_matrix(array, "features").tolist() == array.tolist()
    assert finite_matrix(array[::-1], "features").tolist() == array[::-1].tolist()
    assert finite_matrix(np.eye(2, dtype=int), "gram").dtype == torch.float64


@pytest.mark.parametrize(
    ("matrix", "error", "message"),
    [
        (
            torch.zeros(3),
            UsageError,
            r"features must be a matrix with entries: expected 2 dimensions, got shape \(3,\)",
        ),
        (torch.zeros(0, 3), UsageError, r"got shape \(0, 3\)"),
        (
            torch.zeros(2, 2, dtype=torch.float16),
            UsageError,
            "features must be float32 or float64: got torch.float16",
        ),
        (torch.zeros(2, 2, dtype=torch.complex64), UsageError, "got torch.complex64"),
        (
            torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, torch.nan], [torch.inf, 0.0, 0.0]]),
            NumericalError,
            (
                r"features must be finite: got 2 NaN or infinite entries of 9 \(the first at row 1,"
                r" column 2\)"
            ),
        ),
    ],
)
def test_bad_matrices_are_refused(matrix, error, message):
    with pytest.raises(error, match=message):
        finite_matrix(matrix, "features")


def test_target_vectors_become_columns():
    assert target_matrix(np.array([1, 2], dtype=np.float32)).tolist() == [[1.0], [2.0]]
    with pytest.raises(UsageError, match=r"targets must be a matrix"):
        target_matrix(np.zeros((2, 2, 2)))


@pytest.mark.parametrize("coding", ["onehot", "centered"])
def test_class_code_decodes_by_argmax(coding):
    values = encode_targets(np.array(LABELS), 3, coding).values
    code = ClassCode.of(values)
    assert code.decode(values).tolist() == LABELS
    predictions = torch.tensor(
        [[0.1, 0.2, 0.3], [0.9, 0.0, 0.0], [0.3, 0.2, 0.1], [0.0, 0.1, 0.2]]
    ).double()
    assert code.error(predictions, values) == 0.25


def test_rounding_does_not_choose_between_tied_classes():
    rows = np.array([[-0.1, 1e-17, 2e-17], [0.3, 0.1, 0.3 + 1e-15]])
    assert ClassCode(0.0, 1.0).decode(torch.from_numpy(rows)).tolist() == [1, 0]
    assert ClassCode(0.0, 1.0).decode(
        torch.from_numpy(np.array([[0.5 + 1e-15], [0.501]]))
    ).tolist() == [False, True]


def test_class_code_of_one_output_decodes_to_the_nearest_value():
    targets = torch.tensor([[-1.0], [3.0], [3.0]]).double()
    predictions = torch.tensor(
        [[0.9], [1.1], [1.0]]
    ).double()  # the last is a tie, which goes to the low value
    assert ClassCode.of(targets).error(predictions, targets) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    "targets",
    [
        [[1.0], [2.0], [3.0]],  # regression
        [[1.0], [1.0]],  # one value
        [[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]],  # two labels in a row
        [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]],  # no label in a row
        [[0.1, 0.9], [0.0, 1.0]],  # soft labels
    ],
)
def test_targets_that_encode_no_classes(targets):
    assert ClassCode.of(torch.tensor(targets).double()) is None


def test_a_code_matches_only_its_own_values():
    code = ClassCode.of(torch.eye(3).double())
    assert code.matches(torch.tensor([[0.0, 1.0, 0.0]]).double())
    assert not code.matches(torch.tensor([[0.0, 2.0, 0.0]]).double())
