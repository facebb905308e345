"""The data sets of torchvision, from small local copies in their own formats."""

import json
import pickle
import struct
import types
from hashlib import md5
from urllib.error import URLError

import numpy as np
import pytest
from image_files import encoded, noise
from PIL import Image

from rmtgen.datasets import (
    dataset_files,
    load_dataset,
    load_split,
)
from rmtgen.datasets.catalogue import DATA_SETS
from rmtgen.datasets.vision import VISION_SETS
from rmtgen.errors import CapacityError, CorruptInputError, MissingInputError


def checksum(path):
    return md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def planted(per_class, classes, *shape):
    """Labels 0 0 … 1 1 … in class order, and one image per label."""
    labels = np.repeat(np.arange(classes), per_class)
    return labels, noise(len(labels), *shape, seed=per_class)


def write_cifar(root, monkeypatch, constructor, folder, parts, meta, label_key, classes):
    base = root / folder
    base.mkdir(parents=True)
    expected = {}
    for split, (part, count) in parts.items():
        labels, pixels = planted(count, classes, 32, 32, 3)
        flat = pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1)
        (base / part).write_bytes(pickle.dumps({"data": flat, label_key: labels.tolist()}))
        monkeypatch.setattr(constructor, f"{split}_list", [[part, checksum(base / part)]])
        expected[split] = (pixels, labels)
    (base / meta[0]).write_bytes(
        pickle.dumps({meta[1]: [f"class {label}" for label in range(classes)]})
    )
    monkeypatch.setattr(
        constructor, "meta", {"filename": meta[0], "key": meta[1], "md5": checksum(base / meta[0])}
    )
    return expected


def write_cifar10(root, monkeypatch, datasets):
    parts = {"train": ("data_batch_1", 4), "test": ("test_batch", 2)}
    meta = ("batches.meta", "label_names")
    return write_cifar(
        root, monkeypatch, datasets.CIFAR10, "cifar-10-batches-py", parts, meta, "labels", 10
    )


def write_cifar100(root, monkeypatch, datasets):
    parts = {"train": ("train", 3), "test": ("test", 1)}
    meta = ("meta", "fine_label_names")
    return write_cifar(
        root, monkeypatch, datasets.CIFAR100, "cifar-100-python", parts, meta, "fine_labels", 100
    )


def write_svhn(root, monkeypatch, datasets):
    from scipy.io import savemat  # noqa: PLC0415

    expected, listed = {}, {}
    for split, count in (("train", 4), ("test", 2)):
        labels, pixels = planted(count, 10, 32, 32, 3)
        path = root / f"{split}_32x32.mat"
        savemat(
            path,
            {
                "X": pixels.transpose(1, 2, 3, 0),
                "y": np.where(labels == 0, 10, labels)[:, None].astype(np.uint8),
            },
        )
        listed[split] = ["", path.name, checksum(path)]
        expected[split] = (pixels, labels)
    monkeypatch.setattr(datasets.SVHN, "split_list", listed)
    return expected


def write_fashionmnist(root, monkeypatch, datasets):
    raw = root / "FashionMNIST/raw"
    raw.mkdir(parents=True)
    expected = {}
    for split, prefix, count in (("train", "train", 4), ("test", "t10k", 2)):
        labels, pixels = planted(count, 10, 28, 28)
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(
            struct.pack(">4i", 0x803, len(pixels), 28, 28) + pixels.tobytes()
        )
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(
            struct.pack(">2i", 0x801, len(labels)) + bytes(labels.tolist())
        )
        expected[split] = (np.repeat(pixels[..., None], 3, axis=3), labels)
    return expected


def write_pictures(folder, names, pixels):
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in zip(names, pixels, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encoded(picture, "jpg"))
    return np.array([np.array(Image.open(folder / name)) for name in names])


def write_food101(root, monkeypatch, datasets):
    base, expected = root / "food-101", {}
    (base / "meta").mkdir(parents=True)
    for split, count in (("train", 4), ("test", 2)):
        labels, pixels = planted(count, 2, 16, 16, 3)
        listed = [
            f"{('apple_pie', 'waffles')[label]}/{split}{row}" for row, label in enumerate(labels)
        ]
        by_class = {
            dish: [entry for entry in listed if entry.startswith(dish)]
            for dish in ("apple_pie", "waffles")
        }
        (base / "meta" / f"{split}.json").write_text(json.dumps(by_class))
        expected[split] = (
            write_pictures(base / "images", [f"{entry}.jpg" for entry in listed], pixels),
            labels,
        )
    return expected


def write_flowers102(root, monkeypatch, datasets):
    from scipy.io import savemat  # noqa: PLC0415

    base = root / "flowers-102"
    labels, pixels = planted(3, 102, 8, 8, 3)
    pictures = write_pictures(
        base / "jpg", [f"image_{number:05d}.jpg" for number in range(1, 307)], pixels
    )
    ids = np.arange(1, 307).reshape(102, 3)
    savemat(base / "imagelabels.mat", {"labels": labels[None] + 1})
    savemat(
        base / "setid.mat",
        {"trnid": ids[:, 0][None], "valid": ids[:, 1][None], "tstid": ids[:, 2][None]},
    )
    listed = {
        "label": ("imagelabels.mat", checksum(base / "imagelabels.mat")),
        "setid": ("setid.mat", checksum(base / "setid.mat")),
    }
    monkeypatch.setattr(datasets.Flowers102, "_file_dict", listed)
    train = np.concatenate([ids[:, 0], ids[:, 1]]) - 1
    test = ids[:, 2] - 1
    return {"train": (pictures[train], labels[train]), "test": (pictures[test], labels[test])}


