"""Columns of labels of data sets of the hub: lists, texts, numbers, and what stands for none."""

import types

import numpy as np
import pytest
from hub_tables import HubTable, install
from image_files import encoded, noise

from rmtgen import Labelling
from rmtgen.datasets import dataset_files, load_dataset, load_split
from rmtgen.datasets.catalogue import default_sizes
from rmtgen.errors import CorruptInputError, MissingInputError, RmtgenWarning, UsageError

N = 12
IMAGES = [{"bytes": encoded(pixels), "path": None} for pixels in noise(N, 8, 8, 3)]
VALUES = Labelling("values", ("age",))
LABELS = Labelling("labels", ("tags",))
CLASSES = Labelling()


def class_label(*names):
    """The type of a column of class numbers."""
    return types.SimpleNamespace(names=list(names))


def list_of(feature):
    """The type of a column of lists, as `List` and `Sequence` are."""
    return types.SimpleNamespace(feature=feature, length=-1)


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """Save columns, of types, as a set without splits or with a test set; its name."""

    def save(columns, features=None, test=None):
        tables = {
            split: HubTable(
                {"image": IMAGES[: len(next(iter(part.values())))], **part}, features or {}
            )
            for split, part in (("train", columns), ("test", test))
            if part is not None
        }
        whole = tables["train"] if test is None else tables
        (tmp_path / ("state.json" if test is None else "dataset_dict.json")).write_text("{}")
        install(monkeypatch, None, lambda folder: {str(tmp_path): whole}[folder])
        return f"hfds/{tmp_path}"

    return save


def train(name, labelling=CLASSES, **options):
    return load_split(name, train=None, test=0, shuffle=False, labelling=labelling, **options).train


