"""One CUDA device: rates, features, eNTK and peers, eigensolves, ridge path, peak memory.

`make bench BENCH=cuda`; a machine without a device gets a message. Times are those of the second
call, after a synchronisation with the device.
"""

import copy

import numpy as np
import torch
from PIL import Image

from rmtgen import entk_gram, extract_features, load_backbone, ridge_path, ridge_path_features
from rmtgen.linalg.modes import gram_modes
from tests.bench.entk import distance
from tests.bench.machine import timed
from tests.bench.peers import PEERS

KERNELS = (
    ("resnet18", 32, 2048),
    ("resnet18", 32, 10_000),
    ("resnet50", 64, 512),
    ("resnet18", 224, 512),
    ("vit_tiny_patch16_224", 224, 512),
)
MOST_PEERS = 512  # images: peers hold the Jacobian
MEMORY = "48GiB"


def main() -> None:
    """Print one table per measurement."""
    if not torch.cuda.is_available():
        print("needs a CUDA device: torch.cuda.is_available() is False")
        return
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    rates()
    eigensolves()
    paths()
    feature_path()
    features()
    for case in KERNELS:
        kernels(*case)


def waited(work, warm=None):
    """Seconds and result of a second call, and the device's peak in GiB above what lay there.

    `warm` replaces the first call.
    """
    (warm or work)()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    lay = torch.cuda.memory_allocated()

    def whole():
        found = work()
        torch.cuda.synchronize()
        return found

    return *timed(whole), (torch.cuda.max_memory_allocated() - lay) / 2**30


def rates(size=8192):
    """Products of square matrices."""
    for dtype in (torch.float32, torch.float64):
        square = torch.randn(size, size, device="cuda", dtype=dtype)
        seconds = min(waited(lambda square=square: square @ square)[0] for _ in range(3))
        print(f"{dtype}: {2e-12 * size**3 / seconds:.1f} TFLOP/s", flush=True)


def eigensolves():
    """A pool's modes in float64."""
    for n in (6000, 20_000):
        half = torch.randn(n, n + 500, device="cuda", dtype=torch.float64)
        gram = half @ half.T
        seconds, _, peak = waited(lambda gram=gram: gram_modes(gram))
        print(
            f"gram_modes, N = {n}: {seconds:.1f} s, peak {peak:.1f} GiB,"
            f" {peak * 2**30 / (8 * n * n):.1f} × 8N²",
            flush=True,
        )


def paths():
    """The ridge paths of `BENCH=ridge` and `BENCH=ridge_large`."""
    rng = torch.Generator("cuda").manual_seed(0)
    rows = torch.randn(22_000, 24_000, device="cuda", generator=rng)
    gram = rows[:20_000] @ rows.T
    targets = (
        (rows[:, :10] / 100 + torch.randn(22_000, 10, device="cuda", generator=rng)).double().cpu()
    )
    del rows
    square, across = gram[:, :20_000].contiguous(), gram[:, 20_000:].T.contiguous()
    del gram
    scale = square.diagonal().mean().item()
    for n, options in (
        (
            6000,
            {
                "ridges": np.geomspace(1e-6, 1e2, 20) * scale,
                "sizes": np.geomspace(100, 6000, 10).astype(int),
                "loo": False,
            },
        ),
        (20_000, {"sum_ridges": [100 * scale], "sizes": np.linspace(100, 20_000, 200).astype(int)}),
    ):
        part = square[:n, :n].contiguous()
        seconds, _, peak = waited(
            lambda part=part, n=n, options=options: ridge_path(
                part, targets[:n], test_gram=across[:, :n], test_targets=targets[20_000:], **options
            )
        )
        print(
            f"ridge_path, N = {n}: {seconds:.1f} s, peak {peak * 2**30 / (8 * n * n):.2f} × 8N²",
            flush=True,
        )


def feature_path():
    """The ridge path of the features of `BENCH=ridge`."""
    rng = torch.Generator("cuda").manual_seed(0)
    train, tests = (torch.randn(n, 1280, device="cuda", generator=rng) for n in (50_000, 10_000))
    answers, asked = (torch.eye(100).repeat(len(rows) // 100, 1) for rows in (train, tests))
    seconds, _, peak = waited(
        lambda: ridge_path_features(
            train,
            answers,
            test_features=tests,
            test_targets=asked,
            ridges=np.geomspace(1e-6, 1e2, 20),
            sizes=np.geomspace(100, 50_000, 10).astype(int),
        )
    )
    print(
        f"ridge_path_features, N = 50000, p = 1280, 100 outputs: {seconds:.1f} s, peak"
        f" {peak:.1f} GiB",
        flush=True,
    )


def features():
    """Images per second, from images in memory to features in memory."""
    pictures = [
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8))
    ] * 2048
    for name, pixels in (("tf_efficientnet_lite0", 224), ("resnet50", 224)):
        backbone = load_backbone(name, init="random", img_size=pixels)
        seconds, _, peak = waited(
            lambda backbone=backbone: extract_features(
                backbone, pictures, batch_size=256, device="cuda"
            )
        )
        print(
            f"features of {name}, {pixels} px: {len(pictures) / seconds:.0f} images/s, peak"
            f" {peak:.1f} GiB",
            flush=True,
        )


def kernels(name, pixels, n):
    """rmtgen and the peers that hold the whole Jacobian, all on the device."""
    model = load_backbone(name, init="random", head="random", img_size=pixels).model
    images = torch.randn(n, 3, pixels, pixels, generator=torch.Generator().manual_seed(0))
    own, kernel, peak = waited(lambda: entk_gram(model, images, device="cuda", memory=MEMORY))
    exact = entk_gram(model, images[:16], device="cuda", dtype=torch.float64)
    print(
        f"{name}, {pixels} px, N = {n}: {own:.2f} s, peak {peak:.1f} GiB, error"
        f" {distance(kernel, exact):.0e}",
        flush=True,
    )
    if n > MOST_PEERS:
        return
    for peer in PEERS:
        if peer.__name__ not in ("torch_func", "nngeometry", "per_sample_backward"):
            continue
        there = copy.deepcopy(model).cuda()
        try:
            seconds, found, peak = waited(
                lambda peer=peer, there=there: peer(there, images.cuda()),
                lambda peer=peer, there=there: peer(there, images[:32].cuda()),
            )
        except Exception as failure:  # noqa: BLE001 - why a peer cannot run a model is its result
            print(
                f"  {peer.__name__}: cannot: {type(failure).__name__}:"
                f" {str(failure).splitlines()[0][:80]}",
                flush=True,
            )
            continue
        error = distance(found.cpu(), exact)
        print(
            f"  {peer.__name__}: {seconds:.2f} s ({seconds / own:.1f}×), peak {peak:.1f} GiB, error"
            f" {error:.0e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
