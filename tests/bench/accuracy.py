"""Errors of K, its smallest eigenvalues and the risks by the arithmetic of the products.

`make bench BENCH=accuracy`. Gradients of float32 at real images (CIFAR-100, read from
../shared/data/cifar100.tar or ARCHIVE) are multiplied in float64, in IEEE products, and in split
products with the rounding of tensor cores emulated: cut, and to nearest. All see the same numbers,
in several orders of the parameters, since the order of a sum moves its rounding. `CASES` holds
MODEL:PIXELS:EVERY: one in EVERY stretches of the gradients is multiplied. Weights are random, or
those of the file after a last colon.
"""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rmtgen import encode_targets, load_backbone, load_dataset, ridge_path
from rmtgen.kernels.entk import rules, splits
from rmtgen.kernels.entk.passes import Passes

SHARED = Path(__file__).parents[3] / "shared"
ARCHIVE = os.environ.get("ARCHIVE", SHARED / "data/cifar100.tar")
WEIGHTS = SHARED / "checkpoints/resnet18-cifar10.safetensors"
CASES = (
    "resnet18:32:32",
    f"resnet18:32:32:{WEIGHTS}",
    "resnet50:32:64",
    "vit_tiny_patch16_224:64:16",
)
TRAIN, TEST, CLASSES = 128, 64, 100
STRETCH, PANEL, BLOCK = 2**13, 2**15, 2**6
"""Entries that are taken together, multiplied together, and that stay together in any order."""
ORDERS = 3
TAIL = 0.05
"""Share of the eigenvalues that count as the smallest."""
RIDGES = np.logspace(-8, 0, 20)
"""Sum ridges over the mean diagonal."""


def main() -> None:
    """Print one table per case: the median over the orders, and the largest."""
    print(f"{'':<22}" + "".join(f"{name:>20}" for name in FIGURES))
    for case in os.environ.get("CASES", " ".join(CASES)).split():
        rows, labels = gradients(*case.split(":", 3))
        print(f"{case[:60]}, N = {TRAIN}, {rows.shape[1]:,} parameters", flush=True)
        targets = encode_targets(labels, CLASSES, "centered").values
        exact = gram(float64, rows)
        for name, multiply in WAYS.items():
            found = [
                list(errors(gram(multiply, own), exact, targets).values()) for own in ordered(rows)
            ]
            print(f"{name:<22}" + "".join(map(in_words, np.array(found).T)), flush=True)


def gradients(name, pixels, every, weights=None) -> tuple[Tensor, np.ndarray]:
    """Per-sample gradients (n, p) of a network at CIFAR-100 images, and their labels."""
    origin = {"weights": weights} if weights else {"init": "random"}
    backbone = load_backbone(name, head="random", img_size=int(pixels), **origin)
    data = load_dataset(f"folder:{ARCHIVE}", size=2000)
    images = torch.stack([backbone.transform(data.images[i]) for i in range(TRAIN + TEST)])
    passes, rows = Passes(backbone.model, images, device="cpu"), []
    for batch in torch.arange(len(images)).split(16):
        found = passes(batch.tolist())[0].materialised.values()
        whole = torch.cat([gradient.flatten(1) for gradient in found], dim=1)
        rows.append(torch.cat(whole.split(STRETCH, dim=1)[:: int(every)], dim=1))
    return torch.cat(rows), data.labels[: len(images)]


def ordered(rows: Tensor) -> Iterator[Tensor]:
    """The rows in the order of the parameters, reversed, and with blocks in random orders."""
    yield rows
    yield rows.flip(1)
    whole = rows[:, : rows.shape[1] // BLOCK * BLOCK].unflatten(1, (-1, BLOCK))
    random, rest = torch.Generator().manual_seed(0), rows[:, whole.shape[1] * BLOCK :]
    for _ in range(ORDERS - 2):
        order = torch.randperm(whole.shape[1], generator=random)
        yield torch.cat([whole[:, order].flatten(1), rest], dim=1)


def gram(multiply, rows: Tensor) -> Tensor:
    """The products of all samples with those of training, in float64."""
    kernel = rows.new_zeros(len(rows), TRAIN, dtype=torch.float64)
    for panel in rows.split(PANEL, dim=1):
        multiply(kernel, panel, panel[:TRAIN])
    return kernel


def float64(kernel, left, right) -> None:
    kernel += left.double() @ right.double().T


def matmul(kernel, left, right) -> None:
    for sides in zip(left.split(rules.INNER, 1), right.split(rules.INNER, 1), strict=True):
        kernel += sides[0] @ sides[1].T


def of_rmtgen(kernel, left, right) -> None:
    rules.multiply(kernel, left, right, symmetric=False)


def split(kernel, left, right, cut) -> None:
    sides = [splits.split(side[:, None], splits.CHUNK) for side in (left, right)]
    splits.multiply(kernel, *sides, symmetric=False, cut=cut)
    kernel[:TRAIN].diagonal().add_(sides[1].dropped())


WAYS = {
    "ieee, torch.mm": matmul,
    "ieee, rmtgen": of_rmtgen,
    "split, cut": partial(split, cut=True),
    "split, to nearest": partial(split, cut=False),
}
FIGURES = (
    "K",
    "K, rescaled",
    "diagonal, bias",
    "least eigenvalue",
    "least 5 %",
    "GCV",
    "test risk",
)


def errors(found: Tensor, exact: Tensor, targets: Tensor) -> dict[str, float]:
    """Relative errors; of several eigenvalues the root mean square, of risks the largest.

    The rescaled K is the one that fits best with a factor before it.
    """
    values, moved = (torch.linalg.eigvalsh(kernel[:TRAIN]) for kernel in (exact, found))
    own, true = found[:TRAIN], exact[:TRAIN]
    factor = (own * true).sum() / own.square().sum()
    off, few = moved / values - 1, int(TAIL * TRAIN)
    right, wrong = (risks(kernel, exact, targets) for kernel in (exact, found))
    return dict(
        zip(
            FIGURES,
            (
                ((own - true).norm() / true.norm()).item(),
                ((factor * own - true).norm() / true.norm()).item(),
                (found.diagonal() / exact.diagonal() - 1).mean().item(),
                off[0].item(),
                off[:few].square().mean().sqrt().item(),
                *np.abs(wrong / right - 1).max(axis=0),
            ),
            strict=True,
        )
    )


def risks(kernel: Tensor, exact: Tensor, targets: Tensor) -> np.ndarray:
    """GCV and test risk at every ridge."""
    train = kernel[:TRAIN].tril() + kernel[:TRAIN].tril(-1).T
    path = ridge_path(
        train,
        targets[:TRAIN],
        sum_ridges=RIDGES * exact.diagonal().mean().item(),
        test_gram=kernel[TRAIN:],
        test_targets=targets[TRAIN:],
        loo=False,
    )
    return path[["gcv", "test_risk"]].to_numpy()


def in_words(found: np.ndarray) -> str:
    """Median and largest size of a figure over the orders."""
    size = np.abs(found)
    return f"{np.median(found if (found < 0).all() else size):>10.1e}{f'({size.max():.1e})':>10}"


if __name__ == "__main__":
    main()
