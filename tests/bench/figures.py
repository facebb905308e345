"""Figures of a benchmark as rows of one CSV, printed as they come.

The rows are also appended to the file that the variable FIGURES names.
"""

import csv
import os
import statistics
import sys
import time
from pathlib import Path

import torch

COLUMNS = ("bench", "case", "figure", "value", "unit", "card", "torch")


def record(bench, case, figure, value, unit):
    """Print a row, and append it to the file of FIGURES if that is set."""
    row = (bench, case, figure, f"{value:.4g}", unit, card(), torch.__version__)
    csv.writer(sys.stdout, lineterminator="\n").writerow(row[:5])
    sys.stdout.flush()
    if os.environ.get("FIGURES"):
        path = Path(os.environ["FIGURES"])
        with path.open("a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if not file.tell():
                writer.writerow(COLUMNS)
            writer.writerow(row)


def isolated(bench, case, work, *arguments):
    """Call `work`; a failure becomes a row, and the next measurement goes on."""
    try:
        return work(*arguments)
    except Exception as failure:  # noqa: BLE001 - why a case cannot run is its result
        lines = str(failure).splitlines() or [""]
        record(bench, case, f"cannot: {type(failure).__name__}: {lines[0][:120]}", 0, "")
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def device():
    """The device of the measurements."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def card():
    """Name of the CUDA device, or "cpu"."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def seconds(work, repeats=3, warm=True):
    """Median seconds of a call, the device synchronised before and after."""
    if warm:
        work()
    times = []
    for _ in range(repeats):
        waited()
        started = time.perf_counter()
        work()
        waited()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def waited():
    """Wait for the device."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
