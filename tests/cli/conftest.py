"""Fixtures of the tests of the command line."""

import json

import pytest

AMBIENT = ("RMTGEN_MAKE", "NO_COLOR", "COLUMNS", "MAKEFLAGS", "MAKELEVEL", "PYTHONIOENCODING")


@pytest.fixture(autouse=True)
def _as_typed_by_hand(monkeypatch):
    """What `make test` and the terminal of whoever runs the tests set is not there."""
    for name in AMBIENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


@pytest.fixture
def words(tmp_path):
    """A run of a data set that leaves no files to watch, so that a fake stage need not name its
    inputs."""
    return ["dataset=hfds/trees", "model=test_resnet", "init=random", f"output={tmp_path}"]


@pytest.fixture
def line_of(capsys):
    """Reads the one line of JSON that is on stdout."""

    def read():
        (line,) = capsys.readouterr().out.splitlines()
        return json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))

    return read
