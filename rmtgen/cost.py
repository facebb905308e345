"""What a run will cost before it runs: operations counted, rates measured for a few seconds on the device, sizes exact.

A stage's time is its operation count over the rate of a small problem of the same kind, so it is a forecast for this machine as loaded
now. Large dense problems run nearer the peak than the small ones measured here, so long stages tend to end early.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from rmtgen.backbones import Backbone, load_backbone
from rmtgen.config import Config
from rmtgen.entk import Entk, Plan, Sketch
from rmtgen.entk.plan import Noise, plan_blocks
from rmtgen.features import default_device, place
from rmtgen.gram import GramLayout
from rmtgen.pool import cells
from rmtgen.spectrum import feature_modes, gram_modes

_PROBE = 512
_MODE_FLOPS = 9.0
"""Operations of a symmetric eigensolve with vectors, in units of n³ (reduction 4/3, back-transformation 4, divide and conquer the rest)."""


@dataclass(frozen=True)
class StageCost:
    """What one stage of one run takes: operations, peak bytes above the interpreter, bytes left on disk, and seconds."""

    stage: str
    flops: float
    ram: int
    disk: int
    seconds: float


@dataclass(frozen=True)
class _Problem:
    """Sizes of one run: N train, M test, p features, c outputs (an upper bound where the data set is not there), l ridges."""

    config: Config
    dim: int
    classes: int

    @property
    def from_gram(self) -> bool:
        solve_from = self.config.solve_from
        return solve_from == "gram" or (solve_from == "auto" and self.config.train <= self.dim)

    @property
    def pool_bytes(self) -> int:
        return 8 * (self.config.train + self.config.test) * (self.config.train if self.from_gram else self.dim)

    def rank(self, n: int) -> int:
        return n if self.from_gram else min(n, self.dim)

    def mode_flops(self, n: int) -> float:
        rank = self.rank(n)
        return _MODE_FLOPS * rank**3 + (0 if self.from_gram else 4.0 * n * self.dim * rank)

    def path_flops(self, n: int) -> float:
        rank, ridges, samples = self.rank(n), len(self.config.ridges), n + self.config.test
        width = n if self.from_gram else self.dim
        return 2.0 * ridges * rank * (samples * self.classes + n) + 2.0 * self.config.test * width * rank


def estimate(config: Config, classes: int = 100) -> list[StageCost]:
    """The cost of every stage of one run, measured rates times counted operations.

    Args:
        config: the run. Neither its data nor its weights are needed: a randomly initialised backbone costs the same.
        classes: number of classes c to count with.

    Raises:
        UsageError: unknown backbone, or an image size it cannot take.
    """
    device = default_device(config.device)
    backbone = load_backbone(config.model, init="random", img_size=config.img_size)
    problem = _Problem(config, config.projection or backbone.feature_dim, classes)
    extract = _sketch(problem, device) if config.projection else _extract(problem, backbone, device)
    grams = (
        [_tangent_gram(config, device) if config.tangent else _gram(problem, device)] if config.needs("gram") else []
    )
    return [extract, *grams, *_solves(problem, device)]


def tangent_plan(config: Config) -> Plan:
    """What the gram stage of an eNTK run will do, weight by weight: the tiles of the store, train and test.

    Raises:
        UsageError: as `entk.entk_plan`.
    """
    return _plan_of(_tangent_kernel(config), config)


def _tangent_kernel(config: Config) -> Entk:
    model, images = _under_heads(config)
    settings = {"dtype": getattr(torch, config.gram_dtype), "by": "output" if config.heads else None}
    return Entk(model, images, device=config.device, memory=config.memory, **settings)


def _under_heads(config: Config) -> tuple[nn.Module, Noise]:
    settings = {"init": "random", "head": "random", "heads": config.heads or 1, "img_size": config.img_size}
    backbone = load_backbone(config.model, **settings)
    return backbone.model, Noise(config.train + config.test, backbone.input_size)


def _plan_of(kernel: Entk, config: Config) -> Plan:
    n, m = config.train, config.test
    tiles = GramLayout(n, m, config.gram_dtype, config.tile).tiles()
    blocks = [(range(t.row_start, t.row_stop), range(t.column_start, t.column_stop)) for t in tiles]
    return plan_blocks(kernel, blocks, f"({n:,} + {m:,}) × {n:,}", n * (n + 1) // 2 + m * n)


def _extract(problem: _Problem, backbone: Backbone, device: torch.device) -> StageCost:
    config = problem.config
    images, batch = config.train + config.test, min(config.batch_size, 16)
    model = place(backbone.model, device)
    probe = torch.zeros(batch, *backbone.input_size, device=device).contiguous(memory_format=torch.channels_last)
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
    return StageCost("extract", counter.get_total_flops() * images, weights + activations, features, seconds)


def _sketch(problem: _Problem, device: torch.device) -> StageCost:
    config = problem.config
    sketch = Sketch(*_under_heads(config), config.projection, device=config.device, memory=config.memory)
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
    square = torch.ones(2 * _PROBE, 2 * _PROBE, dtype=torch.float64, device=device)
    rate = 2.0 * len(square) ** 3 / _seconds(lambda: square @ square, device)
    ram = 4 * (config.train + config.test) * problem.dim + 6 * 8 * config.tile**2
    return StageCost("gram", flops, ram, layout.bytes_on_disk, flops / rate)


def _tangent_gram(config: Config, device: torch.device) -> StageCost:
    """Passes at the speed of a small batch, products at that of a matrix product of the kernel's type."""
    kernel = _tangent_kernel(config)
    plan, count = _plan_of(kernel, config), min(kernel.batch, 16)
    probe = torch.stack([kernel.passes.images[position] for position in range(count)]).to(device, kernel.passes.dtype)
    passing = _seconds(lambda: kernel.passes.capture(probe), device) / count
    square = torch.ones(2 * _PROBE, 2 * _PROBE, dtype=kernel.passes.dtype, device=device)
    rate = 2.0 * len(square) ** 3 / _seconds(lambda: square @ square, device)
    disk = GramLayout(config.train, config.test, config.gram_dtype, config.tile).bytes_on_disk
    return StageCost("gram", plan.flops, plan.memory_bytes, disk, plan.seconds(passing, rate))


def _solves(problem: _Problem, device: torch.device) -> list[StageCost]:
    config, todo = problem.config, cells(problem.config)
    generator = torch.Generator(device).manual_seed(0)
    features = torch.randn(2 * _PROBE, _PROBE, dtype=torch.float64, device=device, generator=generator)
    gram = features.T @ features
    solve = (lambda: gram_modes(gram)) if problem.from_gram else (lambda: feature_modes(features))
    probe_flops = _MODE_FLOPS * _PROBE**3 + (0 if problem.from_gram else 8.0 * _PROBE**3)
    rate = probe_flops / _seconds(solve, device)
    largest = max(config.sizes)
    modes = sum(problem.mode_flops(n) for n, _ in todo)
    paths = sum(problem.path_flops(n) for n, _ in todo)
    ram = problem.pool_bytes + 8 * largest * (3 * problem.rank(largest) + 4 * problem.classes)
    spectra = 8 * sum(problem.rank(n) * (problem.classes + 1) for n, _ in todo)
    rows = 250 * len(todo) * len(config.ridges)
    return [
        StageCost("spectrum", modes, ram, spectra, modes / rate),
        StageCost("risk", modes + paths, ram, rows, (modes + paths) / rate),
    ]


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
