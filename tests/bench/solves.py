"""Dense solves in float64: Cholesky in place, eigensolves with residuals, batches against loops.

`make bench BENCH=solves`; on a CPU with small sizes.
"""

import torch

from rmtgen import ridge_path
from tests.bench.figures import device, isolated, record, seconds, waited

BENCH = "solves"
EDGE = 4096
"""Rows of a matrix that are made symmetric at a time."""


def main() -> None:
    """Record every figure."""
    large = device() == "cuda"
    for n in (20_000, 40_000) if large else (1000,):
        isolated(BENCH, f"N = {n}", cholesky, n)
    for n in (20_000, 60_000) if large else (1000,):
        isolated(BENCH, f"N = {n}", ridges, n)
    for n in (8000,) if large else (500,):
        for work in (values, vectors):
            isolated(BENCH, f"N = {n}", work, n)
    for n in (64, 128, 256, 512, 1024, 2048) if large else (64, 128):
        isolated(BENCH, f"N = {n}", batches, n)


def gram(*shape):
    """A Gram matrix (…, n, n) of eigenvalues between about .03 and 6."""
    generator = torch.Generator(device()).manual_seed(0)
    *batch, n = shape
    rows = torch.randn(*batch, n, 2 * n, device=device(), dtype=torch.float64, generator=generator)
    return (rows @ rows.mT).div_(2 * n)


def cholesky(n) -> None:
    """Factor, written over the matrix; seconds, rate, peak memory, and residual of a solve."""
    generator = torch.Generator(device()).manual_seed(0)
    matrix = torch.randn(n, n, device=device(), dtype=torch.float64, generator=generator)
    for low in range(0, n, EDGE):  # made symmetric without a second matrix
        high = min(low + EDGE, n)
        matrix[low:high, low:high] += matrix[low:high, low:high].mT.clone()
        matrix[high:, low:high] = matrix[low:high, high:].mT
    matrix.diagonal().add_(4 * n**0.5)
    answers = torch.randn(n, 4, device=device(), dtype=torch.float64, generator=generator)
    targets = matrix @ answers
    info = torch.empty((), dtype=torch.int32, device=device())
    lay = peak(reset=True)

    def factor():
        torch.linalg.cholesky_ex(matrix.mT, out=(matrix.mT, info))

    taken = seconds(factor, repeats=1, warm=False)
    work_space = peak() - lay
    found = torch.cholesky_solve(targets, matrix.mT)  # which copies the factor
    record(BENCH, f"Cholesky, N = {n}", "time", taken, "s")
    record(BENCH, f"Cholesky, N = {n}", "rate", 1e-12 * n**3 / 3 / taken, "TFLOP/s")
    record(BENCH, f"Cholesky, N = {n}", "work space", work_space / (8 * n * n), "8N²")
    error = ((found - answers).norm() / answers.norm()).item()
    record(BENCH, f"Cholesky, N = {n}", "error of a solve", error, "relative")


def ridges(n, tests=2000, outputs=10) -> None:
    """GCV, leave-one-out and test risk over ten ridges: seconds, and memory beside K in float32."""
    generator = torch.Generator(device()).manual_seed(0)
    spread = torch.arange(1, 3001, device=device()) ** -0.5
    rows = torch.randn(n + tests, 3000, device=device(), generator=generator) * spread
    weights = torch.randn(3000, outputs, device=device(), generator=generator) * spread[:, None]
    targets = (rows @ weights).double()
    targets += torch.randn(targets.shape, device=device(), generator=generator)
    gram, test_gram = rows[:n] @ rows[:n].T, rows[n:] @ rows[:n].T
    del rows
    grid = torch.logspace(-3, 0, 10).numpy() * gram.diagonal().mean().item()
    data = {"test_gram": test_gram, "test_targets": targets[n:], "ridges": grid}
    lay = peak(reset=True)
    taken = seconds(
        lambda: ridge_path(gram, targets[:n], **data, solver="banded"), repeats=1, warm=False
    )
    record(BENCH, f"ten ridges, N = {n}", "time", taken, "s")
    record(BENCH, f"ten ridges, N = {n}", "memory", (peak() - lay) / (8 * n * n), "8N²")


def peak(reset=False):
    """Largest memory of the device in bytes since the reset, or what lies there at a reset."""
    if device() == "cpu":
        return 0
    if reset:
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    return torch.cuda.max_memory_allocated()


def values(n) -> None:
    matrix = gram(n)
    taken = seconds(lambda: torch.linalg.eigvalsh(matrix), repeats=1, warm=False)
    record(BENCH, f"eigvalsh, N = {n}", "time", taken, "s")
    found = torch.linalg.eigvalsh(matrix)
    error = abs(found.square().sum() / matrix.square().sum() - 1).item()
    record(BENCH, f"eigvalsh, N = {n}", "error of the sum of squares", error, "relative")


def vectors(n) -> None:
    matrix, solved = gram(n), []
    taken = seconds(lambda: solved.append(torch.linalg.eigh(matrix)), repeats=1, warm=False)
    found, frame = solved[0]
    record(BENCH, f"eigh, N = {n}", "time", taken, "s")
    residual = (matrix @ frame - frame * found).norm() / matrix.norm()
    record(BENCH, f"eigh, N = {n}", "residual", residual.item(), "relative")
    one = frame.mT @ frame
    one.diagonal().sub_(1)
    record(BENCH, f"eigh, N = {n}", "orthogonality", (one.norm() / n**0.5).item(), "relative")


def batches(n, most=16) -> None:
    """A batch of equal sizes in one call against one call each."""
    count = max(2, min(most, 2**24 // n**2))
    matrices = gram(count, n)
    torch.linalg.eigh(matrices[:2])
    together = seconds(lambda: torch.linalg.eigh(matrices), repeats=1, warm=False)
    apart = seconds(lambda: [torch.linalg.eigh(one) for one in matrices], repeats=1, warm=False)
    for figure, taken in (("together", together), ("one by one", apart)):
        record(BENCH, f"eigh, {count} of N = {n}", figure, 1e3 * taken / count, "ms each")
    found, frames = torch.linalg.eigh(matrices)
    residual = (matrices @ frames - frames * found[:, None]).norm() / matrices.norm()
    record(BENCH, f"eigh, {count} of N = {n}", "residual", residual.item(), "relative")
    waited()


if __name__ == "__main__":
    main()
