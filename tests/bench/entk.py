"""The eNTK beside its peers in one process with equal threads: seconds, ratio, error.

The seconds are the median of three runs, or one run if it takes over 20 s. The error is the
relative Frobenius distance from rmtgen in float64. `make bench BENCH=entk`.
"""

import copy
import statistics
import time
import warnings

import torch

from rmtgen import entk_gram, entk_plan, load_backbone
from tests.bench.peers import PEERS

CASES = (
    ("resnet18", 32, 256),
    ("resnet50", 64, 128),
    ("resnet18", 224, 128),
    ("vit_tiny_patch16_224", 224, 64),
)
LONG = 20.0


def main() -> None:
    """Print one table per case."""
    warnings.simplefilter("ignore")
    print(
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, {sgemm() / 1e9:.0f} GFLOP/s"
        " sgemm"
    )
    for case in CASES:
        compare(*case)


def sgemm(size: int = 4096) -> float:
    """FLOPs per second of a float32 matrix product."""
    square = torch.randn(size, size)
    return 2 * size**3 / min(timed(lambda: square @ square)[0] for _ in range(5))


def timed(work):
    """Seconds and result of a call."""
    started = time.perf_counter()
    found = work()
    return time.perf_counter() - started, found


def repeated(work):
    """Median seconds, number of runs, and the last result."""
    seconds, found = timed(work)
    times = [seconds]
    while len(times) < 3 and times[0] < LONG:
        seconds, found = timed(work)
        times.append(seconds)
    return statistics.median(times), len(times), found


def compare(name: str, pixels: int, n: int) -> None:
    """rmtgen and every peer on one model."""
    model = load_backbone(name, init="random", head="random", img_size=pixels).model
    images = torch.randn(n, 3, pixels, pixels, generator=torch.Generator().manual_seed(0))
    plan = entk_plan(model, (3, pixels, pixels), n)
    print(
        f"\n{name}, {pixels} px, N = {n}: {plan.capture_flops:.2e} FLOPs in passes,"
        f" {plan.kernel_flops:.2e} in products between samples"
    )
    entk_gram(model, images[:8])  # libraries choose their kernels once
    own, runs, kernel = repeated(lambda: entk_gram(model, images))
    few = min(n, 16)
    exact = entk_gram(model, images[:few], dtype=torch.float64)
    print(f"{'':<22}{'seconds':>9}{'runs':>6}{'ratio':>8}{'error':>10}")
    print(f"{'rmtgen':<22}{own:>9.2f}{runs:>6}{1:>8}{distance(kernel, exact):>10.1e}")
    for peer in PEERS:
        try:
            seconds, runs, found = repeated(lambda peer=peer: peer(copy.deepcopy(model), images))
        except Exception as failure:  # noqa: BLE001 - why a peer cannot run a model is its result
            print(
                f"{peer.__name__:<22}  cannot: {type(failure).__name__}:"
                f" {str(failure).splitlines()[0][:80] if str(failure) else ''}"
            )
            continue
        print(
            f"{peer.__name__:<22}{seconds:>9.2f}{runs:>6}{seconds / own:>8.1f}"
            f"{distance(found, exact):>10.1e}",
            flush=True,
        )


def distance(found: torch.Tensor, exact: torch.Tensor) -> float:
    """Relative Frobenius distance of the first samples' block."""
    few = len(exact)
    return ((found.detach()[:few, :few].double() - exact).norm() / exact.norm()).item()


if __name__ == "__main__":
    main()
