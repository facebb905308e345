"""What a run costs before it runs: operations and bytes counted, rates measured.

Each stage counts its own operations in `cost(workload)`, beside its work. Their time is that of a
small problem of the same kind, measured for a few seconds on the device. Large dense problems run
nearer to the peak than the small ones, so long stages tend to end early.
"""

import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from rmtgen.datasets import dataset_files
from rmtgen.datasets.catalogue import open_splits
from rmtgen.datasets.feature_rows import dimension
from rmtgen.datasets.source import Access, data_root
from rmtgen.device import default_device
from rmtgen.errors import CorruptInputError, MissingInputError
from rmtgen.linalg.modes import feature_modes, gram_modes
from rmtgen.rates import Rates
from rmtgen.ridge import SOLVERS
from rmtgen.ridge.columns import BUDGETED
from rmtgen.ridge.kernel import FeatureKernel, GramKernel
from rmtgen.ridge.primal import cost_tall_spectrum
from rmtgen.ridge.problem import Cost, Grid, Problem
from rmtgen.ridge.stored import Kernel, StoredKernel
from rmtgen.runs.config import Config
from rmtgen.runs.graph import DECLARED, RANKED, RUN_STAGES, solves_gram
from rmtgen.store.gram_layout import GramLayout

if TYPE_CHECKING:
    from rmtgen.kernels.entk import Plan
    from rmtgen.models.backbones import Backbone

WORKERS = (1, 8, 64)
"""Numbers of workers that every run is planned for."""
ASSUMED_CLASSES = 100
"""Classes of a data set that is not there yet."""
PROBE_IMAGES = 16
"""Largest number of images in a pass that is timed."""
PROBE_SIDE = 32
"""Side in pixels of the picture whose transform is timed for the plan."""
SOLVE_PROBE = 800
"""Largest number of samples of the eigensolve that is timed."""


@dataclass(frozen=True)
class StageCost:
    """The cost of one stage of one run.

    Attributes:
        flops: Floating-point operations.
        ram: Peak bytes of memory above the interpreter's.
        disk: Bytes left on disk.
        seconds: Predicted wall time on the machine with nothing else to do.
        longest: Seconds of its longest unit; None where it is not divided.
        shared: Seconds on several workers, by their number, where they were simulated.
    """

    flops: float
    ram: int
    disk: int
    seconds: float
    longest: float | None = None
    shared: Mapping[int, float] = field(default_factory=dict)

    def after(self, first: "StageCost") -> "StageCost":
        """This cost where every process does something else first."""
        return replace(
            self,
            flops=self.flops + first.flops,
            ram=max(self.ram, first.ram),
            seconds=self.seconds + first.seconds,
            longest=None if self.longest is None else self.longest + first.seconds,
            shared={count: alone + first.seconds for count, alone in self.shared.items()},
        )

    def on(self, workers: int) -> float:
        """Seconds on so many workers, such as this machine; no unit is divided."""
        if workers in self.shared:
            return self.shared[workers]
        if self.longest is None:
            return self.seconds
        return max(self.seconds / workers, self.longest)