def write_fgvcaircraft(root, monkeypatch, datasets):
    data, expected = root / "fgvc-aircraft-2013b/data", {}
    for split, part, count in (("train", "trainval", 4), ("test", "test", 2)):
        labels, pixels = planted(count, 2, 8, 8, 3)
        names = [f"{part}{row:03d}" for row in range(len(labels))]
        expected[split] = (
            write_pictures(data / "images", [f"{name}.jpg" for name in names], pixels),
            labels,
        )
        lines = [
            f"{name} {('A380', 'Boeing 707')[label]}\n"
            for name, label in zip(names, labels, strict=True)
        ]
        (data / f"images_variant_{part}.txt").write_text("".join(lines))
    (data / "variants.txt").write_text("A380\nBoeing 707\n")
    return expected


WRITERS = {
    "cifar10": write_cifar10,
    "cifar100": write_cifar100,
    "svhn": write_svhn,
    "fashionmnist": write_fashionmnist,
    "food101": write_food101,
    "flowers102": write_flowers102,
    "fgvcaircraft": write_fgvcaircraft,
}


def test_every_data_set_has_a_writer():
    assert WRITERS.keys() == VISION_SETS.keys()


@pytest.mark.parametrize("vision", WRITERS)
def test_a_local_copy_is_read(tmp_path, monkeypatch, vision):
    import torchvision.datasets  # noqa: PLC0415

    monkeypatch.setattr(
        "urllib.request.urlopen", lambda *args, **kwargs: pytest.fail("nothing may be downloaded")
    )
    expected = WRITERS[vision](tmp_path, monkeypatch, torchvision.datasets)
    split = load_split(vision, root=tmp_path, train=None, test=None)
    for name, data in (("train", split.train), ("test", split.test)):
        pixels, labels = expected[name]
        assert len(data) == len(labels)
        assert len(data.classes) == labels.max() + 1
        assert np.array_equal(data.labels, labels[data.indices])
        assert all(
            np.array_equal(picture, pixels[index])
            for picture, index in zip(data.images, data.indices, strict=True)
        )
    assert all(path.exists() for path in dataset_files(vision, tmp_path))
    assert dataset_files(vision, tmp_path)


@pytest.mark.parametrize("vision", WRITERS)
def test_a_missing_copy_names_the_place_and_the_command(tmp_path, vision):
    with pytest.raises(MissingInputError) as caught:
        load_dataset(vision, root=tmp_path)
    message = str(caught.value)
    assert f"{vision} must be at {tmp_path}/" in message
    assert f"rmtgen.load_dataset('{vision}', root='{tmp_path}', download=True)" in message
    assert list(tmp_path.glob("*")) == []


def test_a_copy_with_a_wrong_checksum_is_corrupt(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    message = r"cifar-10-batches-py must be a complete copy of cifar10, .*Remove it and download it"
    with pytest.raises(CorruptInputError, match=message):
        load_dataset("cifar10", root=tmp_path)


def test_a_failed_download_says_why(tmp_path, monkeypatch, capsys):
    import torchvision.datasets  # noqa: PLC0415

    def unreachable(self):
        print("Downloading")
        raise URLError("Name or service not known")

    monkeypatch.setattr(torchvision.datasets.CIFAR100, "download", unreachable)
    with pytest.raises(
        MissingInputError,
        match=r"cifar100 could not be downloaded to .*Name or service not known.*cifar-100-python",
    ):
        load_dataset("cifar100", root=tmp_path, download=True)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("pixels", "labels", "reason"),
    [
        (np.zeros((3, 4, 4), np.float32), [0, 1, 0], "type float32"),
        (np.zeros((3, 4, 4, 2), np.uint8), [0, 1, 0], "expected 3 channels"),
        (np.zeros((3, 16), np.uint8), [0, 1, 0], r"shape \(3, 16\)"),
        (np.zeros((3, 0, 4), np.uint8), [0, 1, 0], r"shape \(3, 0, 4\)"),
        (np.zeros((3, 4, 4), np.uint8), [0, 1], r"3 images, labels of shape \(2,\)"),
        (np.zeros((3, 4, 4), np.uint8), [0.0, 1.0, 0.0], "labels .*float64"),
        (np.zeros((3, 4, 4), np.uint8), [0, 1, 10], "labels must be from 0 to 9: .* has 10"),
        (np.zeros((3, 4, 4), np.uint8), [0, 1, -1], "labels must be from 0 to 9: .* has -1"),
    ],
)
def test_files_that_hold_something_else_are_refused(tmp_path, monkeypatch, pixels, labels, reason):
    part = types.SimpleNamespace(data=pixels, targets=labels, classes=list("0123456789"))
    monkeypatch.setattr("torchvision.datasets.CIFAR10", lambda *_, **__: part)
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(CorruptInputError, match=reason):
        load_dataset("cifar10", root=tmp_path)


def test_a_lack_of_memory_is_no_damage(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr("torchvision.datasets.CIFAR10", fail)
    with pytest.raises(CapacityError, match="cifar10 does not fit into memory"):
        load_dataset("cifar10", root=tmp_path)


def test_the_published_sizes_are_whole_and_those_of_mnist5k_are_right():
    assert VISION_SETS["cifar10"].sizes("cifar10", None) == (50_000, 10_000)
    split = load_split("mnist5k", train=None, test=None)
    assert DATA_SETS["mnist5k"].sizes("mnist5k", None) == (len(split.train), len(split.test))
