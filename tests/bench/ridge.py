"""The solvers of the ridge path beside one eigendecomposition per size and scikit-learn.

`make bench BENCH=ridge`. All methods run in float64 in one process with equal threads. If a peer
would take more than minutes, a part of its grid is timed, and the time of the whole follows from
the number of equal problems or from n³.
"""

import numpy as np
import torch
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import RidgeCV

from rmtgen import ridge_path, ridge_path_features
from rmtgen.linalg.band import WIDTH as WIDTH_ON_CPU
from tests.bench.machine import timed

N, TESTS, OUTPUTS, WIDTH = 6000, 1000, 10, 9000
SIZES = np.unique(np.geomspace(100, N, 10).round().astype(int))
RIDGES = np.geomspace(1e-6, 1e2, 20)


def main() -> None:
    """Print each comparison in turn."""
    rate = dgemm()
    print(
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, {rate / 1e9:.0f} GFLOP/s"
        " dgemm"
    )
    data = problem()
    ridges = RIDGES * np.trace(data["gram"]) / N
    many_ridges(data, ridges, rate)
    many_sizes(data, ridges[::4])
    features()


def dgemm(n: int = 3000) -> float:
    """Operations per second of a float64 product, the best of three."""
    square = torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return 2.0 * n**3 / min(timed(lambda: square @ square)[0] for _ in range(3))


def problem() -> dict[str, np.ndarray]:
    """The kernel of Gaussian features whose variances fall as 1/k, and targets linear in them with
    noise."""
    rng = np.random.default_rng(0)
    spread = np.arange(1, WIDTH + 1) ** -0.5
    features, tests = (rng.standard_normal((count, WIDTH)) * spread for count in (N, TESTS))
    weights = rng.standard_normal((WIDTH, OUTPUTS)) * spread[:, None]
    targets, test_targets = (
        x @ weights + rng.standard_normal((len(x), OUTPUTS)) for x in (features, tests)
    )
    return {
        "gram": features @ features.T,
        "targets": targets,
        "test_gram": tests @ features.T,
        "test_targets": test_targets,
    }


def many_ridges(data: dict[str, np.ndarray], ridges: np.ndarray, rate: float) -> None:
    """Few sizes, many ridges, without and with leave-one-out."""
    print(f"\nn ≤ {N}: {len(SIZES)} sizes × {len(ridges)} ridges, {OUTPUTS} outputs, {TESTS} tests")
    options = {"sizes": SIZES, "ridges": ridges}
    for loo in (False, True):
        ours, found = timed(lambda loo=loo: ridge_path(**data, **options, loo=loo))
        plain, risks = timed(
            lambda loo=loo: [plain_eigh(data, n, n * ridges, loo=loo) for n in SIZES]
        )
        known = found[["gcv", "test_risk", *["loo"] * loo]]
        np.testing.assert_allclose(known, np.concatenate(risks), rtol=1e-6)
        line(f"rmtgen{', with leave-one-out' * loo}", ours, ours)
        line("its FLOPs over dgemm", banded_flops(loo=loo) / rate, ours)
        line("torch.linalg.eigh per size", plain, ours)

    def kernel_ridge() -> None:
        for n in SIZES:
            model = KernelRidge(alpha=n * ridges[0], kernel="precomputed")
            model.fit(data["gram"][:n, :n], data["targets"][:n]).predict(data["test_gram"][:, :n])

    line(
        "KernelRidge (test risk alone)",
        timed(kernel_ridge)[0] * len(ridges),
        ours,
        "one ridge timed",
    )


def banded_flops(*, loo: bool) -> float:
    """Reductions to a band; with leave-one-out, Q of each, and its rows at every ridge."""
    sizes = SIZES.astype(float)
    reductions, rows = 4 / 3 * sizes**3, 4 * sizes**2 * WIDTH_ON_CPU * len(RIDGES)
    return float((reductions + loo * (reductions + rows)).sum())


