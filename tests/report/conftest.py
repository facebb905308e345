"""Two runs of a tiny network, pretrained and random."""

import pytest
from made_runs import both_runs


@pytest.fixture(scope="session")
def runs():
    return both_runs()
