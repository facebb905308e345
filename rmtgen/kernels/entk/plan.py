"""The cost of a kernel before it is computed: rule, FLOPs and bytes of every weight, and memory."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from rmtgen.entrance import public
from rmtgen.kernels.entk.kernel import By, Entk
from rmtgen.kernels.entk.rules import Instantiate
from rmtgen.kernels.entk.tiles import BlockCache, tile_order
from rmtgen.tables import Table
from rmtgen.units import readable_bytes

_MATERIALISED = "materialised"


@dataclass(frozen=True)
class WeightPlan:
    """The cost of one weight, or of all other parameters together.

    Attributes:
        name: Name of the parameter.
        rule: How its part of the kernel is computed; "materialised" if its gradient is stored.
        parameters: Entries of the weight.
        entries: Entries stored per sample.
        capture_flops: FLOPs of the forward and backward passes for all samples, with the
            computation of a materialised gradient.
        kernel_flops: FLOPs of its part of the kernel for all pairs.
    """

    name: str
    rule: str
    parameters: int
    entries: int
    capture_flops: float
    kernel_flops: float


@dataclass(frozen=True)
class Plan:
    """The cost of one kernel.

    Attributes:
        what: Shape of the kernel, as text.
        weights: One entry per weight, in the order of use, and one for all other parameters.
        pairs: Entries of the kernel that are computed.
        images: Images that pass through the network, with repetitions.
        edge: Samples per block.
        batch: Images per pass.
        stored_bytes: Memory of the stored gradients.
        work_bytes: Memory of the workspace.
        pass_bytes: Memory of one pass.
        result_bytes: Memory of the kernel itself, which does not count to the budget.
    """

    what: str
    weights: tuple[WeightPlan, ...]
    pairs: int
    images: int
    edge: int
    batch: int
    stored_bytes: int
    work_bytes: int
    pass_bytes: int
    result_bytes: int

    @property
    def capture_flops(self) -> float:
        """FLOPs of all passes."""
        return sum(weight.capture_flops for weight in self.weights)

    @property
    def kernel_flops(self) -> float:
        """FLOPs of all products between samples, nearly all of them in matrix products."""
        return sum(weight.kernel_flops for weight in self.weights)

    @property
    def flops(self) -> float:
        """FLOPs in total."""
        return self.capture_flops + self.kernel_flops

    @property
    def memory_bytes(self) -> int:
        """Memory in bytes without the model, the images and the result."""
        return self.stored_bytes + self.work_bytes + self.pass_bytes

    def seconds(self, image_seconds: float, flops_per_second: float) -> float:
        """The predicted time in seconds.

        Args:
            image_seconds: Measured time of a pass per image.
            flops_per_second: Measured rate of matrix products.
        """
        return self.images * image_seconds + self.kernel_flops / flops_per_second

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
                f"{weight.capture_flops:.2e}",
                f"{weight.kernel_flops:.2e}",
            )
            for weight in (*self.weights, self._total())
        ]
        notes = (
            f"{self.what}: {self.pairs:,} entries, {100 * self.kernel_flops / self.flops:.0f} %"
            " of the FLOPs in products between samples",
            f"tiles of {self.edge:,}, {self.images:,} image passes {self.batch} at a time",
            f"memory {readable_bytes(self.memory_bytes)}: factors"
            f" {readable_bytes(self.stored_bytes)}, work space {readable_bytes(self.work_bytes)},"
            f" passes {readable_bytes(self.pass_bytes)}; the result takes"
            f" {readable_bytes(self.result_bytes)}",
        )
        headings = ("weight", "rule", "parameters", "stored", "pass FLOPs", "kernel FLOPs")
        return Table(headings, tuple(rows), "<<>>>>", notes)

    def _total(self) -> WeightPlan:
        sums = [
            sum(getattr(weight, field) for weight in self.weights)
            for field in ("parameters", "entries")
        ]
        return WeightPlan("total", "", *sums, self.capture_flops, self.kernel_flops)


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
) -> Plan:
    """The plan of `entk_gram`: rule, FLOPs and bytes of every weight; `print` shows a table.

    Only two random images pass through the model.

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

    Raises:
        UsageError: As for `entk_gram`.
    """
    images = RandomImages(rows + (columns or 0), image_shape)
    entk = Entk(model, images, device=device, memory=memory, dtype=dtype, output=output, by=by)
    spans = range(rows), range(rows) if columns is None else range(rows, rows + columns)
    what = f"{rows:,} × {columns or rows:,}{' symmetric' if columns is None else ''}"
    pairs = rows * (rows + 1) // 2 if columns is None else rows * columns
    return plan_blocks(entk, [spans], what, pairs)


def plan_blocks(entk: Entk, blocks: Iterable[tuple[range, range]], what: str, pairs: int) -> Plan:
    """The plan of several blocks of one kernel, computed in turn.

    Args:
        entk: The kernel.
        blocks: Rows and columns of each call of `Entk.block`.
        what: Description of the blocks together.
        pairs: Entries that are computed in total.
    """
    cache: BlockCache[None] = BlockCache(entk.capacity)
    entries = 0
    for rows, columns in blocks:
        entries += len(rows) * len(columns)
        for row, column in tile_order(rows, columns, entk.edge):
            for own, other in ((row, column), (column, row)):
                cache.get(own, lambda span: None, partner=other)
    item = torch.finfo(entk.passes.dtype).bits // 8
    return Plan(
        what=what,
        weights=tuple(_weights(entk, cache.computed, pairs)),
        pairs=pairs,
        images=cache.computed,
        edge=entk.edge,
        batch=entk.batch,
        stored_bytes=min(entk.capacity, len(entk.passes.images)) * entk.layout.entries * item,
        work_bytes=entk.workspace,
        pass_bytes=entk.batch * entk.image_bytes,
        result_bytes=entries * item * len(entk.parts),
    )


class RandomImages(Dataset):
    """Images of Gaussian noise of a given shape, generated on access."""

    def __init__(self, count: int, shape: tuple[int, ...]):
        self.count, self.shape = count, shape

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, position: int) -> Tensor:
        return torch.randn(self.shape, generator=torch.Generator().manual_seed(position))


def _weights(entk: Entk, images: int, pairs: int) -> list[WeightPlan]:
    layout, found, sited = entk.layout, [], set()
    outputs = layout.outputs
    for number, (name, site) in layout.sites.items():
        factored = layout.factored.get(number)
        passes = 2.0 * (1 + outputs) * site.t * prod(site.weight_shape)
        size = prod(site.weight_shape)
        if factored is None:
            materialised = outputs * Instantiate().cost(site).sample_flops
            stored = 0 if name in sited else outputs * layout.materialised.get(name, 0)
            parameters = 0 if name in sited else size
            plan = WeightPlan(
                name,
                _MATERIALISED,
                parameters,
                stored,
                images * (passes + materialised),
                2.0 * pairs * stored,
            )
        else:
            shared = 0 if factored.input_call != number else site.t_in * site.c_in
            flops = float(outputs * factored.rule.cost(site).flops(images, pairs))
            stored = shared + outputs * site.t * site.c_out
            plan = WeightPlan(name, factored.rule.name, size, stored, images * passes, flops)
        sited.add(name)
        found.append(plan)
    rest = sum(size for name, size in layout.materialised.items() if name not in sited)
    stored = outputs * rest
    return [
        *found,
        WeightPlan(
            "biases, norms and all others", _MATERIALISED, rest, stored, 0.0, 2.0 * pairs * stored
        ),
    ]
