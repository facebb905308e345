"""Run one stage in forked children, kill each with SIGKILL at a random instant, and check what is
left; see test_kill.py.

A process of its own, because it preloads the heavy imports once and forks: a child starts computing
at once, so that the kills fall into the work and not into the imports. Usage: killing.py STAGE
FOLDER KILLS FIELD=VALUE...
"""

import importlib
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import pandas  # noqa: F401 - preloaded for the children
import timm  # noqa: F401
import torchvision  # noqa: F401

from rmtgen.cli.main import main as rmtgen

SHARDS = {"extract": "features", "gram": "gram"}


def start(stage, folder, words):
    """Fork a child that runs the stage with its results under `folder`; its pid."""
    pid = os.fork()
    if pid == 0:
        os._exit(rmtgen([stage, *words, f"output={folder}"]))
    return pid


def finish(stage, folder, words):
    """Run the stage to its end."""
    _, status = os.waitpid(start(stage, folder, words), 0)
    if status:
        raise SystemExit(f"stage {stage} failed with status {status}")


def kill_somewhere(pid, folder, stage, rng):
    """Wait until up to six more shards are finished, and a random moment more, and kill."""
    target = len(finished_shards(folder, stage)) + rng.randint(0, 6)
    while len(finished_shards(folder, stage)) < target and running(pid):
        time.sleep(0.001)
    time.sleep(rng.uniform(0, 0.03))
    os.kill(pid, signal.SIGKILL)


def running(pid):
    """Whether the child has not ended, without reaping it."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def contents(folder, stage):
    """Every byte the stage left, but for the manifest (it records times) and the lock."""
    (run,) = (folder / "runs").iterdir()
    paths = [
        path
        for path in run.rglob("*")
        if path.is_file() and path.suffix != ".json" and path.name != ".lock"
    ]
    return {
        str(path.relative_to(run)): path.read_bytes()
        for path in paths
        if path.parts[-2] == SHARDS[stage] or path.parent == run
    }


def finished_shards(folder, stage):
    """The journalled shards and when each was written."""
    for journal in folder.glob(f"runs/*/{SHARDS[stage]}/journal.jsonl"):
        names = [
            line.split('"name": "')[1].split('"')[0]
            for line in journal.read_text().split("\n")[1:-1]
        ]
        return {name: (journal.parent / f"{name}.h5").stat().st_mtime_ns for name in names}
    return {}


def prepare(stage, root, folder, words):
    """What the stage reads, and nothing of what it writes."""
    if stage == "gram":
        if not (root / "features").exists():
            finish("extract", root / "features", words)
        shutil.copytree(root / "features", folder)


def main(stage, root, kills, words):
    """Kill until `kills` children died of it, in as many fresh directories as that takes."""
    importlib.import_module(f"rmtgen.stages.{stage}")  # preloaded too
    rng, killed, instants, whole = random.Random(0), 0, set(), 0
    reference = root / "reference"
    prepare(stage, root, reference, words)
    finish(stage, reference, words)
    expected, attempt = contents(reference, stage), None
    while killed < kills or attempt is not None:
        if attempt is None:
            attempt = root / f"attempt-{whole}"
            prepare(stage, root, attempt, words)
        before = finished_shards(attempt, stage)
        pid = start(stage, attempt, words)
        if killed < kills:
            kill_somewhere(pid, attempt, stage, rng)
        _, status = os.waitpid(pid, 0)
        after = finished_shards(attempt, stage)
        rewritten = [name for name, written in before.items() if after.get(name) != written]
        if rewritten:
            raise SystemExit(f"finished shards were made again: {rewritten}")
        if os.WIFSIGNALED(status):
            killed += 1
            instants.add(len(after))
        elif status == 0:
            found = contents(attempt, stage)
            if found != expected:
                differ = sorted(
                    name
                    for name in expected.keys() | found.keys()
                    if expected.get(name) != found.get(name)
                )
                raise SystemExit(f"files differ after kills: {differ}")
            attempt, whole = None, whole + 1
        else:
            raise SystemExit(f"stage {stage} did not resume: status {status}")
    print(f"killed {killed} stopped-at {len(instants)} whole {whole}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