class Workload:
    """The sizes of one run: N train, M test, p features, c outputs, l ridges.

    Attributes:
        config: The run.
        classes: Number of classes c to count with.
        rates: Measured speed of the device that it runs on.
    """

    def __init__(self, config: Config, classes: int, rates: Rates):
        self.config, self.classes, self.rates = config, classes, rates

    @property
    def device(self) -> torch.device:
        """The device that the run computes on."""
        return self.rates.device

    @cached_property
    def members(self) -> tuple["Workload", ...]:
        """The workloads of what a concatenation puts side by side."""
        return tuple(Workload(one, self.classes, self.rates) for one in self.config.members)

    @cached_property
    def backbone(self) -> "Backbone":
        """The backbone with random weights, which cost the same as pretrained ones."""
        # here, because it imports timm and torchvision, which most stages do without
        from rmtgen.models.backbones import load_backbone
        from rmtgen.models.inner_layers import at_layer

        config = self.config
        sizes = {"img_size": config.img_size, "transform": config.transform}
        backbone = load_backbone(config.model, init="random", **sizes)
        if config.layer is None:
            return backbone
        return at_layer(backbone, config.layer, pooling=config.pooling)

    @cached_property
    def entk(self) -> "Plan":
        """The plan of the kernel of an eNTK run."""
        # here, because the stage imports this module
        from rmtgen.stages.tangent import tangent_plan

        return tangent_plan(self.config, self.rates, self.workers)

    @cached_property
    def calibration(self) -> StageCost:
        """What a process that opens the backbone does first; nothing where it is not calibrated."""
        # here, because the module imports this one
        from rmtgen.stages.calibrating import cost

        return cost(self)

    @property
    def workers(self) -> list[int]:
        """Numbers of workers to plan for: `WORKERS`, and those of a cluster of this machine."""
        cluster = str(self.config.cluster or "")
        return sorted({*WORKERS, *([int(cluster)] if cluster.isdigit() else [])})

    @cached_property
    def transform_seconds(self) -> float:
        """Seconds of the transform of one small picture."""
        picture = Image.new("RGB", (PROBE_SIDE, PROBE_SIDE))
        return self.rates.seconds(lambda: self.backbone.transform(picture))

    @property
    def images(self) -> int:
        """Number of images, N + M."""
        return self.config.train + self.config.test

    @property
    def dim(self) -> int:
        """Dimension p of the features, or of the sketch in their place."""
        if self.members:
            return sum(member.dim for member in self.members)
        if not self.config.has_network:
            return dimension(self.config.dataset)
        return self.config.projection or self.backbone.feature_dim

    @property
    def from_gram(self) -> bool:
        """Whether the run is solved from its Gram matrix."""
        return solves_gram(self.config, self.dim)

    @property
    def pool_bytes(self) -> int:
        """Bytes of the pool and its test rows, as `load_pool` holds them, and of a subset."""
        config = self.config
        if not self.from_gram:
            mapped = config.spill and self.device.type == "cpu"
            return 4 * (config.test if mapped else self.images) * self.dim
        if config.solver in BUDGETED:
            return 0
        return 2 * int(config.gram_dtype.removeprefix("float")) // 8 * self.images * config.train

    def rank(self, n: int) -> int:
        """Largest rank of the kernel of n samples."""
        return n if self.from_gram else min(n, self.dim)

    def problem(self, n: int, *, tests: int) -> Problem:
        """The ridge problem of n samples and some test samples, by its shapes alone."""
        width = n if self.from_gram else self.dim
        train, test = _shape(n, width), _shape(tests, width) if tests else None
        config = self.config
        named = config.solver != "auto"
        budget = config.memory if named else math.inf
        spill = Path(config.spill) if named and config.spill else None
        form = GramKernel if self.from_gram else FeatureKernel
        kernel: Kernel = form(train, test, budget, spill)
        if self.from_gram and config.solver in BUDGETED:
            layout = GramLayout(n, tests, config.gram_dtype, config.tile)
            order = torch.empty(n, dtype=torch.int64, device="meta")
            kernel = StoredKernel(layout, self.device, budget, spill=spill, order=order)
        targets = _shape(n, self.classes)
        test_targets = _shape(tests, self.classes) if tests else None
        intercept = self.config.targets == "intercept"
        loo = self.config.loo and tests > 0
        return Problem(kernel, targets, test_targets, loo, intercept, None, None)

    def solves(self, costs: list[Cost], disk: int) -> StageCost:
        """The cost of a stage that solves problems from the pool, one after another."""
        flops, largest = sum(cost.flops for cost in costs), max(cost.bytes for cost in costs)
        rate, longest = self._solve_rate, max(cost.flops for cost in costs)
        return StageCost(flops, self.pool_bytes + largest, disk, flops / rate, longest / rate)

    @cached_property
    def _solve_rate(self) -> float:
        """Counted operations per second of a small eigensolve from the same kind of pool.

        The solvers count in operations of a large product, but use several threads less well.
        """
        n = min(self.config.train, SOLVE_PROBE)
        counted = eigen_cost(self.problem(n, tests=0), n)
        features = torch.randn(n, n if self.from_gram else self.dim, dtype=torch.float64)
        features = features.to(self.device)
        if not self.from_gram:
            return counted.flops / self.rates.seconds(lambda: feature_modes(features))
        gram = features @ features.mT
        return counted.flops / self.rates.seconds(lambda: gram_modes(gram))


