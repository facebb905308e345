"""Every command and every block of Python in README.md and CONTRIBUTING.md, and their links.

A command is of one of two kinds, which its test's name says:

run: run for real, its sizes made small (`SMALL`). make is asked what it would run (`make -n`), and
that is called in this interpreter,
    which has imported torch already: of the demo every stage, of other runs those up to `risk`.
words: not run, for the reason in the name (data or weights that a test does not have, hours, this
test itself): its words go through make
    and the parser that would read them.

A command of neither kind fails. Code within a line of prose, being told of a command that was run,
is of the second kind.
"""

import contextlib
import fcntl
import importlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest
import timm
import torch
from safetensors.torch import save_file

from rmtgen.datasets.catalogue import DATA_SETS
from rmtgen.datasets.vision import VISION_SETS
from rmtgen.errors import RmtgenError
from rmtgen.kernels.entk.layers import OPERATIONS
from rmtgen.models.weights import PACKAGES
from rmtgen.ridge import SOLVERS
from rmtgen.runs.config import FIELDS, load_experiment
from rmtgen.stages.engine import parse_experiment

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "CONTRIBUTING.md")
STAGES = ("extract", "gram", "spectrum", "risk", "theory", "report")
SMALL = ("TEST=24", "TRIALS=1", "IMG_SIZE=32", "BATCH_SIZE=24", "TILE=32")
RUN_SIZES, DEMO_SIZES = ("TRAIN=48", "SIZES=24,48"), ("TRAIN=120", "SIZES=60,120")
PROVIDED = ("mnist5k", "folder:my/pictures", "folder:cifar100.tar")
"""Data sets that are there: one that pip ships, and those that `workspace` makes."""
ASSIGNMENTS = re.compile(r"[A-Z_]+=\S+( [A-Z_]+=\S+)*")
"""Code within a line that names fields alone."""


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    language: str
    text: str

    def __str__(self):
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Command:
    """One command, its words, where it stands, and why it is not run; None if it is."""

    where: str
    words: tuple[str, ...]
    reason: str | None

    def __str__(self):
        return (
            f"{self.where} {f'words, {self.reason}' if self.reason else 'run'}:"
            f" {shlex.join(self.words)}"
        )


def blocks(language):
    """The fenced blocks of one language, page by page."""
    fence = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    pages = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
    return [
        Block(page, text[: found.start()].count("\n") + 2, *found.groups())
        for page, text in pages.items()
        for found in fence.finditer(text)
        if found[1] == language
    ]


def commands():
    """Every command of a block, those joined by && one by one, then every command and every field
    within a line of prose."""
    fenced = [
        Command(f"{block.page}:{block.line + number}", words, why_not_run(words))
        for block in blocks("sh")
        for number, line in enumerate(block.text.splitlines())
        for words in joined(line)
    ]
    known = {command.words for command in fenced}
    return fenced + [command for command in told() if command.words not in known]


def joined(line):
    words = shlex.split(line, comments=True)
    ends = [place for place, word in enumerate(words) if word == "&&"]
    parts = [
        words[start:end]
        for start, end in zip([0, *(end + 1 for end in ends)], [*ends, None], strict=True)
    ]
    return [tuple(part) for part in parts if part]


def told():
    """Code within lines of prose that names a command, or fields: those of `make plan`, and of
    `make bench` if they name a benchmark."""
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        prose = re.sub(
            r"^```.*?^```$",
            lambda found: "\n" * found[0].count("\n"),
            text,
            flags=re.DOTALL | re.MULTILINE,
        )
        for found in re.finditer(r"`([^`\n]+)`", prose):
            words = tuple(found[1].split())
            if ASSIGNMENTS.fullmatch(found[1]):
                words = ("make", "bench" if words[0].startswith("BENCH=") else "plan", *words)
            elif words[0] not in ("make", ".venv/bin/python") or words == ("make",):
                continue
            yield Command(
                f"{page}:{prose[: found.start()].count(chr(10)) + 1}", words, "told in a line"
            )


def why_not_run(words):
    """What a command needs that a test does not have; None if it has all."""
    if words[:2] in (("make", "test"), ("make", "lint")) or "pytest" in words:
        return "it is what runs this"
    if words[:2] == ("make", "bench"):
        return "minutes to hours"
    if words[:2] == ("make", "compare"):
        return "it needs runs of these names"
    if (
        words[0] != "make"
        or words[1] in ("help", "plan", "clean")
        or any(".yaml" in word for word in words)
    ):
        return None
    try:
        runs = experiment(words).runs
    except RmtgenError:
        return None  # and it fails when it is run
    absent = {run.dataset for run in runs if run.dataset not in PROVIDED}
    absent |= {
        run.model
        for run in runs
        if run.init == "pretrained" and not run.weights and not shipped(run.model)
    }
    return f"it needs {' and '.join(sorted(absent))}" if absent else None


