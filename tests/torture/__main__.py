"""Torture a small run and print a table: `make torture`.

Usage: python -m tests.torture [SHARE [KIND ...]]. SHARE, 1 by default, is the part of the attacks
that is tried, and a KIND the name of a row of the table. The exit code is 1 if an attack
ended wrong.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

SHIM = Path(__file__).with_name("shim.c")
_PRELOADED = "RMTGEN_TORTURE_SHIM"


def main(arguments: Sequence[str]) -> int:
    share, *kinds = arguments or ["1"]
    os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE")
    with tempfile.TemporaryDirectory() as folder:
        if _PRELOADED not in os.environ:
            return _again(Path(folder), arguments)
        return _torture(Path(folder), float(share), kinds)


def _again(folder: Path, arguments: Sequence[str]) -> int:
    """Start once more with the shim, if there is a compiler."""
    compiler, library = shutil.which("cc"), folder / "shim.so"
    environment = {**os.environ, _PRELOADED: ""}
    if compiler:
        build = [compiler, "-shared", "-fPIC", "-O1", "-o", library, SHIM, "-ldl"]
        subprocess.run(build, check=True)
        environment |= {_PRELOADED: str(library), "LD_PRELOAD": str(library)}
    command = [sys.executable, "-m", "tests.torture", *arguments]
    return subprocess.run(command, env=environment, check=False).returncode


def _torture(root: Path, share: float, kinds: Sequence[str]) -> int:
    """Make the references, divide the attacks among processes, and print the table."""
    from tests.torture import attacks, strangers, together
    from tests.torture.processes import Reference

    words = _words(root / "pictures")
    stages = Reference.make(root / "stages", ["run", "--stage", "theory", *words])
    plan: list[tuple[str, Callable, int]] = [
        ("kills of stages", attacks.killed, 480),
        ("report killed", attacks.killed, 20),
        ("corruption", attacks.corrupted, 200),
        *((fault, partial(attacks.faulty, fault=fault), 40) for fault in attacks.FAULTS),
        ("eight at once", attacks.crowded, 8),
        ("shares killed", together.shares_killed, 50),
        ("no locks, killed", together.shares_without_flock, 10),
        ("clocks off", together.shares_skewed, 2),
        ("workers killed", together.workers_killed, 50),
        ("worker hangs", together.worker_hangs, 4),
        ("disk of a worker", together.worker_disk, 8),
        ("part corrupted", strangers.part_corrupted, 20),
        ("other version", strangers.other_version, 6),
        ("two clients", together.started_twice, 4),
        ("network cut", together.network_cut, 1),
    ]
    if not together.has_namespaces():
        plan = [entry for entry in plan if entry[0] != "network cut"]
        print("no right to network namespaces: their cut is left out")
    plan = [entry for entry in plan if not kinds or entry[0] in kinds]
    if not os.environ[_PRELOADED]:
        plan = [entry for entry in plan if entry[0] not in attacks.FAULTS]
        print("no C compiler (cc): full disks, EIO and short writes are left out")
    tallies = {}
    for name, attack, number in plan:
        begun, reference = time.monotonic(), stages
        if name == "report killed":
            reference = Reference.make(root / "report", ["report", *words], stages.output)
        verdicts = _in_parallel(attack, reference, root / name, max(1, round(number * share)))
        tallies[name] = (verdicts, time.monotonic() - begun)
        print(f"{name}: {tallies[name][1]:.0f} s", file=sys.stderr, flush=True)
    return _print_table(tallies)


def _words(pictures: Path) -> list[str]:
    """The words of a run whose stages take a second, but for the report; on pictures of noise."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for split, count in (("train", 16), ("test", 8)):
        for name in ("ash", "birch"):
            (pictures / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(pictures / split / name / f"{number}.png")
    return [
        f"dataset=folder:{pictures}",
        *("train=32", "test=16", "model=test_resnet", "init=random", "img_size=32"),
        *("batch_size=4", "tile=16", "sizes=8,32", "trials=2", "ridges=0,1e-3:10:3"),
        "solve_from=gram",
    ]


def _in_parallel(attack: Callable, reference: object, root: Path, hits: int) -> list[dict]:
    """Attack until there were so many hits, from as many processes as there are cores."""
    root.mkdir(parents=True)
    workers = os.cpu_count() or 1
    pids = []
    for worker in range(workers):
        pid = os.fork()
        if pid == 0:
            verdicts = list(_attacks(attack, reference, root, worker, workers, hits))
            (root / f"worker {worker}.json").write_text(json.dumps(verdicts))
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        if os.waitpid(pid, 0)[1]:
            raise SystemExit(f"a process that attacks failed: {attack}")
    found = [json.loads(path.read_text()) for path in sorted(root.glob("worker *.json"))]
    shutil.rmtree(root)
    return [verdict for verdicts in found for verdict in verdicts]


def _attacks(
    attack: Callable, reference: object, root: Path, worker: int, workers: int, hits: int
) -> Iterator[dict]:
    """The attacks of one process; attack numbers are the same for any number of processes."""
    number, struck = worker, 0
    while struck < -(-hits // workers):
        folder = root / str(number)
        folder.mkdir()
        verdict = attack(reference, folder, number)
        struck += verdict.hits
        yield {"number": number, **vars(verdict)}
        shutil.rmtree(folder)
        number += workers


def _print_table(tallies: dict[str, tuple[list[dict], float]]) -> int:
    outcomes = ("identical", "named error", "wrong")
    print(f"{'attack':<18}{'number':>8}{''.join(f'{name:>13}' for name in outcomes)}{'seconds':>9}")
    wrong = []
    for name, (verdicts, seconds) in tallies.items():
        counts: Counter[str] = Counter()
        for verdict in verdicts:
            counts[verdict["outcome"]] += verdict["hits"]
        shown = "".join(f"{counts[outcome]:>13}" for outcome in outcomes)
        print(f"{name:<18}{sum(counts.values()):>8}{shown}{seconds:>9.0f}")
        wrong += [
            f"{name} {v['number']}: {v['detail']}" for v in verdicts if v["outcome"] == "wrong"
        ]
    print(*wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
