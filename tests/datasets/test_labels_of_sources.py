"""One data set as a table, shards, a set of the hub, features and Python: one kind of labels."""

import json

import numpy as np
import pytest
from hub_tables import HubTable, install
from image_files import add_member, encoded, noise
from PIL import Image

from rmtgen import LabelledImages, Labelling
from rmtgen.datasets import load_dataset, load_split
from rmtgen.datasets.catalogue import default_sizes
from rmtgen.errors import CorruptInputError, RmtgenWarning

N = 24
PIXELS = noise(N, 8, 8, 3)
RNG = np.random.default_rng(5)
AGES = RNG.uniform(20, 60, N).round(2).tolist()
WEIGHTS = (1000.0 * RNG.integers(1, 90, N)).tolist()
TAGS = [["red"] * (k % 2) + ["large"] * (k % 3 == 0) for k in range(N)]
KINDS = [("oak", "elm", "ash")[k % 3] for k in range(N)]
FIELDS = {
    "age": AGES,
    "weight": WEIGHTS,
    "tags": TAGS,
    "red": [int("red" in some) for some in TAGS],
    "large": [int("large" in some) for some in TAGS],
    "kind": KINDS,
}
MARKS = np.array([["large" in some, "red" in some] for some in TAGS])
SOURCES = ("csv", "wds", "hub", "features", "python")


def csv_of(folder, fields):
    def text(cell):
        return ";".join(cell) if isinstance(cell, list) else "" if cell is None else str(cell)

    rows = [",".join(map(text, cells)) for cells in zip(*fields.values(), strict=True)]
    for number, pixels in enumerate(PIXELS):
        (folder / f"{number:02d}.png").write_bytes(encoded(pixels))
    lines = [f"{number:02d}.png,{row}" for number, row in enumerate(rows)]
    (folder / "set.csv").write_text("\n".join([f"path,{','.join(fields)}", *lines]))
    return f"csv:{folder / 'set.csv'}"


def shards_of(folder, fields, suffix="json"):
    path = folder / "set.tar"
    path.unlink(missing_ok=True)
    for number, cells in enumerate(zip(*fields.values(), strict=True)):
        add_member(path, f"{number:02d}.png", encoded(PIXELS[number]))
        named = dict(zip(fields, cells, strict=True))
        content = json.dumps(named) if suffix == "json" else str(cells[0])
        add_member(path, f"{number:02d}.{suffix}", content.encode())
    return f"wds:{path}"


def hub_of(folder, monkeypatch, fields, features=None, test=None):
    """A saved folder; its one table is the training set unless there is a `test` of fields."""
    saved = folder / "saved"
    saved.mkdir(exist_ok=True)
    (saved / ("state.json" if test is None else "dataset_dict.json")).write_text("{}")
    images = [{"bytes": encoded(pixels), "path": None} for pixels in PIXELS]
    tables = [
        HubTable({"image": images[: len(next(iter(part.values())))], **part}, features or {})
        for part in (fields, *([] if test is None else [test]))
    ]
    whole = tables[0] if test is None else dict(zip(("train", "test"), tables, strict=True))
    install(monkeypatch, None, lambda path: {str(saved): whole}[path])
    return f"hfds/{saved}"


def features_of(folder, fields):
    def array(cells):
        return np.array([";".join(c) if isinstance(c, list) else c for c in cells])

    arrays = {name: array(cells) for name, cells in fields.items()}
    np.savez(folder / "set.npz", features=PIXELS.reshape(N, -1), **arrays)
    return f"features:{folder / 'set.npz'}"


@pytest.fixture
def name_of(tmp_path, monkeypatch):
    """The name of a source that holds these fields."""
    makers = {
        "csv": csv_of,
        "wds": shards_of,
        "hub": lambda folder, fields: hub_of(folder, monkeypatch, fields),
        "features": features_of,
    }
    return lambda source, fields=FIELDS: makers[source](tmp_path, fields)


VALUES = Labelling("values", ("age",))
CASES = {
    "values": (Labelling("values", ("age", "weight")), ("age", "weight"), [AGES, WEIGHTS]),
    "whole numbers": (Labelling("values", ("red",)), ("red",), [FIELDS["red"]]),
    "lists": (Labelling("labels", ("tags",)), ("large", "red"), MARKS.T),
    "columns": (Labelling("labels", ("red", "large")), ("red", "large"), MARKS.T[::-1]),
    "classes": (Labelling(columns=("kind",)), ("ash", "elm", "oak"), None),
    "numbers": (Labelling(columns=("red",)), ("0", "1"), None),
}


