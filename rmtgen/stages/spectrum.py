"""Stage `spectrum`: gram or features -> spectrum.h5."""

import itertools
from collections.abc import Iterator, Sequence

from rmtgen.device import default_device
from rmtgen.errors import CapacityError
from rmtgen.linalg.cells import Cell
from rmtgen.linalg.spectrum import Spectra, Spectrum
from rmtgen.ridge.columns import BUDGETED
from rmtgen.ridge.stored import StoredKernel
from rmtgen.stages.cost import StageCost, Workload, spectrum_cost
from rmtgen.stages.division import Division, Unit, complete
from rmtgen.stages.engine import Job, Result
from rmtgen.stages.pool import cells, load_pool, too_large
from rmtgen.store import durable
from rmtgen.store.shards import hdf5_image


class Eigensolves(Division):
    """The modes of every (n, trial) that the budget allows."""

    noun = "eigensolve"

    def __init__(self, job: Job):
        self.job, self.shards = job, job.parts()
        self.pool = load_pool(job.folder, job.config, default_device(job.config.device))
        self.left_out = None
        self.cells = {cell.name: cell for cell in self._affordable()}
        self.units = [Unit(name, (name,), float(cell.n) ** 3) for name, cell in self.cells.items()]

    def _affordable(self) -> list[Cell]:
        """The (n, trial) whose eigensolve keeps to the budget, where the Gram matrix must.

        Raises:
            CapacityError: None of them does.
        """
        config, wanted = self.job.config, cells(self.job.config)
        if not isinstance(self.pool.kernel, StoredKernel):
            return wanted
        kept = [cell for cell in wanted if too_large(config, cell.n) is None]
        if len(kept) < len(wanted):
            self.left_out = too_large(config, max(config.sizes))
        if not kept:
            raise CapacityError(f"{self.left_out}. Raise memory, or add a smaller size to sizes.")
        return kept

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
        headline, details = f"{len(self.cells)} eigensolves from the {kind}", {"solved_from": kind}
        if self.left_out:
            headline += f"; larger sizes are left out: {self.left_out}"
            details["left_out"] = self.left_out
        return Result([path], headline, details)


divide = Eigensolves


def work(job: Job) -> Result:
    """All of it, in this process."""
    return complete(job, Eigensolves(job))


def cost(workload: Workload) -> StageCost:
    """One eigensolve per (n, trial), without a ridge."""
    config = workload.config
    todo = cells(config)
    if workload.from_gram and config.solver in BUDGETED:
        todo = [cell for cell in todo if too_large(config, cell.n) is None]
    costs = [spectrum_cost(workload.problem(n, tests=0), n) for n, _ in todo]
    disk = 8 * sum(workload.rank(n) * (workload.classes + 1) for n, _ in todo)
    return workload.solves(costs, disk)
