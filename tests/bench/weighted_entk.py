"""Whether learned weights of the layers of an eNTK beat equal ones, by the test risk.

`make bench BENCH=weighted_entk`: `MODEL` (resnet18) at 32 px, random, and with `WEIGHTS=FILE` also
pretrained; `DATASET` (mnist5k), `SIZES` (100 200) training and `TESTS` (500) test images. The gain
is that of held-out folds of the training images; "paired" is the standard error of the difference
of the two test risks over test images.
"""

import os

import torch

from rmtgen import (
    combine_kernels,
    encode_targets,
    entk_gram,
    learn_weights,
    load_backbone,
    load_dataset,
    ridge_path,
)
from rmtgen.tables import Table

HEADINGS = ("network", "n", "LOO, equal", "LOO", "corrected", "gain ± s.e.")
HEADINGS += ("test, equal", "test", "paired", "layers > 1 %")


def kernels(init, images, tests):
    """Kernels of the layers that have one: those of the training images, and the test rows."""
    weights = os.environ.get("WEIGHTS") if init == "pretrained" else None
    name = os.environ.get("MODEL", "resnet18")
    backbone = load_backbone(name, init=init, weights=weights, head="random", img_size=32)
    rows, test_rows = (
        torch.stack([backbone.transform(image) for image in part.images])
        for part in (images, tests)
    )
    grams = entk_gram(backbone.model, rows, by="layer", progress=True)
    test_grams = entk_gram(backbone.model, test_rows, rows, by="layer", progress=True)
    alive = [layer for layer, gram in grams.items() if gram.trace() > 0]
    return [{layer: found[layer] for layer in alive} for found in (grams, test_grams)]


def losses(grams, test_grams, targets, test_targets, weights, ridge):
    """Loss of each test image."""
    gram, rows = (combine_kernels(found, weights) for found in (grams, test_grams))
    centred = gram - gram.mean(dim=0) - gram.mean(dim=1)[:, None] + gram.mean()
    dual = torch.linalg.solve(
        centred + len(gram) * ridge * torch.eye(len(gram)).double(), targets - targets.mean(dim=0)
    )
    offset = (targets - gram @ dual).mean(dim=0)
    found = (test_targets - rows @ dual - offset).square().sum(dim=1)
    path = ridge_path(
        gram,
        targets,
        ridges=[ridge],
        intercept=True,
        test_gram=rows,
        test_targets=test_targets,
    )
    if abs(path["test_risk"][0] / found.mean().item() - 1) > 1e-6:
        raise RuntimeError("two fits of one problem differ")
    return found


def compared(init, size, grams, test_grams, targets, test_targets):
    """A row of the table."""
    parts = {layer: gram[:size, :size] for layer, gram in grams.items()}
    tests = {layer: gram[:, :size] for layer, gram in test_grams.items()}
    learned = learn_weights(parts, targets[:size], intercept=True)
    problem = parts, tests, targets[:size], test_targets
    equal = losses(*problem, dict.fromkeys(parts, 1.0), learned.plain_ridge)
    own = losses(*problem, learned.weights, learned.ridge)
    error = (equal - own).std() / len(own) ** 0.5
    shares = torch.tensor([learned.weights[layer] * part.trace() for layer, part in parts.items()])
    used = int((shares > 0.01 * shares.sum()).sum())
    risks = (learned.plain_loo, learned.loo, learned.corrected)
    return (
        init,
        str(size),
        *(f"{risk:.4f}" for risk in risks),
        f"{learned.gain:.4f} ±{learned.gain_se:.4f}",
        *(f"{value.item():.4f}" for value in (equal.mean(), own.mean(), error)),
        f"{used} of {len(parts)}",
    )


def main() -> None:
    """Print the table."""
    sizes = [int(size) for size in os.environ.get("SIZES", "100 200").split()]
    name, found = os.environ.get("DATASET", "mnist5k"), []
    images = load_dataset(name, size=max(sizes))
    tests = load_dataset(name, split="test", size=int(os.environ.get("TESTS", "500")))
    classes = max(max(images.labels), max(tests.labels)) + 1
    targets, test_targets = (
        encode_targets(part.labels, int(classes), "intercept").values for part in (images, tests)
    )
    for init in ("random", "pretrained") if os.environ.get("WEIGHTS") else ("random",):
        blocks = kernels(init, images, tests)
        found += [compared(init, size, *blocks, targets, test_targets) for size in sizes]
    print(Table(HEADINGS, tuple(found), "<" + ">" * 9).text())
