"""A cached stage: seconds in addition to the start of the interpreter, median of five.

The run has the size of the demo. It consists of random pictures and an untrained network, so that
only timm is needed.
"""

import statistics
import subprocess
import sys
import tempfile
import time

STAGES = ("extract", "gram", "spectrum", "risk", "theory", "report")
WORDS = (
    "dataset=mnist5k",
    "train=4000",
    "test=1000",
    "model=test_resnet",
    "init=random",
    "img_size=32",
    "trials=1",
)


def main() -> None:
    """Make the run once, then time each stage saying `cached`."""
    with tempfile.TemporaryDirectory() as output:
        words = [*WORDS, f"output={output}"]
        for stage in STAGES:
            subprocess.run(
                [sys.executable, "-m", f"pipelines.{stage}", *words],
                check=True,
                stdout=subprocess.DEVNULL,
            )
        empty = _seconds([sys.executable, "-c", "pass"])
        print(f"{'interpreter':<12}{empty:6.2f} s")
        for stage in STAGES:
            seconds = _seconds([sys.executable, "-m", f"pipelines.{stage}", *words])
            print(f"{stage:<12}{seconds - empty:6.2f} s above it")


def _seconds(command: list[str]) -> float:
    times = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - started)
    return statistics.median(times)
