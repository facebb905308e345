"""The Gram matrix of the empirical NTK, tile by tile under a memory budget."""

import os
from collections.abc import Collection, Iterator
from copy import copy
from functools import partial
from math import isqrt
from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn
from torch.utils.data import ConcatDataset
from tqdm import tqdm

from rmtgen.device import fp32_precision
from rmtgen.entrance import public
from rmtgen.errors import CapacityError, NumericalError, UsageError
from rmtgen.kernels.entk.capture import EACH
from rmtgen.kernels.entk.chunks import chunks, summed, sums_bytes
from rmtgen.kernels.entk.factors import BlockGradients, Layout, Part, tile
from rmtgen.kernels.entk.network import check_output
from rmtgen.kernels.entk.parts import WHOLE, By, check_split, parts_of
from rmtgen.kernels.entk.passes import Images, Passes
from rmtgen.kernels.entk.precision import chosen, of_passes
from rmtgen.kernels.entk.schedule import (
    Division,
    Panel,
    SampleCost,
    Span,
    divide,
    spans,
    tile_order,
)
from rmtgen.kernels.entk.spilled import SpilledBatches
from rmtgen.kernels.entk.tiles import BlockCache, within
from rmtgen.kernels.entk.work import sample_cost
from rmtgen.models.inputs import Samples
from rmtgen.scalars import choice, path
from rmtgen.units import parse_bytes

_RULE_SAMPLES = 512
"""Maximum number of samples that the rules are chosen for."""

_PANEL_FLOPS = {"cpu": 2**45, "cuda": 2**50}
"""FLOPs of the products of a panel; a run that is killed loses as much."""


@public
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
    precision: str | None = None,
    spill: str | os.PathLike | None = None,
    progress: bool = False,
) -> Float[Tensor, "n m"] | dict[str, Float[Tensor, "n m"]]:
    """The empirical NTK, K_ij = Σ_θ ∂f(x_i)/∂θ · ∂f(x_j)/∂θ.

    The sum is exact and runs over every parameter that requires a gradient, without a factor 1/P.
    Each batch takes one forward pass and one backward pass without weight gradients; each weight is
    contracted in the cheapest of several exact ways (`rules`), and only one triangle is computed if
    rows and columns are the same. Products in float32 are summed in float64. Every call first
    checks its gradients on two samples against autograd (`audit`), and whether this holds for all
    batches (`trust`); a model of which it does not goes sample by sample, with a warning. If the
    gradients do not fit into memory, parameters go in `chunks` where that is cheaper.

    Args:
        model: Model in eval mode with one output per sample (or see `output`). It is not changed,
            since the computation uses a copy.
        rows: n images (n, c, h, w), or a data set of images or of pairs (image, label).
        columns: m images; None: the rows, and the result is exactly symmetric.
        device: Device of the computation; None: the GPU if there is one.
        memory: Budget in bytes, to which model, images and result do not count.
        dtype: float32 or float64; None: the dtype of the model.
        output: None for a model with one output; else the number of the output, or "sum" for the
            sum of all.
        by: Split of the kernel into parts, at no additional cost of products. "layer": one part per
            module, of its own parameters, by the name of the module. A function of the name of a
            parameter: one part per value. These parts add up to the kernel. "output": the kernel of
            each output, by its number; their mean is the kernel averaged over heads.
        precision: How float32 numbers are multiplied. "ieee": by float32 products. "split": by
            products of float16 halves on the tensor cores of a CUDA device, as accurate (emulated
            on a CPU). "fast": in TF32, with errors of 1e-3. None: "split" where it is not emulated.
        spill: Folder for the gradients of samples that do not fit into the budget, which are then
            read instead of computed again. Their files are removed when the kernel is done; those
            of a process that was killed are used by the next one with the same model and images.
            The kernel is the same to the bit. None: they are computed again.
        progress: Show a bar on stderr if that is a terminal.

    Returns:
        K (n, m) on the CPU, of dtype `dtype`; with `by`, a dictionary of the parts.

    Raises:
        UsageError: The model has several outputs, a module in training mode, no parameter that
            requires a gradient, batch statistics or a random forward pass; `by` is unknown, or
            "output" together with an `output`; `precision` is unknown; there are no images; or the
            budget is too small (the message states the minimum).
        CapacityError: The device has less memory than the budget.
        StorageError: The folder of `spill` cannot be made. One that fails later, or is slower than
            the network, is given up with a warning.
        NumericalError: An output or a gradient is NaN or infinite. The message names the image, and
            the first layer with such a value.

    References:
        Jacot, Gabriel & Hongler 2018; Wei, Hu & Steinhardt 2022, section 2 (one logit, fresh head).
    """
    images = first = Samples(rows, "rows")
    n, m = len(first), 0
    if columns is not None:
        second = Samples(columns, "columns")
        images, m = Samples(ConcatDataset([first, second]), "rows and columns"), len(second)
    settings = {"device": device, "memory": memory, "dtype": dtype, "spill": spill}
    kernel = Entk(model, images, output=output, by=by, precision=precision, **settings)
    spans = range(n), range(n) if columns is None else range(n, n + m)
    groups = chunks(kernel, *spans, sums=sums_bytes(kernel, *spans))
    found = summed(groups, *spans, progress=progress)
    kernel.finish()
    return found[WHOLE] if by is None else found


