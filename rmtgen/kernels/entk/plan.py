"""The cost of a kernel before it is computed: FLOPs of every weight, memory, and seconds."""

from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from rmtgen.entrance import public
from rmtgen.kernels.entk.kernel import By, Entk
from rmtgen.kernels.entk.pace import Pace, Seconds
from rmtgen.kernels.entk.schedule import Panel, least_passes
from rmtgen.kernels.entk.tiles import BlockCache, samples_in
from rmtgen.kernels.entk.work import MATERIALISED, Repeats, WeightPlan, count
from rmtgen.rates import Rates
from rmtgen.tables import Table
from rmtgen.units import duration, readable_bytes


@dataclass(frozen=True)
class Plan:
    """The cost of one kernel.

    Attributes:
        what: Shape of the kernel, as text.
        weights: One entry per weight, in the order of use, and one for all other parameters.
        pairs: Entries of the kernel that are computed.
        samples: Different images.
        images: Images that pass through the network, with repetitions; with a spill each passes
            once, and the repetitions are read.
        least_images: The fewest passes that any order of tiles takes in the same memory.
        formed: Samples whose gradients are formed from factors, with repetitions.
        held: Samples of the largest block that is held.
        streamed: Samples of the largest block that is streamed past it.
        batch: Images per pass.
        sample_bytes: Memory of the stored gradients of a sample, and its size in a spill.
        stored_bytes: Memory of the stored gradients.
        work_bytes: Memory of the workspace.
        pass_bytes: Memory of one pass.
        result_bytes: Memory of the kernel itself, which does not count to the budget.
        seconds: Predicted seconds on the device with nothing else to do.
        load: Factor that other work on the device adds to the seconds, as measured now.
    """

    what: str
    weights: tuple[WeightPlan, ...]
    pairs: int
    samples: int
    images: int
    least_images: int
    formed: int
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
            f" {self.kernel_flops / self.flops:.0%}; at least {self.least_flops:.2e} without"
            " repetitions",
            f"about {duration(self.seconds.total)} on this machine with nothing else to do: check"
            f" {duration(self.seconds.check)}, passes {duration(self.seconds.passes)}, products"
            f" {duration(self.seconds.products)}",
            f"blocks of {self.held:,} samples held, {self.streamed:,} streamed:"
            f" {self.images:,} image passes {self.batch} at a time, of at least"
            f" {self.least_images:,} in this memory; gradients formed for {self.formed:,} samples",
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

    def _spill_notes(self) -> Iterator[str]:
        if self.read_bytes:
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
    precision: str = "ieee",
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
    return plan_panels(entk, [Panel(*spans)], what, pairs, Rates(entk.passes.device))


def plan_panels(entk: Entk, panels: Iterable[Panel], what: str, pairs: int, rates: Rates) -> Plan:
    """The plan of several panels of one kernel, computed in turn.

    Args:
        entk: The kernel.
        panels: Those of each call of `Entk.blocks`.
        what: Description of the panels together.
        pairs: Entries that are computed in total.
        rates: The speed of the device.
    """
    panels = list(panels)
    repeats = schedule(entk, panels, pairs)
    pairs_of_blocks = (tile.blocks for panel in panels for tile in entk.tiles(panel))
    held, streamed = max(sorted(map(samples_in, own), reverse=True) for own in pairs_of_blocks)
    item = torch.finfo(entk.passes.dtype).bits // 8
    return Plan(
        what=what,
        weights=tuple(count(entk.passes, entk.layout, repeats)),
        pairs=pairs,
        samples=repeats.samples,
        images=repeats.images,
        least_images=least_passes(repeats.samples, pairs, entk.capacity),
        formed=repeats.formed,
        held=held,
        streamed=streamed,
        batch=entk.batch,
        sample_bytes=entk.layout.entries * item,
        stored_bytes=min(entk.capacity, len(entk.passes.images)) * entk.layout.entries * item,
        work_bytes=entk.workspace,
        pass_bytes=entk.batch * entk.image_bytes,
        result_bytes=sum(len(rows) * len(columns) for rows, columns, _ in panels)
        * item
        * len(entk.parts),
        seconds=Pace.measured(entk, repeats, rates).seconds(entk, repeats),
        load=rates.load,
    )


def schedule(entk: Entk, panels: Iterable[Panel], pairs: int) -> Repeats:
    """How often several panels of one kernel, computed in turn, do each part of the work.

    Arguments are those of `plan_panels`.
    """
    cache: BlockCache[None] = BlockCache(entk.capacity)
    formed, samples = 0, set[int]()
    for panel in panels:
        samples.update(panel.rows, panel.columns)
        for rows, columns, blocks in entk.tiles(panel):
            formed += sum(map(len, {rows, columns}))
            for own, other in (blocks, blocks[::-1]):
                cache.get(own, lambda span: None, partner=other)
    return Repeats(len(samples), cache.computed, formed, pairs)


class RandomImages(Dataset):
    """Images of Gaussian noise of a given shape, generated on access."""

    def __init__(self, count: int, shape: tuple[int, ...]):
        self.count, self.shape = count, shape

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, position: int) -> Tensor:
        return torch.randn(self.shape, generator=torch.Generator().manual_seed(position))
