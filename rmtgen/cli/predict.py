"""`rmtgen predict`: the class of every image, by an export of `rmtgen export`."""

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rmtgen.cli.export import EXPORTS
from rmtgen.cli.outcome import reported
from rmtgen.cli.terminal import Transcript, note
from rmtgen.cli.words import Option, read_words, words_parser
from rmtgen.errors import CorruptInputError, UsageError
from rmtgen.runs.config import FIELDS
from rmtgen.runs.parsers import place, switch, text, whole
from rmtgen.stages.engine import Outcome
from rmtgen.stages.progress import open_bar
from rmtgen.store import durable

if TYPE_CHECKING:
    from rmtgen.exports.predictions import Prediction

USAGE = "rmtgen predict EXPORT IMAGES ... [--to FILE] [--scores] [--json]"
EXPORT = (
    "EXPORT",
    f"folder of an export, its name under data/{EXPORTS}, or the 8 characters it ends in; then"
    " IMAGES: files, folders and .tar archives",
)
OPTIONS = {
    "to": Option("write the CSV to a file [stdout]", place, "FILE"),
    "scores": Option("a column per class: its score", switch),
    "batch_size": Option("images in a forward pass [64]", whole(1), "N"),
    "device": Option("torch device [CUDA where there is one, else cpu]", text, "NAME"),
}
"""Options beside the export and the images."""
MOST_NAMED = 10
"""Number of images that could not be read which stderr names; the CSV names all."""
REMEDY = "Free space, or choose another file with --to."


def main(arguments: Sequence[str]) -> int:
    """Predict the classes of images; the exit code."""
    with reported("predict", arguments) as transcript:
        _predict(arguments, transcript)
    return transcript.exit_code


def _predict(arguments: Sequence[str], transcript: Transcript) -> None:
    described = "Predict the class of every image by an export of `rmtgen export`."
    options, names = read_words(words_parser(USAGE, described, EXPORT, OPTIONS), arguments, OPTIONS)
    if len(names) < 2:
        raise UsageError(
            "expected the folder of an export and then images: files, folders or .tar archives, got"
            f" {' '.join(map(repr, names)) or 'nothing'}. See --help."
        )
    # they import torch, which `--help` does without
    from rmtgen.exports.pictures import gather
    from rmtgen.exports.predictions import as_csv, heading, predictions
    from rmtgen.exports.probe import load_probe

    folder, *places = names
    to, scores = options.pop("to", None), options.pop("scores", False)
    started = time.perf_counter()
    probe, images = load_probe(_found(folder)), gather(places)
    kept: list[dict[str, Any]] | None = [] if "--json" in arguments and to is None else None
    seen = _Seen(len(images), kept)
    batches = seen.of(predictions(probe, images, **options), probe.path.name)
    classes = len(probe.classes) if scores else None
    lines = (as_csv(rows, classes=classes) for rows in batches)
    _write([heading(probe.classes, scores=scores)], lines, to, transcript)
    details = {"images": seen.count, "unreadable": seen.failed}
    transcript.record(
        Outcome(
            stage="predict",
            name=probe.path.name,
            path=probe.path,
            status="computed",
            seconds=round(time.perf_counter() - started, 3),
            headline=f"{seen.count:,} images, {seen.failed:,} of them unreadable",
            details=details if kept is None else {**details, "predictions": kept},
            outputs=[Path(to)] if to else [],
        )
    )
    if to is not None:
        transcript.show(f"{to}: {seen.count:,} images", "bold")
    seen.raise_failures()


def _write(
    head: Sequence[str], lines: Iterable[str], to: str | None, transcript: Transcript
) -> None:
    """Write the CSV to a file, which is complete or not there, or to stdout as it comes."""
    if to is not None:
        pieces = (line.encode(errors="backslashreplace") for part in (head, lines) for line in part)
        durable.write_pieces(Path(to), pieces, REMEDY)
        return
    for part in (head, lines):
        for line in part:
            transcript.show(line.removesuffix("\n"))
            if transcript.refused:  # whoever reads wants no more
                return


class _Seen:
    """Counts images as they come, and names those that could not be read on stderr.

    Attributes:
        count: Number of images so far.
        failed: Number of them that could not be read.
    """

    def __init__(self, total: int, kept: list[dict[str, Any]] | None):
        self.count = self.failed = 0
        self._total, self._kept = total, kept

    def of(
        self, batches: Iterable[Sequence["Prediction"]], name: str
    ) -> Iterator[Sequence["Prediction"]]:
        """Pass batches on, with a bar."""
        with open_bar("predict", name) as bar:
            bar.bar_format, bar.unit = None, "img"
            bar.reset(self._total)
            for rows in batches:
                self._note(rows)
                yield rows
                bar.update(len(rows))

    def _note(self, rows: Sequence["Prediction"]) -> None:
        self.count += len(rows)
        if self._kept is not None:
            self._kept.extend(map(_as_json, rows))
        for row in rows:
            self.failed += bool(row.problem)
            if row.problem and self.failed <= MOST_NAMED:
                note(row.problem, "warning")

    def raise_failures(self) -> None:
        """Raise `CorruptInputError` where an image could not be read."""
        if self.failed:
            raise CorruptInputError(
                f"{self.failed:,} of {self.count:,} images could not be read. Their rows have no"
                " class, and say why under problem; the others are complete."
            )


def _as_json(row: "Prediction") -> dict[str, Any]:
    scores = [float(str(score)) for score in row.scores]
    return {
        "path": row.path,
        "class": row.label,
        "score": max(scores, default=None),
        "problem": row.problem or None,
        "scores": scores,
    }


def _found(name: str) -> Path:
    """The folder of an export, by its path or by its name."""
    path, known = Path(name), Path(FIELDS["output"].default) / EXPORTS
    if path.exists() or "/" in name:
        return path
    ending = sorted(known.glob(f"*-{name}")) if name.isalnum() else []
    return ending[0] if len(ending) == 1 else known / name