def eigen_cost(problem: Problem, n: int) -> Cost:
    """The cost of one eigensolve of n samples, without a ridge."""
    return SOLVERS["eigen"].cost(problem, [n], Grid(np.array(()), summed=False))


def spectrum_cost(problem: Problem, n: int) -> Cost:
    """The cost of the spectrum of n samples, as `Pool.spectra` makes it."""
    if problem.width and n - problem.intercept > problem.width:
        return cost_tall_spectrum(problem, n)
    return eigen_cost(problem, n)


def _shape(*lengths: int) -> torch.Tensor:
    return torch.empty(lengths, dtype=torch.float64, device="meta")


@dataclass(frozen=True)
class Estimate:
    """The predicted cost of one run.

    Attributes:
        stages: Cost of each stage that the run needs, by its name.
        load: Factor that other work on the machine adds to the wall time, as measured now.
        entk: The plan of the kernel of an eNTK run, weight by weight.
        workers: Numbers of workers that were planned for.
    """

    stages: dict[str, StageCost]
    load: float
    entk: "Plan | None" = None
    workers: Sequence[int] = WORKERS

    @property
    def seconds(self) -> float:
        """Wall time of all stages on the machine with nothing else to do."""
        return sum(cost.seconds for cost in self.stages.values())

    def on(self, workers: int) -> float:
        """Wall time of all stages on so many workers."""
        return sum(cost.on(workers) for cost in self.stages.values())


def count_classes(config: Config) -> int:
    """The number of classes of a run's data set, and `ASSUMED_CLASSES` where it is not there yet.

    Raises:
        UsageError: The name is unknown, or the data set has fewer than two classes.
    """
    try:
        if not dataset_files(config.dataset, config.data_root):
            return ASSUMED_CLASSES
        split, root = "test" if config.test else "train", data_root(config.data_root)
        access = Access(root, undivided=not config.test, labelling=config.labelling)
        data = open_splits(config.dataset, (split,), access)[split]
    except (MissingInputError, CorruptInputError):
        return ASSUMED_CLASSES
    return len(data.classes)


def estimate(config: Config, stages: Sequence[str] | None = None) -> Estimate:
    """The cost of every stage of one run: counted operations over measured rates.

    Neither the data nor the weights of the run are needed.

    Args:
        config: The run.
        stages: Those that are wanted; None: all but `report` or `rank`, which are joint to several
            runs. Without test images the run is for a ranking, and has its stages.

    Returns:
        Cost per stage. The features of a concatenation cost what those of its members do, and are
        not counted once more.

    Raises:
        UsageError: Unknown backbone or data set, or an image size that the backbone cannot take.
    """
    rates = Rates(default_device(config.device))
    workload = Workload(config, count_classes(config), rates)
    kind = RUN_STAGES if config.test else RANKED[:-1]
    needed = [name for name in stages or kind if DECLARED[name].needed(config, workload.dim)]
    modules = {name: importlib.import_module(f"rmtgen.stages.{name}") for name in needed}
    costs = {name: module.cost(workload) for name, module in modules.items()}
    kernel = workload.entk if config.tangent else None
    return Estimate(costs, rates.load, kernel, workload.workers)
