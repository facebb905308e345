"""Small image data sets written to disk, and an array with labels."""

import io
import tarfile

import numpy as np
from PIL import Image

from rmtgen.datasets import (
    ArrayImages,
    LabelledImages,
)

CLASSES = ("ant", "bee", "cat")


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(pixels, suffix="png", **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, {"jpg": "jpeg"}.get(suffix, suffix), **options)
    return buffer.getvalue()


def write_folder(root, *, train=12, test=5, classes=CLASSES, seed=0):
    """Write train/CLASS/NN.png and test/CLASS/NN.png with distinct images."""
    pictures = iter(noise(len(classes) * (train + test), 8, 8, 3, seed=seed))
    for split, count in (("train", train), ("test", test)):
        for name in classes:
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                (root / split / name / f"{number:02d}.png").write_bytes(encoded(next(pictures)))
    return root


def pack(folder, path, arcname=""):
    with tarfile.open(path, "w") as archive:
        archive.add(folder, arcname=arcname)
    return path


def add_member(path, name, content=b"", kind=tarfile.REGTYPE, linkname=""):
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.size, member.linkname = kind, len(content), linkname
        archive.addfile(member, io.BytesIO(content))


def array_set(labels, split="train"):
    labels = np.asarray(labels, dtype=np.int64)
    pixels = noise(len(labels), 4, 4)
    return LabelledImages(
        "planted", split, ArrayImages(pixels), labels, CLASSES, np.arange(len(labels))
    )
