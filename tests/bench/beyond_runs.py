"""Estimates of the risk of ensembles and of stopped descent on the pools of runs, and their time.

`make bench BENCH=beyond_runs FOLDERS="data/runs/NAME ..."`: both analyses of the stage `theory`,
scored for each run, and the seconds that they and all others take.
"""

import os
import time
import warnings
from pathlib import Path

import torch

from rmtgen.errors import NumericalError, RmtgenWarning, UsageError
from rmtgen.report.beyond_scores import LABELS
from rmtgen.report.wording import percentage
from rmtgen.runs.config import Config
from rmtgen.runs.run import load_run
from rmtgen.stages.study import load_study
from rmtgen.tables import Table
from rmtgen.theory.beyond import ESTIMATORS, FITS
from rmtgen.theory.scores import score
from rmtgen.theory.study import ANALYSES


def studied(folder):
    """The study of a run."""
    stored = load_run(folder).config
    fields = {name: tuple(v) if isinstance(v, list) else v for name, v in stored.items()}
    return load_study(folder, Config(**fields), torch.device("cpu"))


def analysed(study):
    """Every table, and the seconds that it takes."""
    tables, seconds = {}, {}
    for name, analyse in ANALYSES.items():
        begun = time.perf_counter()
        try:
            tables[name] = analyse(study)
        except (UsageError, NumericalError):
            continue
        seconds[name] = time.perf_counter() - begun
    return tables, seconds


def scored(title, tables):
    """A row per estimator."""
    for one in ESTIMATORS:
        fits = tables[one.analysis]
        found = score(fits[one.name], fits[one.measured], fits["n"])
        figures = (found.relative_error, found.worst_error, found.within)
        shown = (percentage(figure) for figure in figures)
        yield title, FITS[one.analysis], LABELS[one.analysis, one.name], *shown


def main() -> None:
    """Print both tables."""
    warnings.simplefilter("ignore", RmtgenWarning)
    rows, times = [], []
    for folder in map(Path, os.environ["FOLDERS"].split()):
        title = "-".join(folder.name.split("-")[:3])
        tables, seconds = analysed(studied(folder))
        rows += scored(title, tables)
        taken = sum(seconds[name] for name in FITS)
        others = sum(seconds.values()) - taken
        times.append((title, f"{taken:.1f} s", f"{others:.1f} s", f"{taken / others:.0%}"))
    headings = ("run", "fits", "estimate", "median error, %", "worst, %", "within 10 %, %")
    print(Table(headings, tuple(rows), "<<<>>>").text())
    print()
    print(Table(("run", "both", "all other analyses", "share"), tuple(times), "<>>>").text())
