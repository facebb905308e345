"""Labels and values beside features in NumPy files: columns, their names, and what is refused."""

import numpy as np
import pytest

from rmtgen import Labelling
from rmtgen.datasets import load_features, load_split
from rmtgen.datasets.catalogue import default_sizes
from rmtgen.errors import CorruptInputError, RmtgenWarning, UsageError
from rmtgen.tasks import label_array

N = 30
RNG = np.random.default_rng(2)
X = RNG.standard_normal((N, 3))
VALUES = RNG.standard_normal((N, 2)) * [1, 500]
MARKS = RNG.random((N, 3)) < 0.5
KINDS = np.array(["a", "b", "c", "d"])[np.arange(N) % 4]
TEXTS = np.array([";".join(np.array(["u", "v", "w"])[some]) for some in MARKS])


def saved(folder, **arrays):
    np.savez(folder / "x.npz", features=X, **arrays)
    return f"features:{folder / 'x.npz'}"


def train(name, labelling, **options):
    return load_split(name, train=None, test=0, shuffle=False, labelling=labelling, **options).train


TYPES = [
    ("values", VALUES),
    ("values", VALUES.astype(np.float32)),
    ("values", VALUES[:, 0]),
    ("values", VALUES.astype(np.float16)),
    ("values", (1000 * VALUES).astype(np.int32)),
    ("values", np.abs(1000 * VALUES).astype(np.uint64)),
    ("values", VALUES.astype(str)),
    ("values", VALUES.astype(">f8")),
    ("labels", MARKS),
    ("labels", MARKS[:, :1]),
    ("labels", MARKS.astype(np.uint8)),
    ("labels", MARKS.astype(float)),
    ("labels", np.where(MARKS, "TRUE", "0")),
]


@pytest.mark.parametrize(("task", "labels"), TYPES)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_matrix_is_a_column_a_label_or_value(tmp_path, task, labels, save):
    save(tmp_path / "x.npz", X=X, y=labels)
    data = train(f"features:{tmp_path / 'x.npz'}", Labelling(task))
    expected = labels == "TRUE" if labels.dtype.kind == "U" and task == "labels" else labels
    expected = label_array(expected.astype(float if task == "values" else bool), "expected")
    assert data.labels.dtype == expected.dtype and np.array_equal(data.labels, expected)
    columns = ("label",) if labels.ndim == 1 else tuple(map(str, range(labels.shape[1])))
    assert data.classes == columns
    features, found, names = load_features(tmp_path / "x.npz", labelling=Labelling(task))
    assert np.array_equal(found, expected) and names == columns and np.array_equal(features, X)


@pytest.mark.parametrize("texts", [TEXTS, np.char.encode(TEXTS)])
def test_texts_hold_any_number_of_labels(tmp_path, texts):
    data = train(saved(tmp_path, labels=texts), Labelling("labels"))
    assert data.classes == ("u", "v", "w") and np.array_equal(data.labels, MARKS)
    piped = np.array([text.replace(";", "|") for text in TEXTS])
    data = train(saved(tmp_path, tags=piped), Labelling("labels", ("tags",), "|"))
    assert np.array_equal(data.labels, MARKS)


@pytest.mark.parametrize("place", ["columns", "names"])
def test_columns_have_the_names_that_an_array_holds(tmp_path, place):
    name = saved(tmp_path, labels=VALUES, **{place: ["age", "weight"]})
    data = train(name, Labelling("values"))
    assert data.classes == ("age", "weight") and np.array_equal(data.labels, VALUES)
    data = train(name, Labelling("values", ("weight",)))
    assert data.classes == ("weight",) and np.array_equal(data.labels, VALUES[:, 1:])
    rows = [f"image {row}" for row in range(N)]
    assert train(saved(tmp_path, labels=VALUES, names=rows), Labelling("values")).classes == (
        "0",
        "1",
    )


def test_columns_may_be_arrays_of_their_own(tmp_path):
    name = saved(
        tmp_path,
        labels=VALUES,
        columns=["age", "weight"],
        size=np.arange(N),
        box=-VALUES,
        kind=KINDS,
    )
    data = train(name, Labelling("values", ("size", "weight", "box")))
    assert data.classes == ("size", "weight", "box 0", "box 1")
    assert np.array_equal(data.labels, np.column_stack([np.arange(N), VALUES[:, 1], -VALUES]))
    assert len(train(name, Labelling(columns=("kind",))).classes) == 4
    alone = saved(tmp_path, size=np.arange(N))
    assert train(alone, Labelling("values", ("size",))).classes == ("size",)
    assert default_sizes(alone, 0.5, 99, 99, labelling=Labelling("values", ("size",))) == (15, 15)


def test_columns_of_a_file_beside_are_named_by_number(tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "labels.npy", VALUES)
    name = f"features:{tmp_path / 'x.npy'}"
    data = train(name, Labelling("values", ("1", "0")))
    assert data.classes == ("1", "0") and np.array_equal(data.labels, VALUES[:, ::-1])
    for chosen in (Labelling("values"), Labelling("values", ("0", "1"))):
        found = load_features(tmp_path / "x.npy", tmp_path / "labels.npy", chosen)
        assert np.array_equal(found.labels, VALUES) and found.classes == ("0", "1")
    with pytest.raises(
        UsageError, match=r"labels\.npy .*columns=2 asks for: it has no 2\. Known: 0"
    ):
        train(name, Labelling("values", ("2",)))


def changed(values, row, column, value):
    values = values.astype(float)
    values[row, column] = value
    return values


