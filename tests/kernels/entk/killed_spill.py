"""Kill a process that spills 50 times, each time at another step of writing, then let it finish.

Print as JSON how many were killed, how many samples the last one still had to pass, and whether its
kernel is that without a spill, to the bit.
"""

import io
import json
import os
import random
import signal
import sys
from pathlib import Path

import torch
from torch import nn

from rmtgen.kernels.entk import Entk, spilled

KILLS, IMAGES, STEPS = 50, 48, 25


def kernel(spill):
    """The kernel of a tiny network in memory for few samples."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 1)
    ).eval()
    images = torch.randn(IMAGES, 1, 8, 8)
    entk = Entk(model, images, device="cpu", memory=4 * 2**20)
    entk = Entk(model, images, device="cpu", memory=_tight(entk), spill=spill)
    return entk, entk.block(range(IMAGES), range(IMAGES))


def _tight(entk):
    return 12 * 4 * entk.layout.entries + 4 * entk.image_bytes


class Doom:
    """Death by SIGKILL at the given step: before it, after it, or in the middle of a write."""

    def __init__(self, step, moment):
        self.left, self.moment = step, moment

    def __call__(self, work, half=None):
        self.left -= 1
        doomed = self.left < 0
        if doomed and self.moment == "before":
            _die()
        if doomed and self.moment == "within" and half:
            half()
            _die()
        found = work()
        if doomed:
            _die()
        return found


def _die():
    os.kill(os.getpid(), signal.SIGKILL)


def doom(step, moment):
    """Count the steps of writing from now on: opening, writing, syncing, renaming."""
    at = Doom(step, moment)
    fsync, replace, open_, fdopen = os.fsync, Path.replace, os.open, os.fdopen

    class Dying(io.FileIO):
        def write(self, data):
            write = super().write
            return at(lambda: write(data), lambda: write(memoryview(data)[: len(data) // 2]))

    os.fdopen = lambda handle, mode: Dying(handle, "wb") if mode == "wb" else fdopen(handle, mode)
    os.fsync = lambda handle: at(lambda: fsync(handle))
    Path.replace = lambda path, target: at(lambda: replace(path, target))
    os.open = lambda *args, **options: at(lambda: open_(*args, **options))


def main(folder):
    """See the module."""
    torch.set_num_threads(1)
    spilled.TRIED = IMAGES  # the disk may be slower than so small a network
    _, expected = kernel(None)
    chance, killed = random.Random(0), 0
    for _ in range(KILLS):
        step, moment = chance.randrange(STEPS), chance.choice(["before", "within", "after"])
        child = os.fork()
        if not child:
            doom(step, moment)
            kernel(folder)
            os._exit(0)
        killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    left = sum(path.suffix == ".spill" for path in Path(folder).rglob("*"))
    entk, found = kernel(folder)
    entk.finish()
    print(
        json.dumps(
            {
                "killed": killed,
                "files": left,
                "passed": entk.spilled.passed,
                "equal": torch.equal(found, expected),
                "after": [path.name for path in Path(folder).iterdir()],
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
