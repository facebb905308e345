"""BatchNorm statistics of images: against plain computations, as a fixed point, and refused."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from networks import random_backbone
from small_backbones import IMAGES, PICTURES, wrap
from torch import nn
from torch.nn import functional
from torchvision.transforms.functional import to_tensor

from rmtgen import calibrate_norms, extract_features, load_dataset
from rmtgen.errors import CapacityError, NumericalError, UsageError
from rmtgen.memory import Bound
from rmtgen.models import calibration

FLOAT32 = 2.0**-23
NETWORKS = ("test_resnet", "resnet18", "tf_efficientnet_lite0", "levit_128", "test_byobnet")


def norms(model):
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
    }


def pixels_of(backbone, images=IMAGES):
    return torch.stack([backbone.transform(image) for image in images])


def received(model, pixels):
    """The input of each BatchNorm of a float64 copy of a network in eval mode."""
    model, found = copy.deepcopy(model).double().train().eval(), {}
    for name, norm in norms(model).items():
        norm.register_forward_hook(
            lambda _module, inputs, _output, name=name: found.update({name: inputs[0].numpy()})
        )
    with torch.no_grad():
        model(pixels.double())
    return found


def moments(values):
    """Mean and unbiased variance of each channel, by two plain sums."""
    rows = np.moveaxis(values, 1, 0).reshape(values.shape[1], -1)
    means = rows.sum(axis=1) / rows.shape[1]
    squares = ((rows - means[:, None]) ** 2).sum(axis=1)
    return means, squares / (rows.shape[1] - 1)


def two_layers():
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 4, 3, stride=2))
    last = (nn.BatchNorm2d(4, eps=1e-3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    backbone = wrap(nn.Sequential(*layers, *last))
    with torch.no_grad():
        for norm in norms(backbone.model).values():
            norm.weight.uniform_(0.5, 2.0)
            norm.bias.uniform_(-1.0, 1.0)
    return backbone


def test_two_layers_by_hand():
    """Convolution, NumPy's moments, the rounded statistics, ReLU, and again."""
    backbone = two_layers()
    one, two = backbone.model[0], backbone.model[3]
    first, second = norms(calibrate_norms(backbone, IMAGES).model).values()
    x = functional.conv2d(pixels_of(backbone).double(), one.weight.double(), one.bias.double())
    for norm, following in ((first, two), (second, None)):
        mean, variance = (found.astype(np.float32) for found in moments(x.detach().numpy()))
        np.testing.assert_allclose(norm.running_mean.numpy(), mean, rtol=2 * FLOAT32)
        np.testing.assert_allclose(norm.running_var.numpy(), variance, rtol=2 * FLOAT32)
        assert norm.num_batches_tracked == 1
        if following is not None:
            scale = (norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt())[:, None]
            shifted = x - norm.running_mean.double()[:, None, None]
            x = (shifted * scale[..., None] + norm.bias.double()[:, None, None]).clamp(min=0)
            weight, bias = following.weight.double(), following.bias.double()
            x = functional.conv2d(x, weight, bias, stride=2)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_in_eval_mode_reproduces_its_statistics(name):
    """What each layer receives has the mean and the variance that it has kept."""
    backbone = random_backbone(name, img_size=64 if name.startswith("levit") else 32)
    found = calibrate_norms(backbone, IMAGES)
    inputs, kept = received(found.model, pixels_of(backbone)), norms(found.model)
    assert set(inputs) == set(kept) != set()
    for layer, norm in kept.items():
        mean, variance = moments(inputs[layer])
        deviation = np.sqrt(variance) + np.abs(mean)
        assert (np.abs(norm.running_mean.numpy() - mean) <= 2 * FLOAT32 * deviation).all()
        np.testing.assert_allclose(norm.running_var.numpy(), variance, rtol=2 * FLOAT32, atol=1e-30)


def test_it_is_what_a_step_of_training_leaves_but_for_the_bias_of_variances():
    backbone = random_backbone("test_resnet")
    trained = copy.deepcopy(backbone.model).double().train()
    for norm in norms(trained).values():
        norm.momentum = 1.0
    with torch.no_grad():
        trained(pixels_of(backbone).double())
    found = norms(calibrate_norms(backbone, IMAGES).model)
    counts = {
        name: inputs[:, 0].size
        for name, inputs in received(backbone.model, pixels_of(backbone)).items()
    }
    bias = 0.0
    for name, norm in norms(trained).items():
        if bias == 0.0:  # the first has the same input
            torch.testing.assert_close(found[name].running_var.double(), norm.running_var)
        bias += 2 / counts[name]
        ratio = found[name].running_var / norm.running_var
        assert (ratio - 1).abs().max() <= FLOAT32 + bias
        assert (ratio != 1).any()


