"""The pages of the repository, and what they make a reader type: blocks of code, commands."""

import importlib.util
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from rmtgen.errors import RmtgenError
from rmtgen.models.weights import PACKAGES
from rmtgen.runs.config import FIELDS
from rmtgen.runs.experiment import load_experiment
from rmtgen.runs.graph import STAGES

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.md"))
FILES = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "data/README.md",
    "checkpoints/README.md",
)
PAGES = (
    *FILES,
    *(
        page.relative_to(ROOT).as_posix()
        for page in sorted((ROOT / "docs").rglob("*.md"))
        if page not in NOTEBOOKS
    ),
)
FEATURES = ("features:pixels.npz", "features:edges.npy", "features:people.npz")
TABLES = ("csv:my/people.csv",)
PROVIDED = ("mnist5k", "folder:my/pictures", "folder:cifar100.tar", *TABLES, *FEATURES)
"""Data sets that are there: one that pip ships, and those that `workspace` makes."""
EXPERIMENTS = ("run", "rank", "compare-features", "plan", *STAGES)
"""Commands of rmtgen that take a configuration."""
COMPUTING = ("run", "rank", "compare-features", "all", "demo")
"""Commands of rmtgen and targets of make that go through the stages."""
FENCE = re.compile(r"^```(\w*).*?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`([^`\n]+)`")
ASSIGNMENTS = re.compile(r"[A-Z_]+=\S+( [A-Z_]+=\S+)*")
"""Code within a line that names fields alone."""
METAVARIABLE = re.compile(r"\b(STAGE|COMMAND|MODEL|FILE|PATH|NAME)\b")
"""What stands for a word in code that is no command as it is."""


@dataclass(frozen=True)
class Block:
    """A fenced block, and where it begins."""

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
        kind = f"words, {self.reason}" if self.reason else "run"
        return f"{self.where} {kind}: {shlex.join(self.words)}"


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def prose_of(page):
    """The text of a page with its fenced blocks emptied, line by line."""
    return FENCE.sub(lambda found: "\n" * found[0].count("\n"), text_of(page))


def blocks(language):
    """The fenced blocks of one language, page by page."""
    return [
        Block(page, text_of(page)[: found.start()].count("\n") + 2, *found.groups())
        for page in PAGES
        for found in FENCE.finditer(text_of(page))
        if found[1] == language
    ]


def commands():
    """Every command of a block, those joined by && one by one, then those within lines of prose."""
    fenced = [
        Command(f"{block.page}:{block.line + number}", words, why_not_run(words))
        for block in blocks("sh")
        for number, line in enumerate(block.text.splitlines())
        for words in _joined(line)
    ]
    known = {command.words for command in fenced}
    return fenced + [command for command in _inline() if command.words not in known]


def _joined(line):
    words = shlex.split(line, comments=True)
    ends = [place for place, word in enumerate(words) if word == "&&"]
    spans = zip([0, *(end + 1 for end in ends)], [*ends, None], strict=True)
    return [tuple(words[start:end]) for start, end in spans if words[start:end]]


def _inline():
    """Code within lines of prose that names a command or fields: those of `make plan`, and of
    `make bench` if they name a benchmark."""
    for page in PAGES:
        prose = prose_of(page)
        for found in INLINE.finditer(prose):
            words = tuple(found[1].split())
            if ASSIGNMENTS.fullmatch(found[1]):
                words = ("make", "bench" if words[0].startswith("BENCH=") else "plan", *words)
            elif not is_command(words) or METAVARIABLE.search(found[1]):
                continue
            line = prose[: found.start()].count("\n") + 1
            yield Command(f"{page}:{line}", words, "within a line")


def is_command(words):
    """Whether words are a command of this repository: a program and at least one word more."""
    known = ("make", "rmtgen", "pip", "python")
    return len(words) > 1 and (words[0] in known or words[0].startswith(".venv/bin/"))


def why_not_run(words):
    """What a command needs that a test does not have; None if it has all."""
    if words[0] == "pip":
        return "the tests of the installation do it"
    if (
        words[0] == "make" and words[1] in ("test", "torture", "lint", "docs")
    ) or "pytest" in words:
        return "it is what runs this"
    if words[:2] == ("make", "bench"):
        return "minutes to hours"
    if ("compare" in words[:2] and len(words) > 2) or "--runs" in words:
        return "it needs runs of these names"
    computes = words[0] in ("make", "rmtgen") and words[1] in (*COMPUTING, *STAGES)
    return _lacking(words) if computes and ".yaml" not in " ".join(words) else None


def _lacking(words):
    """The data sets and the weights of a run that are not there; None without any."""
    try:
        runs = configured(words).runs
    except RmtgenError:
        return None  # and it fails when it is run
    absent = {run.dataset for run in runs if run.dataset not in PROVIDED}
    absent |= {
        run.model
        for run in runs
        if run.has_network
        and run.init == "pretrained"
        and not run.weights
        and not _shipped(run.model)
    }
    return f"it needs {' and '.join(sorted(absent))}" if absent else None


def _shipped(model):
    return model in PACKAGES and importlib.util.find_spec(PACKAGES[model]) is not None


def configured(words):
    """What the words of make or rmtgen configure, read without either."""
    values = dict(word.split("=", 1) for word in words[2:] if "=" in word)
    named = [word for word in words[2:] if "=" not in word and not word.startswith("--")]
    config = values.pop("CONFIG", named[0] if named else None)
    fields = {name: value for name, value in values.items() if name.lower() in FIELDS}
    return load_experiment("demo" if words[1] == "demo" else config, fields)
