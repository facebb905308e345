"""Print the peak memory of an eNTK in MiB, without model, images and result.

The first argument is the memory budget.
"""

import sys
from pathlib import Path

import torch

from rmtgen import entk_gram, load_backbone


def peak():
    """The largest resident set so far, in MiB.

    That of getrusage is not used: a new process inherits it from its parent.
    """
    (line,) = (
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM")
    )
    return int(line.split()[1]) / 1024


def main(budget, name="resnet18", pixels=64, n=320):
    """Measure after a warm-up with a few images, which loads libraries and kernels."""
    model = load_backbone(name, init="random", head="random", img_size=pixels).model
    images = torch.randn(n, 3, pixels, pixels)
    entk_gram(model, images[:4], memory="64MiB" if pixels < 128 else "1GiB")
    before = peak()
    entk_gram(model, images, memory=budget)
    weights = 4 * sum(parameter.numel() for parameter in model.parameters()) / 2**20
    print(peak() - before - weights - 4 * n * n / 2**20)


if __name__ == "__main__":
    main(
        sys.argv[1],
        *(kind(word) for kind, word in zip((str, int, int), sys.argv[2:], strict=False)),
    )
