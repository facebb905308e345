"""GCV of kernels as they are, and scaled to a unit diagonal: are samples of other scales its error?

`make bench BENCH=unit_diagonal RUNS=DIR,…`: of each run fits of 1,000 of the first 5,000 samples of
its pool, at three ridges, and their risk on the others, means over four subsets. `scale` is the
standard deviation of K_ii over its mean. Every stage of the runs is finished.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd

import rmtgen
from rmtgen.report.loading import load_result
from rmtgen.tables import Table
from tests.bench.beyond_runs import studied
from tests.bench.claims import name_of

SIZE, BLOCK, TRIALS = 1_000, 5_000, 4
RIDGES = (1e-6, 1e-4, 1e-2)
"""Relative to tr K/n."""


def fits(gram, targets):
    """The ridge paths of the subsets, ridges relative."""
    for trial in range(TRIALS):
        order = np.random.default_rng(trial).permutation(len(gram))
        inside, others = order[:SIZE], order[SIZE:]
        square = gram[inside][:, inside]
        unit = square.trace().item() / SIZE
        path = rmtgen.ridge_path(
            square,
            targets[inside],
            ridges=unit * np.array(RIDGES),
            test_gram=gram[others][:, inside],
            test_targets=targets[others],
        )
        yield path.assign(relative=RIDGES)


def rows(folder):
    """A row per ridge, and both kernels in it."""
    study = studied(folder)
    gram, _ = study.pool.block(BLOCK)
    gram, targets = gram.double(), study.pool.targets.values[: len(gram)]
    sizes = gram.diagonal()
    kernels = gram, gram / sizes.sqrt()[:, None] / sizes.sqrt()
    tables = [pd.concat(fits(kernel, targets)) for kernel in kernels]
    for ridge in RIDGES:
        texts = []
        for table in tables:
            found = table[table["relative"] == ridge]
            for name in ("gcv", "loo"):
                texts.append(f"{100 * (found[name] / found['test_risk'] - 1).mean():+.1f}")
            texts.append(f"{found['test_risk'].mean():.4f}")
        name = name_of(load_result(folder))
        yield name, f"{sizes.std() / sizes.mean():.2f}", f"{ridge:.0e}", *texts


def main() -> None:
    """Print the table."""
    print(f"GCV and LOO over the test risk less 1, %, n = {SIZE:,}; then of the scaled kernel")
    headings = ("run", "scale", "ridge", *("GCV", "LOO", "risk") * 2)
    shown = [row for run in os.environ["RUNS"].split(",") for row in rows(Path(run))]
    print(Table(headings, tuple(shown), "<" + ">" * 8).text())


if __name__ == "__main__":
    main()
