"""The ridge path at n = 20,000: all sizes at one ridge in place, and estimates from tiles.

`make bench BENCH=ridge_large`. The estimates keep to 2 GiB. The kernel is that of 3,000 Gaussian
features whose variances fall as 1/k, rounded to float32 as an eNTK is stored. Seconds are those of
one run.
"""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from rmtgen import GramLayout, GramStore, ridge_path, ridge_path_stored
from rmtgen.linalg.triangular import cholesky_
from tests.bench.machine import timed
from tests.bench.ridge import dgemm
from tests.kernels.entk.peak_memory import peak

N, TESTS, OUTPUTS, WIDTH = 20_000, 2_000, 10, 3_000
RELATIVE = np.array([1e-3, 1e-2, 1e-1, 1.0])


def main() -> None:
    """Print the dense solver's time and memory, and the estimates beside its answer."""
    gram, targets = problem()
    sum_ridges = RELATIVE * gram[:N].diagonal().sum().item()
    with tempfile.TemporaryDirectory() as folder:
        found = estimates(stored(Path(folder), gram), targets, sum_ridges)
    every_size(gram, targets, sum_ridges[1])
    factorisation()
    tests = {"test_gram": gram[N:], "test_targets": targets[N:]}
    compare(found, ridge_path(gram[:N], targets[:N], sum_ridges=sum_ridges, **tests, loo=False))


def problem() -> tuple[torch.Tensor, torch.Tensor]:
    """K above k(test) in float32, and targets that are linear in the features with noise."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(N + TESTS, WIDTH, generator=generator) * torch.arange(1, WIDTH + 1) ** -0.5
    weights = (
        torch.randn(WIDTH, OUTPUTS, generator=generator)
        * torch.arange(1, WIDTH + 1)[:, None] ** -0.5
    )
    noise = torch.randn(N + TESTS, OUTPUTS, generator=generator)
    return rows @ rows[:N].T, (rows @ weights + noise).double()


def every_size(gram: torch.Tensor, targets: torch.Tensor, sum_ridge: float) -> None:
    """200 sizes at one ridge, with leave-one-out: seconds, and the peak above the input."""
    tests, sizes = (
        {"test_gram": gram[N:], "test_targets": targets[N:]},
        np.linspace(N / 200, N, 200).round().astype(int),
    )
    before = peak()
    seconds, _ = timed(
        lambda: ridge_path(
            gram[:N], targets[:N], sum_ridges=[sum_ridge], sizes=sizes, **tests, solver="nested"
        )
    )
    taken = (peak() - before) * 2**20 / (8 * N**2)
    print(
        f"\nnested, n = {N}, {len(sizes)} sizes, one sum ridge, leave-one-out: {seconds:.0f} s,"
        f" peak {taken:.2f} × 8n² above",
        flush=True,
    )


def factorisation(n: int = N) -> None:
    """The Cholesky factor alone, in place, against the rate of a product."""
    rate = dgemm()
    matrix = torch.full((n, n), 0.5, dtype=torch.float64)
    matrix.diagonal().add_(1.0)
    seconds, _ = timed(lambda: cholesky_(matrix))
    reached = n**3 / 3 / seconds
    print(
        f"  its Cholesky factor: {seconds:.0f} s, {reached / 1e9:.0f} GFLOP/s,"
        f" {100 * reached / rate:.0f} % of dgemm"
    )


def stored(folder: Path, gram: torch.Tensor) -> GramStore:
    """The same matrix as tiles on disk."""
    store = GramStore.create(folder, GramLayout(N, TESTS, "float32", 1024))
    for tile in store.pending():
        block = gram[tile.row_start : tile.row_stop, tile.column_start : tile.column_stop]
        store.write(tile, block.numpy())
    return store


def estimates(store: GramStore, targets: torch.Tensor, sum_ridges: np.ndarray) -> pd.DataFrame:
    """GCV and test risk from products with tiles."""
    options = {
        "sum_ridges": sum_ridges,
        "test_targets": targets[N:],
        "solver": "matrix_free",
        "memory": "2GiB",
    }
    before = peak()
    seconds, found = timed(lambda: ridge_path_stored(store, targets[:N], **options))
    print(
        f"matrix_free, n = {N}, {len(found)} ridges, 2GiB: {seconds:.0f} s, peak"
        f" {(peak() - before) / 1024:.2f} GiB above",
        flush=True,
    )
    return found


def compare(found: pd.DataFrame, dense: pd.DataFrame) -> None:
    """The estimates in standard errors from the dense answer."""
    print(
        f"\n  {'δ/tr K':>7}{'GCV':>10}{'± s.e.':>9}{'dense':>10}{'off, s.e.':>11}"
        f"{'test risk':>11}{'dense':>10}{'residual':>10}"
    )
    for relative, (_, row), (_, known) in zip(
        RELATIVE, found.iterrows(), dense.iterrows(), strict=True
    ):
        off = (row.gcv - known.gcv) / row.gcv_se
        print(
            f"  {relative:>7.0e}{row.gcv:>10.4f}{row.gcv_se:>9.4f}{known.gcv:>10.4f}{off:>11.1f}"
            f"{row.test_risk:>11.5f}{known.test_risk:>10.5f}{row.residual:>10.0e}"
        )


if __name__ == "__main__":
    main()
