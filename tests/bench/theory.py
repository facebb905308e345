"""The theory stage beside its one eigendecomposition, for 6,000 samples and 100 classes."""

import time

import numpy as np
import torch

from rmtgen.linalg.modes import gram_modes
from rmtgen.ridge.targets import encode_targets
from rmtgen.theory.study import ANALYSES, study

N, M, DIM, CLASSES = 6_000, 2_000, 8_000, 100
SIZES = (100, 400, 1_500)


def seconds(work):
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started


def prepared():
    """A Gram matrix of made-up features, and its study."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((N + M, DIM)) * np.arange(1, DIM + 1) ** -0.6
    scores = features[:, :200] @ rng.standard_normal((200, CLASSES)) + rng.standard_normal(
        (N + M, CLASSES)
    )
    encoded = [
        encode_targets(part, CLASSES, "centered") for part in np.split(scores.argmax(axis=1), [N])
    ]
    rows, tests = (torch.from_numpy(part) for part in np.split(features, [N]))
    gram = rows @ rows.mT
    return gram, study(
        gram,
        encoded[0].values,
        test_gram=tests @ rows.mT,
        test_targets=encoded[1].values,
        sizes=SIZES,
    )


def main():
    """Print the seconds of the eigendecomposition and of every analysis, and their ratio."""
    gram, made = prepared()
    _, alone = seconds(lambda: gram_modes(gram))
    print(f"eigendecomposition of {N:,} samples  {alone:8.1f} s")
    total = 0.0
    for name, analyse in ANALYSES.items():
        table, took = seconds(lambda analyse=analyse: analyse(made))
        total += took
        print(f"  {name:<20} {len(table):6,} rows  {took:8.1f} s")
    print(
        f"the stage, its own eigendecomposition included  {total:8.1f} s  {total / alone:.2f} times"
        " the eigendecomposition"
    )


if __name__ == "__main__":
    main()
