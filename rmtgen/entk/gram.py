"""The Gram matrix of the empirical NTK, tile by tile under a memory budget."""

import copy
import itertools
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm import tqdm

from rmtgen.config import parse_bytes
from rmtgen.entk.audit import audited
from rmtgen.entk.capture import Capture
from rmtgen.entk.factors import Factors, Layout, tile
from rmtgen.entk.marks import tensors_in
from rmtgen.errors import NumericalError, UsageError
from rmtgen.features import default_device, first_broken_layer, place
from rmtgen.precision import fp32_precision

Span = tuple[int, int]
_DTYPES = (torch.float32, torch.float64)
_MOST_IMAGES = {"cpu": 64, "cuda": 256}  # in one pass: past this a batch gains no speed
_MOST_BYTES = {"cpu": 640 * 2**20, "cuda": 2**63}  # of one pass: on a CPU a larger one spends its time on fresh pages
_CHOICE = 512  # rules are chosen for tiles of about this many samples


def entk_gram(  # noqa: PLR0913 - one public function for one question
    model: nn.Module,
    rows: Tensor | Dataset | Sequence[Tensor],
    columns: Tensor | Dataset | Sequence[Tensor] | None = None,
    *,
    device: str | torch.device | None = None,
    memory: str | int = "4GiB",
    dtype: torch.dtype | None = None,
    output: int | str | None = None,
    progress: bool = False,
) -> Float[Tensor, "n m"]:
    """K_ij = Σ_θ ∂f(x_i)/∂θ · ∂f(x_j)/∂θ over every parameter that requires a gradient: exact, no sampling, no 1/P.

    Each batch takes one forward pass and one backward pass without weight gradients; weights are contracted in the cheapest of several
    exact ways (`rules`), and only one triangle is computed where rows and columns are the same. Products of float32 are summed in float64.
    Every call first checks itself on two samples against autograd (`audit`).

    Args:
        model: eval mode, one output a sample (or see `output`). Not changed; the work is done on a copy.
        rows: n images (n, c, h, w), or a data set that gives images or (image, label) pairs.
        columns: m images; None: the rows, and the result is exactly symmetric.
        device: where to compute; None is the GPU where there is one.
        memory: budget in bytes for everything beside the model, the images and the result.
        dtype: float32 or float64; None: the model's own.
        output: None where the model has one output; else the number of the output, or "sum" for their sum.
        progress: show a bar on stderr if that is a terminal.

    Returns:
        (n, m) on the CPU, of dtype `dtype`.

    Raises:
        UsageError: more than one output; a module in training mode; no parameter that requires a gradient; a parameter whose use in the
            model cannot be told apart by sample, by name; no images; a budget too small for one sample, with the least that would do.
        NumericalError: an output or a gradient is NaN or infinite; names the image, and the layer where it begins.

    References:
        Jacot, Gabriel & Hongler 2018; Wei, Hu & Steinhardt 2022, section 2 (one logit, fresh head).
    """
    n, m = len(rows), 0 if columns is None else len(columns)
    images = rows if columns is None else Joined(rows, columns)
    kernel = Entk(model, images, device=device, memory=memory, dtype=dtype, output=output)
    spans = range(n), range(n) if columns is None else range(n, n + m)
    return kernel.block(*spans, progress=progress)


class Joined:
    """Two sets of images, one behind the other."""

    def __init__(self, first: Sequence, second: Sequence):
        self.first, self.second = first, second

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, position: int) -> Any:
        own = len(self.first)
        return self.first[position] if position < own else self.second[position - own]


