"""Fixtures shared by the tests of the stages: a small data set of real files and the words that
configure a run on it."""

import os

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # pytest-xdist runs a process on each core; threads on top of that only fight

import shutil  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import shapes  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402
from PIL import Image  # noqa: E402

# No test depends on how fast the machine is.
settings.register_profile("any-speed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-speed")

shapes.check()

from rmtgen.cli.main import main  # noqa: E402

CLASSES = ("ash", "birch", "cedar")


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory):
    """train/ and test/ with three classes of 16×16 pictures: a hue per class, and noise."""
    root, rng = tmp_path_factory.mktemp("images") / "trees", np.random.default_rng(0)
    for split, count in (("train", 40), ("test", 20)):
        for channel, name in enumerate(CLASSES):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 200, (16, 16, 3))
                pixels[..., channel] += 55
                Image.fromarray(pixels.astype(np.uint8)).save(
                    root / split / name / f"{number:03d}.png"
                )
    return root


@pytest.fixture(scope="session")
def tiny_images(image_folder):
    """FIELD=VALUE words of a run that takes a second: 96 + 48 pictures, a backbone of timm's own
    tests."""
    return (
        f"dataset=folder:{image_folder}",
        *(
            "train=96",
            "test=48",
            "model=test_resnet",
            "init=random",
            "img_size=32",
            "batch_size=16",
            "tile=32",
        ),
        *("sizes=8,24,96", "trials=2", "ridges=0,1e-6:10:5"),
    )


@pytest.fixture(scope="session")
def finished(tmp_path_factory, tiny_images):
    """The folder OUTPUT of a finished run, and the words that made it; whoever changes it copies
    it."""
    output = tmp_path_factory.mktemp("finished")
    words = [*tiny_images, f"output={output}"]
    assert main(["run", *words]) == 0
    return output, words


@pytest.fixture
def copied(finished, tmp_path):
    """The directory of a copied run, and words that lead there."""
    output, words = finished
    copy = Path(shutil.copytree(output, tmp_path / "copy", copy_function=shutil.copy2))
    (run,) = (copy / "runs").iterdir()
    return run, [*words[:-1], f"output={copy}"]


@pytest.fixture
def old_runs(tmp_path, monkeypatch):
    """The runs of version 0.1.0 under the working directory; see `old.py`."""
    monkeypatch.chdir(tmp_path)
    shutil.unpack_archive(Path(__file__).parent / "data" / "runs-0.1.0.tar.xz", tmp_path)
    return tmp_path / "data" / "runs"
