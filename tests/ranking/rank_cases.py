"""A task with features that know its classes, for the tests of the benchmark of rankings."""

import numpy as np

from tests.bench.rank_tasks import drawn


def made(source, p, classes=6, each=20):
    """A task of a source, and features that know its classes more or less."""
    task = drawn(source, f"of {p} features", np.arange(6) % classes, np.full(classes, each))
    rng = np.random.default_rng(p)
    centres = rng.standard_normal((classes, p))
    parts = {
        part: (centres[labels] + 2 * rng.standard_normal((len(labels), p))).astype(np.float32)
        for part, labels in task.labels.items()
    }
    return task, parts