class Entk:
    """The kernel of a model on a set of images, of which any block can be asked for.

    Attributes:
        layout: how gradients are stored.
        edge: samples in a block of factors.
        batch: images in a forward pass.
    """

    def __init__(
        self,
        model: nn.Module,
        images: Tensor | Dataset | Sequence[Tensor],
        *,
        device: str | torch.device | None = None,
        memory: str | int = "4GiB",
        dtype: torch.dtype | None = None,
        output: int | str | None = None,
        precision: str = "ieee",
    ):
        """Copy the model to the device, check it on two images, and lay out the memory; see `entk_gram` for arguments and errors.

        `precision` is that of float32 products and convolutions on CUDA, "ieee" or "tf32" (`precision.fp32_precision`).
        """
        if len(images) < 1:
            raise UsageError("the kernel needs at least one image, got 0.")
        self.images, self.device, self.budget = images, default_device(device), parse_bytes(memory)
        self.dtype = _dtype_of(model) if dtype is None else dtype
        if self.dtype not in _DTYPES:
            raise UsageError(f"dtype must be torch.float32 or torch.float64, got {self.dtype}.")
        self.capture = Capture(_prepared(model, self.device, self.dtype), output)
        first = self._fetch([0, len(images) - 1] if len(images) > 1 else [0])
        self.precision = precision
        try:
            with fp32_precision(precision):
                gradients = audited(self.capture, first)
        except NumericalError as failure:
            raise NumericalError(self._explain(0, len(images) - 1)) from failure
        self.layout = Layout.of(self.capture, gradients, min(len(images), _CHOICE), self.device.type)
        self.capture.late = self.layout.late.keys()
        self._divide(gradients.activations // len(first))
        self._blocks = Recent(self.room, self._captured)

    def _divide(self, activations: int) -> None:
        """Share the budget among the passes, the stored factors and the work space."""
        item = torch.finfo(self.dtype).bits // 8
        stored, passing = self.layout.entries * item, 3 * activations + 2 * self.layout.largest * item
        self.image_bytes = passing
        least = 2 * stored + passing + passing // 4
        if least > self.budget:
            raise UsageError(
                f"memory must hold two samples and one pass: expected at least {-(-least // 2**20)}MiB, got "
                f"{self.budget // 2**20}MiB. Raise memory, or lower the image size."
            )
        kind = self.device.type
        self.batch = max(1, min(_MOST_IMAGES[kind], min(self.budget // 4, _MOST_BYTES[kind]) // passing))
        self.work = min(self.budget // 8, max(2**29, self.budget // 32))
        room = max(2 * stored, self.budget - self.batch * passing - self.work)
        whole = len(self.images) * stored <= room
        self.edge = len(self.images) if whole else max(1, room // (2 * stored))
        self.room = room // stored  # samples whose factors may be held

    def block(self, rows: range, columns: range, *, progress: bool = False) -> Float[Tensor, "n m"]:
        """The kernel between two runs of images, exactly symmetric where they are the same.

        Args:
            rows: positions of n images.
            columns: positions of m images.
            progress: show a bar on stderr if that is a terminal.

        Raises:
            UsageError, NumericalError: as `entk_gram`.
        """
        out = torch.empty(len(rows), len(columns), dtype=self.dtype)
        symmetric = rows == columns
        with tqdm(total=out.numel(), unit="pair", unit_scale=True, disable=None if progress else True) as bar:
            for (start, stop), (low, high) in tile_order(rows, columns, self.edge):
                found = self._tile((start, stop), (low, high)).to(self.dtype).cpu()
                at, along = (
                    slice(start - rows.start, stop - rows.start),
                    slice(low - columns.start, high - columns.start),
                )
                out[at, along] = found
                if symmetric and low < start:
                    out[along, at] = found.T
                    bar.update(found.numel())
                bar.update(found.numel())
        return out

    def _tile(self, rows: Span, columns: Span) -> Tensor:
        with fp32_precision(self.precision):
            found = self._tile_that_fits(rows, columns)
        bad = (~found.isfinite()).nonzero()
        if len(bad):
            raise NumericalError(self._explain(rows[0] + int(bad[0, 0]), columns[0] + int(bad[0, 1])))
        return found

    def _tile_that_fits(self, rows: Span, columns: Span) -> Tensor:
        """A tile, with smaller batches and less work space where the device runs out of memory."""
        while True:
            try:
                return tile(self._blocks.get(rows, beside=columns), self._blocks.get(columns, beside=rows), self.work)
            except torch.OutOfMemoryError as failure:
                if self.batch == 1 and self.work < 2**20:
                    raise UsageError(
                        f"{self.device} is out of memory ({str(failure).splitlines()[0]}). Lower memory, now {self.budget // 2**20}MiB."
                    ) from failure
                self.batch, self.work = max(1, self.batch // 2), self.work // 2
                self._blocks.clear()
                warnings.warn(
                    f"{self.device} is out of memory: going on with {self.batch} images a pass and {self.work // 2**20}MiB of work space.",
                    stacklevel=5,
                )

    def _captured(self, span: Span) -> Factors:
        start, stop = span
        factors = Factors(self.layout, stop - start, self.dtype, self.device)
        for low in range(start, stop, self.batch):
            high = min(low + self.batch, stop)
            samples = slice(low - start, high - start)
            gradients = self.capture(self._fetch(range(low, high)), into=factors.places(samples))
            factors.put(samples, gradients)
        return factors

    def _fetch(self, positions: Sequence[int]) -> Float[Tensor, "b c h w"]:
        if isinstance(self.images, Tensor):
            batch = self.images[torch.as_tensor(positions)]
        else:
            items = [self.images[position] for position in positions]
            batch = torch.stack([item[0] if isinstance(item, (tuple, list)) else item for item in items])
        return batch.to(self.device, self.dtype)

    def _explain(self, *positions: int) -> str:
        """One line on two images whose kernel is not finite: the one to blame, and the layer where it begins."""
        for position in positions:
            image = self._fetch([position])
            gradients = self.capture(image)
            found = [*gradients.direct.values(), *itertools.chain(*gradients.factors.values())]
            if not gradients.output.isfinite().all():
                return _not_finite(
                    f"image {position} has such an output, from {first_broken_layer(self.capture.model, image)} on"
                )
            if not all(tensor.isfinite().all() for tensor in found):
                return _not_finite(f"image {position} has such gradients, though a finite output")
        first, second = positions
        return _not_finite(
            f"the product of images {first} and {second} overflows {self.dtype}; dtype=torch.float64 may hold it"
        )


class Recent:
    """Blocks that were made lately, by span, up to a number of samples.

    Tiles sweep along the columns again and again, so the block that gives way is the one used last: the others come up again sooner.
    """

    def __init__(self, room: int, make: Callable[[Span], Any]):
        self.room, self.make, self.made = room, make, 0
        self.blocks: OrderedDict[Span, Any] = OrderedDict()

    def get(self, span: Span, *, beside: Span) -> Any:
        """A block, made if it is not there; room for it is never made at the cost of the one it is going to stand beside."""
        if span not in self.blocks:
            spare = [held for held in reversed(self.blocks) if held != beside]
            while spare and _samples(*self.blocks, span) > self.room:
                del self.blocks[spare.pop(0)]
            self.blocks[span] = self.make(span)
            self.made += _samples(span)
        self.blocks.move_to_end(span)
        return self.blocks[span]

    def clear(self) -> None:
        """Forget all of them."""
        self.blocks.clear()


def _samples(*spans: Span) -> int:
    return sum(stop - start for start, stop in spans)


def _not_finite(what: str) -> str:
    return f"the kernel must be finite, got NaN or infinity: {what}. Check the image and the weights."


def _prepared(model: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """A copy of the model on the device, rid of what it cached while it was used (some keep position biases, graph and all)."""
    training = [name or type(model).__name__ for name, module in model.named_modules() if module.training]
    if training:
        raise UsageError(
            f"the model must be in eval mode, or samples depend on each other: {len(training)} modules are training ({training[0]}, …). "
            "Call model.eval()."
        )
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UsageError(
            "the kernel needs parameters that require a gradient: got none. Set requires_grad on those that count."
        )
    cached = [tensor for module in model.modules() for tensor in tensors_in(vars(module)) if not tensor.is_leaf]
    prepared = copy.deepcopy(model, {id(tensor): tensor.detach() for tensor in cached}).to(dtype)
    return place(prepared.train().eval(), device)


def _dtype_of(model: nn.Module) -> torch.dtype:
    return next((parameter.dtype for parameter in model.parameters() if parameter.requires_grad), torch.float32)


def tile_order(rows: range, columns: range, edge: int) -> Iterator[tuple[Span, Span]]:
    """The tiles of a block, back and forth along the rows, so that the last one is used again; one triangle where it is symmetric."""
    across = _spans(columns, edge)
    for turn, row in enumerate(_spans(rows, edge)):
        below = [span for span in across if rows != columns or span[0] <= row[0]]
        for column in below[::-1] if turn % 2 else below:
            yield row, column


def _spans(positions: range, edge: int) -> list[Span]:
    return [(start, min(start + edge, positions.stop)) for start in range(positions.start, positions.stop, edge)]
