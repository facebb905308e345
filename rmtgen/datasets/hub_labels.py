"""The columns of labels of a `datasets.Dataset`: classes, lists of them, texts and numbers."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rmtgen.datasets.label_cells import is_class_number
from rmtgen.datasets.label_columns import Coded, LabelColumns, Numbering
from rmtgen.datasets.labelling import Labelling, class_numbers, class_order
from rmtgen.datasets.listing import PassedOver
from rmtgen.errors import CorruptInputError, UsageError, did_you_mean

_LABEL_COLUMNS = ("label", "fine_label", "labels")
_UNKNOWN = -1
"""The class number of an image without a label."""
_MOST_CLASSES = 10**6
"""Number of classes from which numbers are taken for names."""


class HubLabels(NamedTuple):
    """The labels of a split.

    Attributes:
        rows: int64, (n,): the rows that have labels.
        labels: Class numbers, labels or values of these, as `rmtgen.tasks` has them.
        names: The names of classes, labels or values.
        passed_over: The rows that were left out.
    """

    rows: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    passed_over: PassedOver


def read_labels(
    name: str, chosen: Mapping[str, Any], others: Sequence[Any], labelling: Labelling, skip: bool
) -> dict[str, HubLabels]:
    """The labels of the splits that are asked for; classes are those of all splits.

    Args:
        name: The data set, for messages.
        chosen: The table of each split.
        others: Those of the other splits.
        labelling: What labels are, and the columns that hold them.
        skip: Leave out rows without a label.

    Raises:
        UsageError: There is no such column.
        CorruptInputError: A row has no label, or one that is none.
    """
    columns = {split: _columns(name, split, table, labelling) for split, table in chosen.items()}
    _refuse_unpublished(name, columns, labelling)
    rows = {split: found.labelled(labelling, skip) for split, found in columns.items()}
    parts = [columns[split].only(kept) for split, kept in rows.items()]
    if labelling.task != "values":
        parts += _labelled_parts(name, others, labelling)
    coded = _joined(parts).read(labelling)
    names = coded.columns if coded.matrix is not None else _classes(coded, name)
    labels = coded.matrix if coded.matrix is not None else class_numbers(coded.classes, names)
    ends = np.cumsum([len(kept) for kept in rows.values()])
    return {
        split: HubLabels(
            np.array(kept, dtype=np.int64),
            labels[end - len(kept) : end],
            names,
            _left_out(columns[split], kept),
        )
        for (split, kept), end in zip(rows.items(), ends.tolist(), strict=True)
    }


def _refuse_unpublished(
    name: str, columns: Mapping[str, LabelColumns], labelling: Labelling
) -> None:
    """Refuse a test split without any label, as those of contests are."""
    test = columns.get("test")
    if test is not None and test.cells and len(test.missing(labelling)) == len(test.cells):
        raise CorruptInputError(
            f"a test needs labels: {name} has none in the {len(test.cells):,} rows of its test"
            " split, as where they are not published. Take no test images: test=0."
        )


def _columns(name: str, split: str, table: Any, labelling: Labelling) -> LabelColumns:
    """The columns of labels of a split.

    Raises:
        UsageError: There is no such column.
    """
    names = (
        labelling.columns
        or tuple(column for column in _LABEL_COLUMNS if column in table.column_names)[:1]
    )
    absent = [column for column in names if column not in table.column_names]
    if absent:
        raise UsageError(
            f"{name} must have the columns that columns={','.join(names)} asks for: {split} has no"
            f" {absent[0]}. {did_you_mean(absent[0], table.column_names)}"
        )
    if not names:
        raise UsageError(
            f"{name}: label column must be named {' or '.join(_LABEL_COLUMNS)}, got"
            f" {', '.join(table.column_names)}. Name it: columns=NAME."
        )
    numbered = [_names(table.features.get(column)) for column in names]
    is_whole = labelling.task != "values"
    cells = [
        [_known(cell, is_whole or has_names is not None) for cell in table[column][:]]
        for column, has_names in zip(names, numbered, strict=True)
    ]
    numbering = Numbering(numbered[0], f"column {names[0]} of {name}") if numbered[0] else None
    return LabelColumns(
        names,
        list(zip(*cells, strict=True)),
        lambda row: f"{split} row {row}",
        name,
        numbering if len(names) == 1 else None,
    )


def _names(kind: Any) -> Sequence[str] | None:
    """The names of class numbers in a column, or in its lists."""
    return getattr(getattr(kind, "feature", kind), "names", None)


def _known(cell: Any, is_class: bool) -> Any:
    """A cell, None in the place of the number that stands for no class."""
    if isinstance(cell, list):
        return [_known(part, is_class) for part in cell]
    return None if is_class and type(cell) is int and cell == _UNKNOWN else cell


def _labelled_parts(name: str, tables: Sequence[Any], labelling: Labelling) -> list[LabelColumns]:
    """The labelled rows of the splits that have these columns."""
    parts = []
    for table in tables:
        try:
            found = _columns(name, "another split", table, labelling)
        except UsageError:
            continue
        missing = found.missing(labelling)
        parts.append(found.only([row for row in range(len(found.cells)) if row not in missing]))
    return parts


def _joined(parts: Sequence[LabelColumns]) -> LabelColumns:
    """The rows of all parts."""
    cells = [cell for part in parts for cell in part.cells]
    places = [(part, row) for part in parts for row in range(len(part.cells))]

    def place(row: int) -> str:
        part, own = places[row]
        return part.place(own)

    first = parts[0]
    return LabelColumns(first.names, cells, place, first.where, first.numbering)


def _classes(coded: Coded, name: str) -> tuple[str, ...]:
    """The names of all classes: those that are stated, all numbers from 0, or all words.

    Raises:
        CorruptInputError: A number is negative.
    """
    if coded.named is not None:
        return tuple(coded.named)
    negative = next((one for one in coded.classes if one[:1] == "-" and one[1:].isdecimal()), None)
    if negative is not None:
        raise CorruptInputError(
            f"labels must be class numbers ≥ 0: {name} has {negative}. Choose another column."
        )
    if all(map(is_class_number, coded.classes)):
        highest = max(map(int, coded.classes))
        if highest < _MOST_CLASSES:
            return tuple(map(str, range(highest + 1)))
    return tuple(class_order(coded.classes, name))


def _left_out(columns: LabelColumns, kept: Sequence[int]) -> PassedOver:
    """The rows that are not kept."""
    passed_over = PassedOver()
    for row in sorted(set(range(len(columns.cells))) - set(kept)):
        passed_over.add(columns.place(row), "no label")
    return passed_over
