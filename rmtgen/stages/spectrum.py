"""Stage `spectrum`: gram or features -> spectrum.h5."""

import itertools

from rmtgen.device import default_device
from rmtgen.linalg.spectrum import Spectra, Spectrum
from rmtgen.stages.cost import StageCost, Workload, eigen_cost
from rmtgen.stages.engine import Job, Result
from rmtgen.stages.pool import cells, load_pool
from rmtgen.store import durable
from rmtgen.store.shards import hdf5_image


def work(job: Job) -> Result:
    """Solve every (n, trial) that is not there yet, one size at a time; gather them."""
    config, parts, wanted = job.config, job.parts(), cells(job.config)
    pool = load_pool(job.folder, config, default_device(config.device))
    pending = [cell for cell in wanted if cell.name not in parts]
    groups = [list(group) for _, group in itertools.groupby(pending, key=lambda cell: cell.n)]
    for group in job.progress(
        groups, len(config.sizes), "size", done=len(config.sizes) - len(groups)
    ):
        orders = [cell.order(config.seed, config.train) for cell in group]
        for cell, order, modes in zip(
            group, orders, pool.modes(orders, config.memory), strict=True
        ):
            parts.write(cell.name, Spectrum.of(modes, pool.targets.values[order]).save())
    spectra = Spectra({cell: Spectrum.load(parts.read(cell.name)) for cell in wanted})
    durable.write_bytes(job.folder / "spectrum.h5", hdf5_image(spectra.save()))
    kind = "Gram matrix" if pool.is_gram else "features"
    return Result(
        [job.folder / "spectrum.h5"],
        f"{len(wanted)} eigensolves from the {kind}",
        {"solved_from": kind},
    )


def cost(workload: Workload) -> StageCost:
    """One eigensolve per (n, trial), without a ridge."""
    todo = cells(workload.config)
    costs = [eigen_cost(workload.problem(n, tests=0), n) for n, _ in todo]
    disk = 8 * sum(workload.rank(n) * (workload.classes + 1) for n, _ in todo)
    return workload.solves(costs, disk)
