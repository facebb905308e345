"""Whether the representation that is best with all images is among those that a budget takes on.

`make bench BENCH=halving`, with the environment variables ARCHIVE, CHECKPOINTS and CACHE of
`tests.bench.rank`, and DRAWS [2]: 24 layers of EfficientNet-Lites and a ResNet-18 at 32 px, trained
and random, on draws of 1,024 pictures of CIFAR-100 with three sets of classes, the labels right and
30 % of them wrong. After 64 and after 256 pictures they are placed by the accuracy that each is
foreseen to have, and by the risk. Best is the accuracy of leave-one-out with all 1,024: how often
it is among the first so many, and how much accuracy the best of these lacks of it, in points.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from rmtgen.ranking.halving import image_counts, standings
from rmtgen.ranking.ranked import coded, probe_of
from rmtgen.tables import Table
from rmtgen.tasks import ORDERS
from tests.bench.accuracy import ARCHIVE
from tests.bench.rank import CACHE, CHECKPOINTS
from tests.bench.rank_features import extract, networks
from tests.bench.rank_scores import left_out
from tests.bench.rank_tasks import ANIMALS, SUPER, Source, Task, cifar100, superclasses

POOL, REST, IMAGES = 8_000, 600, 1_024
"""Pictures that are drawn from, others that a source has, and of a draw."""
WRONG = 0.3
"""Share of the labels that are drawn anew."""
KEPT = (2, 4, 8)
"""Numbers of representations that go on."""
RIDGES = tuple(10.0**power for power in range(-8, 2))


def labellings(source: Source) -> dict[str, np.ndarray]:
    """The class of each class of CIFAR-100, by name of the task; the ten join two each."""
    coarse = superclasses(source.classes)
    animals = np.isin(np.array(list(SUPER))[coarse], ANIMALS).astype(int)
    return {"animals or not": animals, "10 classes": coarse // 2, "20 super-classes": coarse}


def shown(source: Source) -> dict[str, np.ndarray]:
    """Features of the pool by the name of their representation."""
    found = {}
    for network in networks():
        if network.pixels == 32 and network.model != "resnet50":
            extract(network, source, CACHE, Path(CHECKPOINTS))
            for one in network.representations:
                found[str(one)] = np.array(one.features(CACHE, source)[:POOL])
    return found


def placed(
    features: Mapping[str, np.ndarray], labels: np.ndarray, classes: int
) -> tuple[dict[str, float], dict[tuple[int, str], list[str]]]:
    """Accuracy with all images, and the order of promise by number of images and what decides."""
    task = Task("", "", classes, {}, {"train": labels})
    accuracy = {name: left_out(one, task)["accuracy"] for name, one in features.items()}
    orders = {}
    for count in image_counts(len(labels))[:-1]:
        targets = coded(labels[:count], classes, "centered")
        probes = {
            name: probe_of(name, one[:count], targets, RIDGES) for name, one in features.items()
        }
        for by in ORDERS:
            orders[count, by] = [one.name for one in standings(probes, len(labels), by)]
    return accuracy, orders


def main() -> None:
    """Print the table."""
    source = cifar100(ARCHIVE, POOL, REST)
    features, lacking = shown(source), dict[tuple[int, str], list[list[float]]]()
    for draw in range(int(os.environ.get("DRAWS", "2"))):
        for name, classes in labellings(source).items():
            for share in (0.0, WRONG):
                rng = np.random.default_rng([draw, round(100 * share)])
                rows, count = rng.permutation(POOL)[:IMAGES], classes.max() + 1
                labels = classes[source.labels[rows]]
                other = rng.integers(0, count, IMAGES)
                labels = np.where(rng.random(IMAGES) < share, other, labels)
                own = {key: one[rows] for key, one in features.items()}
                accuracy, orders = placed(own, labels, count)
                best = max(accuracy.values())
                for key, order in orders.items():
                    kept = [max(accuracy[one] for one in order[:most]) for most in KEPT]
                    lacking.setdefault(key, []).append([best - one for one in kept])
                print(f"{name}, {share:.0%} wrong, draw {draw}", file=sys.stderr, flush=True)
    rows = []
    for (count, by), gaps in lacking.items():
        gap = np.array(gaps)
        held = (f"{share:.2f}" for share in (gap == 0).mean(axis=0))
        lost = (f"{100 * one:.2f}" for one in gap.mean(axis=0))
        rows.append((f"{count}", by, *held, *lost))
    headings = [f"best in {most}" for most in KEPT] + [f"lost by {most}" for most in KEPT]
    print(Table(("images", "placed by", *headings), tuple(rows)).text())
    print(f"{len(gaps)} tasks, {len(features)} representations")
