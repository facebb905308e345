"""Stage `spectrum`: gram or features -> spectrum.h5."""

import itertools
from collections.abc import Iterator, Sequence

from rmtgen.device import default_device
from rmtgen.linalg.spectrum import Spectra, Spectrum
from rmtgen.stages.cost import StageCost, Workload, eigen_cost
from rmtgen.stages.division import Division, Unit, complete
from rmtgen.stages.engine import Job, Result
from rmtgen.stages.pool import cells, load_pool
from rmtgen.store import durable
from rmtgen.store.shards import hdf5_image


class Eigensolves(Division):
    """The modes of every (n, trial)."""

    noun = "eigensolve"

    def __init__(self, job: Job):
        self.job, self.shards = job, job.parts()
        self.pool = load_pool(job.folder, job.config, default_device(job.config.device))
        self.cells = {cell.name: cell for cell in cells(job.config)}
        self.units = [Unit(name, (name,), float(cell.n) ** 3) for name, cell in self.cells.items()]

    def make(self, units: Sequence[Unit]) -> Iterator[str]:
        """Solve some (n, trial), those of one size that follow one another together."""
        config, pool = self.job.config, self.pool
        wanted = (self.cells[unit.name] for unit in units)
        for _, group in itertools.groupby(wanted, key=lambda cell: cell.n):
            some = list(group)
            orders = [cell.order(config.seed, config.train) for cell in some]
            solved = pool.spectra(orders, config.memory)
            for cell, spectrum in zip(some, solved, strict=True):
                self.shards.write(cell.name, spectrum.save())
                yield cell.name

    def gather(self) -> Result:
        """All spectra in one file."""
        path = self.job.folder / "spectrum.h5"
        spectra = Spectra(
            {cell: Spectrum.load(self.shards.read(name)) for name, cell in self.cells.items()}
        )
        durable.write_bytes(path, hdf5_image(spectra.save()))
        kind = "Gram matrix" if self.pool.is_gram else "features"
        return Result(
            [path], f"{len(self.cells)} eigensolves from the {kind}", {"solved_from": kind}
        )


divide = Eigensolves


def work(job: Job) -> Result:
    """All of it, in this process."""
    return complete(job, Eigensolves(job))


def cost(workload: Workload) -> StageCost:
    """One eigensolve per (n, trial), without a ridge."""
    todo = cells(workload.config)
    costs = [eigen_cost(workload.problem(n, tests=0), n) for n, _ in todo]
    disk = 8 * sum(workload.rank(n) * (workload.classes + 1) for n, _ in todo)
    return workload.solves(costs, disk)