def test_what_a_layer_passes_on_has_mean_0_and_variance_1():
    """At its initial scale and shift; that of the random network has not."""
    backbone = random_backbone("test_resnet")
    calibrated = calibrate_norms(backbone, IMAGES)
    for found, normalised in ((calibrated, True), (backbone, False)):
        inputs = received(found.model, pixels_of(found))
        for name, norm in norms(found.model).items():
            with torch.no_grad():
                out = copy.deepcopy(norm).double()(torch.from_numpy(inputs[name])).numpy()
            mean, variance = moments(out)
            ones = norm.running_var / (norm.running_var + norm.eps)
            near = np.allclose(mean, 0, atol=1e-4) and np.allclose(variance, ones, rtol=1e-4)
            assert near is normalised


def test_nothing_but_the_statistics_changes():
    backbone = random_backbone("test_resnet", head="random")
    before, modes = copy.deepcopy(backbone.model.state_dict()), backbone.digest()
    found = calibrate_norms(backbone, IMAGES)
    assert backbone.digest() == modes != found.digest()
    for name, value in found.model.state_dict().items():
        kept = name.rpartition(".")[2] in ("running_mean", "running_var", "num_batches_tracked")
        assert torch.equal(value, before[name]) is not kept
        assert value.dtype == before[name].dtype
    assert not any(module.training for module in found.model.modules())
    assert all(parameter.requires_grad for parameter in found.model.parameters())
    assert not found.model.backbone.conv1[0]._forward_pre_hooks
    assert all(not norm._forward_pre_hooks for norm in norms(found.model).values())
    assert (found.name, found.feature_dim) == (backbone.name, backbone.feature_dim)
    assert (backbone.init, found.init) == ("random", "calibrated")
    assert found.source == "random, seed 438; BatchNorm statistics of 23 images"


def test_its_own_images_calibrate_a_calibrated_network_again_to_itself():
    backbone = calibrate_norms(random_backbone("test_resnet"), IMAGES)
    assert calibrate_norms(backbone, IMAGES).digest() == backbone.digest()


@given(st.permutations(range(len(PICTURES))), st.integers(0, 2))
def test_the_order_of_images_does_not_matter(order, repeated):
    """Nor does a copy of every image, but for the bias of variances."""
    backbone = two_layers()
    images = [PICTURES[number] for number in order]
    found = norms(calibrate_norms(backbone, images * (1 + repeated)).model)
    for name, norm in norms(calibrate_norms(backbone, PICTURES).model).items():
        count = received(backbone.model, pixels_of(backbone, PICTURES))[name][:, 0].size
        bias = 2 / count if repeated else 0.0
        torch.testing.assert_close(
            norm.running_var, found[name].running_var, rtol=8 * FLOAT32 + bias, atol=0
        )


def test_threads_change_a_last_bit_at_most():
    backbone, before = random_backbone("test_resnet"), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(calibrate_norms(backbone, IMAGES).model.state_dict())
    finally:
        torch.set_num_threads(before)
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name], rtol=2 * FLOAT32, atol=1e-30)


def test_images_of_a_data_set_are_named_by_their_split():
    images = load_dataset("mnist5k", split="train", size=60).subset(slice(8))
    backbone = calibrate_norms(random_backbone("test_resnet"), images)
    assert backbone.source.endswith("; BatchNorm statistics of 8 training images")


def test_a_constant_channel_gives_finite_features():
    backbone = two_layers()
    with torch.no_grad():
        backbone.model[0].weight[1] = 0.0
    found = calibrate_norms(backbone, IMAGES)
    assert found.model[1].running_var[1] == 0.0
    assert extract_features(found, IMAGES).isfinite().all()


def test_a_layer_that_would_divide_by_zero_is_named():
    backbone = two_layers()
    backbone.model[1].eps = 0.0
    with torch.no_grad():
        backbone.model[0].weight[1] = 0.0
    with pytest.raises(NumericalError, match=r"variance \+ eps above 0: .* in channel 1 of 1\. "):
        calibrate_norms(backbone, IMAGES)


