"""Runs on real digits that exports are made of, each made once."""

import csv
import io

import pytest
from digit_runs import made

from rmtgen.cli.main import main
from rmtgen.exports.writing import export_probe


@pytest.fixture(scope="session")
def measured(tmp_path_factory):
    """A run of more images than features, with a test set, up to `risk`, with an intercept."""
    words = ("train=300", "test=200", "sizes=100,300", "trials=1", "targets=intercept")
    folder = tmp_path_factory.mktemp("measured")
    return made(folder, "run --stage risk", "model=test_resnet", *words)


@pytest.fixture(scope="session")
def wide(tmp_path_factory):
    """A run of fewer images than features, solved from its Gram matrix, up to `theory`."""
    words = ("train=80", "test=200", "sizes=20,80", "trials=1", "tile=32", "targets=centered")
    folder = tmp_path_factory.mktemp("wide")
    return made(folder, "run --stage theory", "model=test_byobnet", *words)


@pytest.fixture(scope="session")
def ranked(tmp_path_factory):
    """A run of a ranking."""
    return made(tmp_path_factory.mktemp("ranked"), "rank", "models=test_byobnet", "train=300")


@pytest.fixture(scope="session")
def exported(ranked, tmp_path_factory):
    """An export of it, which no test changes."""
    return export_probe(ranked, tmp_path_factory.mktemp("exports") / "probe")


@pytest.fixture
def predicted(capsys):
    """What `rmtgen predict` prints: its exit code, its rows as dictionaries, and stderr."""

    def predict(*words):
        capsys.readouterr()
        code = main(["predict", *map(str, words)])
        streams = capsys.readouterr()
        return code, list(csv.DictReader(io.StringIO(streams.out))), streams.err

    return predict
