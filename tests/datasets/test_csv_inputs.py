"""Runs notice that a table, or a file that it names, is another one than before."""

import os

import pytest
from image_files import encoded, noise

from rmtgen.cli.main import main
from rmtgen.datasets import dataset_files
from rmtgen.datasets.catalogue import listed_files
from rmtgen.runs.config import Config
from rmtgen.runs.inputs import local_inputs
from rmtgen.runs.manifest import FileRecord


@pytest.fixture
def table(tmp_path):
    lines = ["path,label"]
    for number, pixels in enumerate(noise(20, 32, 32, 3)):
        (tmp_path / f"{number}.png").write_bytes(encoded(pixels))
        lines.append(f"{number}.png,{number % 2}")
    (tmp_path / "set.csv").write_text("\n".join(lines))
    return tmp_path / "set.csv"


def records(table):
    found = local_inputs(Config(dataset=f"csv:{table}", init="random"))
    return {role: FileRecord.of(path) for role, path in found.items()}


def test_the_files_behind_a_table(table):
    assert dataset_files(f"csv:{table}", "data") == (table,)
    listed = listed_files(f"csv:{table}")
    assert (listed.folder, len(listed.names)) == (table.parent, 20)
    assert str(listed) == f"20 files listed from {table.parent}"
    assert listed_files("cifar10") is None
    table.write_text("path,label")
    assert listed_files(f"csv:{table}") is None


def test_a_change_of_any_file_changes_the_record(table):
    before = records(table)
    assert sorted(before) == ["dataset files listed", "dataset set.csv"]
    assert records(table) == before
    found = local_inputs(Config(dataset=f"csv:{table}", init="random"))["dataset files listed"]
    record = before["dataset files listed"]
    (table.parent / "beside.txt").write_text("no matter")
    assert record.still_describes(found)
    picture = table.parent / "7.png"
    content = picture.read_bytes()
    for change in (
        lambda: os.utime(picture, ns=(1, 1)),
        lambda: picture.write_bytes(content + b"x"),
        picture.unlink,
    ):
        change()
        assert not record.still_describes(found)
        assert records(table)["dataset files listed"] != record
    table.write_text(table.read_text() + "\n")
    assert records(table)["dataset set.csv"] != before["dataset set.csv"]


def test_without_its_files_a_table_has_no_list(table):
    for number in range(20):
        (table.parent / f"{number}.png").unlink()
    assert sorted(records(table)) == ["dataset set.csv"]


def test_a_run_of_a_table(table, tmp_path, capsys):
    words = ["extract", f"dataset=csv:{table}", "model=test_resnet", "init=random", "img_size=32"]
    words += [f"output={tmp_path / 'out'}", "device=cpu"]
    assert main(words) == 0
    assert "20 images" in capsys.readouterr().out
    assert main(words) == 0
    assert "cached" in capsys.readouterr().out
    (run,) = (tmp_path / "out" / "runs").iterdir()
    assert run.name.startswith("test_resnet-random-set-n16-32px-")
    (table.parent / "3.png").write_bytes(encoded(noise(32, 32, 3, seed=9)))
    assert main(words) == 3
    assert "files listed from" in capsys.readouterr().err
