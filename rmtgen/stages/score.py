"""Stage `score`: features or Gram matrix -> what a ridge probe says of new images: score.h5."""

import numpy as np
import pandas as pd

from rmtgen.device import default_device
from rmtgen.ranking.probe import FIGURES, Probe
from rmtgen.ridge.path import resolve_ridges
from rmtgen.ridge.problem import Cost
from rmtgen.runs.run import load_run
from rmtgen.runs.stored import PROBED
from rmtgen.stages.cost import StageCost, Workload, eigen_cost
from rmtgen.stages.engine import Job, Result
from rmtgen.stages.pool import load_pool
from rmtgen.stages.study import kernel_features, to_arrays
from rmtgen.stages.theory import INFLUENCES
from rmtgen.store import durable
from rmtgen.store.shards import hdf5_image
from rmtgen.theory.registry import errors_made

SCORE = "score.h5"


def work(job: Job) -> Result:
    """Probe the whole pool."""
    config = job.config
    pool = load_pool(job.folder, config, default_device(config.device))
    ridges = resolve_ridges(config.ridges, pool.trace, len(pool))
    problem = pool.problem(np.arange(len(pool)), loo=True)
    probe = Probe.of(problem, ridges, kernel_features(load_run(job.folder), config))
    durable.write_bytes(job.folder / SCORE, hdf5_image(_arrays(probe)))
    best, accuracy = probe.best, 100 * (1 - probe.figures["error"])
    headline = f"LOO risk {best['loo']:.4f} [{best['loo_low']:.4f}, {best['loo_high']:.4f}]"
    headline += f", accuracy {accuracy:.1f} %" if np.isfinite(accuracy) else ""
    return Result([job.folder / SCORE], headline, {"ridge": best["ridge"], "loo": best["loo"]})


def _arrays(probe: Probe) -> dict[str, np.ndarray]:
    doubts = pd.DataFrame({"message": list(probe.doubts)}, dtype=str)
    tables = {"path": probe.path, "outlook": probe.outlook, "doubts": doubts}
    return {
        **{
            f"{name}/{column}": values
            for name, table in tables.items()
            for column, values in to_arrays(table).items()
        },
        **{name: getattr(probe, name) for name in PROBED},
        "figures": np.array([probe.figures[name] for name in FIGURES]),
    }


def cost(workload: Workload) -> StageCost:
    """One eigensolve of the pool, and products of modes per influence and error."""
    n, classes = workload.config.train, workload.classes
    whole, rank = eigen_cost(workload.problem(n, tests=0), n), workload.rank(n)
    ridges = len(workload.config.ridges)
    products = 2.0 * n * rank * (INFLUENCES * min(rank, 2 * classes) + 2 * ridges * classes)
    products += 2.0 * errors_made(n, rank, classes, 1, ridges) * n * rank * classes
    return workload.solves([Cost(whole.flops + products, whole.bytes)], 8 * 4 * n)
