"""Stage `theory`: spectrum, risk, and the pool itself -> theory.csv, theory.h5."""

import logging

from rmtgen.device import default_device
from rmtgen.errors import CapacityError, NumericalError, UsageError
from rmtgen.ridge.columns import BUDGETED
from rmtgen.ridge.problem import Cost
from rmtgen.runs.columns import write_table
from rmtgen.runs.config import Config
from rmtgen.runs.graph import solves_gram
from rmtgen.stages.cost import StageCost, Workload, eigen_cost
from rmtgen.stages.engine import Job, Result
from rmtgen.stages.naming import named
from rmtgen.stages.pool import cells, too_large
from rmtgen.stages.risk import ROW_BYTES
from rmtgen.stages.study import load_study, to_arrays, to_frame
from rmtgen.store import durable
from rmtgen.store.shards import hdf5_image
from rmtgen.theory import beyond, local_law
from rmtgen.theory.registry import PREDICTION_COLUMNS, errors_made
from rmtgen.theory.study import ANALYSES, FORECAST_FACTORS

log = logging.getLogger(__name__)

PREDICTIONS = "predictions"
SUSPECTS = "suspects"
INFLUENCES = 60
"""Number of auxiliary ridges of a study's influences, four per decade of the spectrum."""
SCORINGS = 4
"""Number of products of modes and targets that an error with its standard error takes: three, and
about one for what is done with their entries."""


def work(job: Job) -> Result:
    """Make every analysis that is not there yet, and gather them.

    An analysis that the run is too small for is left out, and the reason logged.
    """
    parts, left_out = job.parts(), {}
    if reason := _beyond(job.config, job.run.feature_dim):
        raise CapacityError(
            f"theory solves the whole pool: {reason}. The tables of `risk` are made without it."
            " Raise memory, or lower train."
        )
    study = load_study(job.folder, job.config, default_device(job.config.device))
    pending = [name for name in ANALYSES if name not in parts]
    for name in job.progress(pending, len(ANALYSES), "analysis", done=len(ANALYSES) - len(pending)):
        try:
            table = ANALYSES[name](study)
            if name == SUSPECTS:
                table = named(table, job.folder, job.config)
        except (UsageError, NumericalError) as error:
            if name == PREDICTIONS:
                raise
            left_out[name] = str(error)
            log.info(f"{job.config.run_name}: {name} left out: {error}")
            continue
        parts.write(name, to_arrays(table))
    made = [name for name in ANALYSES if name in parts]
    predictions = to_frame(parts.read(PREDICTIONS))[list(PREDICTION_COLUMNS)]
    tables = write_table(
        job.folder / "theory.csv",
        predictions,
        "Theories of the test risk, beside the measured risk",
    )
    arrays = {
        f"{name}/{column}": values for name in made for column, values in parts.read(name).items()
    }
    durable.write_bytes(job.folder / "theory.h5", hdf5_image(arrays))
    warned = to_frame(parts.read("trust"))["tripped"].sum() if "trust" in made else 0
    headline = f"{len(made)} analyses of {len(predictions)} fits, {warned} warnings of trust"
    return Result([*tables, job.folder / "theory.h5"], headline, {"left_out": left_out})


def _beyond(config: Config, feature_dim: int | None) -> str | None:
    """Why the pool of a run is not solved, where its solver keeps to a budget."""
    budgeted = config.solver in BUDGETED and solves_gram(config, feature_dim)
    return too_large(config, config.train) if budgeted else None


def cost(workload: Workload) -> StageCost:
    """One eigensolve of the pool, products of modes per influence and error, and other fits."""
    config, n = workload.config, workload.config.train
    whole = eigen_cost(workload.problem(n, tests=0), n)
    rank = workload.rank(n)
    products = 2.0 * INFLUENCES * n * rank * min(rank, 2 * workload.classes)
    grid = n, rank, workload.classes, len(config.sizes), len(config.ridges)
    errors = errors_made(*grid) + len(FORECAST_FACTORS)
    products += 2.0 * SCORINGS * errors * n * rank * workload.classes
    products += local_law.cost(n, rank, workload.classes)
    kept = 8 * (6 * INFLUENCES * n + n * rank + 6 * n * workload.classes)
    rows = len(cells(config)) * len(config.ridges)
    other = beyond.cost(n, config.test, workload.classes, len(config.ridges))
    flops, held = whole.flops + products + other.flops, max(whole.bytes, kept, other.bytes)
    return workload.solves([Cost(flops, held)], ROW_BYTES * rows)
