"""Whether leave-one-out ranks representations better than its rivals, and what it costs.

`make bench BENCH=rank`, with the environment variables

- ARCHIVE: CIFAR-100 as a tar of train/CLASS/*.png and test/CLASS/*.png
  [../shared/data/cifar100.tar];
- CHECKPOINTS: folder of resnet18-cifar10.safetensors and resnet50-cifar10.safetensors, ResNets for
  32 px that were trained on CIFAR-10 [../shared/checkpoints];
- CACHE: folder of features and results, 2.3 GB; what is there is not computed again
  [build/rank].

Forty layers of networks, trained and random, on twelve tasks. Every score sees the training
pictures of a task alone. The truth is a ridge probe and a logistic probe, tuned by pictures that no
score sees and tested by others. Means are over tasks, with the 95 % interval of a bootstrap that
resamples tasks: they share pictures and networks, so that it says nothing of other networks.
Seconds are those of the processor, one thread, features at hand.
"""

import os
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

from rmtgen.ranking.rivals import RIVALS
from rmtgen.tables import Table
from tests.bench.accuracy import ARCHIVE, SHARED
from tests.bench.rank_ahead import AHEAD, DRAWS, ahead, foreseen, tenth, whole_tasks
from tests.bench.rank_features import (
    LAST,
    Network,
    Representation,
    extract,
    head,
    networks,
    parameters,
    probabilities,
)
from tests.bench.rank_scores import METHODS, TRUTHS, Store, ridge_truth, whole_probe
from tests.bench.rank_tables import (
    Results,
    apart,
    by_task,
    costs,
    fine_tuned,
    heads,
    overall,
    tuned_networks,
)
from tests.bench.rank_tasks import PARTS, Source, Task, cifar100, digits, mnist, tasks
from tests.bench.rank_tuned import tuned

CACHE = Path(os.environ.get("CACHE", "build/rank"))
CHECKPOINTS = Path(os.environ.get("CHECKPOINTS", SHARED / "checkpoints"))
TIMED = ("10 classes, 50 each", "20 super-classes, 50 each", "100 classes, 20 each")
"""Tasks of which all of a ranking is timed."""
TUNED = ("10 classes, 50 each",)
"""Tasks that networks are fine-tuned on."""


def parts_of(task: Task, source: Source, representation: Representation) -> dict[str, np.ndarray]:
    """Features of the pictures of a task, by part."""
    features = representation.features(CACHE, source)
    return {part: np.asarray(features[task.rows[part]]) for part in PARTS}


def score(store: Store, task: Task, source: Source, representation: Representation) -> None:
    """Compute what is not known of a representation on a task."""
    parts = parts_of(task, source, representation)
    for name, method in METHODS.items():
        store.add(task, representation, name, lambda method=method: method(parts["train"], task))
    for name, truth in TRUTHS.items():
        store.add(task, representation, name, lambda truth=truth: truth(parts, task))
    if task.name in TIMED:
        store.add(task, representation, "probe", lambda: whole_probe(parts["train"], task))
    if representation.has_head:
        weight, bias = head(representation.network, CHECKPOINTS)
        shown = probabilities(parts["train"].astype(float), weight, bias)
        for name in ("nce", "leep"):
            own, labels = RIVALS[name].score, task.labels["train"]
            store.add(
                task,
                representation,
                name,
                lambda own=own, labels=labels: {"score": own(shown, labels)},
            )


def look_ahead(store: Store, source: Source, shown: list[Representation]) -> Table:
    """The table of forecasts from a tenth of the labels."""
    rows = []
    for task in whole_tasks(source):
        draws = [tenth(task, number) for number in range(DRAWS)]
        for one in shown:
            parts = parts_of(task, source, one)
            store.add(task, one, "whole", lambda task=task, parts=parts: ridge_truth(parts, task))
            for draw in draws:
                few = parts_of(draw, source, one)
                store.add(draw, one, "tenth", lambda draw=draw, few=few: foreseen(few, draw))
        whole = [store.of(task, one)["whole"] for one in shown]
        rows.append(
            ahead(
                task.name,
                whole,
                [[store.of(draw, one)["tenth"] for one in shown] for draw in draws],
            )
        )
    return Table(AHEAD, tuple(rows))


def fine_tune(
    store: Store, source: Source, todo: list[Task], some: list[Network]
) -> dict[tuple[str, str], float]:
    """Accuracy of the networks at 32 px after fine-tuning, by task and network."""
    found = {}
    for task in todo:
        for one in some:
            store.add(
                task,
                one,
                "tuned",
                lambda task=task, one=one: tuned(one.backbone(CHECKPOINTS), source, task),
            )
            found[task.name, str(one)] = store.of(task, one)["tuned"]["accuracy"]
    return found


class Clock:
    """Lines of progress on stderr."""

    def __init__(self) -> None:
        self.started = time.monotonic()

    def __call__(self, words: str) -> None:
        """A line."""
        print(f"{time.monotonic() - self.started:6.0f} s  {words}", file=sys.stderr, flush=True)


def main() -> None:
    """Compute what is not in the cache, and print the tables."""
    clock, store, everyone = Clock(), Store(CACHE), networks()
    sources = {"CIFAR-100": cifar100(ARCHIVE), "MNIST": mnist(), "digits": digits()}
    for network in everyone:
        for source in sources.values():
            extract(network, source, CACHE, CHECKPOINTS)
        clock(f"features of {network}")
    shown = [one for network in everyone for one in network.representations]
    todo = tasks(sources)
    for task in todo:
        for one in shown:
            score(store, task, sources[task.source], one)
        clock(task.name)
    results = collected(store, todo, shown, sources["CIFAR-100"])
    print_ranking(results)
    forecasts = look_ahead(store, sources["CIFAR-100"], [one for one in shown if one.layer == LAST])
    print(f"\nA tenth of 10,000 labels, mean of {DRAWS} draws\n\n{forecasts.text()}", flush=True)
    clock("forecasts")
    small = [one for one in everyone if one.pixels == 32]
    chosen = [task for task in todo if task.name in TUNED]
    accuracies = fine_tune(store, sources["CIFAR-100"], chosen, small)
    print(f"\nFine-tuned, accuracy in %\n\n{tuned_networks(small, accuracies).text()}")
    print(f"\nAgainst fine-tuned networks\n\n{fine_tuned(results, accuracies).text()}")
    clock("fine-tuning")


def collected(
    store: Store, todo: list[Task], shown: list[Representation], source: Source
) -> Results:
    """What is known of all tasks."""
    return Results(
        todo,
        shown,
        np.array([one.features(CACHE, source).shape[1] for one in shown]),
        {one.network.model: parameters(one.network) for one in shown if one.layer == LAST},
        {(task.name, str(one)): store.of(task, one) for task in todo for one in shown},
    )


def print_ranking(results: Results) -> None:
    """The tables of the scores."""
    for title, table in (
        ("All representations: weighted τ, and regret in points of accuracy", overall),
        ("τ within classes of size, and τ of leave-one-out less that of the method", apart),
        ("Seconds", partial(costs, largest=TIMED)),
        ("Tasks: τ", by_task),
        ("Trained networks with their classifiers: τ with the logistic accuracy", heads),
    ):
        print(f"\n{title}\n\n{table(results).text()}", flush=True)


if __name__ == "__main__":
    main()
