"""Conjugate gradients with and without the Nyström preconditioner of the solver `matrix_free`.

`make bench BENCH=nystrom`. The kernel is that of 4,000 Gaussian features whose variances fall as
k^-1.5, of 6,000 samples with 100 outputs and 16 random signs. The space has as many dimensions as
the budget allows. Iterations end at a relative error of 1e-4 by the bound ‖r‖/(δ‖x‖), or at 2,000;
`space` is that bound at the solution in the space, where the iterations begin. The solution is
compared with that of a Cholesky factor.
"""

import torch

from rmtgen.linalg.krylov import Krylov
from rmtgen.linalg.nystrom import Nystrom, conjugate_gradients
from rmtgen.ridge.solutions import TOLERANCE, largest_space
from tests.bench.machine import describe, timed

N, WIDTH, OUTPUTS, SIGNS, MOST = 6000, 4000, 100, 16, 2000
BUDGET = 150
"""MiB."""
RELATIVE = (1e-4, 1e-5, 1e-6)
"""δ over tr K."""


def main() -> None:
    """Print iterations and seconds at each ridge, and the error of the answer."""
    print(describe())
    generator = torch.Generator().manual_seed(0)
    options = {"generator": generator, "dtype": torch.float64}
    spread = torch.arange(1, WIDTH + 1, dtype=torch.float64) ** -0.75
    rows = torch.randn(N, WIDTH, **options) * spread
    signs = torch.randint(0, 2, (N, SIGNS), generator=generator).double() * 2 - 1
    columns = torch.cat([torch.randn(N, OUTPUTS, **options), signs], dim=1)
    trace, square = rows.square().sum().item(), rows.mT @ rows
    print("budget  dimensions  δ/tr K  space     plain        preconditioned  error of X")
    most = largest_space(N, columns.shape[1], BUDGET << 20, False)
    space = Krylov(lambda block: rows @ (rows.mT @ block), columns, most)
    while space.grow():
        pass
    for relative in RELATIVE:
        report(rows, square, columns, space, (relative, relative * trace))


def report(
    rows: torch.Tensor,
    square: torch.Tensor,
    columns: torch.Tensor,
    space: Krylov,
    ridge: tuple[float, float],
) -> None:
    """Print one row."""
    (relative, shift), nystrom = ridge, Nystrom(space)
    coordinates, residuals = space.solve(shift)
    start = space.basis[: space.dimension].mT @ coordinates
    bound = (residuals / torch.linalg.vector_norm(coordinates, dim=0)).max().item() / shift
    found = []
    for precondition in (torch.clone, lambda block: nystrom.precondition(block, shift)):
        solution = start.clone()
        seconds, (_, count) = timed(
            lambda solution=solution, precondition=precondition: conjugate_gradients(
                lambda block: rows @ (rows.mT @ block) + shift * block,
                precondition,
                columns,
                solution,
                lambda x, norms: (norms / x.norm(dim=0)).max().item() <= TOLERANCE * shift,
                MOST,
            )
        )
        found.append(f"{count:5} {seconds:4.1f} s")
    # (K + δ)⁻¹ = (1 − X(XᵀX + δ)⁻¹Xᵀ)/δ
    inner = square + shift * torch.eye(WIDTH, dtype=torch.float64)
    known = columns - rows @ torch.cholesky_solve(rows.mT @ columns, torch.linalg.cholesky(inner))
    error = ((solution - known / shift).norm() / solution.norm()).item()
    print(
        f"{BUDGET:4} MiB {space.dimension:8} {relative:9.0e}  {bound:7.1e} {found[0]:>13}"
        f" {found[1]:>15}  {error:.1e}",
        flush=True,
    )


if __name__ == "__main__":
    main()
