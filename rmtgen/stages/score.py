"""Stage `score`: features or Gram matrix -> what a ridge probe says of new images: score.h5."""

import numpy as np
import pandas as pd

from rmtgen.device import default_device
from rmtgen.ranking.areas import area_bytes, area_cost
from rmtgen.ranking.balanced import balanced_probe
from rmtgen.ranking.best_ridge import tall
from rmtgen.ranking.explained import NUMBERS
from rmtgen.ranking.probe import FIGURES, LOOKED, Probe
from rmtgen.ridge.eigen import EIGENSOLVE_COST
from rmtgen.ridge.path import resolve_ridges
from rmtgen.ridge.pool import Pool
from rmtgen.ridge.problem import Cost
from rmtgen.ridge.strata import require_pairs
from rmtgen.runs.config import Config
from rmtgen.runs.run import load_run
from rmtgen.runs.stored import AREA, CLASSES, EXPLAINED, PROBED
from rmtgen.stages.cost import StageCost, Workload, eigen_cost
from rmtgen.stages.engine import Job, Result
from rmtgen.stages.pool import load_pool
from rmtgen.stages.study import kernel_features, to_arrays
from rmtgen.stages.theory import INFLUENCES
from rmtgen.store import durable
from rmtgen.store.shards import hdf5_image

SCORE = "score.h5"
TRIED = 0.25
"""Share of the ridges whose leave-one-out risk is computed, hardly ever exceeded."""
FITTED = 17
"""Number of products of all modes with all outputs beside: of the fit, of what errors are predicted
from, and of the noise of smaller fits."""


def work(job: Job) -> Result:
    """Probe the whole pool."""
    config = job.config
    if config.balanced:
        run = load_run(job.folder)
        require_pairs(run.labels.train, run.classes)
    pool = load_pool(job.folder, config, default_device(config.device))
    probe = probed(pool, config, kernel_features(load_run(job.folder), config))
    durable.write_bytes(job.folder / SCORE, hdf5_image(_arrays(probe)))
    details = {"ridge": probe.best["ridge"], "loo": probe.best["loo"]}
    return Result([job.folder / SCORE], headline(probe), details)


def probed(pool: Pool, config: Config, features: int | None) -> Probe:
    """The probe of a pool, of the ridges of a configuration.

    Args:
        pool: The training samples.
        config: The run.
        features: As for `Probe.of`.
    """
    ridges = resolve_ridges(config.ridges, pool.trace, len(pool))
    problem = pool.problem(np.arange(len(pool)), loo=True)
    if config.balanced:
        return balanced_probe(problem, ridges)
    return Probe.of(problem, ridges, features, config.task)


def headline(probe: Probe) -> str:
    """Risk and accuracy of a probe, in one line."""
    best, accuracy = probe.best, 100 * (1 - probe.figures["error"])
    kind = "balanced " if probe.balanced else ""
    said = f"{kind}LOO risk {best['loo']:.4f} [{best['loo_low']:.4f}, {best['loo_high']:.4f}]"
    said += f", {kind}accuracy {accuracy:.1f} %" if np.isfinite(accuracy) else ""
    return said + (f", R² {probe.explained.r2:.3f}" if probe.explained else "")


def _arrays(probe: Probe) -> dict[str, np.ndarray]:
    doubts = pd.DataFrame({"message": list(probe.doubts)}, dtype=str)
    tables = {"path": probe.path, "outlook": probe.outlook, "doubts": doubts}
    explained, numbers = probe.explained, dict[str, np.ndarray]()
    if explained is not None:
        tables[EXPLAINED] = explained.outputs
        numbers = {name: np.array(getattr(explained, name)) for name in NUMBERS}
        area = vars(explained.area).items()
        numbers |= {f"{AREA}/{name}": np.array(value) for name, value in area}
    if probe.classes is not None:
        numbers[CLASSES] = probe.classes
    return {
        **{
            f"{name}/{column}": values
            for name, table in tables.items()
            for column, values in to_arrays(table).items()
        },
        **{name: getattr(probe, name) for name in PROBED},
        **numbers,
        "figures": np.array([probe.figures[name] for name in FIGURES]),
    }


def cost(workload: Workload) -> StageCost:
    """One decomposition of the pool, products of its modes with outputs, and AUCs of labels."""
    n, classes, rank = workload.config.train, workload.classes, workload.rank(workload.config.train)
    problem = workload.problem(n, tests=0)
    is_tall = problem.width is not None and tall(n, problem.width)
    whole = tall_cost(n, rank) if is_tall else eigen_cost(problem, n)
    ridges = len(workload.config.ridges)
    products = 2.0 * n * rank * (ridges + (ridges * TRIED + FITTED) * classes)
    influences = 4.0 * min(n, LOOKED) * rank * INFLUENCES * min(rank / 2, classes)
    taken, held = whole.flops + products / (2 if is_tall else 1) + influences, whole.bytes
    if workload.config.task == "labels":
        taken, held = taken + area_cost(n, rank, classes), held + area_bytes(n)
    return workload.solves([Cost(taken, held)], 8 * 4 * n)


def tall_cost(n: int, p: int) -> Cost:
    """The cost of `tall_modes`, whose products in float32 take half of the time of others."""
    flops = float(n) * p**2 + 2.0 * n * p**2 / 2 + EIGENSOLVE_COST * float(p) ** 3
    return Cost(flops, 4 * n * p + 8 * 6 * p**2)
