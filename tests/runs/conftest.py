"""Fixtures of the tests of runs: finished ones, to be read and to be broken."""

import shutil
from pathlib import Path

import pytest

import rmtgen
from rmtgen.cli.main import main

FROM_FEATURES = ("solve_from=features", "targets=intercept", "tile=1024", "loo=false")


@pytest.fixture(scope="session")
def output(finished, tmp_path_factory):
    """Two runs, one from a Gram matrix and one from features with an intercept; the second is
    without its theory. Tests that change anything copy one."""
    folder = tmp_path_factory.mktemp("two") / "data"
    shutil.copytree(finished[0], folder, copy_function=shutil.copy2)
    words = [*finished[1][:-1], f"output={folder}", *FROM_FEATURES]
    assert main(["run", "--stage", "risk", *words]) == 0
    return folder


@pytest.fixture(scope="session")
def folder(output):
    """The directory of the run from a Gram matrix."""
    return next(path.parent for path in output.glob("runs/*/gram.json"))


@pytest.fixture(scope="session")
def other(output, folder):
    """The directory of the run from features."""
    return next(path for path in output.glob("runs/*") if path != folder)


@pytest.fixture
def copy(folder, tmp_path):
    """The directory of a run that a test may change."""
    place = tmp_path / "data" / "runs" / folder.name
    return Path(shutil.copytree(folder, place, copy_function=shutil.copy2))


@pytest.fixture
def run(folder):
    return rmtgen.load_run(folder)
