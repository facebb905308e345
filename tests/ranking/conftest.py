"""Labelled pictures for the tests of the benchmark of rankings."""

import numpy as np
import pytest

from tests.bench.rank_tasks import Source


@pytest.fixture
def source():
    """Six classes of 40 + 10 + 20 pictures."""
    labels = np.random.default_rng(0).permutation(240) % 6
    labels = np.concatenate([labels, np.arange(60) % 6, np.arange(120) % 6])
    return Source("some", (range(420),), labels, tuple("abcdef"), (240, 60, 120))
