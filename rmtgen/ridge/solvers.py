"""The solvers of the ridge path by name, and the choice among them by cost.

A solver is a function of the checked problem, the sizes and the grid that returns one row of
`COLUMNS` per (size, ridge), sizes outer. It has the whole grid at once, so that it can share work
between sizes as well as between ridges. Where the digits of a faster solver are uncertain, it
returns None, and the eigensolve, which is accurate at every ridge, is to fill the gap.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from rmtgen.device import available
from rmtgen.errors import CapacityError, UsageError
from rmtgen.ridge.banded import cost_banded, solve_banded
from rmtgen.ridge.eigen import cost_eigen, solve_eigen
from rmtgen.ridge.kernel import GramKernel
from rmtgen.ridge.matrix_free import cost_matrix_free, solve_matrix_free
from rmtgen.ridge.nested import cost_nested, solve_nested
from rmtgen.ridge.primal import cost_primal, solve_primal
from rmtgen.ridge.problem import Cost, Grid, Problem
from rmtgen.ridge.streamed import cost_streamed, solve_streamed
from rmtgen.scalars import choice
from rmtgen.units import readable_bytes

CHEAP = 1e10
"""Number of operations, a fraction of a second, below which `auto` takes an eigensolve: faster
solvers lose some digits near interpolation."""


@dataclass(frozen=True)
class Solver:
    """A solver of the ridge path.

    Attributes:
        solve: Its function.
        cost: Its cost.
        refuses: Why it refuses a problem; None: it does not.
        exact: Whether its rows are no estimates; `auto` prefers those that are none.
    """

    solve: Callable[[Problem, list[int], Grid], list[dict | None]]
    cost: Callable[[Problem, list[int], Grid], Cost]
    refuses: Callable[[Problem], str | None] = lambda problem: None
    exact: bool = True


def _no_gram(problem: Problem) -> str | None:
    return (
        None if problem.width else "works on features, got a Gram matrix. Call ridge_path_features"
    )


def _no_estimate(problem: Problem) -> str | None:
    if problem.kernel.budget == inf:
        return "estimates within a budget, got none. Pass memory='4GiB'"
    return None


def _no_spill(problem: Problem) -> str | None:
    if isinstance(problem.kernel, GramKernel):
        return "reads features or a store, got a matrix in memory. Call ridge_path_stored"
    if problem.kernel.device.type == "cuda":
        return f"works on a CPU, got {problem.kernel.device}. Pass device='cpu'"
    if problem.kernel.spill is None:
        return "needs a folder for half of an n×n matrix, got none. Pass spill=DIR"
    return None


SOLVERS = {
    "eigen": Solver(solve_eigen, cost_eigen),
    "nested": Solver(solve_nested, cost_nested),
    "banded": Solver(solve_banded, cost_banded),
    "primal": Solver(solve_primal, cost_primal, _no_gram),
    "streamed": Solver(solve_streamed, cost_streamed, _no_spill),
    "matrix_free": Solver(solve_matrix_free, cost_matrix_free, _no_estimate, exact=False),
}


def path_cost(
    problem: Problem, sizes: list[int], grid: Grid, memory: int, name: str = "auto"
) -> Cost:
    """The cost of a path, in advance.

    Args:
        problem: Only its shapes are read, so that it may be on torch's "meta" device.
        sizes: Sample sizes n.
        grid: Ridges.
        memory: Number of available bytes.
        name: The solver.

    Returns:
        Operations and bytes of the solver; for `auto` of the one that is chosen, and where none
        fits, of the one that needs least memory.

    Raises:
        UsageError: The solver does not take the problem, or is unknown.
    """
    costs = _costs(problem, sizes, grid, name)
    fitting = _fitting(costs, memory)
    if name != "auto":
        return costs[name]
    return costs[fitting[0]] if fitting else min(costs.values(), key=lambda cost: cost.bytes)


def choose_solver(problem: Problem, sizes: list[int], grid: Grid, name: str) -> Solver:
    """The solver called `name`, or for `auto` the cheapest one that fits."""
    costs = _costs(problem, sizes, grid, name)
    free = min(available(problem.kernel.device), problem.kernel.budget)
    fitting = _fitting(costs, free)
    if name == "auto":
        name = fitting[0] if fitting else min(costs, key=lambda key: costs[key].bytes)
    if name not in fitting:
        raise CapacityError(
            f"solver={name!r} needs {readable_bytes(costs[name].bytes)} of memory, got"
            f" {readable_bytes(free)} available."
            f" {f'solver={fitting[0]!r} fits.' if fitting else 'No solver fits.'} Or take smaller"
            " sizes."
        )
    return SOLVERS[name]


def _costs(problem: Problem, sizes: list[int], grid: Grid, name: str) -> dict[str, Cost]:
    """The cost of every solver that takes the problem.

    Raises:
        UsageError: The one called `name` does not, or is unknown.
    """
    choice(name, "solver", (*SOLVERS, "auto"))
    applicable = {key: solver for key, solver in SOLVERS.items() if solver.refuses(problem) is None}
    if name not in (*applicable, "auto"):
        raise UsageError(
            f"solver={name!r} {SOLVERS[name].refuses(problem)}, or another solver:"
            f" {', '.join(applicable)}."
        )
    return {key: solver.cost(problem, sizes, grid) for key, solver in applicable.items()}


def _fitting(costs: dict[str, Cost], free: int) -> list[str]:
    """The solvers that fit in `free` bytes; the first is the choice of `auto`."""
    ordered = sorted(costs, key=lambda key: (not SOLVERS[key].exact, costs[key].flops))
    fitting = [key for key in ordered if costs[key].bytes <= free]
    cheap = "eigen" in fitting and costs["eigen"].flops <= CHEAP
    return ["eigen", *(key for key in fitting if key != "eigen")] if cheap else fitting
