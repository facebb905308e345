"""The eNTK beside the algorithm of the paper's public code, entry by entry, on CIFAR-100.

250 × 100 entries of torchvision's ResNet-18 and ResNet-50 at 64 px: the relative distance of each
float32 Gram matrix from the float64 one, and from the other. Then the effective rank
(tr K)² / ‖K‖_F² of random ResNet-20 and ResNet-56, by sample size. `make bench BENCH=paper`;
CIFAR-100 is read from ../shared/data/cifar100.tar or ARCHIVE.
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
SIZES = (125, 250, 500, 1000, 2000)


def main() -> None:
    """Print one table of distances and one of effective ranks."""
    pictures = load_dataset(f"folder:{ARCHIVE}", size=max(SIZES)).images
    print(f"{ROWS} × {COLUMNS}, {SIDE} px, {torch.get_num_threads()} threads")
    print(
        f"{'':<10}{'seconds':>18}{'largest entry, relative':>40}{'Frobenius norm, relative':>40}\n"
        f"{'':<10}{'paper':>9}{'rmtgen':>9}"
        + f"{'paper-64':>14}{'rmtgen-64':>13}{'rmtgen-paper':>13}"
        * 2
    )
    for name in ("resnet18", "resnet50"):
        compare(name, [pictures[position] for position in range(ROWS)])
    print(f"\neffective rank{'':<6}" + "".join(f"{size:>8,}" for size in SIZES))
    images = torch.stack(
        [paper.transform("cifar100", 32)(pictures[position]) for position in range(max(SIZES))]
    )
    for depth in (20, 56):
        torch.manual_seed(paper.SEED)
        kernel = entk_gram(SmallResNet(depth).eval(), images)
        ranks = "".join(f"{effective_rank(kernel[:n, :n]):>8.3f}" for n in SIZES)
        print(f"ResNet-{depth:<13}{ranks}", flush=True)


def compare(name: str, pictures: list) -> None:
    """Print the distances of one network."""
    images = torch.stack([paper.transform("cifar100", SIDE)(picture) for picture in pictures])
    started = time.perf_counter()
    plain = paper.gram(paper.network(name), images, COLUMNS)
    between = time.perf_counter()
    backbone = load_backbone(
        f"torchvision/{name}",
        init="random",
        head="random",
        head_seed=None,
        img_size=SIDE,
        transform="cifar100",
    )
    own = torch.stack([backbone.transform(picture) for picture in pictures])
    kernel = entk_gram(backbone.model, own, own[:COLUMNS]).double()
    ended = time.perf_counter()
    exact = entk_gram(backbone.model.double(), own.double(), own[:COLUMNS].double())
    pairs = (plain, exact), (kernel, exact), (kernel, plain)
    largest = "".join(f"{((a - b).abs() / b.abs()).max():>13.1e}" for a, b in pairs)
    norm = "".join(f"{(a - b).norm() / b.norm():>13.1e}" for a, b in pairs)
    print(
        f"{name:<10}{between - started:>9.1f}{ended - between:>9.1f} {largest} {norm}", flush=True
    )


if __name__ == "__main__":
    main()
