"""`rmtgen export`: the ridge probe of a run as a folder that predicts on new images."""

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rmtgen.cli.arguments import program
from rmtgen.cli.outcome import reported
from rmtgen.cli.results import Selection
from rmtgen.cli.terminal import Transcript
from rmtgen.cli.words import Option, read_words, words_parser
from rmtgen.errors import MissingInputError, UsageError
from rmtgen.runs.config import FIELDS
from rmtgen.runs.graph import RANKED
from rmtgen.runs.manifest import Manifest
from rmtgen.runs.parsers import place, switch
from rmtgen.runs.reportdir import REPORTS
from rmtgen.runs.rundir import RUNS, is_result_dir
from rmtgen.stages.engine import Outcome

EXPORTS = "exports"
"""Folder under OUTPUT where exports go."""
PLACES = ("output", "checkpoints", "data_root", "download", "spill")
"""Fields that say where things lie, and change no result."""
*_, JOINT = RANKED
RUN = (
    "RUN",
    "name of a run, the 8 characters it ends in, its directory, or the name of a ranking, of which"
    " the first is taken",
)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"expected a number such as 1e-3, got {text!r:.60}.") from None


OPTIONS = {
    "to": Option(f"what is written [OUTPUT/{EXPORTS}/RUN]", place, "FOLDER"),
    "ridge": Option(
        "one of the run's ridges, relative to tr K/N [that of the smallest leave-one-out risk]",
        _number,
        "NUMBER",
    ),
    "onnx": Option("write model.onnx too", switch),
    "overwrite": Option("replace an export that is there", switch),
    **{
        name: Option(
            f"{FIELDS[name].metadata['help']} [{FIELDS[name].metadata['default']}]",
            FIELDS[name].metadata["parse"],
        )
        for name in PLACES
    },
}
"""Options beside the names of runs."""


def main(arguments: Sequence[str]) -> int:
    """Export runs; the exit code."""
    with reported("export", arguments) as transcript:
        _export(arguments, transcript)
    return transcript.exit_code


@dataclass(frozen=True)
class Request:
    """What a command line asks for.

    Attributes:
        runs: Directories of the runs.
        targets: The folder of each export.
        options: As `export_probe` takes them.
    """

    runs: Sequence[Path]
    targets: Sequence[Path]
    options: dict[str, Any]


def _export(arguments: Sequence[str], transcript: Transcript) -> None:
    request = _parsed(arguments)
    transcript.align(folder.name for folder in request.runs)
    # they import torch, which `--help` does without
    from rmtgen.exports.card import accuracy_text
    from rmtgen.exports.description import DESCRIPTION, Description
    from rmtgen.exports.quality import Quality
    from rmtgen.exports.writing import export_probe

    for run, target in zip(request.runs, request.targets, strict=True):
        started = time.perf_counter()
        export_probe(run, target, **request.options)
        found = Description.read(target)
        good = accuracy_text(Quality(**found.quality))
        said = f"{len(found.classes):,} classes{f', accuracy {good}' * bool(good)}"
        details = {"form": found.blueprint.form, "quality": dict(found.quality)}
        written = [target / name for name in (*found.files, DESCRIPTION)]
        seconds = round(time.perf_counter() - started, 3)
        transcript.add(
            Outcome("export", run.name, target, "computed", seconds, said, details, written)
        )
    transcript.show_next(shlex.join([*program(), "predict", str(request.targets[-1]), "IMAGES"]))


def _parsed(arguments: Sequence[str]) -> Request:
    """The command line.

    Raises:
        UsageError: An unknown option, no run, or one place for several exports.
        MissingInputError: There is no run of a name.
    """
    usage = "rmtgen export RUN ... [--to FOLDER] [--onnx] [--overwrite] [--json]"
    described = "Write the ridge probe of a run as a network that predicts on new images."
    options, names = read_words(words_parser(usage, described, RUN, OPTIONS), arguments, OPTIONS)
    output = Path(options.pop("output", FIELDS["output"].default))
    runs, to = _runs(Selection(output, ()), names), options.pop("to", None)
    if to is not None and len(runs) > 1:
        raise UsageError(f"--to is the folder of one export, got {len(runs)} runs. Leave it out.")
    targets = [Path(to)] if to else [output / EXPORTS / run.name for run in runs]
    if "ridge" in options:
        options["relative_ridge"] = options.pop("ridge")
    return Request(runs, targets, options)


def _runs(selection: Selection, names: Sequence[str]) -> list[Path]:
    """The directories of runs, by name or by path.

    Raises:
        UsageError: None is named.
        MissingInputError: There is no run of a name.
    """
    if not names or "" in names:
        known = ", ".join(list(selection.begun())[:20])
        raise UsageError(
            "an export is of a run that is named, got none."
            f" {f'Known: {known}.' if known else 'Make one: `rmtgen rank`.'}"
        )
    found = [path for name in names for path in _named(selection.root, name.rstrip("/"))]
    return list(dict.fromkeys(found))


def _named(root: Path, name: str) -> Sequence[Path]:
    """The run of a name, by its path or by that of a ranking."""
    path = Path(name)
    if "/" not in name and not is_result_dir(path):
        path = root / REPORTS / name
    if first := _first_of(path):
        return [first]
    if is_result_dir(Path(name)):
        return [Path(name).resolve()]
    if "/" in name and path.is_dir():
        raise MissingInputError(f"{name} is a folder, and no run. Give that of one.")
    return Selection(root, (name,)).folders()


def _first_of(path: Path) -> Path | None:
    """The run that is first in a ranking; None where there is no ranking at the path."""
    manifest = Manifest.read(path, JOINT)
    rows = manifest.details.get("ranking") if manifest else None
    first = rows[0] if isinstance(rows, list) and rows and isinstance(rows[0], dict) else {}
    name = first.get("run_name")
    return path.parent.parent / RUNS / name if isinstance(name, str) else None
