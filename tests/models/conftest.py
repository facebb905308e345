"""Fixtures shared by the tests of backbones and weights."""

import pytest
import timm
import torch
from networks import NAME, random_backbone


@pytest.fixture(scope="session")
def trained():
    """The state dict of a classifier with seven classes, with running statistics of its own."""
    model = timm.create_model(NAME, num_classes=7, zero_init_last=False)
    generator = torch.Generator().manual_seed(1)
    state = model.state_dict()
    for tensor in state.values():
        if tensor.is_floating_point():
            tensor.add_(torch.rand(tensor.shape, generator=generator), alpha=0.1)
    return state


@pytest.fixture(scope="module")
def backbone():
    return random_backbone()