def many_sizes(data: dict[str, np.ndarray], sum_ridges: np.ndarray) -> None:
    """Many sizes, few sum ridges, with leave-one-out."""
    sizes, sum_ridges = np.linspace(N / 200, N, 200).round().astype(int), N * sum_ridges
    print(f"\nn ≤ {N}: {len(sizes)} sizes × {len(sum_ridges)} sum ridges, with leave-one-out")
    ours, found = timed(lambda: ridge_path(**data, sizes=sizes, sum_ridges=sum_ridges))
    part = sizes[19::20]
    plain, risks = timed(lambda: [plain_eigh(data, n, sum_ridges, loo=True) for n in part])
    known = found[found.n.isin(part)][["gcv", "test_risk", "loo"]]
    np.testing.assert_allclose(known, np.concatenate(risks), rtol=1e-6)
    line("rmtgen", ours, ours)
    share = (part.astype(float) ** 3).sum() / (sizes.astype(float) ** 3).sum()
    line("torch.linalg.eigh per size", plain / share, ours, f"{len(part)} sizes timed")

    def ridge_cv() -> None:  # leave-one-out of every ridge by one eigendecomposition
        RidgeCV(alphas=sum_ridges).fit(data["gram"][: N // 2, : N // 2], data["targets"][: N // 2])

    one = (N // 2) ** 3 / (sizes.astype(float) ** 3).sum()
    line("RidgeCV (leave-one-out alone)", timed(ridge_cv)[0] / one, ours, "one size timed")


def features(n: int = 50_000, width: int = 1280, outputs: int = 100, tests: int = 10_000) -> None:
    """Many samples of few features, with classes and leave-one-out: CIFAR-100's shape."""
    rng = np.random.default_rng(0)
    rows = (rng.standard_normal((n + tests, width)) * np.arange(1, width + 1) ** -0.5).astype(
        np.float32
    )
    targets = np.eye(outputs)[rng.integers(0, outputs, n + tests)] - 1 / outputs
    sizes, ridges = (
        np.unique(np.geomspace(100, n, 10).round().astype(int)),
        RIDGES * (rows[:n] ** 2).sum() / n,
    )
    data = {
        "test_features": rows[n:],
        "test_targets": targets[n:],
        "sizes": sizes,
        "ridges": ridges,
    }
    print(
        f"\n{n} × {width} features: {len(sizes)} sizes × {len(ridges)} ridges, {outputs} outputs,"
        f" {tests} tests"
    )
    for loo in (False, True):
        ours, found = timed(
            lambda loo=loo: ridge_path_features(rows[:n], targets[:n], **data, loo=loo)
        )
        line(f"rmtgen{', with leave-one-out' * loo}", ours, ours)
    eigen, known = timed(lambda: ridge_path_features(rows[:n], targets[:n], **data, solver="eigen"))
    np.testing.assert_allclose(found, known, rtol=1e-6)
    line("rmtgen, solver='eigen'", eigen, ours)


def plain_eigh(
    data: dict[str, np.ndarray], n: int, sum_ridges: np.ndarray, loo: bool = False
) -> np.ndarray:
    """GCV, test risk and leave-one-out at one size as anyone would write them from an
    eigendecomposition."""
    values, vectors = torch.linalg.eigh(torch.from_numpy(data["gram"][:n, :n]))
    targets = torch.from_numpy(data["targets"][:n])
    coefficients = vectors.T @ targets
    scores = torch.from_numpy(data["test_gram"][:, :n]) @ vectors
    risks = []
    for sum_ridge in sum_ridges:
        weights = 1 / (values + sum_ridge)
        dual = vectors @ (weights[:, None] * coefficients)
        gcv = n * dual.square().sum() / weights.sum() ** 2
        misses = scores @ (weights[:, None] * coefficients) - torch.from_numpy(data["test_targets"])
        row = [gcv.item(), misses.square().sum(dim=1).mean().item()]
        if loo:
            diagonal = vectors.square() @ weights
            row.append((dual / diagonal[:, None]).square().sum(dim=1).mean().item())
        risks.append(row)
    return np.array(risks)


def line(what: str, seconds: float, ours: float, note: str = "") -> None:
    """One row of a table."""
    print(
        f"  {what:<32}{seconds:9.2f} s{seconds / ours:9.1f}{'  (' + note + ')' if note else ''}",
        flush=True,
    )
