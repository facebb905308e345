"""The gradients of single samples at a site, formed in the quickest of three ways.

| way | computation | where it is the quickest |
|---|---|---|
| patches | a product of the output gradient with the patches of its input | small maps |
| library | the weight gradient of torch's convolution, sample by sample | large maps, groups |
| taps | a product and a sum per tap of a depthwise window | depthwise on small maps |

`library` reads every input once, where `patches` writes each k times; but its threads write one
weight gradient each and then add them, which takes longer than the products where the weight is
larger than the map. Only oneDNN is quick at it: float32 on a CPU.
"""

import itertools
from collections.abc import Callable
from math import prod

import torch
from jaxtyping import Float
from torch import Tensor

from rmtgen.kernels.entk.cpu import CALL, DEEP, by_onednn, linear
from rmtgen.kernels.entk.sites import Site

Inputs = Float[Tensor, "n t_in c_in"]
Grads = Float[Tensor, "n t c_out"]

Way = Callable[[Site, Inputs, Grads, Tensor], Tensor]
"""A function of a site, n inputs, n output gradients and a tensor (n, p), which it fills."""

_HELD = {"cpu": 2**20, "cuda": 2**27}
"""Entries of the patches that are held at a time, which should fit into the cache of a CPU."""

_COPY = 12
"""FLOPs of a product in the time of copying one byte of patches within the cache."""

_SUM = 45
"""FLOPs of a product in the time of one byte of the weight gradients that threads add."""

_DEPTHWISE = 1024
"""Output positions from which torch's depthwise convolution is quicker than a sum per tap."""


def form(site: Site, a: Inputs, g: Grads, out: Tensor | None = None) -> Float[Tensor, "n p"]:
    """Per-sample gradients of the weight of a site, with entries ordered (output, tap, input).

    Args:
        site: The site.
        a: Inputs.
        g: Output gradients.
        out: Tensor (n, p) to write the result to.
    """
    if out is None:
        out = a.new_empty(len(a), site.size)
    return quickest(site, a)(site, a, g, out)


def quickest(site: Site, a: Inputs) -> Way:
    """The way to form gradients from such inputs."""
    if _serves(site, a) and _pays(site):
        return by_library
    return by_taps if _depthwise(site) else by_patches


def _serves(site: Site, a: Tensor) -> bool:
    """Whether oneDNN computes the weight gradients of the site; it sees every tap of a window."""
    whole = site.k == prod(site.window.kernel)
    return whole and a.is_cpu and a.dtype == torch.float32 and torch.backends.mkldnn.is_available()


def _pays(site: Site) -> bool:
    """Whether `library` is quicker than the other way."""
    if site.groups > 1:
        return not _depthwise(site) or site.t >= _DEPTHWISE
    copied = 0 if site.k == 1 else site.t * site.depth
    return 4 * _COPY * copied > 4 * _SUM * site.size + CALL


def _depthwise(site: Site) -> bool:
    return site.groups == site.c_in == site.c_out


def by_library(site: Site, a: Inputs, g: Grads, out: Tensor) -> Tensor:
    """Sample by sample, by the weight gradient of torch's convolution."""
    window = site.window
    images = a.unflatten(1, window.grid).permute(0, 3, 1, 2)
    grads = g.unflatten(1, window.out).permute(0, 3, 1, 2)
    weight = out.new_empty(site.c_out, site.c_in // site.groups, *window.kernel)
    weight = weight.contiguous(memory_format=torch.channels_last)  # its shape and order matter
    places = out.view(len(a), site.c_out, *window.kernel, -1)
    for image, grad, place in zip(images.split(1), grads.split(1), places, strict=True):
        found = torch.ops.aten.convolution_backward(
            *(grad, image, weight, None, window.stride, window.padding, window.dilation),
            *(False, (0, 0), site.groups, (False, True, False)),
        )[1]
        place.copy_(found.permute(0, 2, 3, 1))
    return out


def by_patches(site: Site, a: Inputs, g: Grads, out: Tensor) -> Tensor:
    """By products of output gradients with patches, as many samples at a time as fit the cache."""
    held = max(1, _HELD[a.device.type] // max(1, site.t * site.k * site.c_in))
    for some in zip(a.split(held), g.split(held), out.split(held), strict=True):
        _multiply_patches(site, *some)
    return out


def _multiply_patches(site: Site, a: Inputs, g: Grads, out: Tensor) -> None:
    n, q = len(a), site.groups
    patches = site.patches(a)
    if q == 1:
        outer_products(g, patches, out.unflatten(1, (site.c_out, site.depth)))
        return
    patches = patches.reshape(n, site.t, site.k, q, site.c_in // q).permute(0, 3, 1, 2, 4)
    grads = g.reshape(n, site.t, q, site.c_out // q).permute(0, 2, 3, 1)
    found = torch.bmm(grads.flatten(0, 1), patches.reshape(n * q, site.t, -1))
    out.copy_(found.view(n, -1))


def outer_products(
    left: Float[Tensor, "n t i"], right: Float[Tensor, "n t j"], out: Float[Tensor, "n i j"]
) -> None:
    """Write Σ_t left_ti right_tj of every sample to `out`."""
    few = 2 * left.shape[1] * prod(out.shape[1:]) < CALL
    if few or left.shape[1] > DEEP or not by_onednn(left):
        torch.bmm(left.mT, right, out=out)
        return
    # The first factor is transposed in memory: the smaller one, unless the result is large.
    if left[0].numel() > right[0].numel() + prod(out.shape[1:]):
        left, right, out = right, left, out.mT
    for own, other, place in zip(left, right, out, strict=True):
        place.copy_(linear(own.T, other.T))


def by_taps(site: Site, a: Inputs, g: Grads, out: Tensor) -> Tensor:
    """By one product and one sum per tap of a depthwise window.

    Patches would copy and transpose the input for every tap.
    """
    window, places = site.window, out.unflatten(1, (site.c_out, site.k))
    images, grads = a.unflatten(1, window.grid), g.unflatten(1, window.out)
    for number, (top, left) in enumerate(itertools.product(*window.taps)):
        met = images[:, top.inputs(window.stride[0]), left.inputs(window.stride[1])]
        places[:, :, number] = (met * grads[:, top.outputs(), left.outputs()]).sum(dim=(1, 2))
    return out