def shipped(model):
    return model in PACKAGES and importlib.util.find_spec(PACKAGES[model]) is not None


def experiment(words):
    """What make's words configure, read without make."""
    values = dict(word.split("=", 1) for word in words[2:])
    config = values.pop("CONFIG", "demo" if words[1] == "demo" else None)
    return load_experiment(
        config, {name: value for name, value in values.items() if name.lower() in FIELDS}
    )


@contextlib.contextmanager
def alone(folder):
    """One process at a time: pytest-xdist's workers share the workspace."""
    with (folder / ".readme-lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def workspace(tmp_path_factory, image_folder):
    """A folder with the files that the pages speak of: pictures, weights, a configuration."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = base / "readme"
    with alone(base):
        if not (folder / "ready").exists():
            shutil.copytree(image_folder, folder / "my" / "pictures", dirs_exist_ok=True)
            with tarfile.open(folder / "cifar100.tar", "w") as archive:
                for split in ("train", "test"):
                    archive.add(image_folder / split, split)
            torch.save(
                timm.create_model("resnet18").half().state_dict(), folder / "my" / "weights.pth"
            )
            save_file(
                timm.create_model("resnet50").half().state_dict(), folder / "resnet50.safetensors"
            )
            for block in blocks("yaml"):
                name = re.match(r"# (\S+\.yaml)", block.text)[1]
                (folder / name).write_text(block.text, encoding="utf-8")
            (folder / "ready").touch()
    return folder


@pytest.fixture(scope="session")
def demo(workspace):
    """The workspace with the small demo's runs and report under data/, where the pages look for
    them."""
    with alone(workspace), pytest.MonkeyPatch.context() as patch:
        patch.chdir(workspace)
        run_lines(planned(("make", "demo", *SMALL, *DEMO_SIZES)), STAGES)
    return workspace


def planned(words):
    """The commands of ours that make would run, as lists of words: a module and its arguments."""
    assert words[0] == "make"
    done = subprocess.run(
        ["make", "-n", "--no-print-directory", *words[1:]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [shlex.split(line) for line in done.stdout.splitlines()]
    return [
        line[line.index("-m") + 1 :]
        for line in lines
        if "-m" in line and line[line.index("-m") + 1] != "pip"
    ]


def run_lines(lines, stages=(*STAGES, "plan")):
    """Call the `main` of each module that is a stage among `stages`."""
    called = [
        (module.partition(".")[2], arguments)
        for module, *arguments in lines
        if module.startswith("pipelines.")
    ]
    assert called
    for stage, arguments in called:
        if stage in stages:
            assert importlib.import_module(f"pipelines.{stage}").main(arguments) == 0, (
                stage,
                arguments,
            )


def run(*words, **options):
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- commands run for real
# ------------------------------------------------------------------------------------------


def clone(command, workspace, folder):
    """The clone of the page, of this checkout; in it make says what it will do."""
    assert command.words == ("git", "clone", "URL", "rmtgen")
    if not (ROOT / ".git").exists():
        pytest.skip("there is no repository here: no .git")
    run("git", "clone", "-q", "--depth", "1", ROOT.as_uri(), "rmtgen", cwd=folder)
    said = run("make", "-n", "demo", cwd=folder / "rmtgen")
    assert (
        said.index("-m venv .venv")
        < said.index("pip install")
        < said.index("pipelines.extract --config 'demo'")
    )


def change(command, workspace, folder):
    assert command.words == ("cd", "rmtgen")


def show(command, workspace, folder):
    """What the page opens is there after the demo, once."""
    (page,) = workspace.glob(command.words[1])
    assert "<html" in page.read_text(encoding="utf-8")


def python(command, workspace, folder):
    said = run(sys.executable, *command.words[1:], cwd=ROOT)
    assert len(said.splitlines()) > 20


def make(command, workspace, folder):
    """A target: with small sizes in place of its own, its results in a folder of its own."""
    target = command.words[1]
    if target == "demo":
        assert len(list(workspace.glob("data/runs/*/risk.csv"))) == 2
    elif target == "help":
        said = run(*command.words, cwd=ROOT)
        assert all(
            name in said
            for name in (*STAGES, "demo", "plan", "compare", "clean", "CONFIG", "OUTPUT")
        )
    elif target == "clean":
        output = next(word for word in command.words if word.startswith("OUTPUT=")).partition("=")[
            2
        ]
        for name in ("runs", "reports", "cifar-100-python"):
            (folder / output / name).mkdir(parents=True)
        run(*command.words, "-f", str(ROOT / "Makefile"), cwd=folder)
        assert [path.name for path in (folder / output).iterdir()] == ["cifar-100-python"]
    else:
        run_lines(
            planned((*command.words, *SMALL, *RUN_SIZES, f"OUTPUT={folder}")), (*STAGES[:4], "plan")
        )
        assert target == "plan" or list(folder.glob("runs/*/risk.csv"))


RUNNERS = {"git": clone, "cd": change, "open": show, "make": make, ".venv/bin/python": python}


# --- commands whose words are read
# ----------------------------------------------------------------------------------


def read_words(words):
    """Take a command's words through make, and through the parser of what make would run."""
    if words[0] == ".venv/bin/python":
        module, *rest = words[words.index("-m") + 1 :]
        assert importlib.util.find_spec(module)
        assert all((ROOT / word).exists() for word in rest if word.startswith("tests/"))
    elif words[1] in ("test", "lint", "bench"):
        named = [name for word in words[2:] for name in word.removeprefix("BENCH=").split()]
        assert all(importlib.util.find_spec(f"tests.bench.{name}") for name in named)
        run("make", "-n", *words[1:], cwd=ROOT)
    elif words[1] in ("help", "clean"):
        run("make", "-n", *words[1:], cwd=ROOT)
    else:
        ours = [line for line in planned(words) if line[0].startswith("pipelines.")]
        assert ours
        for module, *arguments in ours:
            assert importlib.util.find_spec(module)
            assert module == "pipelines.compare" or parse_experiment(None, arguments).runs


# --- the tests ------------------------------------------------------------------------------------
# ------------------


@pytest.mark.parametrize("command", commands(), ids=str)
def test_command(command, request, tmp_path, monkeypatch):
    if command.reason:
        read_words(command.words)
        return
    assert command.words[0] in RUNNERS, f"{command} is neither run nor read: add it here."
    needs_demo = command.words[0] == "open" or command.words[:2] == ("make", "demo")
    workspace = request.getfixturevalue("demo" if needs_demo else "workspace")
    monkeypatch.chdir(workspace)
    RUNNERS[command.words[0]](command, workspace, tmp_path)


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_runs(block, request, monkeypatch):
    """What a block enters in a table of ours is taken out again."""
    monkeypatch.chdir(request.getfixturevalue("demo" if "data/runs" in block.text else "workspace"))
    source = "\n" * (block.line - 1) + block.text
    with mock.patch.dict(DATA_SETS), mock.patch.dict(OPERATIONS):
        exec(compile(source, ROOT / block.page, "exec"), {"__name__": "__main__"})


def test_every_block_has_a_language_that_is_tested():
    for page in PAGES:
        fences = re.findall(r"^```(.*)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
        assert set(fences[::2]) <= {"sh", "python", "yaml"}
        assert set(fences[1::2]) == {""}


def anchors(page):
    """The names that a page's headings have as links: letters, digits and hyphens, in lower case."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = re.sub(
        r"^```.*?^```$",
        "",
        (ROOT / page).read_text(encoding="utf-8"),
        flags=re.DOTALL | re.MULTILINE,
    )
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("http")]
    assert links or page != "README.md"
    for link in links:
        path, _, anchor = link.partition("#")
        target = ROOT / (path or page)
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


def test_pictures_are_small():
    for picture in (ROOT / "assets").iterdir():
        assert picture.stat().st_size < 300_000, picture


def rows(text, heading):
    """The first column of the table that begins with a heading, code alone."""
    table = re.search(rf"^\| {heading} \|.*\n(\|.*\n)+", text, re.MULTILINE)[0]
    return re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)


def test_lists_are_whole():
    """Names that the pages list: data sets, solvers, stages, modules."""
    readme, contributing = ((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
    assert f"`{' '.join(VISION_SETS)}`" in readme
    assert rows(readme, "solver") == list(SOLVERS)
    assert rows(readme, "target") == list(STAGES)
    modules = [path.stem if path.is_dir() else path.name for path in (ROOT / "rmtgen").iterdir()]
    unnamed = [
        name for name in modules if not re.search(rf"[`/]{re.escape(name)}[`/]", contributing)
    ]
    assert set(unnamed) <= {"__init__.py", "__pycache__"}
