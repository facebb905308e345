"""Solver `streamed`: every size from one Cholesky factor per sum ridge δ, which lies on a disk.

The rows of R = L⁻¹, L the factor of K + δI, come panel by panel from those above (`bordering`),
which are read twice per panel: for the rows themselves, and for their products, of which tr G²
consists. They are added to the running sums of `sums`. Neither K nor L is ever whole. In memory are
two panels and a few strips; the width of a panel follows from the budget.

A finished strip is a file with a digest, and so are the sums behind a finished panel: whoever comes
after a kill goes on from there, and finds the same to the bit. Half of an n×n matrix lies on the
disk, until the columns are known.
"""

import contextlib
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from rmtgen.errors import CorruptInputError, MissingInputError, StorageError
from rmtgen.linalg.bordering import border_, products_
from rmtgen.linalg.modes import rounding
from rmtgen.linalg.triangular import BLOCK
from rmtgen.linalg.triangular import STRIP as SOLVED
from rmtgen.ridge.columns import COLUMNS
from rmtgen.ridge.definite import refuse_indefinite, well_conditioned
from rmtgen.ridge.interval import all_paired, pair_bytes
from rmtgen.ridge.kernel import FeatureKernel, digest_of
from rmtgen.ridge.problem import Cost, Grid, Problem
from rmtgen.ridge.sums import Sums, shared, swept
from rmtgen.store import durable
from rmtgen.store.spill import Spill
from rmtgen.units import readable_bytes

STRIP = 256
"""Number of rows of R in a file."""
WIDEST = 2048
"""Largest number of rows in a panel: a disk of 1 GB/s then keeps up with two fast cores, and a kill
loses no more."""
SWEEP_COST = 1.3
"""Cost of a δ, in n³ operations of a matrix product: 1/3 for L, 1/3 for R and 1/3 for tr G², at
three quarters of the speed."""
CHECK_COST = 0.9
"""Cost of the factor that shows whether K is semidefinite, likewise."""
BYTE_COST = 50
"""Cost of a byte that is read from the disk, in operations."""
_SUMS = "sums"
"""Name of the file of the sums."""


def solve_streamed(problem: Problem, sizes: list[int], grid: Grid) -> list[dict | None]:
    """One row of `COLUMNS` per (size, ridge), sizes outer; sizes that share a δ share a factor.

    A row is None as with `nested`.

    Raises:
        NumericalError: An indefinite Gram matrix.
        StorageError: The disk has no room, or refuses.
        CorruptInputError: A file of the disk is not what was written, or gone.
    """
    _require_semidefinite(problem, max(sizes))
    return swept(_sweep, problem, sizes, grid)


def cost_streamed(problem: Problem, sizes: list[int], grid: Grid) -> Cost:
    """As `cost_nested`, at the speed of large products, and the bytes that are read."""
    outputs, width, flops = problem.targets.shape[1], problem.width, 0.0
    largest = max(sizes)
    if not width:
        flops += CHECK_COST * largest**3
    for cells in shared(sizes, grid).values():
        n = max(size for _, size, _ in cells)
        panel = panel_width(problem, n)
        flops += SWEEP_COST * n**3 + BYTE_COST * 8 * n**3 / (3 * panel)
        flops += 2.0 * n**2 * outputs + n**2 * (width or 0)
        flops += sum(2.0 * size * outputs * (width or problem.tests) for _, size, _ in cells)
    return Cost(flops, _held(problem, largest, panel_width(problem, largest)))


