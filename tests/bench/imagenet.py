"""A run of 200,000 made-up rows and 1,000 classes, end to end, within a budget.

`make bench BENCH=imagenet`. The features are Gaussian, of variances k^-1.5, as many as a ResNet-18
has. A label is the class of the largest of as many linear functions of them with noise.
They are written as a finished stage `extract`; the command line makes all other stages, each in a
process of its own. `N=50000 CLASSES=100 MEMORY=2GiB FOLDER=DIR` choose the sizes, the budget and a
folder that keeps the run, `STAGES='spectrum risk'` some of the stages. The answers at N are
compared with those of the normal equations in NumPy.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import torch

from rmtgen.cli.arguments import experiment_parser, parse
from rmtgen.rates import Rates
from rmtgen.runs.config import Config
from rmtgen.runs.manifest import Manifest, provenance
from rmtgen.runs.run import load_run
from rmtgen.runs.rundir import RunDir
from rmtgen.stages import risk, spectrum, theory
from rmtgen.stages.cost import Workload
from rmtgen.store.batched_rows import FeatureLayout
from rmtgen.store.feature_store import FeatureStore
from rmtgen.units import parse_bytes, readable_bytes
from tests.bench.machine import describe

N, TESTS, CLASSES, WIDTH, BATCH = 200_000, 5_000, 1_000, 512, 4_096
NOISE, DECAY = 0.3, 1.5
RIDGES = "1e-6:1e0:7"
PLANNED = {"spectrum": spectrum.cost, "risk": risk.cost, "theory": theory.cost}
ROWS = 5_000
"""Number of rows that the reference multiplies at a time."""


def main() -> None:
    """Print seconds beside the plan's, the peak of memory of each stage, and the errors."""
    print(describe())
    n, classes = int(os.environ.get("N", N)), int(os.environ.get("CLASSES", CLASSES))
    stages = os.environ.get("STAGES", "spectrum risk theory report").split()
    memory = os.environ.get("MEMORY", "4GiB")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(os.environ.get("FOLDER", made))
        words = [
            *("model=resnet18", "init=random", "dataset=folder:made-up", "solver=primal"),
            *(f"train={n}", f"test={TESTS}", "trials=1", f"ridges={RIDGES}", f"memory={memory}"),
            *("solve_from=features", f"spill={folder / 'spill'}", f"output={folder}"),
        ]
        config = parse(experiment_parser("run", "made-up features"), words).experiment.runs[0]
        make_features(config, classes)
        print(
            f"N = {n:,}, {TESTS:,} tests, {WIDTH} features, {classes:,} classes, sizes"
            f" {', '.join(map(str, config.sizes))}, {len(config.ridges)} ridges; memory={memory},"
            f" one-hot targets {readable_bytes(8 * n * classes)}",
            flush=True,
        )
        workload = Workload(config, classes, Rates(torch.device("cpu")))
        for stage in stages:
            planned = PLANNED[stage](workload) if stage in PLANNED else None
            seconds, peak = run_stage(stage, words)
            said = (
                f"; plan {planned.seconds:.0f} s, {readable_bytes(planned.ram)}" if planned else ""
            )
            within = "within" if peak <= parse_bytes(memory) else "BEYOND"
            print(
                f"{stage:<9}{seconds:6.0f} s, peak {readable_bytes(peak)} with the interpreter,"
                f" {within} {memory}{said}",
                flush=True,
            )
        if "risk" in stages:
            compare(config)


def run_stage(stage: str, words: list[str]) -> tuple[float, int]:
    """Seconds and largest resident memory of a stage in a process of its own."""
    command = [sys.executable, "-m", "rmtgen", stage, *words]
    started = time.perf_counter()
    child = psutil.Popen(command, stdout=subprocess.DEVNULL)
    peak = 0
    while child.poll() is None:
        with contextlib.suppress(psutil.Error):
            peak = max(peak, child.memory_info().rss)
        time.sleep(0.02)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return time.perf_counter() - started, peak


def drawn(rng: np.random.Generator, count: int, teacher: np.ndarray) -> tuple[np.ndarray, ...]:
    """Some rows of features, and their labels."""
    spread = np.arange(1, WIDTH + 1) ** (-DECAY / 2)
    rows = (rng.standard_normal((count, WIDTH), np.float32) * spread).astype(np.float32)
    scores = rows @ teacher
    scores += NOISE * rng.standard_normal(scores.shape, np.float32)
    return rows, scores.argmax(axis=1)


