"""Features of a network whose images another of its command has decoded: time, and its ratio.

`make bench BENCH=shared_images`. JPEG files of the size of a camera's and of ImageNet's, at 224 px,
and PNG files of that of CIFAR's, at 32 px, all drawn; `IMAGES` of them (32). The networks have
random weights. Alone, a network decodes, scales and crops each image; the next one of the same size
and interpolation normalises what was kept. Times are those of the processor, in one thread, the
least of three passes, so that other work on the machine counts little.
"""

import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from rmtgen import load_backbone
from rmtgen.datasets.images import FileImages
from rmtgen.models.features import feature_batches
from rmtgen.models.framed_images import FramedImages, Room
from rmtgen.models.recipes import framing_of, normalisation_of
from tests.bench.figures import record
from tests.bench.machine import describe

BENCH = "shared_images"
IMAGES = int(os.environ.get("IMAGES", "32"))
NETWORKS = ("mobilenetv3_small_050", "resnet18", "tf_efficientnet_lite0", "resnet50")
KINDS = {
    "1600 × 1200 JPEG at 224 px": (1600, 1200, 224, {"format": "JPEG", "quality": 90}),
    "500 × 375 JPEG at 224 px": (500, 375, 224, {"format": "JPEG", "quality": 90}),
    "32 × 32 PNG at 32 px": (32, 32, 32, {"format": "PNG"}),
}


def main() -> None:
    """Record, of each network and kind of file, an image alone and one that is kept."""
    torch.set_num_threads(1)
    print(describe())
    with tempfile.TemporaryDirectory() as folder:
        for kind, (width, height, side, how) in KINDS.items():
            files = drawn(Path(folder), width, height, how)
            print(f"{kind}: {np.mean(files.file_sizes()) / 1000:.1f} kB each")
            for name in NETWORKS:
                compare(f"{name}, {kind}", load_backbone(name, init="random", img_size=side), files)


def drawn(folder, width, height, how):
    """Pictures of three octaves of noise, the coarsest strongest, and a little of each pixel."""
    rng, paths = np.random.default_rng(0), []
    for number in range(IMAGES):
        pixels = 115 + rng.normal(0, 4, (height, width, 1)) + np.zeros(3)
        for side, strength in ((8, 40), (32, 14), (96, 6)):
            coarse = Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
            scaled = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
            pixels = pixels + strength / 74 * (scaled - 127.5)
        path = folder / f"{width}-{number}"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, **how)
        paths.append(str(path))
    return FileImages(paths)


def compare(case, backbone, files):
    """Record the milliseconds of an image alone, of one that is kept, and their ratio."""
    kept = framed(backbone, files, Room(2**32))
    passed(*kept)
    alone, shared = np.inf, np.inf
    for _ in range(3):
        alone = min(alone, passed(*framed(backbone, files, Room(0))))
        shared = min(shared, passed(*kept))
    record(BENCH, case, "alone", 1000 * alone / IMAGES, "ms")
    record(BENCH, case, "kept", 1000 * shared / IMAGES, "ms")
    record(BENCH, case, "ratio", alone / shared, "")


def framed(backbone, files, room):
    """The backbone for framed pictures, and these."""
    frames = FramedImages(files, framing_of(backbone.recipe), backbone.input_size, room)
    reader = replace(backbone, transform=normalisation_of(backbone.recipe))
    return reader, frames


def passed(reader, frames):
    """Seconds of the processor for the features of all images."""
    started = time.process_time()
    for _ in feature_batches(reader, frames, batches=range(-(-len(frames) // 64)), device="cpu"):
        pass
    return time.process_time() - started


if __name__ == "__main__":
    main()