@pytest.mark.parametrize(
    ("arrays", "labelling", "error", "message"),
    [
        ({"y": changed(VALUES, 7, 1, np.inf)}, Labelling("values"), CorruptInputError,
         r"column 1 of \S+x\.npz must hold a number in every row: row 7 has 'inf'"),
        ({"y": changed(VALUES, 7, 1, 1e200)}, Labelling("values"), CorruptInputError, "'1e.200'"),
        ({"y": changed(MARKS, 7, 1, 2)}, Labelling("labels"), CorruptInputError,
         r"column 1 of \S+ must hold 0 or 1 in every row: row 7 has '2\.0'"),
        ({"y": changed(MARKS, 7, 0, 2)[:, :1]}, Labelling("labels"), CorruptInputError,
         r"column 0 of \S+ must hold 0 or 1 in every row: row 7 has '2\.0'"),
        ({"y": changed(MARKS, 7, 0, np.nan)}, Labelling("labels"), CorruptInputError,
         r"1 of 30 without: row 7 \(no 0\)"),
        ({"y": np.array(["x", *VALUES[1:, 0].astype(str)])}, Labelling("values"), CorruptInputError,
         "row 0 has 'x'"),
        ({"y": np.arange(N)}, Labelling("labels"), UsageError, r"x\.npz has int64, such as 0"),
        ({"y": MARKS}, Labelling("values"), UsageError, r"must be numbers: \S+ has bool, such as"),
        ({"y": VALUES.astype(complex)}, Labelling("values"), UsageError, "has complex128"),
        ({"y": VALUES[:9]}, Labelling("values"), UsageError, r"\(30, c\) or \(30,\), got \(9"),
        ({"y": VALUES[:, :0]}, Labelling("values"), UsageError, r"got \(30, 0\)"),
        ({"y": VALUES[..., None]}, Labelling("values"), UsageError, r"got \(30, 2, 1\)"),
        ({"y": VALUES}, Labelling(), UsageError, "the targets of a regression task=values"),
        ({"y": MARKS}, Labelling(), UsageError, "any number of labels a row are task=labels"),
        ({"y": VALUES, "names": ["a"]}, Labelling("values"), UsageError,
         r"names must name the 2 columns of y: \S+ has \(1,\) <U1\. Save as many texts"),
        ({"y": VALUES, "columns": [1, 2]}, Labelling("values"), UsageError, r"has \(2,\) int64"),
        ({"y": VALUES, "names": ["a", "a"]}, Labelling("values"), UsageError,
         r"names must name each column of y by another name: \S+ has 2 × 'a'"),
        ({"y": VALUES, "names": ["", "a"]}, Labelling("values"), UsageError, r"has 1 × ''"),
        ({"y": VALUES}, Labelling("values", ("agge",)), UsageError, "no agge. Known: 0, 1, y"),
        ({"a": VALUES, "b": TEXTS}, Labelling("values", ("a", "b")), UsageError,
         r"as many rows, and all be of numbers .* are a 0 \(30, 2\) float64, b \(30,\) <U"),
        ({"a": VALUES, "b": VALUES[:3]}, Labelling("values", ("a", "b")), UsageError, r"b 0 \(3"),
        ({"y": np.array([b"\xff"] * N)}, Labelling("labels"), CorruptInputError, "must be UTF-8"),
        ({"y": np.ones((N, 2))}, Labelling("values"), UsageError, "must vary: 2 of 2"),
    ],
)  # fmt: skip
def test_labels_that_are_none_are_refused(tmp_path, arrays, labelling, error, message):
    with pytest.raises(error, match=message):
        train(saved(tmp_path, **arrays), labelling)


@pytest.mark.parametrize(
    ("labels", "labelling", "rows"),
    [
        (np.where(np.arange(N) % 10 == 3, np.nan, np.arange(N) % 3), Labelling(), [3, 13, 23]),
        (np.where(np.arange(N) % 10 == 3, "", TEXTS), Labelling(), None),
        (changed(changed(VALUES, 4, 0, np.nan), 9, 1, np.nan), Labelling("values"), [4, 9]),
        (changed(MARKS, 4, 2, np.nan), Labelling("labels"), [4]),
    ],
)
def test_rows_without_a_label_are_counted_or_left_out(tmp_path, labels, labelling, rows):
    if rows is None:
        rows = np.flatnonzero(labels == "").tolist()
    name = saved(tmp_path, labels=labels)
    with pytest.raises(
        CorruptInputError, match=rf"has {len(rows)} of 30 without: row {rows[0]} \(no"
    ):
        train(name, labelling)
    with pytest.raises(CorruptInputError, match=rf"{len(rows)} of 30 without: row {rows[0]} \(no"):
        load_features(tmp_path / "x.npz", labelling=labelling)
    with pytest.warns(RmtgenWarning, match=rf"{len(rows)} × no label \(row {rows[0]}[,)]"):
        data = train(name, labelling, on_corrupt="skip")
    kept = [row for row in range(N) if row not in rows]
    assert data.indices.tolist() == kept
    assert np.array_equal(data.images.rows(slice(None)), X[kept].astype(np.float32))
    if labelling.task != "classes":
        assert np.array_equal(data.labels, labels[kept])
    assert default_sizes(name, None, 99, 0, skip=True, labelling=labelling) == (len(kept), 0)


def test_only_a_labelling_says_what_labels_are(tmp_path):
    saved(tmp_path, labels=VALUES)
    with pytest.raises(UsageError, match="labelling must be a Labelling: got str 'values'"):
        load_features(tmp_path / "x.npz", labelling="values")
