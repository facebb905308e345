"""A checked network and its images, which pass through it in batches."""

import itertools
import time
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.utils.data import Dataset

from rmtgen.device import default_device, fp32_precision
from rmtgen.errors import NumericalError, RmtgenError, warn
from rmtgen.kernels.entk.audit import prove
from rmtgen.kernels.entk.capture import Capture, OtherCourseError
from rmtgen.kernels.entk.gradients import Gradients
from rmtgen.kernels.entk.network import computation_dtype, prepared
from rmtgen.kernels.entk.operations import UnknownUseError
from rmtgen.models.features import first_nonfinite_layer
from rmtgen.models.inputs import Samples
from rmtgen.models.networks import plain, require_runs

Images = Tensor | np.ndarray | Dataset | Sequence[Tensor]
"""Samples (n, …) such as images (n, c, h, w), or a data set of samples or pairs (sample, label)."""

_MOST_IMAGES = {"cpu": 64, "cuda": 256}
"""Maximum number of images per pass; a larger batch is not faster."""

_MOST_BYTES = {"cpu": 400 * 2**20, "cuda": 2**33 // 3}
"""Maximum bytes of the data of a pass.

On a CPU a larger one spends its time on page faults; on a GPU it takes the place of gradients.
"""

_MOST_PIECE = {"cpu": 2**25, "cuda": 2**63}
"""Maximum bytes of one tensor of a pass: glibc keeps smaller ones when they are freed."""


class Passes:
    """The passes of images through a copy of a model, which is checked on two of them.

    Attributes:
        images: All images.
        device: Device of the computation.
        dtype: Type of the computation.
        precision: Precision of float32 products and convolutions on CUDA.
        capture: The gradients of the copy of the model.
        probe: The gradients of the first and last image for each output, all of them materialised.
        activations: Bytes of the data tensors of the forward pass of an image.
        largest: Bytes of the largest of them.
        checking: Wall and processor seconds of the check.
        in_pairs: Whether images pass two by two, because larger batches are not as checked.
    """

    in_pairs = False

    def __init__(
        self,
        model: nn.Module,
        images: Images,
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        output: int | str | None = None,
        precision: str = "ieee",
        only: Collection[str] | None = None,
    ):
        """Copy the model to the device, and check it on the first and last image.

        Arguments and errors are those of `entk_gram`; `precision` is that of
        `rmtgen.device.fp32_precision`; `only` names the parameters of the kernel, None for all that
        require a gradient.
        """
        started = time.perf_counter(), time.thread_time()
        self.images, self.device, self.precision = (
            Samples(images),
            default_device(device),
            precision,
        )
        model = plain(model)
        self.dtype = computation_dtype(model, dtype)
        network = prepared(model, self.device, self.dtype)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(parameter.requires_grad and (only is None or name in only))
        self.capture = Capture(network, output)
        probe = sorted({0, len(self.images) - 1})
        samples = _told_apart(self.fetch(probe))
        try:
            with fp32_precision(precision):
                self.probe = prove(self.capture, samples)
        except NumericalError as failure:
            raise NumericalError(self.explain(0, len(self.images) - 1)) from failure
        except RmtgenError:
            raise
        except Exception:
            require_runs(self.capture.model, samples)
            raise
        self.activations, self.largest = (
            size // len(probe) for size in (self.probe[0].activations, self.probe[0].largest)
        )
        self.checking = time.perf_counter() - started[0], time.thread_time() - started[1]

    def batch_size(self, budget: int, image_bytes: int, kind: str | None = None) -> int:
        """Maximum number of images per pass under a budget.

        Args:
            budget: Memory of the pass in bytes.
            image_bytes: Memory of the pass in bytes per image.
            kind: Kind of the device, "cpu" or "cuda"; None: that of the passes.
        """
        kind = kind or self.device.type
        if self.capture.alone:
            return 1
        return max(
            1,
            min(
                _MOST_IMAGES[kind],
                budget // image_bytes,
                _MOST_BYTES[kind] // max(1, self.activations),
                _MOST_PIECE[kind] // max(1, self.largest),
            ),
        )

    def __call__(
        self, positions: Sequence[int], into: Sequence[Mapping[int, Float[Tensor, "b _"]]] = ()
    ) -> list[Gradients]:
        """The gradients of some images by their positions; see `gradients`."""
        return self.gradients(self.fetch(positions), into)

    def gradients(
        self,
        images: Shaped[Tensor, "b ..."],
        into: Sequence[Mapping[int, Float[Tensor, "b _"]]] = (),
    ) -> list[Gradients]:
        """The gradients of some images; see `Capture`.

        Two by two if a batch passes through other operations than the two that were checked.
        """
        if not self.in_pairs:
            try:
                return self.capture(images, into=into)
            except (OtherCourseError, UnknownUseError) as failure:
                if len(images) == 2:
                    raise
                warn(f"the samples go through the network two by two, which is slower: {failure}")
                self.in_pairs = True
        return self._by_pairs(images, into)

    def _by_pairs(
        self, images: Shaped[Tensor, "b ..."], into: Sequence[Mapping[int, Float[Tensor, "b _"]]]
    ) -> list[Gradients]:
        """The gradients of some images, two by two; an odd one is paired with itself."""
        parts = []
        for low in range(0, len(images), 2):
            pair = images[low : low + 2]
            rows = len(pair)
            pair = pair if rows == 2 else torch.cat([pair, pair])
            places = [
                {number: place.new_empty(2, *place.shape[1:]) for number, place in own.items()}
                for own in into
            ]
            parts.append([own.first(rows) for own in self.capture(pair, into=places)])
            for own, filled in zip(into, places, strict=True):
                for number, place in own.items():
                    place[low : low + rows] = filled[number][:rows]
        return [Gradients.joined(own) for own in zip(*parts, strict=True)]

    def fetch(self, positions: Sequence[int]) -> Shaped[Tensor, "b ..."]:
        """Some images, on the device in the type of the computation."""
        return self.images.batch(positions, self.device, self.dtype)

    def explain(self, *positions: int) -> str:
        """The message on images with a non-finite kernel: which image, and from which layer on."""
        for position in positions:
            image = self.fetch([position])
            captured = self([position])
            found = [
                tensor
                for gradients in captured
                for tensor in (
                    *gradients.materialised.values(),
                    *itertools.chain(*gradients.factors.values()),
                )
            ]
            if not all(gradients.output.isfinite().all() for gradients in captured):
                return _not_finite(
                    f"the output of image {position} is not, from"
                    f" {first_nonfinite_layer(self.capture.model, image)} on"
                )
            if not all(tensor.isfinite().all() for tensor in found):
                return _not_finite(
                    f"the gradients of image {position} are not, though its output is"
                )
        return _not_finite(
            f"the product of images {positions[0]} and {positions[-1]} overflows {self.dtype};"
            " dtype=torch.float64 may represent it"
        )


def _not_finite(what: str) -> str:
    return (
        f"the kernel must be finite, got NaN or infinity: {what}. Check the image and the weights."
    )


def _told_apart(probe: Shaped[Tensor, "b ..."]) -> Shaped[Tensor, "b ..."]:
    """The probe, with a ramp added to the second image if it equals the first.

    Two equal samples would hide a gradient that is assigned to the wrong one.
    """
    if len(probe) == 1 or not probe.is_floating_point() or not torch.equal(probe[0], probe[1]):
        return probe
    ramp = torch.linspace(-0.5, 0.5, probe[1].numel()).to(probe).view(probe[1].shape)
    return torch.stack([probe[0], probe[1] + ramp])
