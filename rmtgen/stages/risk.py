"""Stage `risk`: gram or features -> risk.csv, curve.csv, each with a description of its columns."""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rmtgen.device import available, default_device
from rmtgen.ridge import path_cost
from rmtgen.ridge.columns import CURVE_COLUMNS, ERROR_COLUMNS, ESTIMATING, RISK_COLUMNS
from rmtgen.ridge.pool import CURVE_RIDGES
from rmtgen.ridge.problem import Grid
from rmtgen.runs.columns import write_table
from rmtgen.runs.config import Config
from rmtgen.stages.cost import StageCost, Workload
from rmtgen.stages.division import Division, Unit, complete
from rmtgen.stages.engine import Job, Result
from rmtgen.stages.pool import cells, curve_sizes, load_pool

ROW_BYTES = 250
"""Bytes of a row of a CSV, about."""
CURVE = "curve"
"""The name of the curve among the parts, beside those of the (n, trial)."""


class Solves(Division):
    """The ridge path of every (n, trial), and the learning curve."""

    noun = "fit"

    def __init__(self, job: Job):
        self.job, self.shards = job, job.parts()
        config = job.config
        self.pool = load_pool(job.folder, config, default_device(config.device))
        self.cells = {cell.name: cell for cell in cells(config)}
        # all fits together cost about as much as the curve, which ends at the largest size
        self.units = [
            *(Unit(name, (name,), float(cell.n) ** 3) for name, cell in self.cells.items()),
            Unit(CURVE, (CURVE,), float(config.train) ** 3),
        ]

    def make(self, units: Sequence[Unit]) -> Iterator[str]:
        """Solve some (n, trial), and the curve."""
        for unit in units:
            self.shards.write(unit.name, self._solve(unit.name))
            yield unit.name

    def _solve(self, name: str) -> dict[str, np.ndarray]:
        config = self.job.config
        options = {"seed": config.seed, "loo": config.loo, **how(config)}
        if name == CURVE:
            sizes = curve_sizes(config, self.pool.is_gram)
            curve = self.pool.curve(sizes, CURVE_RIDGES, **options)
            return {column: curve[column].to_numpy() for column in curve}
        path = self.pool.risk(self.cells[name], config.ridges, **options)
        return {column: path[column].to_numpy() for column in path}

    def gather(self) -> Result:
        """Both tables."""
        folder = self.job.folder
        frames = (pd.DataFrame(self.shards.read(name)) for name in self.cells)
        errors = ERROR_COLUMNS if self.job.config.solver == ESTIMATING else ()
        table = pd.concat(frames, ignore_index=True)[[*RISK_COLUMNS, *errors]]
        curve = pd.DataFrame(self.shards.read(CURVE))[[*CURVE_COLUMNS, *errors]]
        return Result(
            write_table(folder / "risk.csv", table, "Risk at every sample size, trial and ridge")
            + write_table(
                folder / "curve.csv", curve, "Learning curve dense in n, at fixed sum ridges"
            ),
            f"{len(table)} rows over {len(self.job.config.sizes)} sizes",
            {"rows": len(table)},
        )


divide = Solves


def work(job: Job) -> Result:
    """All of it, in this process."""
    return complete(job, Solves(job))


def how(config: Config) -> dict[str, Any]:
    """How a ridge path is solved: within the budget, where a solver is named."""
    if config.solver == "auto":
        return {}
    spill = Path(config.spill) if config.spill else None
    return {"solver": config.solver, "memory": config.memory, "spill": spill}


def cost(workload: Workload) -> StageCost:
    """The ridge path of every (n, trial), and the dense learning curve, by the cheapest solvers."""
    config, memory = workload.config, available(workload.device)
    ridges = Grid(np.array(config.ridges), summed=False)
    curve = Grid(np.array(CURVE_RIDGES), summed=True)
    sizes, todo = curve_sizes(config, workload.from_gram).tolist(), cells(config)
    problem = functools.partial(workload.problem, tests=config.test)
    name = config.solver
    costs = [path_cost(problem(n), [n], ridges, memory, name) for n, _ in todo]
    costs.append(path_cost(problem(config.train), sizes, curve, memory, name))
    rows = len(todo) * len(config.ridges) + len(sizes) * len(CURVE_RIDGES)
    return workload.solves(costs, ROW_BYTES * rows)