FLAGS = [[k % 2, k // 6] for k in range(N)]


@pytest.mark.parametrize(
    ("cells", "feature", "classes", "expected"),
    [
        ([[0], [], [2, 0]] * 4, list_of(class_label("ant", "bee", "cat")), ("ant", "cat"),
         [[1, 0], [0, 0], [1, 1]] * 4),
        ([["x"], [], ["y", "x"]] * 4, None, ("x", "y"), [[1, 0], [0, 0], [1, 1]] * 4),
        ([[0, 1], [1, 1]] * 6, list_of(class_label("a", "b", "c")), ("a", "b"),
         [[1, 1], [0, 1]] * 6),
        (["x", "", " y;x"] * 4, None, ("x", "y"), [[1, 0], [0, 0], [1, 1]] * 4),
        (FLAGS, None, ("tags 0", "tags 1"), FLAGS),
        ([[bool(mark) for mark in some] for some in FLAGS], None, ("tags 0", "tags 1"), FLAGS),
        ([[3, 5], [5]] * 6, None, ("3", "5"), [[1, 1], [0, 1]] * 6),
        ([[0.0, 1.0], [1.0, 1.0]] * 6, None, ("tags 0", "tags 1"), [[0, 1], [1, 1]] * 6),
    ],
)  # fmt: skip
def test_a_column_of_lists_is_of_labels(saved, cells, feature, classes, expected):
    data = train(saved({"tags": cells}, {"tags": feature}), LABELS)
    assert data.classes == classes and data.labels.dtype == bool
    assert np.array_equal(data.labels, expected)


def test_columns_of_numbers_are_values(saved):
    ages = [20.5 + k for k in range(N)]
    name = saved({"age": ages, "n": list(range(N))})
    data = train(name, Labelling("values", ("n", "age")))
    assert data.classes == ("n", "age")
    assert np.array_equal(data.labels, np.array([range(N), ages]).T)
    grades = {"grade": [0, 1] * 6, "box": [[k, -k] for k in range(N)]}
    name_of_grades = saved(grades, {"grade": class_label("low", "high")})
    data = train(name_of_grades, Labelling("values", ("grade", "box")))
    assert data.classes == ("grade", "box 0", "box 1") and data.labels[3].tolist() == [1, 3, -3]
    name = saved({"box": [[k, -1.5] for k in range(N)]})
    with pytest.raises(UsageError, match=r"must vary: 1 of 2 of \S+ are the same .* \(box 1\)"):
        train(name, Labelling("values", ("box",)))


@pytest.mark.parametrize(
    ("cells", "feature", "classes"),
    [
        (["oak", "elm"] * 6, None, ("elm", "oak")),
        ([True, False] * 6, None, ("False", "True")),
        ([1, 3] * 6, None, ("0", "1", "2", "3")),
        ([10**12, 3] * 6, None, ("3", str(10**12))),
        ([0, 1] * 6, class_label("yes", "no", "never"), ("yes", "no", "never")),
    ],
)
def test_a_column_of_classes_may_be_of_words(saved, cells, feature, classes):
    data = train(saved({"kind": cells}, {"kind": feature}), Labelling(columns=("kind",)))
    named = [data.classes[label] for label in data.labels]
    assert data.classes == classes
    assert named == [feature.names[cell] if feature else str(cell) for cell in cells]


def test_classes_and_labels_are_those_of_both_splits(saved):
    parts = ["oak", "elm"] * 5, ["ash", "elm", None]
    name = saved({"label": parts[0]}, test={"label": parts[1][:2]})
    for split in ("train", "test"):
        data = load_dataset(name, split=split, shuffle=False)
        assert data.classes == ("ash", "elm", "oak")
        assert [data.classes[label] for label in data.labels] == parts[split == "test"][: len(data)]
    split = load_split(name, train=None, test=None, shuffle=False)
    assert [split.test.classes[label] for label in split.test.labels] == ["ash", "elm"]
    assert [split.train.classes[label] for label in split.train.labels[:2]] == ["oak", "elm"]
    name = saved({"label": parts[0]}, test={"label": parts[1]})  # an unasked row without a label
    assert train(name).classes == ("ash", "elm", "oak")
    assert train(saved({"label": parts[0]}, test={"other": [1, 2]})).classes == ("elm", "oak")
    lists = saved({"tags": [["x"], ["y"]] * 5}, test={"tags": [["z"], []]})
    assert train(lists, LABELS).classes == ("x", "y", "z")


NOTHING = [
    ("label", [0, 1, -1, 0, None, 1] * 2, class_label("a", "b"), CLASSES),
    ("label", [0, 1, -1, 0, None, 1] * 2, None, CLASSES),
    ("label", ["a", "b", "", "b", None, "b"] * 2, None, CLASSES),
    ("age", [0.5, -1.0, float("nan"), 3.0, None, 5.0] * 2, None, VALUES),
    ("age", [[0.5, 2], [1, 3], [float("nan"), 1], [2, 1], None, [0, 7]] * 2, None, VALUES),
    ("tags", [["x"], [], None, ["y"], None, ["x"]] * 2, None, LABELS),
    ("tags", [[1], [], [-1], [0], None, [1]] * 2, list_of(class_label("x", "y")), LABELS),
    ("tags", [[0, 1], [1, 0], [-1, 1], [1, 1], None, [0, 0]] * 2, None, LABELS),
]


@pytest.mark.parametrize(("column", "cells", "feature", "labelling"), NOTHING)
def test_rows_without_a_label_are_counted_or_left_out(saved, column, cells, feature, labelling):
    name = saved({column: cells}, {column: feature})
    with pytest.raises(
        CorruptInputError,
        match=r"every image must have a label: hfds/\S+ has 4 of 12 without: train row 2"
        r" \(no label\), train row 4 \(no label\), train row 8 \(no label\), …\. Label them",
    ):
        train(name, labelling)
    with pytest.warns(
        RmtgenWarning, match=r"4 files passed over: 4 × no label \(train row 2, .*…\)"
    ):
        data = train(name, labelling, on_corrupt="skip")
    assert data.indices.tolist() == [0, 1, 3, 5, 6, 7, 9, 11]
    assert data.origin == {"passed_over": {"no label": 4}}
    assert (
        data.digests()
        == train(saved({"n": list(range(N))}), Labelling("values", ("n",)))
        .subset(data.indices)
        .digests()
    )
    assert default_sizes(saved({column: cells}, {column: feature}), None, 99, 0, skip=True,
                         labelling=labelling) == (8, 0)  # fmt: skip


@pytest.mark.parametrize(
    ("column", "cells", "labelling", "error", "message"),
    [
        ("age", [*range(11), "x"], VALUES, CorruptInputError,
         r"column age of hfds/\S+ must hold a number in every row: train row 11 has 'x'"),
        ("age", [*range(11), 1e300], VALUES, CorruptInputError, r"train row 11 has '1e\+300'"),
        ("age", [*range(11), [1]], VALUES, CorruptInputError, r"train row 11 has '\[1\]'"),
        ("age", [{"x": 1}] * 12, VALUES, CorruptInputError, r"row 0 has \"\{'x': 1\}\""),
        ("age", [None] * 12, VALUES, CorruptInputError, r"12 of 12 without: .*, …\. Label some"),
        ("aeg", [1] * 12, VALUES, UsageError,
         r"columns=age asks for: train has no age\. Did you mean image, aeg"),
        ("tags", [0, 1] * 6, LABELS, UsageError, "holds 0 and 1 alone"),
        ("tags", [[0], [1]] * 6, LABELS, UsageError, "holds 0 and 1 alone"),
        ("tags", [[]] * 12, LABELS, UsageError, "has none in 12 rows"),
        ("tags", [["x"]] * 12, LABELS, UsageError, "none of the 1 of"),
        ("label", [0.5, 1.5] * 6, CLASSES, UsageError, r"such as 0\.5\..* are task=values"),
        ("label", [[0], [1]] * 6, CLASSES, CorruptInputError, "must hold a class: train row 0"),
        ("other", [0, 1] * 6, CLASSES, UsageError, r"got image, other\. Name it: columns=NAME"),
        ("label", [0, 7] * 6, CLASSES, CorruptInputError, "names the numbers 0 to 1, got 7"),
    ],
)  # fmt: skip
def test_a_cell_that_is_no_label_is_named(saved, column, cells, labelling, error, message):
    named = {"label": class_label("a", "b")} if 7 in cells else {}
    with pytest.raises(error, match=message):
        train(saved({column: cells}, named), labelling)


def test_what_is_wrong_beside_what_is_left_out_is_named_by_its_row(saved):
    name = saved({"age": [1.0, None, 2.0, 3.0, "x", *range(7)]})
    with pytest.raises(CorruptInputError, match="train row 4 has 'x'"):
        train(name, VALUES, on_corrupt="skip")
    with pytest.raises(CorruptInputError, match=r"12 of 12 without: .*\. Label some"):
        train(saved({"age": [None] * 12}), VALUES, on_corrupt="skip")


def test_a_test_whose_labels_are_not_published_is_named(saved):
    name = saved({"label": [0, 1] * 6}, {"label": class_label("a", "b")}, test={"label": [-1] * 5})
    with pytest.raises(
        CorruptInputError, match=r"has none in the 5 rows of its test split, .*: test=0"
    ):
        load_split(name, train=None, test=None)
    assert len(train(name)) == N


def test_a_folder_needs_no_hub_and_its_size_is_known(saved, tmp_path, monkeypatch):
    name = saved({"label": [0, 1] * 6})
    assert dataset_files(name, "data") == (tmp_path,)
    assert default_sizes(name, None, 99, 0) == (N, 0)
    assert default_sizes(name, None, 99, 9) == (99, 9), "there is no test set"
    with pytest.raises(UsageError, match=r"must be named test or validation, got train\. .*test=0"):
        load_split(name, train=None, test=None)
    (tmp_path / "state.json").unlink()
    asked = []

    def load(place):
        asked.append(place)
        raise ValueError("no data\n  files")

    install(monkeypatch, load)
    with pytest.raises(
        MissingInputError, match=r"could not be loaded \(ValueError: no data files\)"
    ):
        load_dataset(name)
    assert asked == [str(tmp_path)]
    monkeypatch.chdir(tmp_path.parent)
    with pytest.raises(MissingInputError, match="no data files"):
        load_dataset(f"hfds/{tmp_path.name}")
