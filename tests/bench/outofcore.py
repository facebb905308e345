"""Every size of a learning curve from a factor on a disk, beside the rate of a float64 product.

`make bench BENCH=outofcore`. The kernel is that of 512 Gaussian features whose variances fall as
1/k, in float64, with 100 outputs and leave-one-out, 50 sizes, one sum ridge. Operations are counted
once: n³/3 for the factor, n³/3 for its inverse, n³/3 for tr G². `N=50000 MEMORY=4GiB SPILL=DIR`
choose the size, the budget and the folder, `FEATURES=RUN` the features and labels of a run: a
killed process goes on in the same folder. The answer is compared with that of `primal`.
"""

import os
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import torch

from rmtgen import encode_targets, ridge_path_features
from rmtgen.store.feature_store import FeatureStore
from rmtgen.units import parse_bytes, readable_bytes
from tests.bench.machine import describe, timed
from tests.bench.ridge import dgemm

N, TESTS, OUTPUTS, WIDTH, SIZES = 8000, 2000, 100, 512, 50
COMPARED = ("train_risk", "gcv", "loo", "df", "kappa", "kappa_prime", "test_risk")
RELATIVE = 1e-4
"""δ over tr K."""


def main() -> None:
    """Print seconds, the share of the rate of products, the peak of memory, and the errors."""
    print(describe())
    n, memory = int(os.environ.get("N", N)), os.environ.get("MEMORY", "400MiB")
    features, targets, tests, test_targets = problem(n)
    options = {
        "sizes": np.unique(np.linspace(n / SIZES, n, SIZES).round().astype(int)),
        "sum_ridges": [RELATIVE * features.square().sum().item()],
        "test_features": tests,
        "test_targets": test_targets,
    }
    with tempfile.TemporaryDirectory(dir=os.environ.get("SPILL")) as folder:
        place = os.environ.get("SPILL") or folder
        before, peak, used = dgemm(), Peak(), time.process_time()
        seconds, found = timed(
            lambda: ridge_path_features(
                features, targets, **options, solver="streamed", memory=memory, spill=place
            )
        )
        used, above, rate = time.process_time() - used, peak.stop(), max(before, dgemm())
    reached = n**3 / seconds
    print(
        f"streamed, n = {len(features):,}, {len(found)} sizes, one sum ridge, {targets.shape[1]}"
        f" outputs, {len(tests):,} tests, leave-one-out: {seconds:.0f} s"
        f" ({used:.0f} s of processors), {reached / 1e9:.0f} GFLOP/s,"
        f" {100 * reached / rate:.0f} % of dgemm ({rate / 1e9:.0f}); peak"
        f" {readable_bytes(above)} above, budget {readable_bytes(parse_bytes(memory))}, K"
        f" {readable_bytes(8 * n**2)}",
        flush=True,
    )
    seconds, known = timed(
        lambda: ridge_path_features(features, targets, **options, solver="primal")
    )
    print(f"primal: {seconds:.0f} s; largest relative difference:")
    for column in COMPARED:
        print(f"  {column:<12}{(found[column] / known[column] - 1).abs().max():.1e}")
    print(found[["n", "gcv", "loo", "test_risk"]].iloc[:: SIZES // 5].to_string(index=False))


def problem(n: int) -> tuple[torch.Tensor, ...]:
    """Features and targets of the pool and of the test set."""
    if run := os.environ.get("FEATURES"):
        store = FeatureStore.open(Path(run))
        rows, targets = [], []
        for split in ("train", "test"):
            rows.append(torch.from_numpy(store.read(split)).double())
            labels = store.layout.labels(split)
            targets.append(encode_targets(labels, len(store.layout.classes), "centered").values)
        return rows[0][:n], targets[0][:n], rows[1], targets[1]
    generator = torch.Generator().manual_seed(0)
    spread = torch.arange(1, WIDTH + 1, dtype=torch.float64) ** -0.5
    rows = torch.randn(n + TESTS, WIDTH, generator=generator, dtype=torch.float64) * spread
    weights = torch.randn(WIDTH, OUTPUTS, generator=generator, dtype=torch.float64)
    noise = torch.randn(n + TESTS, OUTPUTS, generator=generator, dtype=torch.float64)
    targets = rows @ (weights * spread[:, None]) + noise
    return rows[:n], targets[:n], rows[n:], targets[n:]


class Peak:
    """The most memory that the process holds, above what it held at the start."""

    def __init__(self) -> None:
        self.process = psutil.Process()
        self.before = self.most = self.process.memory_info().rss
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _watch(self) -> None:
        while not self.done.is_set():
            self.most = max(self.most, self.process.memory_info().rss)
            time.sleep(0.01)

    def stop(self) -> int:
        """Bytes."""
        self.done.set()
        self.thread.join()
        return self.most - self.before


if __name__ == "__main__":
    main()
