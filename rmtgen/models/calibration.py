"""Calibrated BatchNorm: running statistics that are those of images, from one pass.

A network that was never trained has a running mean of 0 and a running variance of 1 in every
BatchNorm. In eval mode such a layer passes its input on: it normalises nothing.
"""

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from math import prod

import torch
from jaxtyping import Float64
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from rmtgen.datasets import LabelledImages
from rmtgen.entrance import public
from rmtgen.errors import CapacityError, NumericalError, UsageError
from rmtgen.memory import tightest
from rmtgen.models.backbones import Backbone
from rmtgen.models.features import Images, TransformedImages, float32_network
from rmtgen.models.networks import plain_copy, require_runs
from rmtgen.units import readable_bytes

__all__ = ["calibrate_norms"]

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
"""What a BatchNorm keeps of the batches that it was trained on."""


@public
def calibrate_norms(backbone: Backbone, images: Images) -> Backbone:
    """The backbone with BatchNorm statistics of some images.

    Layer by layer, the running mean and the unbiased running variance become those of what the
    layer receives for these images, where the layers before it already have their new statistics:
    the network in eval mode reproduces them. All images pass together, in float64 on the CPU, and a
    statistic is rounded once, to float32. So it does not depend on the device or the number of
    threads, but for a rare last bit.

    Calibrated is every `torch.nn.BatchNorm1d`, `2d`, `3d` and `SyncBatchNorm` with running
    statistics that takes part in a pass, and what timm derives from them. What tracks statistics
    otherwise (InstanceNorm, EvoNorm, frozen BatchNorm) is left as it is, and so are all parameters.

    Args:
        backbone: Network and transform; it is unchanged.
        images: Two or more PIL images of any mode and size, or a `LabelledImages`; labels are not
            read. The activations of all of them must fit into memory, at 8 bytes a number.

    Returns:
        The backbone with a copy of its plain network; `init` is "calibrated", and `source` ends
        with the number of images.

    Raises:
        UsageError: There is one image; no BatchNorm takes part, or one takes part twice; or the
            network does not run in float64.
        NumericalError: A statistic is NaN or infinite, or a layer divides by zero; it is named.
        CapacityError: The activations do not fit into memory.
    """
    network = plain_copy(float32_network(backbone), {})
    samples = TransformedImages(images, backbone)
    if len(samples) < 2:
        raise UsageError(
            f"images must be 2 or more, since one has no variance: got {len(samples)}. Give more."
        )
    pixels = torch.stack([samples[position] for position in range(len(samples))])
    twin = in_float64(network)
    _require_room(len(pixels) * bytes_of_image(twin, pixels[:1].double()))
    for name in fit_norms(twin, pixels.double(), backbone.name):
        found = twin.get_submodule(name)
        _set(network.get_submodule(name), [getattr(found, buffer) for buffer in _BUFFERS])
    source = f"{backbone.source}; BatchNorm statistics of {len(samples)} {_noun(images)}"
    return replace(backbone, model=network, init="calibrated", source=source)


def _noun(images: Images) -> str:
    training = isinstance(images, LabelledImages) and images.split == "train"
    return "training images" if training else "images"


def in_float64(network: nn.Module) -> nn.Module:
    """A copy of a network in eval mode, of float64 on the CPU."""
    # some models cache tensors of the former type, which a change of the mode clears
    return plain_copy(network, {}).to("cpu", torch.float64).train().eval()


def bytes_of_image(network: nn.Module, pixels: Float64[Tensor, "1 3 h w"]) -> int:
    """Peak bytes of a pass of `fit_norms` for each image, rather too many than too few.

    They are those of the layer that holds most, and of one more tensor beside it, such as the other
    branch of a block. A convolution in float64 on a CPU holds the patches that it multiplies.

    Args:
        network: As `in_float64` returns it.
        pixels: One image.

    Raises:
        UsageError: The network does not run in float64.
    """
    layers, tensors = [0], [pixels.nbytes]

    def count(module: nn.Module, inputs: tuple, output: object) -> None:
        sizes = [one.nbytes for one in (*inputs, output) if isinstance(one, Tensor)]
        tensors.extend(sizes)
        layers.append(sum(sizes) + _bytes_of_patches(module, output))

    with ExitStack() as hooks:
        for module in network.modules():
            if not any(module.children()):
                hooks.enter_context(module.register_forward_hook(count))
        require_runs(network, pixels)
    return max(layers) + max(tensors)


def _bytes_of_patches(module: nn.Module, output: object) -> int:
    if not isinstance(module, _ConvNd) or not isinstance(output, Tensor):
        return 0
    patch = prod(module.kernel_size) * module.in_channels // module.groups
    return output.itemsize * patch * prod(output.shape[2:])


def _require_room(needed: int) -> None:
    if needed > (bound := tightest()).free:
        raise CapacityError(
            f"the activations of all images in float64 must fit into memory: they take about"
            f" {readable_bytes(needed)}, got {readable_bytes(bound.free)} ({bound.name}). Take"
            " smaller images (img_size), or a machine with more memory."
        )


def fit_norms(network: nn.Module, pixels: Float64[Tensor, "b 3 h w"], called: str) -> list[str]:
    """Set the running statistics of each BatchNorm to those of its input, in one pass.

    Args:
        network: As `in_float64` returns it; its statistics are changed.
        pixels: b ≥ 2 images.
        called: Name of the network, for messages.

    Returns:
        The names of the layers, in the order in which they took part.

    Raises:
        UsageError, NumericalError: As `calibrate_norms`.
    """
    norms = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    }
    _require_norms(norms, called)
    fitted: list[str] = []
    with ExitStack() as hooks, torch.inference_mode():
        for name, norm in norms.items():
            hook = partial(_fit, fitted, name)
            hooks.enter_context(norm.register_forward_pre_hook(hook, with_kwargs=True))
        network(pixels)
    _require_norms(fitted, called)
    return fitted


def _require_norms(norms: Collection[str], called: str) -> None:
    if not norms:
        raise UsageError(
            f"{called} must have a BatchNorm with running statistics to calibrate, and none takes"
            " part in a pass. Take init=random, which is the same network."
        )


def _fit(
    fitted: list[str],
    name: str,
    norm: _BatchNorm,
    args: tuple[Tensor, ...],
    kwargs: dict[str, Tensor],
) -> None:
    """Set the statistics of a layer to those of the input that it is about to normalise."""
    if name in fitted:
        raise UsageError(
            f"every BatchNorm must take part once, since it has one mean and one variance: {name}"
            " takes part again. Calibrate a network that shares no BatchNorm."
        )
    fitted.append(name)
    [inputs] = [*args, *kwargs.values()]
    axes = [axis for axis in range(inputs.ndim) if axis != 1]
    variance, mean = (found.float() for found in torch.var_mean(inputs, axes, correction=1))
    sound = mean.isfinite() & variance.isfinite() & (variance + norm.eps > 0)
    if not sound.all():
        channel = int((~sound).nonzero()[0])
        raise NumericalError(
            "statistics of a BatchNorm must be finite, and its variance + eps above 0: got mean"
            f" {mean[channel]:.3g} and variance {variance[channel]:.3g} in channel {channel} of"
            f" {name}. Check the images, and the weights."
        )
    _set(norm, [mean, variance, torch.ones(())])


def _set(norm: nn.Module, values: Sequence[Tensor]) -> None:
    for buffer, value in zip(_BUFFERS, values, strict=True):
        getattr(norm, buffer).copy_(value)
