"""`wds:PATTERN`: WebDataset shards on this machine, read in place."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rmtgen.datasets.assembly import Table, assemble, count
from rmtgen.datasets.decoding import MAX_PIXELS
from rmtgen.datasets.images import LabelledImages
from rmtgen.datasets.label_columns import LabelColumns, Numbering
from rmtgen.datasets.labelling import USUAL, Labelling
from rmtgen.datasets.layout import role_of
from rmtgen.datasets.listing import PassedOver
from rmtgen.datasets.pattern import matching
from rmtgen.datasets.shards import SAMPLES, Samples, ShardImages, read_samples
from rmtgen.datasets.source import Access, DataSource, given
from rmtgen.errors import CorruptInputError, MissingInputError, StorageError, UsageError
from rmtgen.names import class_name, printable

CLASS_FILE = "classes.txt"
"""The file beside shards with the name of each class number, one a line."""
_MOST_SHOWN = 3


class ShardSource(DataSource):
    """Shards of samples KEY.jpg with KEY.cls, KEY.json or KEY.txt.

    Where shards named after train and after test (or val) are among them, the names state the
    splits; otherwise the images are divided by `divide`.
    """

    argument = "PATTERN"
    divisible = True
    tabular = True

    def open(self, name: str, splits: Sequence[str], access: Access) -> dict[str, LabelledImages]:
        """The requested splits, in the order of the shards, and of the keys in each.

        Raises:
            MissingInputError: The pattern matches nothing, or a split has no image.
            CorruptInputError: A shard is damaged, or a sample lacks its image or its label.
            UsageError: A shard is compressed, or only some of them are named after a split.
        """
        return assemble(
            name, _read(name, access.skip, access.max_pixels, access.labelling), splits, access
        )

    def files(self, name: str, root: Path) -> list[Path]:
        """The shards, and the file of names beside them."""
        try:
            shards = matching(given(name, self.argument))
        except MissingInputError:
            return []
        return [*shards, *_class_files(shards)]

    def sizes(
        self, name: str, share: float | None, skip: bool = False, labelling: Labelling = USUAL
    ) -> tuple[int, int]:
        """The numbers of images, from the index of the shards."""
        return count(_read(name, skip, MAX_PIXELS, labelling), share)


@dataclass(frozen=True, eq=False)
class _Shard:
    """A shard, its samples, and the role in its name, if it has one."""

    path: Path
    samples: Samples
    role: str | None


def _read(name: str, skip: bool, max_pixels: int, labelling: Labelling) -> Table:
    pattern = given(name, ShardSource.argument)
    shown, passed_over = printable(pattern), PassedOver()
    shards = [
        _Shard(path, read_samples(path, passed_over, labelling), _role(path))
        for path in matching(pattern)
    ]
    roles = _roles(shards, shown)
    _check_samples(shards, shown, skip, passed_over)
    paths = [str(shard.path) for shard in shards]
    counts = [len(shard.samples.names) for shard in shards]
    names = list(_chained(shard.samples.names for shard in shards))
    places = list(_chained(shard.samples.places for shard in shards))
    index = np.repeat(np.arange(len(shards)), counts)
    cells = list(_chained(shard.samples.cells for shard in shards))
    members = [
        f"{shards[shard].path.name}/{member}"
        for shard, member in zip(index.tolist(), names, strict=True)
    ]
    columns = LabelColumns(
        labelling.columns or ("label",),
        cells,
        lambda row: printable(members[row]),
        shown,
        _numbering(cells, labelling, _class_files([shard.path for shard in shards])),
    )
    return Table(
        shown=shown,
        images=ShardImages(
            paths, index, names, np.array(places, dtype=np.int64).reshape(-1, 2), max_pixels
        ),
        names=members,
        roles=None if roles is None else [roles[shard] for shard in index.tolist()],
        rows=np.arange(len(names)),
        undivided="give a pattern of the training shards alone",
        passed_over=passed_over,
        **columns.read(labelling)._asdict(),
    )


_chained = itertools.chain.from_iterable


def _role(path: Path) -> str | None:
    """The role of a shard by the first word of its name, or by its folder, that names one."""
    words = [*re.split(r"[^A-Za-z]+", path.name.partition(".")[0]), path.parent.name]
    return next((role for role in map(role_of, words) if role), None)


def _roles(shards: Sequence[_Shard], shown: str) -> list[str] | None:
    """The role of each shard; None unless some are for training and some for a test.

    Raises:
        UsageError: Only some shards have one.
    """
    roles = [shard.role for shard in shards]
    if "train" not in roles or not {"test", "validation"} & set(roles):
        return None
    stray = [shard.path for shard in shards if shard.role is None]
    if stray:
        raise UsageError(
            f"shards must all be named after train, val or test, or none: {shown} has {len(stray)}"
            f" of {len(shards)} that are not ({printable(stray[0].name)}, …). Rename them, or give"
            " another pattern."
        )
    return [role for role in roles if role]


def _check_samples(
    shards: Sequence[_Shard], shown: str, skip: bool, passed_over: PassedOver
) -> None:
    """Require a sample, and of every sample its image and its label; or pass the others over."""
    broken = [one for shard in shards for one in shard.samples.broken]
    sound = sum(len(shard.samples.names) for shard in shards)
    if broken and not (skip and sound):
        named = [f"{printable(key)} ({fault})" for key, fault in broken[:_MOST_SHOWN]]
        more = ", …" if len(broken) > _MOST_SHOWN else ""
        raise CorruptInputError(
            f"every sample must be {SAMPLES}: {shown} has {len(broken):,} of"
            f" {len(broken) + sound:,} that are not: {', '.join(named)}{more}. Mend them, or leave"
            " them out: on_corrupt=skip."
        )
    if not sound:
        said = passed_over.sentence()
        raise MissingInputError(
            f"{shown} must hold samples {SAMPLES}, got none in {len(shards)} shards."
            f"{f' {said}.' if said else ''}"
        )
    for key, fault in broken:
        reason = "no label" if fault.startswith("no ") else "no sound sample"
        passed_over.add(key, "no image" if fault == "no image" else reason)


def _class_files(shards: Sequence[Path]) -> list[Path]:
    """The files of names in the folders of shards."""
    folders = dict.fromkeys(path.parent for path in shards)
    return [folder / CLASS_FILE for folder in folders if (folder / CLASS_FILE).is_file()]


def _numbering(
    cells: Sequence[tuple[Any, ...]], labelling: Labelling, files: Sequence[Path]
) -> Numbering | None:
    """The names of class numbers by the file of names; None without, or for classes by name.

    Raises:
        CorruptInputError: It is damaged.
        UsageError: Two files differ.
    """
    by_name = labelling.task == "classes" and not all(str(cell).isdecimal() for (cell,) in cells)
    if not files or by_name:
        return None
    names = _class_names(files[0])
    for other in files[1:]:
        if _class_names(other) != names:
            raise UsageError(
                f"shards must have one {CLASS_FILE}: {printable(str(files[0]))} and"
                f" {printable(str(other))} differ. Give shards of one data set."
            )
    return Numbering(names, printable(str(files[0])))


def _class_names(path: Path) -> list[str]:
    """The names in a file of names, each of them another one."""
    shown = printable(str(path))
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise CorruptInputError(f"{shown} must be text in UTF-8, got {error}.") from error
    except OSError as error:
        raise StorageError(
            f"{shown} cannot be read: {error.strerror}. Make it readable."
        ) from error
    names = [class_name(line.strip()) for line in lines]
    while names and not names[-1]:
        names.pop()
    met = {""}
    for number, name in enumerate(names):
        if name in met:
            raise CorruptInputError(
                f"every line must name another class: line {number + 1} of {shown} has {name!r}"
                " again or nothing. Write one name a line, the first that of number 0."
            )
        met.add(name)
    return names
