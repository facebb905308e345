"""Fixtures shared by the tests of the data sets: a small folder of images and its tar."""

import pytest
from image_files import pack, write_folder


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "pictures")


@pytest.fixture
def name(folder):
    return f"folder:{folder}"


@pytest.fixture
def archive(folder, tmp_path):
    return pack(folder, tmp_path / "pictures.tar")


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory):
    return f"folder:{write_folder(tmp_path_factory.mktemp('shared') / 'pictures')}"
