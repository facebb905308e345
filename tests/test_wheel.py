"""What a user installs: the wheel, what is in it, and a run from it in an empty folder."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE")
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
TINY = ("model=test_resnet", "init=random", "img_size=32", "train=120", "test=60")
FEW = ("sizes=20,60,120", "trials=2", "ridges=0,1e-6:10:5")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built without the network from a copy: a build writes beside its sources."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "rmtgen", folder / "source" / "rmtgen", ignore=copy)
    shutil.copytree(ROOT / "pipelines", folder / "source" / "pipelines", ignore=copy)
    for name in SOURCES:
        shutil.copy(ROOT / name, folder / "source")
    options = ("--no-deps", "--no-build-isolation", "--wheel-dir", folder)
    subprocess.run([*PIP, "wheel", *options, folder / "source"], check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel):
    """The installed wheel, in a folder of its own; what it depends on is that of the tests."""
    folder = wheel.parent / "site"
    subprocess.run([*PIP, "install", "--no-deps", "--target", folder, wheel], check=True)
    return folder


def test_the_wheel_holds_the_package_with_its_data_and_nothing_beside_it(wheel):
    inside = {PurePosixPath(name) for name in ZipFile(wheel).namelist()}
    expected = {
        PurePosixPath(path.relative_to(ROOT))
        for path in (ROOT / "rmtgen").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {path.suffix for path in expected} >= {".py", ".typed", ".yaml", ".css", ".js", ".j2"}
    assert {path for path in inside if path.parts[0] == "rmtgen"} == expected
    others = {path.parts[0] for path in inside} - {"rmtgen"}
    assert len(others) == 1
    assert others.pop().endswith(".dist-info")


@pytest.mark.skipif(importlib.util.find_spec("mlxtend") is None, reason="needs the demo extra")
def test_the_demo_runs_from_the_wheel_in_an_empty_folder(site, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(site)}
    where = "import rmtgen; print(rmtgen.__file__)"
    imported = subprocess.run(
        [sys.executable, "-c", where], cwd=tmp_path, env=environment, text=True, capture_output=True
    )
    assert Path(imported.stdout.strip()).is_relative_to(site)
    done = subprocess.run(
        [site / "bin" / "rmtgen", "run", "demo", *TINY, *FEW],
        cwd=tmp_path,
        env=environment,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (report,) = (tmp_path / "data" / "reports").glob("*/report.html")
    assert report.stat().st_size > 10_000
