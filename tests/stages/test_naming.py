"""Suspected samples by the files of their images."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from rmtgen.cli.main import main
from rmtgen.runs.config import Config
from rmtgen.runs.run import load_run
from rmtgen.stages.naming import named


@pytest.fixture
def run(finished, tmp_path):
    """A copy of a finished run."""
    (made,) = (finished[0] / "runs").iterdir()
    return Path(shutil.copytree(made, tmp_path / made.name, copy_function=shutil.copy2))


def configuration(folder):
    stored = load_run(folder).config
    return Config(**{name: tuple(v) if isinstance(v, list) else v for name, v in stored.items()})


TABLE = pd.DataFrame({"split": ["test", "train", "train"], "position": [3, 0, 95]})


def test_the_files_are_those_whose_images_were_extracted(run, image_folder):
    config = configuration(run)
    found = named(TABLE, run, config)
    indices, labels = load_run(run).indices, load_run(run).labels
    known = [indices.test[3], indices.train[0], indices.train[95]]
    assert found["image"].tolist() == known
    classes = [labels.test[3], labels.train[0], labels.train[95]]
    for file, label in zip(found["file"], classes, strict=True):
        assert Path(file).is_file() and Path(file).is_relative_to(image_folder)
        assert Path(file).parent.name == load_run(run).classes[label]
    assert found["file"].nunique() == 3


def test_the_theory_of_a_run_names_its_suspects(run):
    table = load_run(run).theory["suspects"]
    carriers = table.query("detector == 'risk'")
    assert len(carriers) == 10 and (carriers["split"] == "train").all()
    assert carriers["share"].is_monotonic_decreasing and 0 < carriers["share"].sum() < 1
    assert all(Path(file).is_file() for file in table["file"])


def test_a_data_set_that_has_changed_gives_numbers_alone(image_folder, tmp_path):
    """The run is made from a copy of the images, of which one is then gone."""
    copy = Path(shutil.copytree(image_folder, tmp_path / "trees"))
    words = [f"dataset=folder:{copy}", f"output={tmp_path / 'out'}", "model=test_resnet"]
    words += ["init=random", "img_size=32", "train=48", "test=24", "sizes=24,48", "trials=1"]
    assert main(["run", "--stage", "extract", *words]) == 0
    (made,) = (tmp_path / "out" / "runs").iterdir()
    table = pd.DataFrame({"split": ["train"], "position": [7]})
    before = named(table, made, configuration(made))
    assert Path(before["file"][0]).is_file()
    Path(before["file"][0]).unlink()
    after = named(table, made, configuration(made))
    assert after["file"].tolist() == [""]
    assert after["image"].equals(before["image"])


@pytest.mark.filterwarnings("ignore:.*missing file")
def test_the_files_that_a_table_lists_are_named_whatever_is_missing(image_folder, tmp_path):
    found = sorted(image_folder.glob("train/*/*"))
    rows = ["path,label", "missing.png,elm", *(f"{path},{path.parent.name}" for path in found)]
    (tmp_path / "trees.csv").write_text("\n".join(rows))
    words = [f"dataset=csv:{tmp_path}/trees.csv", f"output={tmp_path / 'out'}", "on_corrupt=skip"]
    words += ["model=test_resnet", "init=random", "img_size=32", "train=24", "test=12", "sizes=24"]
    assert main(["run", "--stage", "extract", *words]) == 0
    (made,) = (tmp_path / "out" / "runs").iterdir()
    table = pd.DataFrame({"split": ["test", "train"], "position": [3, 7]})
    named_rows = named(table, made, configuration(made))
    assert named_rows["file"].tolist() == [str(found[row - 1]) for row in named_rows["image"]]


def test_no_suspects_are_no_files(run):
    empty = TABLE.iloc[:0]
    assert list(named(empty, run, configuration(run))) == ["split", "position", "image", "file"]