def panel_width(problem: Problem, n: int) -> int:
    """Number of rows of a panel: what the budget allows, in strips, and `WIDEST` at most."""
    widest = min(WIDEST, -(-n // STRIP) * STRIP)
    fitting = (
        width
        for width in range(widest, STRIP, -STRIP)
        if _held(problem, n, width) <= problem.kernel.budget
    )
    return next(fitting, STRIP)


def _held(problem: Problem, n: int, width: int) -> int:
    """Number of bytes that a sweep over n samples takes with panels of a width."""
    columns = problem.targets.shape[1] + 2 * problem.intercept
    panels = n * (2 * width + 2 * STRIP + 4 * BLOCK)
    corner = 3 * width**2 + width * (2 * min(n, SOLVED) + 2 * STRIP)
    sums = 10 * n * columns + 8 * n + 4 * problem.tests * columns
    pairs = problem.loo * (8 * all_paired(n) ** 2 + pair_bytes(n))
    return 8 * (panels + corner + sums) + pairs + problem.kernel.panel_bytes(width)


def _require_semidefinite(problem: Problem, n: int) -> None:
    """Refuse a Gram matrix that is indefinite beyond rounding; features are always semidefinite.

    HKH is semidefinite where K is, so that K itself is factored with an intercept too.
    """
    kernel = problem.kernel
    if isinstance(kernel, FeatureKernel):
        return
    width = panel_width(problem, n)
    square, panel = 0.0, torch.empty(width, n, dtype=torch.float64)
    for low in range(0, n, width):
        part = panel[: min(width, n - low), : min(low + width, n)]
        kernel.panel(low, part)
        square += _norm_square(part)
    del panel, part
    tolerance = rounding(n, kernel.single) * square**0.5
    factor = _Factor(problem, n, tolerance, {"for": "definite"})
    reached = factor.resumed([])
    for low in range(reached, n, width):
        if factor.border(low) is None:
            factor.clear()
            refuse_indefinite(problem, n, tolerance)
            return
        factor.reach(min(low + width, n), [])
    factor.clear()


def _sweep(problem: Problem, sum_ridge: float, sizes: set[int]) -> dict[int, dict | None]:
    """The columns at one δ for each of the sizes, without `ridge`; None as in `solve_nested`."""
    n, wanted = max(sizes), sorted(sizes)
    factor = _Factor(problem, n, sum_ridge, {"for": "sums", **_about(problem, wanted)})
    predictions = _Multiplied(problem) if problem.tests else None
    sums = Sums(problem, sum_ridge, sizes, 0.0, predictions)
    table = _Table(wanted)
    square, largest = (torch.zeros(1, dtype=torch.float64) for _ in range(2))
    state = [*sums.tensors.values(), table.values, square, largest]
    for low in range(factor.resumed(state), n, factor.width):
        rows = factor.border(low)
        if rows is None:
            factor.clear()
            return dict.fromkeys(sizes)
        square += factor.norm_square
        largest.clamp_min_(factor.largest)
        sums.largest = largest.item()
        products = factor.products(rows)
        for start in range(0, len(rows), BLOCK):
            part, stop = slice(start, start + BLOCK), low + min(start + BLOCK, len(rows))
            here = [size for size in wanted if low + start < size <= stop]
            table.enter(sums.add(rows[part, :stop], products[part, :stop], here))
        factor.reach(low + len(rows), state)
    factor.clear()
    # the Frobenius norm of G bounds its largest eigenvalue, and so does 1/δ
    inverse = min(sums.tensors["traces"][1].sqrt().item(), 1 / sum_ridge if sum_ridge else np.inf)
    if not well_conditioned(problem.kernel, square.sqrt().item(), sum_ridge, inverse):
        return dict.fromkeys(sizes)
    return table.rows()


class _Multiplied:
    """Predictions as products of k(test) with GY, which take less time than a running sum."""

    def __init__(self, problem: Problem):
        self.kernel = problem.kernel

    def add(self, rows: Float64[Tensor, "b n"], targets: Float64[Tensor, "b c"]) -> None:
        """Nothing: GY says it all."""

    def at(self, dual: Float64[Tensor, "n c"]) -> Float64[Tensor, "m c"]:
        """k(test)GY."""
        return self.kernel.multiply_tests(dual)


class _Table:
    """The rows that are known, as one array that can be stored."""

    _NOT_YET, _LEFT_OUT, _KNOWN = 0.0, 1.0, 2.0

    def __init__(self, sizes: list[int]):
        self.sizes = sizes
        self.values = torch.zeros(len(sizes), 1 + len(COLUMNS), dtype=torch.float64)

    def enter(self, found: dict[int, dict | None]) -> None:
        """Take the rows of some sizes."""
        for n, row in found.items():
            place = self.values[self.sizes.index(n)]
            place[0] = self._KNOWN if row else self._LEFT_OUT
            if row:
                place[1:] = place.new_tensor([row[column] for column in COLUMNS])

    def rows(self) -> dict[int, dict | None]:
        """The rows by their sizes."""
        return {
            n: dict(zip(COLUMNS, values, strict=True)) | {"n": n} if mark == self._KNOWN else None
            for n, (mark, *values) in zip(self.sizes, self.values.tolist(), strict=True)
        }


class _Factor:
    """The rows of R of K + shift·I, panel by panel, in files.

    Attributes:
        width: Number of rows of a panel.
        norm_square: ‖K‖² over the last panel and its mirror image.
        largest: max K_ii over the last panel.
    """

    def __init__(
        self,
        problem: Problem,
        n: int,
        shift: float,
        about: dict[str, object],
    ):
        """Open the folder, in which there may be rows of an earlier process.

        Args:
            problem: The kernel.
            n: Number of samples.
            shift: What is added to the diagonal.
            about: All that the sums behind a panel depend on, beside the matrix.

        Raises:
            StorageError: The disk has no room, or refuses.
        """
        self.kernel, self.n, self.shift = problem.kernel, n, shift
        self.width = width = panel_width(problem, n)
        identity = durable.canonical_json(
            {
                **about,
                "kernel": problem.kernel.identity(n),
                "n": n,
                "shift": float(shift).hex(),
                "width": [width, STRIP],
                "torch": torch.__version__,
                "threads": torch.get_num_threads(),
            }
        )
        self.spill = Spill(problem.kernel.spill, durable.digest(identity.encode()))
        self._require_room()
        self.norm_square = self.largest = 0.0
        self._panels = [torch.empty(width * n, dtype=torch.float64) for _ in range(2)]
        self._strips = [torch.empty(STRIP * n, dtype=torch.float64) for _ in range(2)]

    def resumed(self, state: list[Tensor]) -> int:
        """The row that comes next; `state` is filled with what was given to `reach` there."""
        if _SUMS not in self.spill:
            return 0
        place = torch.zeros(1, dtype=torch.int64)
        with _named(self.spill):
            self.spill.read(_SUMS, "", _bytes([place, *state]))
        return int(place)

    def border(self, low: int) -> Float64[Tensor, "b high"] | None:
        """The rows of the panel that begins at a row; None where the matrix is not definite."""
        matrix, rows = (self._panel(low, panel) for panel in self._panels)
        self.kernel.panel(low, matrix)
        self.norm_square = _norm_square(matrix)
        diagonal = matrix[:, low:].diagonal()
        self.largest = diagonal.max().item()
        diagonal.add_(self.shift)
        if not border_(matrix, self._above(low), rows):
            return None
        for start in range(0, len(rows), STRIP):
            part = rows[start : start + STRIP, : low + start + STRIP]
            strip = self._strips[0][: part.numel()].view(part.shape).copy_(part)
            self.spill.write(_name(low + start), "", _bytes([strip]))
        return rows

    def products(self, rows: Float64[Tensor, "b high"]) -> Float64[Tensor, "b high"]:
        """The products of the rows of a panel with all rows up to them."""
        low = rows.shape[1] - len(rows)
        products = self._panel(low, self._panels[0])
        products_(rows, self._above(low), products)
        return products

    def reach(self, row: int, state: list[Tensor]) -> None:
        """Store what is needed to go on from a row: `state` is durable on return."""
        self.spill.write(_SUMS, "", _bytes([torch.tensor([row]), *state]))

    def clear(self) -> None:
        """Remove the files."""
        self.spill.clear()

    def _panel(self, low: int, room: Tensor) -> Float64[Tensor, "b high"]:
        high = min(low + self.width, self.n)
        return room[: (high - low) * high].view(high - low, high)

    def _above(self, low: int) -> Iterator[Float64[Tensor, "k _"]]:
        """The strips above a row, one of which is read and compared ahead; valid until the next."""
        with ThreadPoolExecutor(1) as pool:
            starts = range(0, low, STRIP)
            ahead = [pool.submit(self._read, start, 0) for start in starts[:1]]
            for number, start in enumerate(starts):
                strip = ahead.pop().result()
                following = start + STRIP
                if following < low:
                    ahead.append(pool.submit(self._read, following, (number + 1) % 2))
                yield strip

    def _read(self, start: int, buffer: int) -> Float64[Tensor, "k _"]:
        stop = start + STRIP
        strip = self._strips[buffer][: STRIP * stop].view(STRIP, stop)
        with _named(self.spill):
            self.spill.read(_name(start), "", _bytes([strip]))
        return strip

    def _require_room(self) -> None:
        """Refuse a disk on which half of an n×n matrix does not fit."""
        there = sum(path.stat().st_size for path in self.spill.folder.iterdir())
        needed = 8 * self.n * (self.n + STRIP) // 2 - there
        free = shutil.disk_usage(self.spill.folder).free
        if needed > free:
            raise StorageError(
                f"{self.spill.folder} must have room for {readable_bytes(needed)}: got"
                f" {readable_bytes(free)}. Free space there, or choose another folder with"
                " spill=DIR."
            )


def _name(start: int) -> str:
    return f"rows-{start:08d}"


def _about(problem: Problem, sizes: list[int]) -> dict[str, object]:
    """All that the sums depend on beside the kernel."""
    targets = (problem.targets, problem.test_targets)
    return {
        "sizes": sizes,
        "loo": problem.loo,
        "intercept": problem.intercept,
        "targets": [None if one is None else digest_of([one]) for one in targets],
    }


def _norm_square(panel: Float64[Tensor, "b high"]) -> float:
    """‖K‖² over some rows up to the diagonal, and their mirror image."""
    low = panel.shape[1] - len(panel)
    left, below = panel[:, :low], panel[:, low:].tril(-1)
    mirrored = sum(torch.linalg.vector_norm(part).item() ** 2 for part in (left, below))
    return 2 * mirrored + torch.linalg.vector_norm(panel[:, low:].diagonal()).item() ** 2


@contextlib.contextmanager
def _named(spill: Spill) -> Iterator[None]:
    """Say what to do about a file that is damaged or gone."""
    try:
        yield
    except (MissingInputError, CorruptInputError) as failure:
        raise type(failure)(
            f"{failure} Remove {spill.folder} and run again: the factor is computed anew."
        ) from failure


def _bytes(tensors: list[Tensor]) -> list[memoryview]:
    """The bytes of contiguous tensors; nothing of one without entries."""
    return [memoryview(one.view(-1).view(torch.uint8).numpy()) for one in tensors if one.numel()]
