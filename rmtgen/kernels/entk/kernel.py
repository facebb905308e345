"""The Gram matrix of the empirical NTK, tile by tile under a memory budget."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.data import ConcatDataset
from tqdm import tqdm

from rmtgen.device import fp32_precision
from rmtgen.entrance import public
from rmtgen.errors import NumericalError, UsageError, warn
from rmtgen.kernels.entk.capture import EACH
from rmtgen.kernels.entk.factors import BlockGradients, Layout, Part, tile
from rmtgen.kernels.entk.passes import Images, Passes
from rmtgen.kernels.entk.tiles import BlockCache, Span, tile_order
from rmtgen.units import parse_bytes

_RULE_SAMPLES = 512
"""Maximum number of samples that the rules are chosen for."""

_WHOLE = "whole"

By = str | Callable[[str], str] | None
"""How a kernel is split into parts; see `entk_gram`."""


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
    progress: bool = False,
) -> Float[Tensor, "n m"] | dict[str, Float[Tensor, "n m"]]:
    """The empirical NTK, K_ij = Σ_θ ∂f(x_i)/∂θ · ∂f(x_j)/∂θ.

    The sum is exact and runs over every parameter that requires a gradient, without a factor 1/P.
    Each batch takes one forward pass and one backward pass without weight gradients; each weight is
    contracted in the cheapest of several exact ways (`rules`), and only one triangle is computed if
    rows and columns are the same. Products in float32 are summed in float64. Every call first
    checks its gradients on two samples against autograd (`audit`), and whether this holds for all
    batches (`trust`); a model of which it does not goes sample by sample, with a warning.

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
        progress: Show a bar on stderr if that is a terminal.

    Returns:
        K (n, m) on the CPU, of dtype `dtype`; with `by`, a dictionary of the parts.

    Raises:
        UsageError: The model has several outputs, a module in training mode, no parameter that
            requires a gradient, batch statistics or a random forward pass; `by` is unknown, or
            "output" together with an `output`; there are no images; or the budget is too small (the
            message states the minimum).
        NumericalError: An output or a gradient is NaN or infinite. The message names the image, and
            the first layer with such a value.

    References:
        Jacot, Gabriel & Hongler 2018; Wei, Hu & Steinhardt 2022, section 2 (one logit, fresh head).
    """
    n, m = len(rows), 0 if columns is None else len(columns)
    images = rows if columns is None else ConcatDataset([rows, columns])  # type: ignore[list-item]
    kernel = Entk(model, images, device=device, memory=memory, dtype=dtype, output=output, by=by)
    spans = range(n), range(n) if columns is None else range(n, n + m)
    return (
        kernel.block(*spans, progress=progress)
        if by is None
        else kernel.blocks(*spans, progress=progress)
    )


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
        edge: Samples per block.
        capacity: Samples whose gradients fit into the budget.
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
        """Check the model on two images, and divide the memory.

        Arguments and errors are those of `entk_gram`; `settings` are those of `Passes`.
        """
        self.budget = parse_bytes(memory)
        _check_split(by, output)
        self.passes = Passes(model, images, output=EACH if by == "output" else output, **settings)
        self.layout = Layout.of(self.passes, min(len(images), _RULE_SAMPLES))
        self.parts = _parts(self.layout, by)
        self.passes.capture.factored = self.layout.factored.keys()
        self._divide()
        self._blocks: BlockCache[BlockGradients] = BlockCache(self.capacity)

    def _divide(self) -> None:
        """Divide the budget among the passes, the stored gradients and the workspace."""
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
        self.batch = passes.batch_size(self.budget // 4, passing)
        self.workspace = min(self.budget // 8, max(2**29, self.budget // 32))
        capacity = max(2 * stored, self.budget - self.batch * passing - self.workspace)
        whole = len(passes.images) * stored <= capacity
        self.edge = len(passes.images) if whole else max(1, capacity // (2 * stored))
        self.capacity = capacity // stored

    def block(self, rows: range, columns: range, *, progress: bool = False) -> Float[Tensor, "n m"]:
        """A block of a kernel that is not split; see `blocks`."""
        return self.blocks(rows, columns, progress=progress)[_WHOLE]

    def blocks(
        self, rows: range, columns: range, *, progress: bool = False
    ) -> dict[str, Float[Tensor, "n m"]]:
        """Every part of the kernel between two ranges of images; symmetric if they are the same.

        Args:
            rows: Positions of n images.
            columns: Positions of m images.
            progress: Show a bar on stderr if that is a terminal.

        Raises:
            UsageError: As for `entk_gram`.
            NumericalError: As for `entk_gram`.
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
        """A tile, with smaller batches and less workspace after the device ran out of memory."""
        while True:
            try:
                sides = [
                    self._blocks.get(own, self._gradients, partner=other)
                    for own, other in ((rows, columns), (columns, rows))
                ]
                return tile(*sides, part, self.workspace)
            except torch.OutOfMemoryError as failure:
                short = f"{self.passes.device} is out of memory"
                if self.batch == 1 and self.workspace < 2**20:
                    reason = str(failure).splitlines()[0]
                    raise UsageError(
                        f"{short} ({reason}). Lower memory, now {self.budget // 2**20}MiB."
                    ) from failure
                self.batch, self.workspace = max(1, self.batch // 2), self.workspace // 2
                self._blocks.clear()
                less = f"{self.batch} images per pass and {self.workspace // 2**20}MiB of workspace"
                warn(f"{short}: continuing with {less}.")

    def _gradients(self, span: Span) -> BlockGradients:
        start, stop = span
        block = BlockGradients(self.layout, stop - start, self.passes.dtype, self.passes.device)
        for low in range(start, stop, self.batch):
            high = min(low + self.batch, stop)
            samples = slice(low - start, high - start)
            block.put(samples, self.passes(range(low, high), into=block.places(samples)))
        return block


def _check_split(by: By, output: int | str | None) -> None:
    if not (by in (None, "layer", "output") or callable(by)):
        raise UsageError(
            f"by must be None, 'layer', 'output' or a function of a parameter's name, got {by!r}."
        )
    if by == "output" and output is not None:
        raise UsageError(
            f"by='output' gives the kernel of every output, got output={output!r} too. Omit one of"
            " them."
        )


def _parts(layout: Layout, by: By) -> dict[str, Part]:
    if by is None:
        return {_WHOLE: layout.whole()}
    if by == "output":
        return {str(output): layout.whole(output) for output in range(layout.outputs)}
    return layout.grouped(_module_of if by == "layer" else by)


def _module_of(parameter: str) -> str:
    return parameter.rpartition(".")[0] or parameter
