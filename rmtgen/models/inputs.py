"""The samples that a caller hands over: tensors for a kernel, pictures for features."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from rmtgen.checks import as_tensor
from rmtgen.datasets import ArrayImages, LabelledImages
from rmtgen.errors import UsageError

_UNREADABLE = (LookupError, TypeError, ValueError, AttributeError, NotImplementedError)
"""Exceptions of a data set that is not read by numbers."""


def require_sequence(samples: Any, name: str) -> None:
    """Refuse what is not read by the numbers 0 … n − 1, n ≥ 1.

    Args:
        samples: An array, a tensor, a sequence or a data set.
        name: Name of the argument, for the messages.

    Raises:
        UsageError: Anything else, or no sample.
    """
    kind = type(samples).__name__
    if isinstance(samples, DataLoader):
        raise UsageError(
            f"{name} must be samples, got a DataLoader, whose batches are formed here anyway. Give"
            " its data set: loader.dataset."
        )
    if isinstance(samples, (IterableDataset, Iterator)) or not hasattr(samples, "__getitem__"):
        raise UsageError(
            f"{name} must be read by number: expected a tensor (n, …), a list of tensors or a data"
            f" set with a length, got {kind}. Give list({name}) if it ends."
        )
    if isinstance(samples, (str, bytes, Mapping)):
        raise UsageError(
            f"{name} must be a sequence of samples, got {kind}. Give the samples themselves, not"
            " their place or their names."
        )
    try:
        count = len(samples)
    except TypeError as failure:
        raise UsageError(
            f"{name} must have a length: expected a tensor (n, …) or a data set with __len__, got"
            f" {kind}: {failure}. Give a batch of samples, of one sample too: sample[None]."
        ) from failure
    if count < 1:
        raise UsageError(f"{name} must hold at least one image, got 0. Give one or more.")


def read(samples: Any, position: int, name: str) -> Any:
    """A sample by its number; the first entry of a tuple or a list, such as a pair (x, label).

    Raises:
        UsageError: The data set does not have it, or raises an exception of a wrong key or type.
    """
    try:
        sample = samples[position]
    except UsageError:
        raise
    except _UNREADABLE as failure:
        first = (str(failure).splitlines() or [""])[0]
        raise UsageError(
            f"{name} must be read by the numbers 0 to {len(samples) - 1}: number {position} of"
            f" {type(samples).__name__} raises {type(failure).__name__}: {first}. Give a list or a"
            " data set whose every sample can be read."
        ) from failure
    return sample[0] if isinstance(sample, (tuple, list)) and len(sample) else sample


class Samples(Dataset):
    """Samples as tensors of one shape and dtype, read when they are needed.

    Attributes:
        source: A tensor or array (n, …), a sequence, or a data set, of samples or of pairs
            (sample, label).
        name: Name of the argument, for the messages.
        shape: Shape of every sample.
        dtype: Type of the first sample.
    """

    def __init__(self, source: Any, name: str = "images"):
        """Read the first sample.

        Raises:
            UsageError: There is no sample, or it is neither a tensor nor an array of numbers.
        """
        if isinstance(source, Samples):
            source, name = source.source, source.name
        require_sequence(source, name)
        self.source: Any = source
        self.name = name
        first = self[0]
        self.shape, self.dtype = first.shape, first.dtype

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, position: int) -> Tensor:
        """A sample without gradient.

        Raises:
            UsageError: The sample is not a dense tensor, or not an array of numbers.
        """
        if isinstance(self.source, (Tensor, np.ndarray)):
            return self._dense(self.source[position], position)
        return self._dense(read(self.source, position, self.name), position)

    def batch(self, positions: Sequence[int], device: torch.device, dtype: torch.dtype) -> Tensor:
        """Some samples (b, …), on the device.

        Args:
            positions: Numbers of b samples.
            device: Device of the result.
            dtype: Real type of the result. Complex samples become the complex type of the same
                precision; integers are left as they are, since they count, as tokens do.

        Raises:
            UsageError: Two samples differ in shape or kind of number, or as for one sample.
        """
        if isinstance(self.source, (Tensor, np.ndarray)):
            rows = self._dense(self.source[list(positions)], positions[0])
            return rows.to(device, _matching(rows.dtype, dtype))
        samples = [self[position] for position in positions]
        for position, sample in zip(positions, samples, strict=True):
            if sample.shape != self.shape:
                raise UsageError(
                    f"{self.name} must have one shape: expected {tuple(self.shape)}, that of number"
                    f" 0, got {tuple(sample.shape)} at number {position}. Resize, crop or pad them."
                )
            if _matching(sample.dtype, dtype) != _matching(self.dtype, dtype):
                raise UsageError(
                    f"{self.name} must be of one type: expected {self.dtype}, that of number 0, got"
                    f" {sample.dtype} at number {position}. Convert them."
                )
        moved = [sample.to(device, _matching(sample.dtype, dtype)) for sample in samples]
        return torch.stack(moved)

    def _dense(self, sample: Any, position: int) -> Tensor:
        """A sample, or several, as a strided tensor with values."""
        where = f"{self.name}[{position}]"
        if isinstance(sample, (np.ndarray, np.generic, float, int)):
            return as_tensor(sample, where)
        if not isinstance(sample, Tensor):
            raise UsageError(
                f"{where} must be a tensor or an array, got {_kind(sample)}. {_cure(sample)}"
            )
        if sample.layout != torch.strided or sample.is_nested or sample.is_quantized:
            raise UsageError(
                f"{where} must be a dense tensor, got {_layout(sample)}. Give to_dense(),"
                " dequantize() or padded samples."
            )
        if sample.is_meta:
            raise UsageError(f"{where} must have values, got a meta tensor. Give a real one.")
        return sample.detach()


def _matching(found: torch.dtype, dtype: torch.dtype) -> torch.dtype:
    """The type in which samples of type `found` enter a computation in `dtype`."""
    if found.is_complex:
        return dtype.to_complex()
    return dtype if found.is_floating_point else found


def _kind(sample: Any) -> str:
    if isinstance(sample, Mapping):
        return f"{type(sample).__name__} with the keys {', '.join(map(str, list(sample)[:5]))}"
    return type(sample).__name__


def _cure(sample: Any) -> str:
    if isinstance(sample, Image.Image):
        return "Transform the pictures: [backbone.transform(image) for image in images]."
    if isinstance(sample, Mapping):
        return (
            "Give one entry, such as [sample[key] for sample in samples], and a module whose"
            " forward takes it alone."
        )
    return "Give a tensor (n, …), or a list or data set of tensors or of pairs (tensor, label)."


def _layout(sample: Tensor) -> str:
    if sample.is_quantized or sample.is_nested:
        return "a quantised tensor" if sample.is_quantized else "a nested tensor"
    return str(sample.layout).removeprefix("torch.")


def pictures(images: Any) -> Sequence[Image.Image]:
    """Pictures by number.

    Args:
        images: PIL images or pairs (image, label), in a list or a data set; arrays of uint8, (n, h,
            w) grey or (n, h, w, 3) RGB, or a list of such arrays; or a `LabelledImages`.

    Raises:
        UsageError: Not a sequence, or without an image.
    """
    if isinstance(images, LabelledImages):
        images = images.images
    if isinstance(images, np.ndarray):
        images = _stacked(images)
    require_sequence(images, "images")
    return images


def _stacked(images: np.ndarray) -> ArrayImages | list:
    if images.dtype == np.uint8 and (images.ndim == 3 or images.shape[3:] == (3,)):
        return ArrayImages(images)
    return list(images)


def picture(images: Sequence[Image.Image], position: int) -> Image.Image:
    """One picture of `pictures`.

    Raises:
        UsageError: It is not a PIL image, nor an array of uint8, (h, w) grey or (h, w, 3) RGB.
    """
    found: Any = read(images, position, "images")
    if isinstance(found, Image.Image):
        return found
    if isinstance(found, np.ndarray):
        if (
            found.dtype == np.uint8
            and found.size
            and (found.ndim == 2 or (found.ndim == 3 and found.shape[2] == 3))
        ):
            return Image.fromarray(np.ascontiguousarray(found))
        got, cure = f"an array {found.shape} of {found.dtype}", "Give uint8, (h, w) or (h, w, 3)."
    elif isinstance(found, Tensor):
        got = f"a tensor {tuple(found.shape)} of {found.dtype}"
        cure = "Give the pictures before their transform; the backbone has its own."
    else:
        got, cure = _kind(found), "Open it: PIL.Image.open(path), or rmtgen.load_dataset(folder)."
    raise UsageError(f"images[{position}] must be a PIL image, got {got}. {cure}")
