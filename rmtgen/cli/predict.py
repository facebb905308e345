"""`rmtgen predict`: the class of every image, by an export of `rmtgen export`."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rmtgen.cli.arguments import EXIT_CODES, JSON_HELP, Parser
from rmtgen.cli.export import EXPORTS
from rmtgen.cli.outcome import reported
from rmtgen.cli.terminal import Transcript, note
from rmtgen.errors import CorruptInputError, UsageError
from rmtgen.runs.config import FIELDS
from rmtgen.stages.engine import Outcome
from rmtgen.stages.progress import open_bar
from rmtgen.store import durable

if TYPE_CHECKING:
    from rmtgen.exports.predictions import Prediction

MOST_NAMED = 10
"""Number of images that could not be read which stderr names; the CSV names all."""
REMEDY = "Free space, or choose another file with --to."


def main(arguments: Sequence[str]) -> int:
    """Predict the classes of images; the exit code."""
    with reported("predict", arguments) as transcript:
        _predict(arguments, transcript)
    return transcript.exit_code


def _predict(arguments: Sequence[str], transcript: Transcript) -> None:
    options = _parser().parse_intermixed_args(arguments)
    if len(options.words) < 2:
        raise UsageError(
            "expected the folder of an export and then images: files, folders or .tar archives, got"
            f" {' '.join(map(repr, options.words)) or 'nothing'}. See --help."
        )
    # they import torch, which `--help` does without
    from rmtgen.exports.pictures import gather
    from rmtgen.exports.predictions import as_csv, heading, predictions
    from rmtgen.exports.probe import load_probe

    started = time.perf_counter()
    folder, *places = options.words
    batch_size = _whole(options.batch_size)
    probe, images = load_probe(_found(folder)), gather(places)
    seen, kept = _Seen(), list[dict[str, Any]]()
    classes = len(probe.classes) if options.scores else None

    def lines() -> Iterator[str]:
        yield heading(probe.classes, scores=options.scores)
        with open_bar("predict", probe.path.name) as bar:
            bar.bar_format, bar.unit = None, "img"
            bar.reset(len(images))
            for rows in predictions(probe, images, batch_size=batch_size, device=options.device):
                seen.note(rows)
                kept.extend(map(_as_json, rows) if options.json and not options.to else ())
                yield as_csv(rows, classes=classes)
                bar.update(len(rows))

    if options.to:
        pieces = (line.encode(errors="backslashreplace") for line in lines())
        durable.write_pieces(Path(options.to), pieces, REMEDY)
    else:
        for text in lines():
            transcript.show(text.removesuffix("\n"))
            if transcript.refused:  # whoever reads wants no more
                break
    seconds = round(time.perf_counter() - started, 3)
    details: dict[str, Any] = {"images": seen.count, "unreadable": seen.failed}
    details |= {"predictions": kept} if options.json and not options.to else {}
    said = f"{seen.count:,} images, {seen.failed:,} of them unreadable"
    written = [Path(options.to)] if options.to else []
    outcome = Outcome(
        "predict", probe.path.name, probe.path, "computed", seconds, said, details, written
    )
    transcript.record(outcome)
    if options.to:
        transcript.show(str(options.to), "bold")
    seen.raise_failures()


class _Seen:
    """Counts images, and names those that could not be read on stderr."""

    def __init__(self) -> None:
        self.count = self.failed = 0

    def note(self, rows: Sequence["Prediction"]) -> None:
        """Count a batch."""
        self.count += len(rows)
        for row in rows:
            if row.problem:
                self.failed += 1
                if self.failed <= MOST_NAMED:
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


def _parser() -> Parser:
    parser = Parser(
        prog="rmtgen predict",
        usage="rmtgen predict EXPORT IMAGES ... [--to FILE] [--scores] [--json]",
        description="Predict the class of every image by an export of `rmtgen export`.",
        epilog=EXIT_CODES,
    )
    parser.add_argument(
        "words",
        nargs="*",
        metavar="EXPORT",
        help="folder of an export, its name under data/exports, or the 8 characters it ends in;"
        " then IMAGES: files, folders and .tar archives",
    )
    parser.add_argument("--to", metavar="FILE", help="write the CSV to a file [stdout]")
    parser.add_argument("--scores", action="store_true", help="a column per class: its score")
    parser.add_argument(
        "--batch-size", metavar="N", default="64", help="images in a forward pass [64]"
    )
    parser.add_argument(
        "--device", metavar="NAME", help="torch device [CUDA where there is one, else cpu]"
    )
    parser.add_argument("--json", action="store_true", help=JSON_HELP)
    return parser


def _found(name: str) -> Path:
    """The folder of an export, by its path or by its name."""
    path, known = Path(name), Path(FIELDS["output"].default) / EXPORTS
    if path.exists() or "/" in name:
        return path
    ending = sorted(known.glob(f"*-{name}")) if name.isalnum() else []
    return ending[0] if len(ending) == 1 else known / name


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"--batch-size must be a whole number, got {text!r:.60}.") from None