def make_features(config: Config, classes: int) -> None:
    """A finished stage `extract` of made-up rows."""
    directory, sizes = RunDir(config), {"train": config.train, "test": config.test}
    if directory.done("extract"):
        return
    teacher = np.random.default_rng(0).standard_normal((WIDTH, classes), np.float32)
    batches = {split: -(-count // BATCH) for split, count in sizes.items()}

    def rows_of(split: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for batch in range(batches[split]):
            count = min(BATCH, sizes[split] - batch * BATCH)
            yield drawn(np.random.default_rng([split == "test", batch]), count, teacher)

    labels = {split: np.concatenate([y for _, y in rows_of(split)]) for split in sizes}
    names = tuple(f"class {number}" for number in range(classes))
    layout = FeatureLayout(labels["train"], labels["test"], names, WIDTH, BATCH)
    store = FeatureStore.create(directory.path, layout, directory.fingerprint("extract"))
    for split in sizes:
        for batch, (rows, _) in enumerate(rows_of(split)):
            store.write(split, batch, rows)
    store.shards.seal()
    details = {
        "feature_dim": WIDTH,
        "classes": list(names),
        **{f"{split}_indices": list(range(count)) for split, count in sizes.items()},
    }
    about = {"inputs": {}, "upstream": {}, "outputs": {}, "seconds": 0.0, "details": details}
    spec = directory.spec("extract"), directory.spec_hash("extract")
    directory.finish(
        Manifest("extract", *spec, **about, provenance={**provenance(), "made": ""}), store.files()
    )


def compare(config: Config) -> None:
    """Print the fits of the whole pool beside those of plain normal equations."""
    run = load_run(RunDir(config).path)
    n, found = config.train, run.risk[run.risk["n"] == config.train].iloc[::3]
    store = FeatureStore.open(run.path)
    rows = {split: store.read(split) for split in ("train", "test")}
    classes, ridges = len(store.layout.classes), found["ridge"].to_numpy()
    known = Reference.of(rows["train"], store.layout.train_labels, classes)
    print(f"N = {n:,}:  ridge      gcv        loo        test risk  | relative difference of each")
    for row, ridge in zip(found.itertuples(), ridges, strict=True):
        expected = known.columns(ridge, rows, store.layout)
        differences = "  ".join(
            f"{abs(getattr(row, name) / value - 1):.1e}" for name, value in expected.items()
        )
        print(
            f"{ridge:17.3e}  {row.gcv:.6f}   {row.loo:.6f}   {row.test_risk:.6f}   | {differences}"
        )
    best = run.risk.loc[run.risk.groupby("n")["test_risk"].idxmin()]
    gap = (best["gcv"] / best["test_risk"] - 1).abs()
    print("at the best ridge of each size, |GCV / test risk − 1|:")
    print("  ".join(f"{n:,}: {value:.2%}" for n, value in zip(best["n"], gap, strict=True)))


class Reference:
    """Ridge regression from XᵀX and XᵀY, in float64."""

    def __init__(self, square: np.ndarray, cross: np.ndarray, energy: float, n: int):
        self.square, self.cross, self.energy, self.n = square, cross, energy, n

    @classmethod
    def of(cls, rows: np.ndarray, labels: np.ndarray, classes: int) -> "Reference":
        """The products of features with themselves, and with centred one-hot targets."""
        square, cross = np.zeros((WIDTH, WIDTH)), np.zeros((WIDTH, classes))
        for some, wanted in blocks(rows, labels, classes):
            square += some.T @ some
            cross += some.T @ wanted
        return cls(square, cross, len(rows) * (1 - 1 / classes), len(rows))

    def columns(self, ridge: float, rows: dict, layout: FeatureLayout) -> dict[str, float]:
        """GCV, leave-one-out and test risk at one ridge."""
        classes, shift = self.cross.shape[1], self.n * ridge * np.eye(WIDTH)
        inverse = np.linalg.inv(self.square + shift)
        weights = inverse @ self.cross
        risk = self.energy - 2 * (weights * self.cross).sum()
        risk = (risk + (weights * (self.square @ weights)).sum()) / self.n
        left = 1 - np.trace(inverse @ self.square) / self.n
        squares = {"train": 0.0, "test": 0.0}
        for split in squares:
            for some, wanted in blocks(rows[split], layout.labels(split), classes):
                losses = np.square(some @ weights - wanted).sum(axis=1)
                if split == "train":
                    losses /= np.square(1 - ((some @ inverse) * some).sum(axis=1))
                squares[split] += losses.sum()
        return {
            "gcv": risk / left**2,
            "loo": squares["train"] / self.n,
            "test_risk": squares["test"] / len(rows["test"]),
        }


def blocks(
    rows: np.ndarray, labels: np.ndarray, classes: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Features in float64, and centred one-hot targets, some rows at a time."""
    for start in range(0, len(rows), ROWS):
        some = slice(start, start + ROWS)
        yield rows[some].astype(float), np.eye(classes)[labels[some]] - 1 / classes


if __name__ == "__main__":
    main()
