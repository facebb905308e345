"""What a kernel will cost before it is computed: the rule, the FLOPs and the bytes of every weight,
and the memory they take.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from rmtgen.kernels.entk.kernel import By, Entk, Recent, tile_order
from rmtgen.kernels.entk.rules import Instantiate
from rmtgen.tables import Table
from rmtgen.units import readable_bytes

_FORMED = "formed"


@dataclass(frozen=True)
class WeightPlan:
    """One weight of the model, or all other parameters together.

    Attributes:
        name: the parameter's.
        rule: how its part of the kernel is computed; "formed": its gradient is stored as such.
        parameters: entries of the weight.
        entries: numbers stored for a sample.
        capture_flops: FLOPs of the forward pass, the backward pass and, where the gradient is
            formed, forming it; all samples.
        kernel_flops: FLOPs of its part of the kernel, for all pairs.
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
        what: the shape of the kernel, in words.
        weights: one entry a weight, in the order of their use, and the rest.
        pairs: entries that are computed.
        images: images that pass through the network, those counted that pass more than once.
        edge: samples in a tile; `batch`: images in one pass.
        stored_bytes: of the factors held at a time; `work_bytes`: of the work space; `pass_bytes`:
            of one pass.
        result_bytes: of the kernel itself, which is not part of the memory budget.
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
        """FLOPs of all products between samples; practically all of them in matrix products."""
        return sum(weight.kernel_flops for weight in self.weights)

    @property
    def flops(self) -> float:
        """All of them."""
        return self.capture_flops + self.kernel_flops

    @property
    def memory_bytes(self) -> int:
        """Bytes beside the model, the images and the result."""
        return self.stored_bytes + self.work_bytes + self.pass_bytes

    def seconds(self, image_seconds: float, flops_per_second: float) -> float:
        """Time from a measured pass of one image, in seconds, and a measured rate of matrix
        products.
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
    """What `entk_gram` will do: the rule of every weight, FLOPs, bytes; `print` it for a table.

    Two images of noise pass through the model; nothing else is computed.

    Args:
        model: as for `entk_gram`.
        image_shape: (c, h, w) of an image.
        rows: n.
        columns: m; None: the symmetric kernel of the rows.
        device: where it would be computed.
        memory: the budget.
        dtype: of the computation.
        output: as for `entk_gram`.
        by: as for `entk_gram`.

    Raises:
        UsageError: as `entk_gram`.
    """
    images = Noise(rows + (columns or 0), image_shape)
    entk = Entk(model, images, device=device, memory=memory, dtype=dtype, output=output, by=by)
    spans = range(rows), range(rows) if columns is None else range(rows, rows + columns)
    what = f"{rows:,} × {columns or rows:,}{' symmetric' if columns is None else ''}"
    pairs = rows * (rows + 1) // 2 if columns is None else rows * columns
    return plan_blocks(entk, [spans], what, pairs)


def plan_blocks(entk: Entk, blocks: Iterable[tuple[range, range]], what: str, pairs: int) -> Plan:
    """The plan of several blocks of one kernel, asked for in turn.

    Args:
        entk: the kernel.
        blocks: rows and columns of each call of `Entk.block`.
        what: a name for the whole.
        pairs: entries computed in all.
    """
    cache, entries = Recent(entk.room), 0
    for rows, columns in blocks:
        entries += len(rows) * len(columns)
        for row, column in tile_order(rows, columns, entk.edge):
            for own, other in ((row, column), (column, row)):
                cache.get(own, lambda span: None, beside=other)
    item = torch.finfo(entk.passes.dtype).bits // 8
    return Plan(
        what=what,
        weights=tuple(_weights(entk, cache.made, pairs)),
        pairs=pairs,
        images=cache.made,
        edge=entk.edge,
        batch=entk.batch,
        stored_bytes=min(entk.room, len(entk.passes.images)) * entk.layout.entries * item,
        work_bytes=entk.work,
        pass_bytes=entk.batch * entk.image_bytes,
        result_bytes=entries * item * len(entk.parts),
    )


class Noise:
    """Images of given shape, made when they are asked for."""

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
        late = layout.late.get(number)
        passes = 2.0 * (1 + outputs) * site.t * prod(site.weight_shape)
        size = prod(site.weight_shape)
        if late is None:
            formed = outputs * Instantiate().cost(site).sample_flops
            stored = 0 if name in sited else outputs * layout.formed.get(name, 0)
            parameters = 0 if name in sited else size
            plan = WeightPlan(
                name, _FORMED, parameters, stored, images * (passes + formed), 2.0 * pairs * stored
            )
        else:
            shared = 0 if late.source != number else site.t_in * site.c_in
            flops = outputs * late.rule.cost(site).flops(images, pairs)
            stored = shared + outputs * site.t * site.c_out
            plan = WeightPlan(name, late.rule.name, size, stored, images * passes, flops)
        sited.add(name)
        found.append(plan)
    rest = sum(size for name, size in layout.formed.items() if name not in sited)
    stored = outputs * rest
    return [
        *found,
        WeightPlan(
            "biases, norms and all others", _FORMED, rest, stored, 0.0, 2.0 * pairs * stored
        ),
    ]