@pytest.mark.parametrize("source", SOURCES[:-1])
@pytest.mark.parametrize("case", CASES)
def test_every_source_has_the_labels_of_the_others(name_of, source, case):
    labelling, names, columns = CASES[case]
    name = name_of(source)
    data = load_split(name, train=None, test=0, labelling=labelling, shuffle=False).train
    assert data.classes == names and data.indices.tolist() == list(range(N))
    if columns is None:
        assert [names[label] for label in data.labels] == [
            str(cell) for cell in FIELDS[labelling.columns[0]]
        ]
    else:
        assert data.labels.dtype == (bool if labelling.task == "labels" else np.float64)
        assert np.array_equal(data.labels, np.array(columns).T)
    assert default_sizes(name, None, 99, 0, labelling=labelling) == (N, 0)
    if source != "features":
        assert all(np.array_equal(data[k], PIXELS[k]) for k in range(N))


class Pairs(list):
    """A data set in Python."""


def test_a_data_set_in_python_has_the_labels_of_a_table(name_of):
    pictures = [Image.fromarray(pixels) for pixels in PIXELS]
    for case, labels in (("values", np.array([AGES, WEIGHTS]).T), ("lists", MARKS.astype(int))):
        labelling, names, _ = CASES[case]
        data = LabelledImages.of(Pairs(zip(pictures, labels, strict=True)), names)
        table = load_split(name_of("csv"), train=None, test=0, labelling=labelling, shuffle=False)
        assert np.array_equal(data.labels, table.train.labels)
        assert data.classes == table.train.classes


@pytest.mark.parametrize("source", SOURCES[:-1])
def test_images_without_a_value_are_counted_or_left_out(name_of, source):
    ages = [np.nan if k in (3, 17) else age for k, age in enumerate(AGES)]
    fields = {"age": ages, "kind": KINDS}
    if source in ("csv", "wds"):
        fields["age"] = [None if age != age else age for age in ages]  # noqa: PLR0124
    name, ages = name_of(source, fields), Labelling("values", ("age",))
    with pytest.raises(
        CorruptInputError, match=r" 2 of 24 (without|that are not): .*(3|5).*no (a|l)"
    ):
        load_split(name, train=None, test=0, labelling=ages)
    with pytest.warns(RmtgenWarning, match=r"2 files passed over: 2 × no label \(.*3.*17"):
        split = load_split(name, train=None, test=0, labelling=ages, on_corrupt="skip")
    kept = [k for k in range(N) if k not in (3, 17)]
    assert sorted(split.train.indices.tolist()) == (list(range(22)) if source == "wds" else kept)
    assert sorted(split.train.labels[:, 0]) == sorted(AGES[k] for k in kept)
    assert default_sizes(name, None, 99, 0, skip=True, labelling=ages) == (22, 0)


def test_rows_of_a_table_without_a_class_or_a_mark_are_left_out(name_of):
    kinds = ["" if k in (3, 17) else kind for k, kind in enumerate(KINDS)]
    marks = ["null" if k in (3, 17) else k % 2 for k in range(N)]
    fields = {"kind": kinds, "odd": marks, "red": FIELDS["red"]}
    for labelling, missing in (
        (Labelling(columns=("kind",)), "no label"),
        (Labelling("labels", ("red", "odd")), "no odd"),
    ):
        name = name_of("csv", fields)
        with pytest.raises(
            CorruptInputError, match=rf"2 of 24 without: line 5 \({missing}\), line 19"
        ):
            load_dataset(name, labelling=labelling)
        with pytest.warns(RmtgenWarning, match=r"2 × no label \(03\.png, 17\.png\)"):
            split = load_split(name, train=None, test=0, labelling=labelling, on_corrupt="skip")
        assert len(split.train) == 22 and split.train.classes[0] in ("ash", "red")


