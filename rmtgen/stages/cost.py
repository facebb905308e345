"""What a run will cost before it runs: operations counted, rates measured for a few seconds on the
device, sizes exact.

A stage's time is its operation count over the rate of a small problem of the same kind, so it is a
forecast for this machine as loaded now. Large dense problems run nearer the peak than the small
ones measured here, so long stages tend to end early.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from rmtgen.device import available, default_device
from rmtgen.kernels.entk import Entk, Plan, Sketch
from rmtgen.kernels.entk.plan import RandomImages, plan_blocks
from rmtgen.models.backbones import Backbone, load_backbone
from rmtgen.models.features import place
from rmtgen.ridge import SOLVERS, path_cost
from rmtgen.ridge.kernel import FeatureKernel, GramKernel
from rmtgen.ridge.problem import Cost, Grid, Problem
from rmtgen.runs.config import Config
from rmtgen.stages.pool import CURVE_RIDGES, cells, curve_sizes, solves_gram
from rmtgen.store.gram_store import GramLayout

_PROBE = 1024
_INFLUENCES = 60
"""Auxiliary ridges that a study's influences are computed at: four a decade of the spectrum and
beyond."""


@dataclass(frozen=True)
class StageCost:
    """What one stage of one run takes: operations, peak bytes above the interpreter, bytes left on
    disk, and seconds.
    """

    stage: str
    flops: float
    ram: int
    disk: int
    seconds: float


@dataclass(frozen=True)
class _Problem:
    """Sizes of one run: N train, M test, p features, c outputs (an upper bound where the data set
    is not there), l ridges.
    """

    config: Config
    dim: int
    classes: int

    @property
    def from_gram(self) -> bool:
        return solves_gram(self.config, self.dim)

    @property
    def pool_bytes(self) -> int:
        return (
            8
            * (self.config.train + self.config.test)
            * (self.config.train if self.from_gram else self.dim)
        )

    def rank(self, n: int) -> int:
        return n if self.from_gram else min(n, self.dim)

    def path(self, n: int, *, tested: bool = True) -> Problem:
        """The ridge problem of the first n samples, its shapes alone."""
        width, tests = n if self.from_gram else self.dim, self.config.test
        train, test = _shape(n, width), _shape(tests, width) if tested else None
        kernel = GramKernel(train, test) if self.from_gram else FeatureKernel(train, test)
        targets, test_targets = (
            _shape(n, self.classes),
            _shape(tests, self.classes) if tested else None,
        )
        intercept = self.config.targets == "intercept"
        return Problem(
            kernel, targets, test_targets, tested and self.config.loo, intercept, None, None
        )


def _shape(*lengths: int) -> torch.Tensor:
    return torch.empty(lengths, dtype=torch.float64, device="meta")


def estimate(config: Config, classes: int = 100) -> list[StageCost]:
    """The cost of every stage of one run, measured rates times counted operations.

    Args:
        config: the run. Neither its data nor its weights are needed: a randomly initialised
            backbone costs the same.
        classes: number of classes c to count with.

    Raises:
        UsageError: unknown backbone, or an image size it cannot take.
    """
    device = default_device(config.device)
    backbone = load_backbone(config.model, init="random", img_size=config.img_size)
    problem = _Problem(config, config.projection or backbone.feature_dim, classes)
    extract = _sketch(problem, device) if config.projection else _extract(problem, backbone, device)
    grams = (
        [_tangent_gram(config, device) if config.tangent else _gram(problem, device)]
        if config.needs("gram")
        else []
    )
    return [extract, *grams, *_solves(problem, device)]


def tangent_plan(config: Config) -> Plan:
    """What the gram stage of an eNTK run will do, weight by weight: the tiles of the store, train
    and test.

    Raises:
        UsageError: as `entk.entk_plan`.
    """
    return _plan_of(_tangent_kernel(config), config)


def _tangent_kernel(config: Config) -> Entk:
    model, images = _under_heads(config)
    settings = {
        "dtype": getattr(torch, config.gram_dtype),
        "by": "output" if config.heads else None,
    }
    return Entk(model, images, device=config.device, memory=config.memory, **settings)


def _under_heads(config: Config) -> tuple[nn.Module, RandomImages]:
    settings = {
        "init": "random",
        "head": "random",
        "heads": config.heads or 1,
        "img_size": config.img_size,
    }
    backbone = load_backbone(config.model, **settings)
    return backbone.model, RandomImages(config.train + config.test, backbone.input_size)


def _plan_of(kernel: Entk, config: Config) -> Plan:
    n, m = config.train, config.test
    tiles = GramLayout(n, m, config.gram_dtype, config.tile).tiles()
    blocks = [(range(t.row_start, t.row_stop), range(t.column_start, t.column_stop)) for t in tiles]
    return plan_blocks(kernel, blocks, f"({n:,} + {m:,}) × {n:,}", n * (n + 1) // 2 + m * n)


def _extract(problem: _Problem, backbone: Backbone, device: torch.device) -> StageCost:
    config = problem.config
    images, batch = config.train + config.test, min(config.batch_size, 16)
    model = place(backbone.model, device)
    probe = torch.zeros(batch, *backbone.input_size, device=device).contiguous(
        memory_format=torch.channels_last
    )
    with torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            model(probe[:1])
        seconds = _seconds(lambda: model(probe), device) / batch * images
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    features = 4 * images * problem.dim
    pixels = 4 * config.batch_size * backbone.input_size[1] * backbone.input_size[2]
    activations = (
        pixels * 64 * 3
    )  # three live maps of about 64 channels at full resolution: generous for every timm stem
    return StageCost(
        "extract", counter.get_total_flops() * images, weights + activations, features, seconds
    )


def _sketch(problem: _Problem, device: torch.device) -> StageCost:
    config = problem.config
    sketch = Sketch(
        *_under_heads(config), config.projection, device=config.device, memory=config.memory
    )
    count = min(sketch.batch, 16)
    with FlopCounterMode(display=False) as counter:
        sketch.rows(range(1))
    seconds = _seconds(lambda: sketch.rows(range(count)), device) / count
    images = config.train + config.test
    flops = counter.get_total_flops() * images
    return StageCost("extract", flops, sketch.bytes, 4 * images * problem.dim, seconds * images)


def _gram(problem: _Problem, device: torch.device) -> StageCost:
    config = problem.config
    layout = GramLayout(config.train, config.test, config.gram_dtype, config.tile)
    flops = sum(2.0 * tile.shape[0] * tile.shape[1] * problem.dim for tile in layout.tiles())
    rate = _product_rate(device)
    ram = 4 * (config.train + config.test) * problem.dim + 6 * 8 * config.tile**2
    return StageCost("gram", flops, ram, layout.bytes_on_disk, flops / rate)


def _tangent_gram(config: Config, device: torch.device) -> StageCost:
    """Passes at the speed of a small batch, products at that of a matrix product of the kernel's
    type.
    """
    kernel = _tangent_kernel(config)
    plan, count = _plan_of(kernel, config), min(kernel.batch, 16)
    probe = torch.stack([kernel.passes.images[position] for position in range(count)]).to(
        device, kernel.passes.dtype
    )
    passing = _seconds(lambda: kernel.passes.capture(probe), device) / count
    rate = _product_rate(device, kernel.passes.dtype)
    disk = GramLayout(config.train, config.test, config.gram_dtype, config.tile).bytes_on_disk
    return StageCost("gram", plan.flops, plan.memory_bytes, disk, plan.seconds(passing, rate))


def _solves(problem: _Problem, device: torch.device) -> list[StageCost]:
    """The solvers count in operations of a large product, so its rate is theirs."""
    config, todo, memory, rate = (
        problem.config,
        cells(problem.config),
        available(device),
        _product_rate(device),
    )
    none, ridges = (Grid(np.array(values), summed=False) for values in ((), config.ridges))
    curve = Grid(np.array(CURVE_RIDGES), summed=True)
    modes = [SOLVERS["eigen"].cost(problem.path(n, tested=False), [n], none) for n, _ in todo]
    sizes = curve_sizes(config, problem.from_gram).tolist()
    paths = [path_cost(problem.path(n), [n], ridges, memory) for n, _ in todo]
    paths += [path_cost(problem.path(config.train), sizes, curve, memory)]
    spectra = 8 * sum(problem.rank(n) * (problem.classes + 1) for n, _ in todo)
    rows = 250 * (len(todo) * len(config.ridges) + len(sizes) * len(CURVE_RIDGES))
    return [
        _solve_cost("spectrum", problem, modes, spectra, rate),
        _solve_cost("risk", problem, paths, rows, rate),
        _solve_cost("theory", problem, [_study(problem, none)], rows, rate),
    ]


def _study(problem: _Problem, none: Grid) -> Cost:
    """One eigensolve of the pool, and what each sample moves: two products of modes and
    coefficients at each δ.
    """
    n = problem.config.train
    whole = SOLVERS["eigen"].cost(problem.path(n, tested=False), [n], none)
    products = 4.0 * _INFLUENCES * n * problem.rank(n) * problem.classes
    kept = 8 * (3 * _INFLUENCES * n + n * problem.rank(n))
    return Cost(whole.flops + products, whole.bytes + kept)


def _solve_cost(
    stage: str, problem: _Problem, costs: list[Cost], disk: int, rate: float
) -> StageCost:
    flops = sum(cost.flops for cost in costs)
    return StageCost(
        stage, flops, problem.pool_bytes + max(cost.bytes for cost in costs), disk, flops / rate
    )


def _product_rate(device: torch.device, dtype: torch.dtype = torch.float64) -> float:
    """Operations a second of a product of two square matrices."""
    square = torch.ones(_PROBE, _PROBE, dtype=dtype, device=device)
    return 2.0 * len(square) ** 3 / _seconds(lambda: square @ square, device)


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """The shorter of two runs after a warm-up, on the device's own clock."""
    times = []
    for _ in range(3):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - started)
    return min(times[1:])
