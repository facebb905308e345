"""Kill a streamed path with SIGKILL at random instants, and check that whoever goes on finds the
same bits; see test_ridge_streamed.py.

A process of its own, which imports torch once and forks. Usage: killed_streams.py FOLDER KILLS
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np

from rmtgen.ridge import ridge_path_features, streamed

SIZES = [50, 99, 160]


def path(spill):
    """The path of a small problem with 10 panels."""
    streamed.STRIP = streamed.WIDEST = 16
    streamed.BLOCK = 7
    rng = np.random.default_rng(0)
    features, targets = rng.standard_normal((180, 30)), rng.standard_normal((180, 3))
    return ridge_path_features(
        features[:160],
        targets[:160],
        test_features=features[160:],
        test_targets=targets[160:],
        sum_ridges=[0.1],
        sizes=SIZES,
        intercept=True,
        solver="streamed",
        spill=spill,
    )


def start(spill, result):
    """Fork a child that leaves the bytes of the path in a file."""
    pid = os.fork()
    if pid == 0:
        found = path(spill).to_numpy().tobytes()
        result.with_suffix(".new").write_bytes(found)
        result.with_suffix(".new").rename(result)
        os._exit(0)
    return pid


def main(root, kills):
    """Kill until `kills` children died of it, in as many fresh folders as that takes."""
    rng, killed, resumed, whole = random.Random(0), 0, 0, 0
    begun = time.monotonic()
    os.waitpid(start(root / "reference", root / "expected"), 0)
    expected, took = (root / "expected").read_bytes(), time.monotonic() - begun
    while killed < kills:
        spill, result = root / f"attempt-{whole}", root / f"result-{whole}"
        while not result.exists():
            resumed += any(spill.glob("*/sums.spill"))
            pid = start(spill, result)
            if killed < kills:
                time.sleep(rng.uniform(0, took))
                os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            killed += os.WIFSIGNALED(status)
            if not os.WIFSIGNALED(status) and status:
                raise SystemExit(f"the path did not go on: status {status}")
        if result.read_bytes() != expected:
            raise SystemExit("the path differs after a kill")
        if any(spill.iterdir()):
            raise SystemExit("files are left over")
        whole += 1
    print(f"killed {killed} resumed {resumed} whole {whole}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
