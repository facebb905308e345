"""Stage `risk`: gram or features -> risk.csv, curve.csv, each with a description of its columns."""

import functools

import numpy as np
import pandas as pd

from rmtgen.device import available, default_device
from rmtgen.ridge import path_cost
from rmtgen.ridge.columns import CURVE_COLUMNS, RISK_COLUMNS
from rmtgen.ridge.pool import CURVE_RIDGES
from rmtgen.ridge.problem import Grid
from rmtgen.runs.columns import write_table
from rmtgen.stages.cost import StageCost, Workload
from rmtgen.stages.engine import Job, Result
from rmtgen.stages.pool import cells, curve_sizes, load_pool

ROW_BYTES = 250
"""Bytes of a row of a CSV, about."""
CURVE = "curve"
"""The name of the curve among the parts, beside those of the (n, trial)."""


def work(job: Job) -> Result:
    """Solve every (n, trial) that is not there yet, and the learning curve; gather them."""
    config, parts, wanted = job.config, job.parts(), cells(job.config)
    pool = load_pool(job.folder, config, default_device(config.device))
    options = {"seed": config.seed, "loo": config.loo}
    pending = [cell for cell in wanted if cell.name not in parts]
    for cell in job.progress(pending, len(wanted), "fit", done=len(wanted) - len(pending)):
        path = pool.risk(cell, config.ridges, **options)
        parts.write(cell.name, {column: path[column].to_numpy() for column in RISK_COLUMNS})
    if CURVE not in parts:
        sizes = curve_sizes(config, pool.is_gram)
        curve = pool.curve(sizes, CURVE_RIDGES, **options)
        parts.write(CURVE, {column: curve[column].to_numpy() for column in CURVE_COLUMNS})
    frames = (pd.DataFrame(parts.read(cell.name)) for cell in wanted)
    table = pd.concat(frames, ignore_index=True)[list(RISK_COLUMNS)]
    curve = pd.DataFrame(parts.read(CURVE))[list(CURVE_COLUMNS)]
    return Result(
        write_table(job.folder / "risk.csv", table, "Risk at every sample size, trial and ridge")
        + write_table(
            job.folder / "curve.csv", curve, "Learning curve dense in n, at fixed sum ridges"
        ),
        f"{len(table)} rows over {len(config.sizes)} sizes",
        {"rows": len(table)},
    )


def cost(workload: Workload) -> StageCost:
    """The ridge path of every (n, trial), and the dense learning curve, by the cheapest solvers."""
    config, memory = workload.config, available(workload.device)
    ridges = Grid(np.array(config.ridges), summed=False)
    curve = Grid(np.array(CURVE_RIDGES), summed=True)
    sizes, todo = curve_sizes(config, workload.from_gram).tolist(), cells(config)
    problem = functools.partial(workload.problem, tests=config.test)
    costs = [path_cost(problem(n), [n], ridges, memory) for n, _ in todo]
    costs.append(path_cost(problem(config.train), sizes, curve, memory))
    rows = len(todo) * len(config.ridges) + len(sizes) * len(CURVE_RIDGES)
    return workload.solves(costs, ROW_BYTES * rows)
