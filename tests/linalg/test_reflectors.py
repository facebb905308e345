"""A triangle that rows are appended to, against NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtgen.linalg import reflectors
from rmtgen.linalg.reflectors import Panel, append_rows_, unpacked


@settings(max_examples=40)
@given(
    columns=st.integers(1, 30),
    parts=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    panel=st.integers(1, 12),
    seed=st.integers(0, 10**6),
)
def test_the_triangle_is_that_of_all_rows_however_they_come(columns, parts, panel, seed):
    rows = np.random.default_rng(seed).standard_normal((sum(parts), columns))
    triangle = torch.zeros(columns, columns, dtype=torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reflectors, "PANEL", panel)
        for part in torch.from_numpy(rows.copy()).split(parts):
            append_rows_(triangle, part)
    assert torch.equal(triangle, triangle.triu())
    known = np.zeros((columns, columns))
    found = np.linalg.qr(rows, mode="r")
    known[: len(found)] = found
    signs = np.sign(np.diagonal(known))[:, None] * np.sign(np.diagonal(triangle))[:, None]
    if len(rows) < columns:
        np.testing.assert_allclose(triangle.mT @ triangle, rows.T @ rows, atol=1e-11)
    else:
        np.testing.assert_allclose(signs * triangle.numpy(), known, atol=1e-11)


def test_the_condition_number_is_not_squared():
    """Singular values of 1 … 1e-12 survive; those of XᵀX would not."""
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.standard_normal((m, 20)))[0] for m in (90, 20))
    values = np.geomspace(1, 1e-12, 20)
    triangle = torch.zeros(20, 20, dtype=torch.float64)
    for part in torch.from_numpy(left * values @ right.T).split(40):
        append_rows_(triangle, part)
    np.testing.assert_allclose(torch.linalg.svdvals(triangle), values, rtol=1e-3)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 7), (7, 3), (5, 5)])
def test_a_panel_is_its_reflectors_times_its_triangle(rows, columns):
    matrix = torch.from_numpy(np.random.default_rng(0).standard_normal((rows, columns)))
    packed, vectors, factor = Panel.of(matrix)
    frame = torch.eye(rows, dtype=torch.float64) - vectors @ factor @ vectors.mT
    np.testing.assert_allclose(frame.mT @ frame, np.eye(rows), atol=1e-13)
    np.testing.assert_allclose(frame @ packed.triu(), matrix, atol=1e-13)
    assert torch.equal(unpacked(packed), vectors)
