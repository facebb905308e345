"""Arrays of every kind are computed rightly or refused in one line, and numbers are numbers."""

import warnings
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

from rmtgen.checks import as_array, as_tensor, finite_matrix, real_number
from rmtgen.errors import NumericalError, UsageError
from rmtgen.ridge import ridge_path_features

KNOWN = np.array([[1.0, 2.0, -3.0], [4.0, 0.0, 6.0]])


def read_only():
    array = KNOWN.copy()
    array.flags.writeable = False
    return array


SAME = {
    "big-endian": KNOWN.astype(">f8"),
    "big-endian float32": KNOWN.astype(">f4"),
    "longdouble": KNOWN.astype(np.longdouble),
    "int8": KNOWN.astype(np.int8),
    "big-endian int": KNOWN.astype(">i4"),
    "uint16": np.abs(KNOWN).astype(np.uint16),
    "objects": KNOWN.astype(object),
    "fractions": np.array([[Fraction(int(v)) for v in row] for row in KNOWN], dtype=object),
    "decimals": np.array([[Decimal(int(v)) for v in row] for row in KNOWN], dtype=object),
    "lists": KNOWN.tolist(),
    "tuples": tuple(map(tuple, KNOWN)),
    "rows": list(KNOWN),
    "frame": pd.DataFrame(KNOWN),
    "mixed frame": pd.DataFrame(KNOWN).astype({0: "int64", 1: "float32"}),
    "nullable frame": pd.DataFrame(KNOWN).astype("Float64"),
    "read-only": read_only(),
    "Fortran": np.asfortranarray(KNOWN),
    "reversed": KNOWN[::-1, ::-1].copy()[::-1, ::-1],
    "strided": np.repeat(KNOWN, 2, axis=1)[:, ::2],
    "matrix": KNOWN.view(np.matrix),
    "unmasked": np.ma.array(KNOWN),
    "tensor": torch.tensor(KNOWN),
    "gradient": torch.tensor(KNOWN, requires_grad=True),
    "transposed": torch.tensor(KNOWN.T.copy()).mT,
    "integers": torch.tensor(KNOWN).long(),
    "negative view": torch.tensor(-1j * KNOWN).imag.neg() * 1.0,
    "lazily negative": torch._neg_view(torch.tensor(-KNOWN)),
    "parameter": torch.nn.Parameter(torch.tensor(KNOWN)),
}


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize("kind", SAME)
def test_kinds_of_arrays_are_computed_rightly(kind):
    values = SAME[kind]
    expected = np.abs(KNOWN) if kind == "uint16" else KNOWN
    np.testing.assert_array_equal(finite_matrix(values, "x").double().numpy(), expected)
    np.testing.assert_array_equal(as_array(values, "x").astype(float), expected)


def test_booleans_are_0_and_1():
    assert finite_matrix(np.eye(2, dtype=bool), "x").tolist() == [[1.0, 0.0], [0.0, 1.0]]


def quietly(make):
    """What `make` returns, without the warnings of torch that it is young or old."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


REFUSED = {
    "masked": (np.ma.masked_equal(KNOWN, 4.0), "x must have no masked entries: got 1 of 6"),
    "masked in a float32": (
        np.ma.array(KNOWN.astype(np.float32), mask=KNOWN > 0),
        "x must have no masked entries: got 4 of 6",
    ),
    "sparse": (scipy.sparse.csr_matrix(KNOWN), "x must be dense: got scipy.csr_matrix"),
    "sparse array": (scipy.sparse.coo_array(KNOWN), "x must be dense: got scipy.coo_array"),
    "sparse frame": (
        pd.DataFrame(KNOWN).astype(pd.SparseDtype(float)),
        "x must be dense: got pandas.DataFrame",
    ),
    "coo": (torch.tensor(KNOWN).to_sparse(), "x must be dense: got a tensor of layout torch.spar"),
    "csr": (quietly(torch.tensor(KNOWN).to_sparse_csr), "got a tensor of layout torch.sparse_csr"),
    "nested": (
        quietly(lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])),
        "x must be dense",
    ),
    "quantised": (
        quietly(lambda: torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 0, torch.qint8)),
        "x must not be quantised: got torch.qint8. Pass its dequantize",
    ),
    "meta": (torch.ones(2, 2, device="meta"), "x must have values: got a tensor on device meta"),
    "float16": (KNOWN.astype(np.float16), "x must be float32 or float64: got torch.float16"),
    "bfloat16": (torch.tensor(KNOWN).bfloat16(), "x must be float32 or float64: got torch.bfloat"),
    "complex": (KNOWN * 1j, "x must be float32 or float64: got torch.complex128"),
    "wide complex": (KNOWN.astype(np.clongdouble), "got torch.complex128"),
    "text": (KNOWN.astype(str), "x must be an array of numbers: got numpy.ndarray of <U"),
    "text objects": (KNOWN.astype(str).astype(object), "x must be an array of numbers"),
    "missing": (pd.DataFrame(KNOWN).astype("Float64").mask(KNOWN > 5), "array of numbers"),
    "records": (np.zeros(3, dtype=[("a", float)]), "x must be an array of numbers"),
    "dates": (np.array([["2020-01-01"]], dtype="M8[D]"), "x must be an array of numbers"),
    "spans": (np.array([[3]], dtype="m8[s]"), "x must be an array of numbers"),
    "ragged": ([[1.0], [1.0, 2.0]], "x must be an array of numbers: got list"),
    "none": (None, "x must be an array of numbers: got NoneType None"),
    "vector": (KNOWN[0], "expected 2 dimensions, got shape"),
    "nothing": (np.ones((0, 3)), "x must be a matrix with entries"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_kinds_that_are_no_dense_real_matrix_are_refused(kind):
    values, message = REFUSED[kind]
    with pytest.raises(UsageError, match=message):
        finite_matrix(values, "x")


def test_more_than_float64_holds_is_infinite():
    with pytest.raises(NumericalError, match="x must be finite: got 1 NaN or infinite entries"):
        finite_matrix(np.array([[np.longdouble("1e400"), 1]]), "x")


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_a_scale_without_squares_is_named(scale):
    message = f"x must have a scale whose squares are float64: .* got {6 * scale:.3g}"
    with pytest.raises(NumericalError, match=message.replace("+", r"\+")):
        finite_matrix(KNOWN * scale, "x")


def test_an_array_is_shared_and_a_read_only_one_is_copied():
    array = KNOWN.copy()
    as_tensor(array, "x")[0, 0] = 7.0
    assert array[0, 0] == 7.0
    as_tensor(read_only(), "x")[0, 0] = 7.0


@pytest.mark.parametrize("value", [3, 3.0, np.float32(3), np.int8(3), torch.tensor(3.0), [3.0]])
def test_one_number(value):
    assert real_number(value, "x") == 3.0


@pytest.mark.parametrize("value", ["3", None, True, 1j, [1, 2], torch.ones(1, device="meta")])
def test_no_number(value):
    with pytest.raises(UsageError, match="x must be a number: got "):
        real_number(value, "x")


def test_a_mask_never_counts_as_data():
    rows, targets = np.random.default_rng(0).standard_normal((8, 3)), np.arange(8.0)
    with pytest.raises(UsageError, match="features must have no masked entries: got 1 of 24"):
        ridge_path_features(np.ma.array(rows, mask=np.arange(24).reshape(8, 3) == 5), targets)
    with pytest.raises(UsageError, match="targets must have no masked entries: got 2 of 8"):
        ridge_path_features(rows, np.ma.masked_greater(targets, 5), ridges=[1.0])
