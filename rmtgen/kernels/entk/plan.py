"""The cost of a kernel before it is computed: FLOPs of every weight, memory, and seconds."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from rmtgen.entrance import public
from rmtgen.kernels.entk.chunks import chunks, sums_bytes
from rmtgen.kernels.entk.kernel import Entk
from rmtgen.kernels.entk.pace import Pace, Seconds
from rmtgen.kernels.entk.parts import By
from rmtgen.kernels.entk.schedule import Panel, least_passes
from rmtgen.kernels.entk.tiles import BlockCache, samples_in
from rmtgen.kernels.entk.work import MATERIALISED, Repeats, WeightPlan, count
from rmtgen.rates import Rates
from rmtgen.tables import Table
from rmtgen.units import duration, readable_bytes


class Shared(NamedTuple):
    """A kernel that several workers share.

    Attributes:
        seconds: Seconds from their start to the end.
        images: Images that pass; one for a chunk counts by its share of a pass.
        least_images: The fewest passes of any order of tiles, if all have an equal share.
    """

    seconds: float
    images: int
    least_images: int


@dataclass(frozen=True)
class Plan:
    """The cost of one kernel.

    Attributes:
        what: Shape of the kernel, as text.
        products: How products are made: "ieee", "split" or "fast"; see `entk_gram`.
        weights: One entry per weight, in the order of use, and one for all other parameters.
        pairs: Entries of the kernel that are computed.
        samples: Different images.
        images: Images that pass through the network, with repetitions; with a spill each passes
            once, and the repetitions are read.
        least_images: The fewest passes that any order of tiles takes in the same memory.
        formed: Samples whose gradients are formed from factors, with repetitions; those of a chunk
            count by their share of the FLOPs.
        chunks: Number of chunks that the parameters are divided into.
        held: Samples of the largest block that is held.
        streamed: Samples of the largest block that is streamed past it.
        batch: Images per pass.
        sample_bytes: Memory of the stored gradients of a sample, and its size in a spill.
        stored_bytes: Memory of the stored gradients.
        work_bytes: Memory of the workspace, and of sums over chunks.
        pass_bytes: Memory of one pass.
        result_bytes: Memory of the kernel itself, which does not count to the budget.
        seconds: Predicted seconds on the device with nothing else to do.
        load: Factor that other work on the device adds to the seconds, as measured now.
        shared: The kernel on several workers, by their number, where that was asked for.
    """

    what: str
    products: str
    weights: tuple[WeightPlan, ...]
    pairs: int
    samples: int
    images: int
    least_images: int
    formed: int
    chunks: int
    held: int
    streamed: int
    batch: int
    sample_bytes: int
    stored_bytes: int
    work_bytes: int
    pass_bytes: int
    result_bytes: int
    seconds: Seconds
    load: float
    shared: Mapping[int, Shared] = field(default_factory=dict)

    @property
    def pass_flops(self) -> float:
        """FLOPs of all passes."""
        return sum(weight.pass_flops for weight in self.weights)

    @property
    def forming_flops(self) -> float:
        """FLOPs of forming gradients of single samples."""
        return sum(weight.forming_flops for weight in self.weights)

    @property
    def capture_flops(self) -> float:
        """FLOPs before any product: passes, and the gradients that are stored."""
        stored = [weight for weight in self.weights if weight.rule == MATERIALISED]
        return self.pass_flops + sum(weight.forming_flops for weight in stored)

    @property
    def kernel_flops(self) -> float:
        """FLOPs of all products between samples, nearly all of them in matrix products."""
        return sum(weight.kernel_flops for weight in self.weights)

    @property
    def flops(self) -> float:
        """FLOPs in total."""
        return sum(weight.flops for weight in self.weights)

    @property
    def least_flops(self) -> float:
        """FLOPs with every image passed once and each weight by the rule of the fewest."""
        return sum(weight.least_flops for weight in self.weights)

    @property
    def memory_bytes(self) -> int:
        """Memory in bytes without the model, the images and the result."""
        return self.stored_bytes + self.work_bytes + self.pass_bytes

    @property
    def read_bytes(self) -> int:
        """Bytes that are read from a spill."""
        return (self.images - self.samples) * self.sample_bytes

    def __str__(self) -> str:
        """The table as text."""
        return self.table().text()

    def table(self) -> Table:
        """One row per weight, then the totals; the memory in the notes."""
        rows = [
            (
                weight.name,
                weight.rule,
                f"{weight.parameters:,}",
                f"{weight.entries:,}",
                f"{weight.pass_flops:.2e}",
                f"{weight.forming_flops:.2e}",
                f"{weight.kernel_flops:.2e}",
            )
            for weight in (*self.weights, self._total())
        ]
        notes = (
            f"{self.what}: {self.pairs:,} entries; {self.flops:.2e} FLOPs, of which passes"
            f" {self.pass_flops / self.flops:.0%}, forming gradients"
            f" {self.forming_flops / self.flops:.0%}, products between samples"
            f" {self.kernel_flops / self.flops:.0%} ({self.products}); at least"
            f" {self.least_flops:.2e} without repetitions",
            f"about {duration(self.seconds.total)} on this machine with nothing else to do: check"
            f" {duration(self.seconds.check)}, passes {duration(self.seconds.passes)}, products"
            f" {duration(self.seconds.products)}",
            f"{self._in_chunks}blocks of {self.held:,} samples held, {self.streamed:,} streamed:"
            f" {self.images:,} image passes {self.batch} at a time, {self._least}; gradients formed"
            f" for {self.formed:,} samples",
            f"memory {readable_bytes(self.memory_bytes)}: factors"
            f" {readable_bytes(self.stored_bytes)}, work space {readable_bytes(self.work_bytes)},"
            f" passes {readable_bytes(self.pass_bytes)}; the result takes"
            f" {readable_bytes(self.result_bytes)}",
            *self._spill_notes(),
        )
        headings = (
            *("weight", "rule", "parameters", "stored"),
            *("pass FLOPs", "forming FLOPs", "kernel FLOPs"),
        )
        return Table(headings, tuple(rows), "<<>>>>>", notes)

    @property
    def _in_chunks(self) -> str:
        if self.chunks == 1:
            return ""
        return f"parameters in {self.chunks} chunks, each with passes down to its first layer; "

    @property
    def _least(self) -> str:
        undivided = "" if self.chunks == 1 else " with all parameters at once"
        return f"of at least {self.least_images:,}{undivided} in this memory"

    def _spill_notes(self) -> Iterator[str]:
        if self.read_bytes and self.chunks == 1:
            written = readable_bytes(self.samples * self.sample_bytes)
            yield (
                f"with a spill {self.samples:,} image passes, {written} written and"
                f" {readable_bytes(self.read_bytes)} read"
            )

    def _total(self) -> WeightPlan:
        counts = [astuple(weight)[2:] for weight in self.weights]
        totals = [sum(values) for values in zip(*counts, strict=True)]
        return WeightPlan("total", "", *totals)


@public
def entk_plan(  # noqa: PLR0913 - those of `entk_gram`
    model: nn.Module,
    image_shape: tuple[int, ...],
    rows: int,
    columns: int | None = None,
    *,
    device: str | torch.device | None = None,
    memory: str | int = "4GiB",
    dtype: torch.dtype | None = None,
    output: int | str | None = None,
    by: By = None,
    precision: str | None = None,
) -> Plan:
    """The plan of `entk_gram`: rule, FLOPs and bytes of every weight, and predicted seconds.

    `print` shows a table. Nothing is computed but a batch of random images and products of a few
    samples, which are timed for a second or a few.

    Args:
        model: As for `entk_gram`.
        image_shape: Shape (c, h, w) of an image.
        rows: Number n of rows.
        columns: Number m of columns; None: the symmetric kernel of the rows.
        device: As for `entk_gram`.
        memory: As for `entk_gram`.
        dtype: As for `entk_gram`.
        output: As for `entk_gram`.
        by: As for `entk_gram`.
        precision: As for `entk_gram`.

    Raises:
        UsageError: As for `entk_gram`.
    """
    images = RandomImages(rows + (columns or 0), image_shape)
    settings = {"device": device, "dtype": dtype, "output": output, "precision": precision}
    entk = Entk(model, images, memory=memory, by=by, **settings)
    spans = range(rows), range(rows) if columns is None else range(rows, rows + columns)
    what = f"{rows:,} × {columns or rows:,}{' symmetric' if columns is None else ''}"
    pairs = rows * (rows + 1) // 2 if columns is None else rows * columns
    groups = chunks(entk, *spans, sums=sums_bytes(entk, *spans))
    panels = [(group, [Panel(*spans)]) for group in groups]
    return plan_chunks(entk, panels, what, pairs, Rates(entk.passes.device))


def plan_panels(entk: Entk, panels: Iterable[Panel], what: str, pairs: int, rates: Rates) -> Plan:
    """The plan of several panels of one kernel, computed in turn; see `plan_chunks`."""
    return plan_chunks(entk, [(entk, list(panels))], what, pairs, rates)


def plan_chunks(
    entk: Entk, groups: Sequence[tuple[Entk, list[Panel]]], what: str, pairs: int, rates: Rates
) -> Plan:
    """The plan of a kernel that is the sum of chunks.

    Args:
        entk: The kernel.
        groups: The chunks, each with the panels of its calls of `Entk.blocks`; or the kernel alone.
        what: Description of the panels together.
        pairs: Entries that are computed in total.
        rates: The speed of the device.
    """
    repeats = [schedule(group, panels, pairs) for group, panels in groups]
    samples, images = repeats[0].samples, sum(own.images for own in repeats)
    forming = sum(
        own.formed * group.cost.forming for own, (group, _) in zip(repeats, groups, strict=True)
    )
    formed = round(forming / entk.cost.forming) if entk.cost.forming else repeats[0].formed
    pace = Pace.measured(entk, Repeats(samples, images, formed, pairs), rates)
    largest = max((group for group, _ in groups), key=lambda group: group.stored_bytes)
    pairs_of_blocks = (
        tile.blocks for group, panels in groups for panel in panels for tile in group.tiles(panel)
    )
    held, streamed = max(sorted(map(samples_in, own), reverse=True) for own in pairs_of_blocks)
    item = torch.finfo(entk.passes.dtype).bits // 8
    return Plan(
        what=what,
        products=entk.layout.products,
        weights=_weights(entk, groups, repeats),
        pairs=pairs,
        samples=samples,
        images=images,
        least_images=least_passes(samples, pairs, entk.capacity),
        formed=formed,
        chunks=len(groups),
        held=held,
        streamed=streamed,
        batch=largest.batch,
        sample_bytes=entk.layout.entries * item,
        stored_bytes=largest.stored_bytes,
        work_bytes=largest.workspace + entk.budget - largest.budget,
        pass_bytes=largest.batch * largest.image_bytes,
        result_bytes=sum(len(rows) * len(columns) for rows, columns, _ in groups[0][1])
        * item
        * len(entk.parts),
        seconds=sum(
            (pace.seconds(group, own) for own, (group, _) in zip(repeats, groups, strict=True)),
            start=Seconds(0.0, 0.0, 0.0),
        ),
        load=rates.load,
    )


def _weights(
    entk: Entk, groups: Sequence[tuple[Entk, list[Panel]]], repeats: Sequence[Repeats]
) -> tuple[WeightPlan, ...]:
    """The counts of every weight: the work of all chunks, of which one has its gradients."""
    done = [
        count(group.passes, group.layout, own)
        for own, (group, _) in zip(repeats, groups, strict=True)
    ]
    return tuple(
        replace(
            whole,
            pass_flops=sum(own.pass_flops for own in parts),
            forming_flops=sum(own.forming_flops for own in parts),
            kernel_flops=sum(own.kernel_flops for own in parts),
        )
        for whole, *parts in zip(count(entk.passes, entk.layout, repeats[0]), *done, strict=True)
    )


def schedule(entk: Entk, panels: Iterable[Panel], pairs: int) -> Repeats:
    """How often several panels of one kernel, computed in turn, do each part of the work.

    Arguments are those of `plan_panels`.
    """
    cache: BlockCache[None] = BlockCache(entk.capacity)
    formed, samples = 0, set[int]()
    for panel in panels:
        samples.update(panel.rows, panel.columns)
        formed += taken_in(entk, panel, cache)
    return Repeats(len(samples), cache.computed, formed, pairs)


def taken_in(entk: Entk, panel: Panel, cache: BlockCache[None]) -> int:
    """Have a cache take in the blocks of a panel; the samples whose gradients it forms."""
    formed = 0
    for rows, columns, blocks in entk.tiles(panel):
        formed += sum(map(len, {rows, columns}))
        for own, other in (blocks, blocks[::-1]):
            cache.get(own, lambda span: None, partner=other)
    return formed


class RandomImages(Dataset):
    """Images of Gaussian noise of a given shape, generated on access."""

    def __init__(self, count: int, shape: tuple[int, ...]):
        self.count, self.shape = count, shape

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, position: int) -> Tensor:
        return torch.randn(self.shape, generator=torch.Generator().manual_seed(position))