@pytest.mark.parametrize(("value", "shown"), [(np.nan, "mean nan"), (1e30, "variance inf")])
def test_statistics_that_are_not_finite_name_the_layer(value, shown):
    """NaN, and what float32 cannot hold."""
    backbone = two_layers()
    with torch.no_grad():
        backbone.model[3].weight[2, 0, 0, 0] = value
    with pytest.raises(NumericalError, match=rf"{shown}.* in channel 2 of 4\. "):
        calibrate_norms(backbone, IMAGES)


def test_layers_that_have_no_such_statistics_are_left_alone():
    tracking = nn.InstanceNorm2d(3, track_running_stats=True)
    layers = (nn.BatchNorm2d(3, track_running_stats=False), tracking, nn.BatchNorm2d(3))
    found = calibrate_norms(wrap(nn.Sequential(*layers, nn.Flatten())), IMAGES)
    assert found.model[0].running_mean is None
    assert (found.model[1].running_mean == 0).all() and (found.model[1].running_var == 1).all()
    assert found.model[2].num_batches_tracked == 1


def test_a_pass_can_be_repeated_on_one_network():
    network = calibration.in_float64(two_layers().model)
    first, second = (torch.randn(4, 3, 20, 24, dtype=torch.float64) for _ in range(2))
    assert calibration.fit_norms(network, first, "it") == ["1", "4"]
    before = network[4].running_mean.clone()
    assert calibration.fit_norms(network, second, "it") == ["1", "4"]
    assert not torch.equal(network[4].running_mean, before)


@pytest.mark.parametrize("groups", [1, 3])
def test_the_bytes_of_a_pass_are_those_of_the_largest_layer_and_of_a_tensor(groups):
    """Input, output, patches of 9 numbers for each channel of a group; the output once more."""
    network = nn.Sequential(nn.Conv2d(3, 6, 3, groups=groups), nn.ReLU()).double().eval()
    found = calibration.bytes_of_image(network, torch.zeros(1, 3, 10, 8, dtype=torch.float64))
    places = 8 * 6
    assert found == 8 * (3 * 80 + 2 * 6 * places + 9 * 3 // groups * places)


def test_a_network_without_any_is_refused_by_name():
    said = r"test_vit must have a BatchNorm .*, and none takes part in a pass\. Take init=random"
    with pytest.raises(UsageError, match=said):
        calibrate_norms(random_backbone("test_vit"), IMAGES)


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x):
        return x.mean(dim=(2, 3))


def test_a_network_whose_only_one_takes_no_part_is_refused():
    with pytest.raises(UsageError, match="tiny must have a BatchNorm .*, and none takes part"):
        calibrate_norms(wrap(Unused()), IMAGES)


def test_a_shared_layer_is_refused():
    norm = nn.BatchNorm2d(3)
    backbone = wrap(nn.Sequential(norm, nn.ReLU(), norm, nn.Flatten()))
    with pytest.raises(UsageError, match="must take part once, .*: 0 takes part again"):
        calibrate_norms(backbone, IMAGES)


class OfFloat32(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(x.float() @ torch.ones(x.shape[-1], 2)).flatten(1)


def test_a_network_that_does_not_run_in_float64_is_refused():
    with pytest.raises(UsageError, match="the model must accept a batch of the samples"):
        calibrate_norms(wrap(OfFloat32()), IMAGES)


@pytest.mark.parametrize("images", [[], IMAGES[:1]])
def test_fewer_than_two_images_are_refused(images):
    with pytest.raises(UsageError, match=r"images must (hold at least one|be 2 or more).*got [01]"):
        calibrate_norms(two_layers(), images)


def test_what_exceeds_memory_is_refused_before_the_pass(monkeypatch):
    """Of the first convolution: images, output, patches of 27 numbers; and the output once more."""
    backbone = dataclasses.replace(two_layers(), transform=to_tensor)
    output, image = 18 * 22, 3 * 20 * 24
    needed = 8 * len(IMAGES) * (image + 2 * 5 * output + 27 * output)
    calibrated = calibrate_norms(backbone, IMAGES).digest()
    monkeypatch.setattr(calibration, "tightest", lambda: Bound("the machine", needed))
    assert calibrate_norms(backbone, IMAGES).digest() == calibrated
    monkeypatch.setattr(calibration, "tightest", lambda: Bound("the machine", needed - 1))
    with pytest.raises(CapacityError, match=r"must fit into memory: they take about .*machine"):
        calibrate_norms(backbone, IMAGES)
