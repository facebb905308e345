"""The Gram matrix of the empirical NTK, tile by tile under a memory budget."""

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from tqdm import tqdm

from rmtgen.device import fp32_precision
from rmtgen.errors import NumericalError, UsageError
from rmtgen.kernels.entk.capture import EACH
from rmtgen.kernels.entk.factors import Factors, Layout, Part, tile
from rmtgen.kernels.entk.passes import Images, Joined, Passes
from rmtgen.units import parse_bytes

Span = tuple[int, int]
_CHOICE = 512  # rules are chosen for tiles of about this many samples
_WHOLE = "whole"

By = str | Callable[[str], str] | None


def entk_gram(  # noqa: PLR0913 - one public function for one question
    model: nn.Module,
    rows: Images,
    columns: Images | None = None,
    *,
    device: str | torch.device | None = None,
    memory: str | int = "4GiB",
    dtype: torch.dtype | None = None,
    output: int | str | None = None,
    by: By = None,
    progress: bool = False,
) -> Float[Tensor, "n m"] | dict[str, Float[Tensor, "n m"]]:
    """K_ij = Σ_θ ∂f(x_i)/∂θ · ∂f(x_j)/∂θ over every parameter that requires a gradient: exact, no
    sampling, no 1/P.

    Each batch takes one forward pass and one backward pass without weight gradients; weights are
    contracted in the cheapest of several exact ways (`rules`), and only one triangle is computed
    where rows and columns are the same. Products of float32 are summed in float64. Every call first
    checks itself on two samples against autograd (`audit`).

    Args:
        model: eval mode, one output a sample (or see `output`). Not changed; the work is done on a
            copy.
        rows: n images (n, c, h, w), or a data set that gives images or (image, label) pairs.
        columns: m images; None: the rows, and the result is exactly symmetric.
        device: where to compute; None is the GPU where there is one.
        memory: budget in bytes for everything beside the model, the images and the result.
        dtype: float32 or float64; None: the model's own.
        output: None where the model has one output; else the number of the output, or "sum" for
            their sum.
        by: split the kernel, at no more work for its products. "layer": the part of each module's
            own parameters, by the module's name; a function: of the parameters to whose names it
            gives the same string; these add up to the kernel. "output": the kernel of each output,
            by its number, from one forward pass; their mean is the kernel averaged over heads.
        progress: show a bar on stderr if that is a terminal.

    Returns:
        (n, m) on the CPU, of dtype `dtype`; with `by`, a dictionary of such.

    Raises:
        UsageError: more than one output; an unknown `by`, or "output" beside an `output`; a module
            in training mode; no parameter that requires a gradient; a parameter whose use in the
            model cannot be told apart by sample, by name; no images; a budget too small for one
            sample, with the least that would do.
        NumericalError: an output or a gradient is NaN or infinite; names the image, and the layer
            where it begins.

    References:
        Jacot, Gabriel & Hongler 2018; Wei, Hu & Steinhardt 2022, section 2 (one logit, fresh head).
    """
    n, m = len(rows), 0 if columns is None else len(columns)
    images = rows if columns is None else Joined(rows, columns)
    kernel = Entk(model, images, device=device, memory=memory, dtype=dtype, output=output, by=by)
    spans = range(n), range(n) if columns is None else range(n, n + m)
    return (
        kernel.block(*spans, progress=progress)
        if by is None
        else kernel.blocks(*spans, progress=progress)
    )


