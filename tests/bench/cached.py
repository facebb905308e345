"""A cached run of the size of the demo: seconds in addition to the start of the interpreter.

The seconds are the median of five, for all stages in one process and for each stage alone. The run
consists of random pictures and an untrained network, so that only timm is needed.
"""

import statistics
import subprocess
import sys
import tempfile
import time

from rmtgen.runs.graph import STAGES

WORDS = (
    *("dataset=mnist5k", "train=4000", "test=1000", "model=test_resnet", "init=random"),
    *("img_size=32", "trials=1"),
)


def main() -> None:
    """Make the run once, then time what says `cached`."""
    with tempfile.TemporaryDirectory() as output:
        words = [*WORDS, f"output={output}"]
        program = [sys.executable, "-m", "rmtgen"]
        subprocess.run([*program, "run", *words], check=True, stdout=subprocess.DEVNULL)
        empty = _seconds([sys.executable, "-c", "pass"])
        print(f"{'interpreter':<12}{empty:6.2f} s")
        print(f"{'--help':<12}{_seconds([*program, '--help']) - empty:6.2f} s above it")
        for command in ("run", *STAGES):
            seconds = _seconds([*program, command, *words])
            print(f"{command:<12}{seconds - empty:6.2f} s above it")


def _seconds(command: list[str]) -> float:
    times = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - started)
    return statistics.median(times)
