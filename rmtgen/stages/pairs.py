"""Stage `pairs`: features and scores of several runs -> what each two share, page and table."""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
import torch

from rmtgen.device import default_device
from rmtgen.ranking.ranked import Labels
from rmtgen.ranking.together import COLUMNS, Side, compared, unit
from rmtgen.report.pairs_set import PairsSet
from rmtgen.report.same_images import check_same_images, images_of, labels_of
from rmtgen.report.summary import SUMMARY
from rmtgen.ridge.outputs import split_targets
from rmtgen.runs.columns import write_table
from rmtgen.runs.manifest import plain
from rmtgen.runs.reportdir import ReportDir
from rmtgen.runs.run import Run, load_run
from rmtgen.stages.engine import Job, Result
from rmtgen.stages.report import TEXT_WIDTH
from rmtgen.store import durable
from rmtgen.tasks import task_of

PAGE = "pairs.html"
TABLE = "pairs.csv"
NUMBERS = tuple(name for name in COLUMNS if name not in ("first", "second", "balanced"))
"""Columns of a pair beside its names, and what it shares with the others."""


def work(job: Job) -> Result:
    """Compare each two; every pair that is done is kept, so that an interrupt loses one at most."""
    report = job.directory
    if not isinstance(report, ReportDir):
        raise TypeError("a comparison works on a ReportDir")
    runs = [load_run(path) for path in report.runs]
    check_same_images(runs)
    labels = labels_of(runs)
    table = pd.DataFrame(list(_rows(job, runs, labels)))[list(COLUMNS)]
    images, probes = len(runs[0].labels.train), [run.score for run in runs]
    return _write(job, PairsSet(labels, probes, table, images, images_of(runs)), report.title)


def _rows(job: Job, runs: Sequence[Run], labels: Sequence[str]) -> Iterator[Mapping[str, object]]:
    """The rows of all pairs, those of an interrupted comparison from its parts."""
    config = runs[0].config
    device = default_device(None)
    given, names = runs[0].labels.train, runs[0].classes
    targets, _ = split_targets(given, given[:0], len(names), config["targets"], device)
    coded = Labels(targets, task_of(given), names, bool(config.get("balanced")))
    parts, sides = job.parts(), dict[int, Side]()
    pairs = list(combinations(range(len(runs)), 2))
    for here, there in job.progress(pairs, len(pairs), "pair"):
        name = f"{here:03d}-{there:03d}"
        if name not in parts:
            sides = {place: side for place, side in sides.items() if place == here}
            for place in {here, there} - sides.keys():
                sides[place] = _side(runs[place], labels[place], device)
            row = compared(sides[here], sides[there], coded, config["ridges"])
            parts.write(name, {"row": np.array([row[column] for column in NUMBERS], dtype=float)})
        numbers = parts.read(name)["row"].tolist()
        named = {
            "first": labels[here],
            "second": labels[there],
            "balanced": coded.balanced,
        }
        yield named | dict(zip(NUMBERS, numbers, strict=True))


def _side(run: Run, label: str, device: torch.device) -> Side:
    """A run as one of a pair."""
    features = torch.from_numpy(run.feature_store.read("train")).to(device)
    return Side(label, unit(label, features), run.score)


def _write(job: Job, found: PairsSet, title: str) -> Result:
    folder = job.folder
    durable.write_text(folder / PAGE, found.page(title))
    tables = write_table(folder / TABLE, found.ordered, "two representations of the same images")
    stored = json.dumps(found.summary.as_json(), indent=1, ensure_ascii=False)
    durable.write_text(folder / SUMMARY, stored + "\n")
    durable.write_text(folder / "summary.txt", found.summary.text(TEXT_WIDTH) + "\n")
    outputs = [folder / PAGE, folder / SUMMARY, folder / "summary.txt", *tables]
    details = plain({"pairs": found.ordered.to_dict("records")})
    return Result(outputs, f"{len(found.table)} pair(s)", details)
