"""One CUDA device: rates, features, eNTK and peers, eigensolves, ridge path, peak memory.

`make bench BENCH=cuda`; on a CPU with small sizes, which shows only that every part runs. Times are
those of the second call, after a synchronisation with the device.
"""

import copy

import numpy as np
import torch
from PIL import Image

from rmtgen import entk_gram, extract_features, load_backbone, ridge_path, ridge_path_features
from rmtgen.linalg.modes import gram_modes
from tests.bench.entk import distance
from tests.bench.figures import device, isolated, record
from tests.bench.figures import waited as synchronised
from tests.bench.machine import timed
from tests.bench.peers import PEERS

BENCH = "cuda"
KERNELS = {
    "cuda": (
        ("resnet18", 32, 2048),
        ("resnet18", 32, 10_000),
        ("resnet50", 64, 512),
        ("resnet18", 224, 512),
        ("vit_tiny_patch16_224", 224, 512),
    ),
    "cpu": (("resnet18", 32, 4),),
}
MOST_PEERS = 512  # images: peers hold the Jacobian
MEMORY = {"cuda": "48GiB", "cpu": "1GiB"}
SMALLER = {"cuda": 1, "cpu": 50}
"""Divisor of the other sizes."""


def main() -> None:
    """Record every figure."""
    for work in (rates, eigensolves, paths, feature_path, features):
        isolated(BENCH, work.__name__, work)
    for case in KERNELS[device()]:
        isolated(BENCH, str(case), kernels, *case)


def size(large):
    """A size on a CUDA device, or a small one on a CPU."""
    return large // SMALLER[device()]


def waited(work, warm=None):
    """Seconds and result of a second call, and the device's peak in GiB above what lay there.

    `warm` replaces the first call.
    """
    (warm or work)()
    on_cuda = device() == "cuda"
    if on_cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    lay = torch.cuda.memory_allocated() if on_cuda else 0

    def whole():
        found = work()
        synchronised()
        return found

    seconds, found = timed(whole)
    return seconds, found, (torch.cuda.max_memory_allocated() - lay) / 2**30 if on_cuda else 0.0


def both(case, seconds, peak) -> None:
    """Record seconds and peak memory."""
    record(BENCH, case, "time", seconds, "s")
    record(BENCH, case, "memory", peak, "GiB")


def rates() -> None:
    """Products of square matrices."""
    edge = size(8192)
    for dtype in (torch.float32, torch.float64):
        square = torch.randn(edge, edge, device=device(), dtype=dtype)
        seconds = min(waited(lambda square=square: square @ square)[0] for _ in range(3))
        record(BENCH, f"{dtype} products", "rate", 2e-12 * edge**3 / seconds, "TFLOP/s")


def eigensolves() -> None:
    """A pool's modes in float64."""
    for n in map(size, (6000, 20_000)):
        half = torch.randn(n, n + 500, device=device(), dtype=torch.float64)
        gram = half @ half.T
        seconds, _, peak = waited(lambda gram=gram: gram_modes(gram))
        both(f"gram_modes, N = {n}", seconds, peak)


def paths() -> None:
    """The ridge paths of `BENCH=ridge` and `BENCH=ridge_large`."""
    pool, tests, few = size(20_000), size(2000), size(6000)
    rng = torch.Generator(device()).manual_seed(0)
    rows = torch.randn(pool + tests, size(24_000), device=device(), generator=rng)
    gram = rows[:pool] @ rows.T
    noise = torch.randn(pool + tests, 10, device=device(), generator=rng)
    targets = (rows[:, :10] / 100 + noise).double().cpu()
    del rows
    square, across = gram[:, :pool].contiguous(), gram[:, pool:].T.contiguous()
    del gram
    scale = square.diagonal().mean().item()
    ridges = {"ridges": np.geomspace(1e-6, 1e2, 20) * scale, "loo": False}
    for n, options in (
        (few, ridges | {"sizes": np.geomspace(few / 10, few, 10).astype(int)}),
        (pool, {"sum_ridges": [100 * scale], "sizes": np.linspace(100, pool, 200).astype(int)}),
    ):
        part = square[:n, :n].contiguous()
        seconds, _, peak = waited(
            lambda part=part, n=n, options=options: ridge_path(
                part, targets[:n], test_gram=across[:, :n], test_targets=targets[pool:], **options
            )
        )
        both(f"ridge_path, N = {n}", seconds, peak)


def feature_path() -> None:
    """The ridge path of the features of `BENCH=ridge`."""
    rng = torch.Generator(device()).manual_seed(0)
    p = max(64, size(1280))
    train, tests = (
        torch.randn(size(n), p, device=device(), generator=rng) for n in (50_000, 10_000)
    )
    answers, asked = (torch.eye(100).repeat(len(rows) // 100, 1) for rows in (train, tests))
    seconds, _, peak = waited(
        lambda: ridge_path_features(
            train,
            answers,
            test_features=tests,
            test_targets=asked,
            ridges=np.geomspace(1e-6, 1e2, 20),
            sizes=np.geomspace(100, len(train), 10).astype(int),
        )
    )
    both(f"ridge_path_features, {len(train)} × {p}, 100 outputs", seconds, peak)


def features() -> None:
    """Images per second, from images in memory to features in memory."""
    pictures = [
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8))
    ] * max(2, size(2048) // 10 if device() == "cpu" else 2048)
    for name, pixels in (("tf_efficientnet_lite0", 224), ("resnet50", 224)):
        backbone = load_backbone(name, init="random", img_size=pixels)
        seconds, _, _ = waited(
            lambda backbone=backbone: extract_features(
                backbone, pictures, batch_size=256, device=device()
            )
        )
        case = f"features of {name}, {pixels} px"
        record(BENCH, case, "rate", len(pictures) / seconds, "images/s")


def kernels(name, pixels, n) -> None:
    """rmtgen and the peers that hold the whole Jacobian, all on the device."""
    model = load_backbone(name, init="random", head="random", img_size=pixels).model
    images = torch.randn(n, 3, pixels, pixels, generator=torch.Generator().manual_seed(0))
    options = {"device": device(), "memory": MEMORY[device()]}
    exact = entk_gram(model, images[:16], dtype=torch.float64, **options)
    case = f"{name}, {pixels} px, N = {n}"
    for precision in ("ieee", "split"):
        by_name = options | {"precision": precision}
        seconds, kernel, peak = waited(lambda by_name=by_name: entk_gram(model, images, **by_name))
        both(f"{case}, rmtgen, {precision}", seconds, peak)
        record(BENCH, f"{case}, rmtgen, {precision}", "error", distance(kernel, exact), "relative")
    for peer in PEERS if n <= MOST_PEERS else ():
        if peer.__name__ in ("torch_func", "nngeometry", "per_sample_backward"):
            isolated(BENCH, f"{case}, {peer.__name__}", beside, case, peer, model, images, exact)


def beside(case, peer, model, images, exact) -> None:
    """A peer on the device."""
    there = copy.deepcopy(model).to(device())
    seconds, found, peak = waited(
        lambda: peer(there, images.to(device())), lambda: peer(there, images[:32].to(device()))
    )
    both(f"{case}, {peer.__name__}", seconds, peak)
    record(BENCH, f"{case}, {peer.__name__}", "error", distance(found.cpu(), exact), "relative")


if __name__ == "__main__":
    main()