FLAGS = [[k % 2, k // 12, int(k % 3 == 0)] for k in range(N)]


@pytest.mark.parametrize(
    ("suffix", "cells", "labelling", "classes", "expected"),
    [
        ("json", [{"label": some} for some in TAGS], "labels", ("large", "red"), MARKS),
        ("json", [{"labels": some} for some in FLAGS], "labels",
         ("labels 0", "labels 1", "labels 2"), FLAGS),
        ("txt", [";".join(some) for some in TAGS], "labels", ("large", "red"), MARKS),
        ("json", [{"label": [k % 3, 7]} for k in range(N)], "labels", ("0", "1", "2", "7"),
         [[k % 3 == j for j in range(3)] + [True] for k in range(N)]),
        ("cls", AGES, "values", ("label",), [[age] for age in AGES]),
        ("txt", [f" {age}\n" for age in AGES], "values", ("label",), [[age] for age in AGES]),
        ("json", [{"label": age} for age in AGES], "values", ("label",), [[age] for age in AGES]),
        ("json", [[1.5 * k, -k] for k in range(N)], "values", ("label 0", "label 1"),
         [[1.5 * k, -k] for k in range(N)]),
    ],
)  # fmt: skip
def test_samples_are_labelled_by_texts_and_lists(
    tmp_path, suffix, cells, labelling, classes, expected
):
    path = tmp_path / "s.tar"
    for number, cell in enumerate(cells):
        add_member(path, f"{number:02d}.png", encoded(PIXELS[number]))
        content = json.dumps(cell) if suffix == "json" else str(cell)
        add_member(path, f"{number:02d}.{suffix}", content.encode())
    data = load_split(
        f"wds:{path}", train=None, test=0, shuffle=False, labelling=Labelling(labelling)
    )
    names = tuple("label" + name[6:] if name.startswith("labels ") else name for name in classes)
    assert data.train.classes == names
    assert np.array_equal(data.train.labels, np.array(expected))


def test_a_text_beside_a_sample_is_a_column_if_it_is_named(tmp_path):
    path = tmp_path / "s.tar"
    for number in range(N):
        add_member(path, f"{number:02d}.png", encoded(PIXELS[number]))
        add_member(path, f"{number:02d}.txt", f"{KINDS[number]} tree\n".encode())
        add_member(path, f"{number:02d}.json", json.dumps({"cls": number % 2}).encode())
    data = load_dataset(f"wds:{path}", labelling=Labelling(columns=("txt",)))
    assert data.classes == ("ash tree", "elm tree", "oak tree")
    with pytest.warns(RmtgenWarning, match=r"24 × \.txt"):
        assert load_dataset(f"wds:{path}").classes == ("0", "1")


def test_the_names_of_class_numbers_are_those_of_labels_too(tmp_path):
    (tmp_path / "classes.txt").write_text("zebra\nant\nbee\n")
    for name, cells, classes, expected in (
        (
            "numbers",
            [[2, 0], [0], [], [2]] * 6,
            ("zebra", "bee"),
            [[1, 1], [1, 0], [0, 0], [0, 1]] * 6,
        ),
        ("marks", FLAGS, ("zebra", "ant", "bee"), FLAGS),
    ):
        path = tmp_path / f"{name}.tar"
        for number, cell in enumerate(cells):
            add_member(path, f"{number:02d}.png", encoded(PIXELS[number]))
            add_member(path, f"{number:02d}.json", json.dumps({"label": cell}).encode())
        split = load_split(
            f"wds:{path}", train=None, test=0, shuffle=False, labelling=Labelling("labels")
        )
        assert split.train.classes == classes
        assert np.array_equal(split.train.labels, np.array(expected))
    add_member(path, "30.png", encoded(PIXELS[0]))
    add_member(path, "30.json", b'{"label": [3]}')
    with pytest.raises(
        CorruptInputError, match=r"classes\.txt names the numbers 0 to 2, got 3\. Add"
    ):
        load_dataset(f"wds:{path}", labelling=Labelling("labels"))


@pytest.mark.parametrize(
    ("cell", "labelling", "message"),
    [
        ({"age": "x"}, VALUES, r"column age of \S+ must hold a number .*: s\.tar/05\.png has 'x'"),
        ({"age": True}, VALUES, r"must hold a number .*s\.tar/05\.png has 'True'"),
        ({"age": 1e200}, VALUES, r"must hold a number .*s\.tar/05\.png has '1e\+200'"),
        ({"age": [1, 2]}, VALUES, r"must hold a number .*s\.tar/05\.png has '\[1, 2\]'\. M"),
        ({"two": [1, 2, 3]}, Labelling("values", ("two",)),
         r"column two of \S+ must hold a list of 2, as s\.tar/00\.png does: s\.tar/05"),
        ({"two": [1, "x"]}, Labelling("values", ("two",)), r"column two 1 of .*/05\.png has 'x'"),
        ({"age": None}, VALUES, r"1 of 24 that are not: s\.tar:05 \(no label\)"),
        ({}, VALUES, r"1 of 24 that are not: s\.tar:05 \(no label\)"),
        ([1], VALUES, r"s\.tar:05 \(no label\)"),
        ({"age": {"a": 1}}, Labelling("labels", ("age",)), "must hold names or numbers of labels"),
        ({"age": [1, 2]}, Labelling(columns=("age",)), r"must hold a class: .*Several labels are"),
        ({"age": 2}, Labelling("labels", ("age", "odd")), r"05 \(no odd\)"),
        ({"age": 2, "odd": 0}, Labelling("labels", ("age", "odd")), r"age .* 0 or 1 .* has '2'"),
    ],
)  # fmt: skip
def test_a_field_that_is_no_label_is_named(tmp_path, cell, labelling, message):
    path = tmp_path / "s.tar"
    for number in range(N):
        add_member(path, f"{number:02d}.png", encoded(PIXELS[number]))
        found = cell if number == 5 else {"age": number % 2, "odd": 1, "two": [0, number]}
        add_member(path, f"{number:02d}.json", json.dumps(found).encode())
    with pytest.raises(CorruptInputError, match=message):
        load_dataset(f"wds:{path}", labelling=labelling)
