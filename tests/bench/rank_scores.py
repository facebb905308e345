"""Scores of a representation, and the truth, each with its seconds of processor time.

The truth is measured with pictures that no score sees: the parts `validation`, which tunes the
probes, and `test`. Notation: n training pictures, p features, c classes, l ridges.
"""

import json
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from rmtgen.errors import RmtgenError
from rmtgen.ranking.best_ridge import best_ridge
from rmtgen.ranking.ranked import RELATIVE_RIDGES, coded, probe_of
from rmtgen.ranking.rivals import RIVALS
from rmtgen.ranking.rivals.probes import logistic_probe, ridge_probe
from rmtgen.ridge.kernel import FeatureKernel
from rmtgen.ridge.path import resolve_ridges
from rmtgen.ridge.problem import Grid, Problem
from rmtgen.store.durable import write_text
from tests.bench.rank_tasks import Task

STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0)
"""Prior variances of a logit that the logistic probe of the truth is tuned over: C times p."""
STEPS = 300
"""Largest number of steps of that probe."""

PROBES = {"ridge_probe": ridge_probe, "logistic_probe": logistic_probe}
"""The rivals that cross-validate."""
LARGE = 100_000
"""Training pictures times classes from which on these have two folds."""

Found = Mapping[str, float]


class Store:
    """Numbers in one JSON file per task and representation, kept as they come.

    A file whose task has another digest is begun anew.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def of(self, task: Task, representation: object) -> dict[str, Found]:
        """What is known."""
        file = self._file(task, representation)
        if not file.exists():
            return {}
        kept = json.loads(file.read_text())
        return kept["found"] if kept["task"] == task.digest else {}

    def add(self, task: Task, representation: object, name: str, work: Callable[[], Found]) -> None:
        """Keep what `work` gives under a name, with its seconds, unless it is there."""
        found = self.of(task, representation)
        if name in found:
            return
        started = time.process_time()
        try:
            one = dict(work())
        except RmtgenError as failure:
            one = {"failure": str(failure)}
        found[name] = {**one, "seconds": time.process_time() - started}
        file = self._file(task, representation)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps({"task": task.digest, "found": found}, indent=1))

    def _file(self, task: Task, representation: object) -> Path:
        names = [str(one).replace(" ", "-").replace(",", "") for one in (task.name, representation)]
        return self.folder.joinpath("results", *names).parent / f"{names[1]}.json"


def whole_probe(features: np.ndarray, task: Task) -> Found:
    """All that a ranking says of a representation: intervals and forecasts besides the risk."""
    targets = coded(task.labels["train"], task.classes, "centered")
    return {"score": -probe_of("features", features, targets, RELATIVE_RIDGES).best["loo"]}


def left_out(features: np.ndarray, task: Task, coding: str = "centered") -> Found:
    """What rmtgen ranks by, the smallest leave-one-out risk; and the accuracy there."""
    kernel = FeatureKernel.checked(features, None)
    targets = coded(task.labels["train"], task.classes, coding).targets
    ridges = resolve_ridges(RELATIVE_RIDGES, kernel.diagonal().sum().item(), len(kernel))
    problem = Problem.checked(kernel, targets.values, None, loo=True, intercept=targets.intercept)
    residuals = best_ridge(problem, Grid.checked(ridges, None).at(len(kernel))).left_out
    predicted = (targets.values[:] - residuals).argmax(dim=1).numpy()
    right = (predicted == task.labels["train"]).mean()
    return {"score": -residuals.square().sum().item() / len(residuals), "accuracy": right}


def standardised(features: np.ndarray, task: Task) -> Found:
    """The same of features of unit variance, with an intercept."""
    return left_out(StandardScaler().fit_transform(features.astype(float)), task, "intercept")


def folds(task: Task) -> int:
    """Number of folds of the cross-validated probes: 5, or 2 in a task that is too large."""
    return 2 if len(task.rows["train"]) * task.classes > LARGE else 5


def _rival(name: str) -> Callable[[np.ndarray, Task], Found]:
    def scored(features: np.ndarray, task: Task) -> Found:
        labels = task.labels["train"]
        if name in PROBES:
            return {"score": PROBES[name](features, labels, folds=folds(task)).accuracy}
        return {"score": RIVALS[name].score(features, labels)}

    return scored


METHODS = {
    "loo": left_out,
    "standardised": standardised,
    **{name: _rival(name) for name, rival in RIVALS.items() if rival.needs == "features"},
}
"""Scores from features and labels of training pictures, by name."""


def ridge_truth(parts: Mapping[str, np.ndarray], task: Task) -> Found:
    """Test risk of ridge regression at the ridge of the smallest validation risk, and test accuracy
    at that of the largest validation accuracy. By plain linear algebra: nothing of rmtgen's."""
    train, rest = parts["train"].astype(float), ("validation", "test")
    onehot = np.eye(task.classes) - 1 / task.classes
    targets = onehot[task.labels["train"]]
    n, trace = len(train), np.square(train).sum()
    wide = n <= train.shape[1]
    values, vectors = np.linalg.eigh(train @ train.T if wide else train.T @ train)
    inner = vectors.T @ (targets if wide else train.T @ targets)
    losses, rights = {}, {}
    for part in rest:
        rows, labels = parts[part].astype(float), task.labels[part]
        outer = (rows @ train.T if wide else rows) @ vectors
        shown = [
            outer @ (inner / (np.maximum(values, 0) + relative * trace)[:, None])
            for relative in RELATIVE_RIDGES
        ]
        losses[part] = [np.square(one - onehot[labels]).sum(axis=1) for one in shown]
        rights[part] = [(one.argmax(axis=1) == labels).mean() for one in shown]
    safe = int(np.argmin([one.mean() for one in losses["validation"]]))
    sharp, tested = int(np.argmax(rights["validation"])), losses["test"][safe]
    return {
        "risk": tested.mean(),
        "risk_se": tested.std(ddof=1) / len(tested) ** 0.5,
        "tested": len(tested),
        "accuracy": rights["test"][sharp],
        "accuracy_at_risk": rights["test"][safe],
    }


def logistic_truth(parts: Mapping[str, np.ndarray], task: Task) -> Found:
    """Test accuracy of logistic regression on features of unit variance, its strength tuned by the
    validation accuracy. float32."""
    scaler = StandardScaler().fit(parts["train"])
    train, validation, test = (
        scaler.transform(parts[part]).astype(np.float32) for part in ("train", "validation", "test")
    )
    best = (-1.0, 0.0)
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength / train.shape[1], max_iter=STEPS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(train, task.labels["train"])
        tuned = model.score(validation, task.labels["validation"])
        best = max(best, (tuned, model.score(test, task.labels["test"])), key=lambda one: one[0])
    return {"accuracy": best[1]}


TRUTHS = {"ridge": ridge_truth, "logistic": logistic_truth}
"""What the test set says of a representation, by name."""
