"""Peak memory of `extract` against the number of images, beside the size of the features.

Each size runs in a process of its own, whose peak resident set the kernel reports.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

SIZES = (1000, 2000, 4000, 8000)
DIM = 1280


def main() -> None:
    """Extract tf_efficientnet_lite0 at 32 px for growing N, and print the peaks."""
    with tempfile.TemporaryDirectory() as place:
        images = _images(Path(place) / "noise", max(SIZES))
        print(f"{'images':>8}{'peak RSS':>14}{'features':>14}")
        for size in SIZES:
            peak = _peak(images, size, Path(place) / f"out-{size}")
            print(f"{size:>8}{peak / 2**20:>10.0f} MiB{4 * DIM * size / 2**20:>10.1f} MiB")


def _images(folder: Path, count: int) -> Path:
    rng = np.random.default_rng(0)
    for split, total in (("train", count), ("test", 20)):
        for name in ("a", "b"):
            (folder / split / name).mkdir(parents=True)
            for number in range(total // 2):
                pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{number}.png")
    return folder


def _peak(images: Path, size: int, output: Path) -> int:
    words = (
        f"dataset=folder:{images}",
        f"train={size}",
        "test=20",
        "model=tf_efficientnet_lite0",
        "init=random",
        "img_size=32",
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines.extract", *words, f"output={output}"],
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"extract failed with status {status}")
    return usage.ru_maxrss * 1024