class Entk:
    """The kernel of a model on a set of images, of which any block can be asked for.

    Attributes:
        passes: the model and the images.
        layout: how gradients are stored.
        parts: what it is split into, by name.
        edge: samples in a block of factors.
        batch: images in a forward pass.
    """

    def __init__(
        self,
        model: nn.Module,
        images: Images,
        *,
        memory: str | int = "4GiB",
        output: int | str | None = None,
        by: By = None,
        **settings: Any,
    ):
        """Check the model on two images and lay out the memory; see `entk_gram` for arguments and
        errors, `Passes` for the settings.
        """
        self.budget = parse_bytes(memory)
        _check_split(by, output)
        self.passes = Passes(model, images, output=EACH if by == "output" else output, **settings)
        self.layout = Layout.of(self.passes, min(len(images), _CHOICE))
        self.parts = _parts(self.layout, by)
        self.passes.capture.late = self.layout.late.keys()
        self._divide()
        self._blocks = Recent(self.room)

    def _divide(self) -> None:
        """Share the budget among the passes, the stored factors and the work space."""
        passes, outputs = self.passes, self.layout.outputs
        item = torch.finfo(passes.dtype).bits // 8
        stored = self.layout.entries * item
        passing = (2 + outputs) * passes.activations + 2 * outputs * self.layout.largest * item
        self.image_bytes = passing
        least = 2 * stored + passing + passing // 4
        if least > self.budget:
            raise UsageError(
                "memory must hold two samples and one pass: expected at least"
                f" {-(-least // 2**20)}MiB, got {self.budget // 2**20}MiB. Raise memory, or lower"
                " the image size."
            )
        self.batch = passes.most(self.budget // 4, passing)
        self.work = min(self.budget // 8, max(2**29, self.budget // 32))
        room = max(2 * stored, self.budget - self.batch * passing - self.work)
        whole = len(passes.images) * stored <= room
        self.edge = len(passes.images) if whole else max(1, room // (2 * stored))
        self.room = room // stored  # samples whose factors may be held

    def block(self, rows: range, columns: range, *, progress: bool = False) -> Float[Tensor, "n m"]:
        """`blocks` of a kernel that is not split."""
        return self.blocks(rows, columns, progress=progress)[_WHOLE]

    def blocks(
        self, rows: range, columns: range, *, progress: bool = False
    ) -> dict[str, Float[Tensor, "n m"]]:
        """Every part of the kernel between two runs of images, exactly symmetric where they are the
        same.

        Args:
            rows: positions of n images.
            columns: positions of m images.
            progress: show a bar on stderr if that is a terminal.

        Raises:
            UsageError, NumericalError: as `entk_gram`.
        """
        out = {
            name: torch.empty(len(rows), len(columns), dtype=self.passes.dtype)
            for name in self.parts
        }
        symmetric, total = rows == columns, len(rows) * len(columns)
        with tqdm(
            total=total, unit="pair", unit_scale=True, disable=None if progress else True
        ) as bar:
            for (start, stop), (low, high) in tile_order(rows, columns, self.edge):
                at = slice(start - rows.start, stop - rows.start)
                along = slice(low - columns.start, high - columns.start)
                mirrored = symmetric and low < start
                for name, part in self.parts.items():
                    found = self._tile((start, stop), (low, high), part).to(self.passes.dtype).cpu()
                    out[name][at, along] = found
                    if mirrored:
                        out[name][along, at] = found.T
                bar.update((1 + mirrored) * (stop - start) * (high - low))
        return out

    def _tile(self, rows: Span, columns: Span, part: Part) -> Tensor:
        with fp32_precision(self.passes.precision):
            found = self._tile_that_fits(rows, columns, part)
        bad = (~found.isfinite()).nonzero()
        if len(bad):
            raise NumericalError(
                self.passes.explain(rows[0] + int(bad[0, 0]), columns[0] + int(bad[0, 1]))
            )
        return found

    def _tile_that_fits(self, rows: Span, columns: Span, part: Part) -> Tensor:
        """A tile, with smaller batches and less work space where the device runs out of memory."""
        while True:
            try:
                sides = [
                    self._blocks.get(own, self._captured, beside=other)
                    for own, other in ((rows, columns), (columns, rows))
                ]
                return tile(*sides, part, self.work)
            except torch.OutOfMemoryError as failure:
                short = f"{self.passes.device} is out of memory"
                if self.batch == 1 and self.work < 2**20:
                    reason = str(failure).splitlines()[0]
                    raise UsageError(
                        f"{short} ({reason}). Lower memory, now {self.budget // 2**20}MiB."
                    ) from failure
                self.batch, self.work = max(1, self.batch // 2), self.work // 2
                self._blocks.clear()
                less = f"{self.batch} images a pass and {self.work // 2**20}MiB of work space"
                warnings.warn(f"{short}: going on with {less}.", stacklevel=5)

    def _captured(self, span: Span) -> Factors:
        start, stop = span
        factors = Factors(self.layout, stop - start, self.passes.dtype, self.passes.device)
        for low in range(start, stop, self.batch):
            high = min(low + self.batch, stop)
            samples = slice(low - start, high - start)
            factors.put(samples, self.passes(range(low, high), into=factors.places(samples)))
        return factors


class Recent:
    """Blocks that were made lately, by span, up to a number of samples.

    Tiles sweep along the columns again and again, so the block that gives way is the one used last:
    the others come up again sooner.
    """

    def __init__(self, room: int):
        self.room, self.made = room, 0
        self.blocks: OrderedDict[Span, Any] = OrderedDict()

    def get(self, span: Span, make: Callable[[Span], Any], *, beside: Span) -> Any:
        """A block, made if it is not there; room for it is never made at the cost of the one it is
        going to stand beside.

        `make` is not kept: a method of the owner would close a circle, and gigabytes wait for the
        garbage collector.
        """
        if span not in self.blocks:
            spare = [held for held in reversed(self.blocks) if held != beside]
            while spare and _samples(*self.blocks, span) > self.room:
                del self.blocks[spare.pop(0)]
            self.blocks[span] = make(span)
            self.made += _samples(span)
        self.blocks.move_to_end(span)
        return self.blocks[span]

    def clear(self) -> None:
        """Forget all of them."""
        self.blocks.clear()


def _check_split(by: By, output: int | str | None) -> None:
    if not (by in (None, "layer", "output") or callable(by)):
        raise UsageError(
            f"by must be None, 'layer', 'output' or a function of a parameter's name, got {by!r}."
        )
    if by == "output" and output is not None:
        raise UsageError(
            f"by='output' gives the kernel of every output, got output={output!r} too. Leave one"
            " out."
        )


def _parts(layout: Layout, by: By) -> dict[str, Part]:
    if by is None:
        return {_WHOLE: layout.whole()}
    if by == "output":
        return {str(output): layout.whole(output) for output in range(layout.outputs)}
    return layout.grouped(_module_of if by == "layer" else by)


def _module_of(parameter: str) -> str:
    return parameter.rpartition(".")[0] or parameter


def _samples(*spans: Span) -> int:
    return sum(stop - start for start, stop in spans)


def tile_order(rows: range, columns: range, edge: int) -> Iterator[tuple[Span, Span]]:
    """The tiles of a block, back and forth along the rows, so that the last one is used again; one
    triangle where it is symmetric.
    """
    across = _spans(columns, edge)
    for turn, row in enumerate(_spans(rows, edge)):
        below = [span for span in across if rows != columns or span[0] <= row[0]]
        for column in below[::-1] if turn % 2 else below:
            yield row, column


def _spans(positions: range, edge: int) -> list[Span]:
    return [
        (start, min(start + edge, positions.stop))
        for start in range(positions.start, positions.stop, edge)
    ]
