"""A folder with what the pages speak of, and the small demo in it."""

import contextlib
import fcntl
import os
import re
import shutil
import tarfile

import numpy as np
import pytest
import timm
import torch
from pages import blocks
from safetensors.torch import save_file
from workspace import DEMO_SIZES, SMALL, planned, rmtgen

from rmtgen.datasets import load_dataset


@contextlib.contextmanager
def alone(folder):
    """One process at a time: the workers of pytest-xdist share the workspace."""
    with (folder / ".docs-lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_table(folder):
    """labels.csv and people.csv, of the pictures in a folder of classes."""
    names = sorted(path.relative_to(folder) for path in folder.glob("pictures/*/*/*.png"))
    rows = [f"{name.as_posix()},{name.parts[2]},{name.parts[1]}" for name in names]
    (folder / "labels.csv").write_text("\n".join(["path,label,split", *rows]))
    people = [
        f"{name.as_posix()},{20 + at % 50},{60 + at % 7}.5,{('', 'dog', 'outdoor;dog')[at % 3]}"
        for at, name in enumerate(names)
    ]
    (folder / "people.csv").write_text("\n".join(["path,age,weight,tags", *people]))


def write_features(folder):
    """pixels.npz and edges.npy of the digits of mnist5k with their labels, and people.npz."""
    images = load_dataset("mnist5k", shuffle=False)
    pixels = np.stack([np.asarray(image.convert("L")) for image in images.images])
    np.savez(folder / "pixels.npz", features=pixels.reshape(len(pixels), -1), labels=images.labels)
    edges = np.abs(np.diff(pixels.astype(np.float32))).mean(axis=1)
    np.save(folder / "edges.npy", edges)
    np.save(folder / "labels.npy", images.labels)
    rows = np.random.default_rng(0).standard_normal((90, 8))
    np.savez(
        folder / "people.npz",
        features=rows,
        labels=rows[:, :2],
        columns=["age", "weight"],
        smiling=(rows[:, 2] > 0).astype(int),
        hat=rows[:, 3] > 0,
    )


@pytest.fixture(scope="session")
def workspace(tmp_path_factory, image_folder):
    """A folder with the files that the pages name: pictures, weights, configurations."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = base / "docs"
    with alone(base):
        if not (folder / "ready").exists():
            shutil.copytree(image_folder, folder / "my" / "pictures", dirs_exist_ok=True)
            write_table(folder / "my")
            write_features(folder)
            with tarfile.open(folder / "cifar100.tar", "w") as archive:
                for split in ("train", "test"):
                    archive.add(image_folder / split, split)
            weights = timm.create_model("resnet18").half().state_dict()
            torch.save(weights, folder / "my" / "weights.pth")
            weights = timm.create_model("resnet50").half().state_dict()
            save_file(weights, folder / "resnet50.safetensors")
            for block in blocks("yaml"):
                name = re.match(r"# (\S+\.yaml)", block.text)[1]
                (folder / name).write_text(block.text, encoding="utf-8")
            (folder / "ready").touch()
    return folder


@pytest.fixture(scope="session")
def demo(workspace):
    """The workspace with the small demo's runs and report under data/, where the pages look."""
    with alone(workspace), pytest.MonkeyPatch.context() as patch:
        patch.chdir(workspace)
        for words in planned(("make", "demo")):
            rmtgen([*words, *SMALL, *DEMO_SIZES])
    return workspace