class Entk:
    """The kernel of a model on a set of images, any block of which can be computed.

    Attributes:
        budget: Memory budget in bytes.
        passes: The model and the images.
        layout: How gradients are stored.
        parts: The parts of the kernel by name.
        batch: Images per forward pass.
        image_bytes: Memory of a pass in bytes per image.
        workspace: Memory of the products in bytes.
        kind: Kind of device that rules, batches and panels are chosen for.
        capacity: Samples whose gradients fit into the budget.
        grain: Blocks are divided at multiples of this number of samples.
        panel: Panels are divided at multiples of this number of samples.
        spilled: The gradients on a disk; None without, or if all fit into the budget.
        names: The parameters of the kernel; None for all that require a gradient.
        cost: FLOPs of a sample.
        share: FLOPs of a pass over those with all parameters.
    """

    share = 1.0

    def __init__(  # noqa: PLR0913 - those of `entk_gram`
        self,
        model: nn.Module,
        images: Images,
        *,
        memory: str | int = "4GiB",
        output: int | str | None = None,
        by: By = None,
        precision: str | None = None,
        tile: int | None = None,
        target: str | None = None,
        spill: str | os.PathLike | None = None,
        only: Collection[str] | None = None,
        cost: SampleCost | None = None,
        **settings: Any,
    ):
        """Check the model on two images, and divide the memory.

        Arguments and errors are those of `entk_gram`; `only` and `settings` those of `Passes`.
        `tile` is the number of samples at whose multiples `panels` begin; `target` is the kind of
        device that rules and batches are chosen for, None for that of the passes; `cost` is what
        blocks are divided by, None to count it.
        """
        self.budget = parse_bytes(memory)
        check_output(output)
        check_split(by, output)
        options = {"output": output, "by": by, "precision": precision, "tile": tile, "spill": spill}
        self._again = partial(Entk, model, images, target=target, **options, **settings)
        settings |= {"output": EACH if by == "output" else output, "only": only}
        self.passes = Passes(model, images, precision=of_passes(precision), **settings)
        self.kind = choice(target or self.passes.device.type, "target", ("cpu", "cuda"))
        arithmetic = chosen(precision, self.kind, self.passes.device, self.passes.dtype)
        samples = min(len(self.passes.images), _RULE_SAMPLES)
        self.layout = Layout.of(self.passes, samples, self.kind, arithmetic)
        self.parts = parts_of(self.layout, by)
        self.passes.capture.factored = self.layout.factored.keys()
        self.names, self._tile_edge = only, tile
        self.cost = cost or sample_cost(self.passes, self.layout)
        self._divide()
        place = None if spill is None else path(spill, "spill")
        self.spilled: SpilledBatches | None = None
        if place is not None and len(self.passes.images) > self.capacity:
            self.spilled = SpilledBatches(place, self.passes, self.layout)
        self._blocks: BlockCache[BlockGradients] = BlockCache(self.capacity)

    def restricted(self, names: Collection[str], first: int, budget: int) -> "Entk":
        """The kernel of some parameters alone, as it would be divided; `opened` computes it.

        Args:
            names: The parameters.
            first: Number of the first call that they enter.
            budget: Its memory in bytes.

        Raises:
            UsageError: The budget is too small.
        """
        found = copy(self)
        found.names, found.budget = names, budget
        found.layout = self.layout.restricted(names, first)
        found.cost = sample_cost(self.passes, found.layout)
        found.share = found.cost.passing / self.cost.passing if self.cost.passing else 1.0
        found._divide()
        return found

    def opened(self) -> "Entk":
        """What `restricted` describes, with a network of its own that is checked."""
        return self._again(memory=self.budget, only=self.names, cost=self.cost)

    def _divide(self) -> None:
        """Divide the budget among the passes, the stored gradients and the workspace."""
        passes, outputs, tile = self.passes, self.layout.outputs, self._tile_edge
        item = passes.dtype.itemsize
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
        batch = passes.batch_size(self.budget // 4, passing, self.kind)
        self.workspace = min(self.budget // 8, max(2**29, self.budget // 32))
        self.capacity = max(2, (self.budget - batch * passing - self.workspace) // stored)
        if len(passes.images) > self.capacity:
            batch = min(batch, max(1, self.capacity // 4))
        self.panel = tile or 1
        whole_tiles = 2 * self.panel <= self.capacity
        self.grain = batch if tile is None or not whole_tiles else tile
        self.batch = -(-self.grain // -(-self.grain // batch))

    def division(
        self, rows: range, columns: range, below: range = range(0)
    ) -> tuple[float, Division]:
        """The cheapest division of a kernel in the budget, and its FLOPs; see `divide`."""
        return divide(rows, columns, self.capacity, self.grain, self.cost, below)

    def panels(self, train: range, test: range) -> Iterator[Panel]:
        """The kernel of `train`, and of `test` against it, in blocks of whole tiles.

        They are in the order that takes the fewest passes, those of the symmetric kernel on and
        below the diagonal. Each takes at most an eighth of the budget, and a minute or two, or is
        one tile.
        """
        sides = train, train
        if self.grain < self.panel:
            for row, column in tile_order(*sides, Division(self.panel, self.panel), test):
                yield Panel(range(*row), range(*column))
            return
        for blocks in tile_order(*sides, self.division(*sides, test)[1], test):
            row, column = (range(*span) for span in blocks)
            if len(row) * len(column) <= self._most_entries:
                yield Panel(row, column, blocks)
                continue
            edge = max(1, isqrt(self._most_entries) // self.panel) * self.panel
            for own, other in tile_order(row, column, Division(edge, edge)):
                yield Panel(range(*own), range(*other), blocks)

    def tiles(self, panel: Panel) -> Iterator[Panel]:
        """The tiles of a panel, in order; each lies in two blocks that are held together."""
        if panel.blocks:
            yield panel
            return
        rows, columns, _ = panel
        for blocks in tile_order(rows, columns, self.division(rows, columns)[1]):
            yield Panel(*(range(*span) for span in blocks), blocks)

    @property
    def _most_entries(self) -> int:
        """Entries of the largest panel of more than one tile."""
        return min(
            self.budget // (8 * self.passes.dtype.itemsize * len(self.parts)),
            int(_PANEL_FLOPS[self.kind] / self.cost.meeting),
        )

    @property
    def stored_bytes(self) -> int:
        """Memory of the stored gradients."""
        samples = min(self.capacity, len(self.passes.images))
        return samples * self.layout.entries * self.passes.dtype.itemsize

    def finish(self) -> None:
        """Free the gradients and remove the files of the spill: the kernel is done."""
        self._blocks.clear()
        if self.spilled:
            self.spilled.clear()

    def block(self, rows: range, columns: range, *, progress: bool = False) -> Float[Tensor, "n m"]:
        """A block of a kernel that is not split; see `blocks`."""
        return self.blocks(rows, columns, progress=progress)[WHOLE]

    def blocks(
        self,
        rows: range,
        columns: range,
        blocks: tuple[Span, Span] | None = None,
        *,
        progress: bool = False,
        onto: dict[str, Float64[Tensor, "n m"]] | None = None,
    ) -> dict[str, Float[Tensor, "n m"]]:
        """Every part of the kernel between two ranges of images; symmetric if they are the same.

        Args:
            rows: Positions of n images.
            columns: Positions of m images.
            blocks: Those of a `Panel`.
            progress: Show a bar on stderr if that is a terminal.
            onto: Matrices by part that the kernel is added to, and that are returned; None: new
                ones of the type of the computation.

        Raises:
            UsageError: As for `entk_gram`.
            NumericalError: As for `entk_gram`.
        """
        put = Tensor.copy_ if onto is None else Tensor.add_
        out = onto or {
            name: torch.empty(len(rows), len(columns), dtype=self.passes.dtype)
            for name in self.parts
        }
        symmetric, total = rows == columns, len(rows) * len(columns)
        with tqdm(
            total=total, unit="pair", unit_scale=True, disable=None if progress else True
        ) as bar:
            for panel in self.tiles(Panel(rows, columns, blocks)):
                at, along = within(panel.rows, rows.start), within(panel.columns, columns.start)
                mirrored = symmetric and panel.columns.start < panel.rows.start
                for name, part in self.parts.items():
                    found = self._tile(panel, part).to(out[name].dtype).cpu()
                    put(out[name][at, along], found)
                    if mirrored:
                        put(out[name][along, at], found.T)
                bar.update((1 + mirrored) * len(panel.rows) * len(panel.columns))
        return out

    def _tile(self, panel: Panel, part: Part) -> Tensor:
        with fp32_precision(self.passes.precision):
            found = self._tile_that_fits(panel, part)
        bad = (~found.to(self.passes.dtype).isfinite()).nonzero()  # a sum can overflow it
        if len(bad):
            raise NumericalError(
                self.passes.explain(panel.rows[int(bad[0, 0])], panel.columns[int(bad[0, 1])])
            )
        return found

    def _tile_that_fits(self, panel: Panel, part: Part) -> Tensor:
        """A tile, computed once more with nothing else stored if the device ran out of memory.

        Sizes stay as they are: sums of other batches differ in their last digits, and a kernel must
        not depend on what else used the device.
        """
        try:
            return self._new_tile(panel, part)
        except torch.OutOfMemoryError:
            self._blocks.clear()
            if self.passes.device.type == "cuda":
                torch.cuda.empty_cache()
        try:
            return self._new_tile(panel, part)
        except torch.OutOfMemoryError as failure:
            raise CapacityError(
                f"memory must fit into {self.passes.device}: got {self.budget // 2**20}MiB, and"
                f" {str(failure).splitlines()[0]} Pass memory='{self.budget // 2**21}MiB', or less."
            ) from failure

    def _new_tile(self, panel: Panel, part: Part) -> Tensor:
        row, column = panel.blocks
        left = self._blocks.get(row, self._gradients, partner=column)
        right = self._blocks.get(column, self._gradients, partner=row)
        left = left.part(within(panel.rows, row[0]))
        same = panel.rows == panel.columns
        right = left if same else right.part(within(panel.columns, column[0]))
        return tile(left, right, part, self.workspace)

    def _gradients(self, span: Span) -> BlockGradients:
        start, stop = span
        block = BlockGradients(self.layout, stop - start, self.passes.dtype, self.passes.device)
        for low, high in self._batches(span):
            samples, images = slice(low - start, high - start), range(low, high)
            if self.spilled:
                self.spilled.fill(block, samples, images)
            else:
                block.put(samples, self.passes(images, into=block.places(samples)))
        return block

    def _batches(self, span: Span) -> Iterator[Span]:
        """The samples of a block that pass together: the same ones in whichever block they are."""
        for grain in spans(range(*span), self.grain):
            yield from spans(range(*grain), self.batch)
