"""What a backbone costs, by closed forms, and where parameters are inputs of modules."""

import pytest
import torch
from torch import nn

from rmtgen.models.backbones import load_backbone
from rmtgen.models.facts import backbone_facts, counted


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_operations_are_two_per_weight_and_place(mode):
    network = nn.Sequential(nn.Conv2d(3, 5, 3, bias=False), nn.Flatten(), nn.Linear(5 * 36, 7))
    network[2].weight.requires_grad_(False)
    with mode(), counted(network) as counter:
        network(torch.zeros(1, 3, 8, 8))
    assert counter.get_total_flops() == 2 * (5 * 27 * 36 + 5 * 36 * 7)
    learned = [parameter.requires_grad for parameter in network.parameters()]
    assert learned == [True, False, True]


def test_a_pass_that_fails_leaves_the_parameters_as_they_were():
    network = nn.Linear(3, 2)
    with pytest.raises(RuntimeError), counted(network):
        network(torch.zeros(1, 4))
    assert network.weight.requires_grad


def test_an_attention_pool_has_its_operations_counted():
    pooled, plain = (load_backbone(name, init="random") for name in ("test_vit3", "test_vit"))
    found = backbone_facts(pooled)
    assert found["flops"] > backbone_facts(plain)["flops"] > 1e6
    assert found["parameters"] == sum(each.numel() for each in pooled.model.parameters())
    assert found["licence"] is None and next(pooled.model.parameters()).requires_grad
