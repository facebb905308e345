"""Every command of the pages.

A command is of one of two kinds, which the name of its test states:

run: run for real with small sizes (`workspace.SMALL`). make is asked what it would run (`make -n`),
    and that is called in this interpreter: every stage of the demo, other runs up to `risk`.
words: not run, for the reason in the name (data or weights that a test does not have, hours, this
    test itself). Its words go through make and the parser that would read them.

A command of neither kind fails. Code within a line of prose is of the second kind.
"""

import configparser
import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from pages import EXPERIMENTS, ROOT, commands
from workspace import DEMO_SIZES, RUN_SIZES, planned, rmtgen, run, run_small

from rmtgen.cli.arguments import experiment_parser, parse
from rmtgen.cli.main import COMMANDS
from rmtgen.cli.results import results_parser, select
from rmtgen.cli.words import read_words as read_options
from rmtgen.cli.words import words_parser
from rmtgen.runs.graph import STAGES

ON_RESULTS = ("ls", "verify", "compare", "export", "predict")
"""Commands about results that must be there."""


def clone(command, workspace, folder):
    """The clone of the page, of this checkout; in it make says what it will do."""
    assert command.words == ("git", "clone", "URL", "rmtgen")
    if not (ROOT / ".git").exists():
        pytest.skip("there is no repository here: no .git")
    run("git", "clone", "-q", "--depth", "1", ROOT.as_uri(), "rmtgen", cwd=folder)
    said = run("make", "-n", "demo", cwd=folder / "rmtgen")
    steps = ["-m venv '.venv'", "pip install", "rmtgen run demo"]
    places = [said.index(step) for step in steps]
    assert places == sorted(places)


def change(command, workspace, folder):
    assert command.words == ("cd", "rmtgen")


def show(command, workspace, folder):
    """What the page opens is there after the demo, once."""
    (page,) = workspace.glob(command.words[1])
    assert "<html" in page.read_text(encoding="utf-8")


def python(command, workspace, folder):
    assert len(run(sys.executable, *command.words[1:], cwd=ROOT).splitlines()) > 20


def ours(command, workspace, folder):
    """A command of make or rmtgen, its results in a folder of its own or in that of the demo."""
    words = command.words
    if words == ("make", "help"):
        said = run(*words, cwd=ROOT)
        names = (*STAGES, "demo", "plan", "compare", "clean", "docs", "CONFIG", "OUTPUT")
        assert all(name in said for name in names)
    elif words[1] == "clean":
        clean(words, folder)
    elif words[1] in ("ls", "verify", "compare"):
        rmtgen(words[1:])
    elif words[1] in ("export", "predict"):
        files(words, workspace)
    elif of_demo(words):
        run_small(words, *DEMO_SIZES, "OUTPUT=data")
        assert len(list(workspace.glob("data/runs/*/risk.csv"))) >= 2
    else:
        run_small(words, *RUN_SIZES, f"OUTPUT={folder}")
        left = {
            "rank": "reports/*/ranking.csv",
            "compare-features": "reports/*/pairs.csv",
        }.get(words[1], "runs/*/risk.csv")
        assert words[1] == "plan" or list(folder.glob(left))


def files(words, workspace):
    """A command on files: the shell replaces patterns, and an export is made where none is."""
    shutil.rmtree(workspace / "data" / "exports", ignore_errors=True)
    if words[1] == "predict":
        for run in sorted(workspace.glob("data/runs/*")):
            rmtgen(["export", str(run)])
    for command, *rest in planned(words):
        names = [name for word in rest for name in sorted(Path().glob(word)) or [word]]
        rmtgen([command, *map(str, names)])


def clean(words, folder):
    """Runs and reports go; a data set and whatever else is there stays."""
    output = folder / next(re.findall(r"OUTPUT=(\S+)", word)[0] for word in words if "=" in word)
    for name in ("runs/one", "reports/two", "cifar-100-python"):
        (output / name).mkdir(parents=True)
    for manifest in ("runs/one/extract", "reports/two/report"):
        content = {"stage": manifest.rpartition("/")[2], "spec_hash": "0"}
        (output / f"{manifest}.json").write_text(json.dumps(content))
    for line in planned(words):
        rmtgen([*line, f"OUTPUT={output}"])
    left = {path.relative_to(output).as_posix() for path in output.rglob("*")}
    assert left - {"runs", "reports"} == {"cifar-100-python"}


def of_demo(words):
    """Whether a command is one of the demo's, or one about results that must be there."""
    return "demo" in words[1:3] or "CONFIG=demo" in words or words[1] in ON_RESULTS


RUNNERS = {
    "git": clone,
    "cd": change,
    "open": show,
    "make": ours,
    "rmtgen": ours,
    ".venv/bin/python": python,
}


def read_words(words):
    """Take a command's words through make, and through the parser of what make would run."""
    if words[0] == "pip":
        read_installation(words)
    elif words[0] not in ("make", "rmtgen"):
        read_module(words)
    elif words[1] in ("test", "torture", "lint", "docs", "bench", "help"):
        named = [
            name
            for word in words[2:]
            if word.startswith("BENCH=")
            for name in word.removeprefix("BENCH=").split()
        ]
        assert all(importlib.util.find_spec(f"tests.bench.{name}") for name in named)
        run("make", "-n", *words[1:], cwd=ROOT)
    else:
        lines = planned(words)
        assert lines
        for line in lines:
            read_rmtgen(*line)


def read_rmtgen(command, *words):
    """Take the words after `rmtgen` through the parser of their command."""
    if command.startswith("--"):
        assert not words
        assert command in ("--help", "--version")
    elif command in EXPERIMENTS:
        parser = experiment_parser(command, "")
        parser.add_argument("--stage")
        parser.add_argument("--runs", nargs="+")
        request = parse(parser, words)
        assert request.experiment.runs
        assert request.options.stage in (None, *STAGES)
    elif command in ("export", "predict"):
        options = importlib.import_module(f"rmtgen.cli.{command}").OPTIONS
        read_options(words_parser(f"rmtgen {command}", "", ("NAME", ""), options), words, options)
    else:
        assert command in COMMANDS
        select(results_parser(command, ""), words)


def read_installation(words):
    """The extras that `pip install '.[…]'` names are declared, and the folder is this one."""
    assert words[:2] == ("pip", "install")
    found = re.fullmatch(r"\.(?:\[([\w,]+)\])?", words[2])
    declared = configparser.ConfigParser()
    declared.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = declared["options.extras_require"]
    assert all(extra in extras for extra in (found[1] or "").split(",") if extra)


def read_module(words):
    """The program or module exists, and so do the files of this repository that it is given."""
    program = words[0].rpartition("/")[2]
    module, *rest = words[words.index("-m") + 1 :] if program == "python" else (program, *words)
    assert importlib.util.find_spec(module)
    files = [word for word in rest if word.startswith(("tests/", "docs/"))]
    assert all((ROOT / file).exists() for file in files)


@pytest.mark.parametrize("command", commands(), ids=str)
def test_command(command, request, tmp_path, monkeypatch):
    if command.reason:
        read_words(command.words)
        return
    assert command.words[0] in RUNNERS, f"{command} is neither run nor read: add it here."
    needs_demo = command.words[0] == "open" or of_demo(command.words)
    workspace = request.getfixturevalue("demo" if needs_demo else "workspace")
    monkeypatch.chdir(workspace)
    RUNNERS[command.words[0]](command, workspace, tmp_path)
