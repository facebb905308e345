"""Fixtures of the tests of the stages."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def images(image_folder, tmp_path):
    """A copy of the images that a test may damage, and words for a run on it."""
    folder = Path(shutil.copytree(image_folder, tmp_path / "trees"))
    words = [
        f"dataset=folder:{folder}",
        f"output={tmp_path / 'out'}",
        *("model=test_resnet", "init=random", "img_size=32"),
    ]
    return folder, [*words, "train=96", "test=48", "sizes=24,96", "trials=1", "tile=32"]
