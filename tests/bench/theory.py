"""The theory stage beside its one eigendecomposition, for 6,000 samples and 100 classes."""

import time

import numpy as np
import pandas as pd
import torch

from rmtgen.linalg.modes import gram_modes, target_spectrum
from rmtgen.ridge.targets import encode_targets
from rmtgen.runs.config import Config
from rmtgen.stages.pool import Cell, Pool, cells
from rmtgen.theory.study import ANALYSES, Study
from rmtgen.theory.transport import PoolSpectrum

N, M, DIM, CLASSES = 6_000, 2_000, 8_000, 100
SIZES = (100, 400, 1_500)


def seconds(work):
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started


def prepared():
    """A run up to the stage: its pool, risk table and spectra, on made-up features."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((N + M, DIM)) * np.arange(1, DIM + 1) ** -0.6
    scores = features[:, :200] @ rng.standard_normal((200, CLASSES)) + rng.standard_normal(
        (N + M, CLASSES)
    )
    encoded = [
        encode_targets(part, CLASSES, "centered") for part in np.split(scores.argmax(axis=1), [N])
    ]
    rows, tests = (torch.from_numpy(part) for part in np.split(features, [N]))
    config = Config(train=N, test=M, sizes=SIZES, trials=1)
    pool = Pool(rows @ rows.mT, tests @ rows.mT, True, *encoded)
    risk = pd.concat([pool.risk(cell, config) for cell in cells(config)], ignore_index=True)
    orders = {cell.name: cell.order(config) for cell in cells(config)}
    modes = {name: next(pool.modes([order], config.memory)) for name, order in orders.items()}
    spectra = {
        name: PoolSpectrum.of(target_spectrum(modes[name], pool.targets.values[order]))
        for name, order in orders.items()
    }
    return Study(config, pool, risk, spectra)


def main():
    """Print the seconds of the eigendecomposition and of every analysis, and their ratio."""
    study = prepared()
    order = Cell(N, 0).order(study.config)
    _, alone = seconds(lambda: gram_modes(study.data.train[order][:, order]))
    print(f"eigendecomposition of {N:,} samples  {alone:8.1f} s")
    total = 0.0
    for name, analyse in ANALYSES.items():
        table, took = seconds(lambda analyse=analyse: analyse(study))
        total += took
        print(f"  {name:<20} {len(table):6,} rows  {took:8.1f} s")
    print(
        f"the stage, its own eigendecomposition included  {total:8.1f} s  {total / alone:.2f} times"
        " the eigendecomposition"
    )


if __name__ == "__main__":
    main()
