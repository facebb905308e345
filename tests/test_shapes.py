"""Wrong shapes and dtypes at the borders of the numeric rooms are refused; see shapes.py."""

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from rmtgen.linalg.band import Band
from rmtgen.theory.effective_ridge import target_bias


def test_a_wrong_rank_is_refused():
    """NumPy would broadcast a column of powers against the row of modes, and answer."""
    with pytest.raises(TypeCheckError, match="power"):
        target_bias(np.ones(3), np.ones((3, 1)), 0.5)


def test_a_wrong_dtype_is_refused():
    with pytest.raises(TypeCheckError, match="matrix"):
        Band.of_(torch.eye(4, dtype=torch.float32), 2)


def test_sizes_that_differ_within_one_call_are_refused():
    with pytest.raises(TypeCheckError, match="power"):
        target_bias(np.ones(3), np.ones(1), 0.5)


def test_what_is_annotated_right_passes():
    assert target_bias(np.ones(3), np.ones(3), 1.0) == pytest.approx(0.75)
