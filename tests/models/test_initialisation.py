"""Random initialisation: seeds, and residual branches that all contribute."""

import dataclasses
import re

import pytest
import timm
import torch
from networks import assert_holds, random_backbone

from rmtgen.models import backbones


def test_seeds_decide_and_the_global_random_state_stays():
    before = torch.get_rng_state()
    first, again, other = (
        random_backbone(),
        random_backbone(),
        random_backbone(init_seed=439, head="random"),
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert first.digest() == again.digest()
    assert not torch.equal(first.model.conv1[0].weight, other.model.backbone.conv1[0].weight)
    assert (first.init, first.source, other.source) == (
        "random",
        "random, seed 438",
        "random, seed 439",
    )


@pytest.mark.parametrize("name", ["resnet18", "regnety_002"])
def test_opening_branches_is_timms_initialisation_without_zeroed_scales(name):
    torch.manual_seed(438)
    expected = timm.create_model(name, num_classes=0, zero_init_last=False)
    assert_holds(random_backbone(name), expected.state_dict())


# Backbone, the gains that its family starts at 0 or near, and how many residual branches they open.
BRANCHES = [
    ("resnet50", r"bn3\.weight", 16),
    ("convnext_atto", r"\.gamma", 12),
    ("regnety_002", r"conv3\.bn\.weight", 13),
    ("test_nfnet", r"\d\.conv3\.gain", 4),
    ("cait_xxs24_224", r"gamma_\d", 52),
    ("test_vit2", r"ls\d\.gamma", 16),
    ("swinv2_cr_tiny_224", r"norm[12]\.weight", 24),
    ("poolformer_s12", r"layer_scale\d\.scale", 24),
]


def branch_effects(model, gains, input_size):
    """Relative change of the features when one branch is closed."""
    pixels = torch.randn(2, *input_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole, effects = model(pixels), []
        for gain in gains:
            kept = gain.clone()
            gain.zero_()
            effects.append(((model(pixels) - whole).norm() / whole.norm()).item())
            gain.copy_(kept)
    return effects


def gains_of(model, pattern):
    return [
        parameter for key, parameter in model.named_parameters() if re.search(f"({pattern})$", key)
    ]


@pytest.mark.parametrize(
    ("name", "pattern", "branches"), BRANCHES, ids=[case[0] for case in BRANCHES]
)
def test_every_residual_branch_of_a_random_network_contributes(name, pattern, branches):
    backbone = random_backbone(name)
    gains = gains_of(backbone.model, pattern)
    assert len(gains) == branches
    assert all((gain == 1).all() for gain in gains)
    assert (
        min(branch_effects(backbone.model, gains[:: -(-branches // 8)], backbone.input_size)) > 1e-3
    )


@pytest.mark.parametrize(
    ("name", "pattern"), [BRANCHES[0][:2], BRANCHES[1][:2]], ids=["resnet50", "convnext_atto"]
)
def test_timms_default_initialisation_shuts_them(name, pattern):
    model = timm.create_model(name, num_classes=0).eval()
    assert max(branch_effects(model, gains_of(model, pattern), (3, 32, 32))) < 1e-4


@pytest.mark.parametrize("name", ["resnet50", "convnext_atto"])
def test_every_parameter_of_a_random_network_has_a_gradient_of_weight(name):
    backbone = random_backbone(name)
    shares = gradient_shares(backbone.model)
    assert min(shares) > 1e-3
    assert min(gradient_shares(timm.create_model(name, num_classes=0).eval())) < 1e-6


def gradient_shares(model):
    """Norm of gradient times norm of each weight matrix, relative to the largest.

    The gradient is that of a random projection of the features.
    """
    generator = torch.Generator().manual_seed(0)
    features = model(torch.randn(2, 3, 32, 32, generator=generator))
    (features * torch.randn(features.shape, generator=generator)).sum().backward()
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    sizes = [(parameter.grad.norm() * parameter.detach().norm()).item() for parameter in matrices]
    return [size / max(sizes) for size in sizes]


def test_skipinit_gains_open_too():
    config = dataclasses.replace(timm.models.nfnet.model_cfgs["test_nfnet"], skipinit=True)
    model = timm.models.nfnet.NormFreeNet(config, num_classes=0).eval()
    gains = gains_of(model, "skipinit_gain")
    assert max(branch_effects(model, gains, (3, 32, 32))) == 0
    backbones._open_branches(model)
    assert len(gains) == 4
    assert min(branch_effects(model, gains, (3, 32, 32))) > 1e-3


def test_gains_that_shut_nothing_are_left_alone():
    v2 = random_backbone("convnextv2_atto").model
    assert all(
        (parameter == 0).all()
        for key, parameter in v2.named_parameters()
        if key.endswith("grn.weight")
    )
