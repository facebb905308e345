"""The gradients of samples that do not fit into memory, read from a disk instead of passed again.

A batch that comes into memory for the first time is written to a `Spill`, and read from it whenever
it comes back: bit for bit what a pass would give again. A file that is missing, damaged or made of
other images is written anew. A disk that refuses, or is slower than the network, is given up, with
a warning: nothing but time depends on it.
"""

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor

from rmtgen.errors import CorruptInputError, MissingInputError, StaleInputError, StorageError, warn
from rmtgen.kernels.entk.factors import BlockGradients, Layout
from rmtgen.kernels.entk.passes import Passes
from rmtgen.store import durable
from rmtgen.store.spill import Spill

TRIED = 4
"""Number of batches that are read before the disk is compared with the network."""


class SpilledBatches:
    """The gradients of batches, from the network or from a disk.

    Attributes:
        passes: The model and the images.
        spill: The files.
        used: Whether they are still read and written; not so once they were given up.
        passed: Number of samples that passed through the network.
    """

    def __init__(self, place: Path, passes: Passes, layout: Layout):
        """Make the folder.

        Raises:
            StorageError: The file system refuses.
            CorruptInputError: There is no folder under the name.
        """
        threads = torch.get_num_threads()
        self.passes, self.passed, self.used = passes, 0, True
        self.spill = Spill(place, identity(passes, layout), threads)
        self._sources: dict[str, str] = {}
        self._passing, self._reading = _Pace(), _Pace()

    def fill(self, block: BlockGradients, samples: slice, positions: range) -> None:
        """Put the gradients of some images into a block, as the samples of a slice of it."""
        name = f"{positions.start:08d}-{positions.stop:08d}"
        arrays = block.arrays(samples)
        images = None
        if self.used and name in self.spill and name not in self._sources:
            images = self.passes.fetch(positions)
            self._sources[name] = _digest([images])
        if self.used and name in self._sources and self._read(name, arrays, len(positions)):
            return
        for array in arrays:
            array.zero_()  # of a file that was damaged
        started = perf_counter()
        if images is None:
            images = self.passes.fetch(positions)
        block.put(samples, self.passes.gradients(images, into=block.places(samples)))
        self._passing.add(perf_counter() - started, len(positions))
        self.passed += len(positions)
        if self.used:
            self._sources.setdefault(name, _digest([images]))
            self._write(name, arrays)

    def clear(self) -> None:
        """Remove the files."""
        self.spill.clear()

    def _read(self, name: str, arrays: Sequence[Tensor], samples: int) -> bool:
        """Whether the arrays hold what was written; if not, they hold anything."""
        started = perf_counter()
        staged = [_on_the_host(array) for array in arrays]
        try:
            self.spill.read(name, self._sources[name], _bytes(staged))
        except (MissingInputError, StaleInputError):
            return False
        except CorruptInputError as failure:
            warn(f"gradients are computed again: {failure}")
            return False
        for array, stage in zip(arrays, staged, strict=True):
            if stage is not array:
                array.copy_(stage)
        self._reading.add(perf_counter() - started, samples)
        if self._reading.slower_than(self._passing):
            self._give_up(
                f"reading takes {self._reading.seconds:.2g} s a sample, its pass through the"
                f" network {self._passing.seconds:.2g} s. Leave out spill, or choose a faster disk."
            )
        return True

    def _write(self, name: str, arrays: Sequence[Tensor]) -> None:
        try:
            self.spill.write(name, self._sources[name], _bytes([own.cpu() for own in arrays]))
        except StorageError as failure:
            self._give_up(str(failure))

    def _give_up(self, why: str) -> None:
        warn(f"spill is given up, and gradients are computed again where they are needed: {why}")
        self.used = False


class _Pace:
    """Seconds that a sample takes, over all so far."""

    def __init__(self) -> None:
        self.spent, self.samples, self.times = 0.0, 0, 0

    def add(self, seconds: float, samples: int) -> None:
        self.spent, self.samples, self.times = (
            self.spent + seconds,
            self.samples + samples,
            self.times + 1,
        )

    @property
    def seconds(self) -> float:
        return self.spent / self.samples

    def slower_than(self, other: "_Pace") -> bool:
        """Whether it is, as far as `TRIED` times on either side tell."""
        return min(self.times, other.times) >= TRIED and self.seconds > other.seconds


def identity(passes: Passes, layout: Layout) -> str:
    """The digest of all that the gradients depend on except the images.

    That is the weights, the gradients of two images as this model computes them here, their layout,
    and what decides on the last digits: device, number of threads, version of torch.
    """
    device = passes.device
    about = {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "dtype": str(passes.dtype),
        "precision": passes.precision,
        "outputs": layout.outputs,
        "materialised": list(layout.materialised.items()),
        "factored": [
            [number, one.input_call, repr(one.site)] for number, one in layout.factored.items()
        ],
    }
    model = passes.capture.model
    tensors = [*model.named_parameters(), *model.named_buffers()]
    for output, gradients in enumerate(passes.probe):
        tensors.append((f"output {output}", gradients.output))
        tensors += [(f"{output} {name}", own) for name, own in gradients.materialised.items()]
    names = [[name, str(own.dtype), list(own.shape)] for name, own in tensors]
    text = durable.canonical_json({**about, "tensors": names})
    return durable.digest((text + _digest([own for _, own in tensors])).encode())


def _digest(tensors: Sequence[Tensor]) -> str:
    hasher = blake2b(digest_size=16)
    for view in _bytes([own.detach().cpu().contiguous() for own in tensors]):
        hasher.update(view)
    return hasher.hexdigest()


def _bytes(tensors: Sequence[Tensor]) -> list[memoryview]:
    """The bytes of contiguous tensors on the CPU; nothing of one without entries."""
    flat = (own.reshape(-1).view(torch.uint8) for own in tensors if own.numel())
    return [memoryview(own.numpy()) for own in flat]


def _on_the_host(array: Tensor) -> Tensor:
    """The array itself on a CPU, else one of the same shape in pinned memory."""
    if array.device.type == "cpu":
        return array
    return torch.empty(array.shape, dtype=array.dtype, pin_memory=True)
