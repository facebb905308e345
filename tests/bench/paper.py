"""The eNTK beside the algorithm of the paper's public code, entry by entry, on CIFAR-100.

250 × 100 entries of torchvision's ResNet-18 and ResNet-50 at 64 px, random, in float32: relative
distances from rmtgen's float64 Gram matrix, and between the two. In a sample that is disturbed a
unit of ReLU lies within rounding of zero, and is on in one of the computations alone. Then the
effective rank (tr K)² / ‖K‖_F² of random ResNet-20 and ResNet-56, by sample size.
`make bench BENCH=paper`; CIFAR-100 is read from ../shared/data/cifar100.tar or ARCHIVE.
"""

import os
import time
from pathlib import Path

import torch

from rmtgen import entk_gram, load_backbone, load_dataset
from tests import paper
from tests.small_resnets import SmallResNet, effective_rank

ARCHIVE = os.environ.get("ARCHIVE", Path(__file__).parents[3] / "shared/data/cifar100.tar")
ROWS, COLUMNS, SIDE = 250, 100, 64
CHUNK = 3_000_000
"""Parameters of a chunk of the plain Jacobian, which takes 3 GB."""
HEAD = (
    f"{'':<30}{'norm':>10}{'median':>10}{'largest':>10}{'of steady':>10}{'disturbed':>10}\n"
    f"{'':<30}{'of K':>10}{'entry':>10}{'entry':>10}{'samples':>10}{'samples':>10}"
)
SIZES = (250, 500, 1000, 2000)


def main() -> None:
    """Print one table of distances and one of effective ranks."""
    pictures = load_dataset(f"folder:{ARCHIVE}", size=2000).images
    print(f"{ROWS} × {COLUMNS}, {SIDE} px, {torch.get_num_threads()} threads\n{HEAD}")
    for name in ("resnet18", "resnet50"):
        compare(name, [pictures[position] for position in range(ROWS)])
    print("\neffective rank" + "".join(f"{size:>9,}" for size in SIZES))
    transform = paper.transform("cifar100", 32)
    images = torch.stack([transform(pictures[position]) for position in range(max(SIZES))])
    for depth in (20, 56):
        torch.manual_seed(paper.SEED)
        kernel = entk_gram(SmallResNet(depth).eval(), images)
        ranks = "".join(f"{effective_rank(kernel[:n, :n]):>9.3f}" for n in SIZES)
        print(f"ResNet-{depth:<7}{ranks}", flush=True)


def compare(name: str, pictures: list) -> None:
    """Print one row per pair of Gram matrices of a network."""
    transform = paper.transform("cifar100", SIDE)
    images = torch.stack([transform(picture) for picture in pictures])
    with torch.random.fork_rng():
        network = paper.network(name)
    options = {"init": "random", "head": "random", "head_seed": None, "img_size": SIDE}
    model = load_backbone(f"torchvision/{name}", transform="cifar100", **options).model
    plain, plain_seconds = timed(lambda: paper.gram(network, images, COLUMNS, CHUNK))
    kernel, seconds = timed(lambda: entk_gram(model, images, images[:COLUMNS]))
    wide = images.double()
    exact = entk_gram(model.double(), wide, wide[:COLUMNS])
    steady = ~(paper.disturbed(plain, exact) | paper.disturbed(kernel, exact))
    pairs = {
        f"paper {plain_seconds:.1f} s": (plain, exact),
        f"rmtgen {seconds:.1f} s": (kernel.double(), exact),
        "rmtgen and paper": (kernel.double(), plain),
    }
    for pair, (found, other) in pairs.items():
        errors = (found - other).abs() / other.abs()
        print(
            f"{name:<10}{pair:<20}{(found - other).norm() / other.norm():>10.1e}"
            f"{errors.median():>10.1e}{errors.max():>10.1e}"
            f"{errors[steady][:, steady[:COLUMNS]].max():>10.1e}{(~steady).sum():>10}",
            flush=True,
        )


def timed(work):
    """Result and seconds of a call."""
    started = time.perf_counter()
    return work(), time.perf_counter() - started


if __name__ == "__main__":
    main()
