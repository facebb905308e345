"""Tables whose columns hold several labels of an image, or the targets of a regression."""

import numpy as np
import pytest
from image_files import encoded, noise

from rmtgen import Labelling
from rmtgen.datasets import load_dataset, load_split
from rmtgen.datasets.catalogue import default_sizes, listed_files
from rmtgen.errors import CorruptInputError, MissingInputError, RmtgenWarning, UsageError

VALUES = Labelling("values", ("age",))


@pytest.fixture
def pictures(tmp_path):
    """12 distinct pictures, 0.png to 11.png."""
    for number, pixels in enumerate(noise(12, 8, 8, 3)):
        (tmp_path / f"{number}.png").write_bytes(encoded(pixels))
    return tmp_path


def table(folder, header, cells, name="set.csv"):
    """A table of a picture a row and these cells."""
    lines = [f"{number}.png,{cell}" for number, cell in enumerate(cells)]
    (folder / name).write_text("\n".join([f"path,{header}", *lines]))
    return f"csv:{folder / name}"


def in_order(name, labelling):
    data = load_dataset(name, labelling=labelling, shuffle=False, split="train", share=0.2)
    return data, {int(row): data.labels[at].tolist() for at, row in enumerate(data.indices)}


AGES = [f"{20 + k}.5" for k in range(12)]


def test_values_of_several_columns_keep_their_names_and_order(pictures):
    cells = [f"{k},{20 + k}.5,{-k}e3" for k in range(12)]
    name = table(pictures, "id,age, Body-Weight", cells)
    data, found = in_order(name, Labelling("values", ("body weight", "age")))
    assert data.classes == ("Body-Weight", "age") and data.labels.dtype == np.float64
    assert found == {k: [-1000.0 * k, 20.5 + k] for k in found}
    split = load_split(name, train=None, test=None, labelling=VALUES)
    assert (len(split.train), len(split.test)) == (10, 2)
    assert default_sizes(name, None, 99, 99, labelling=VALUES) == (10, 2)
    assert default_sizes(name, None, 99, 0, labelling=VALUES) == (12, 0)
    assert len(listed_files(name, VALUES).names) == 12 and listed_files(name) is None


@pytest.mark.parametrize("header", ["label", "target", "class"])
def test_whole_numbers_are_classes_unless_they_are_said_to_be_values(pictures, header):
    name = table(pictures, header, [f"{k % 3}" for k in range(12)])
    assert load_dataset(name).labels.dtype == np.int64
    data = load_dataset(name, labelling=Labelling("values"))
    assert data.labels.dtype == np.float64 and data.classes == (header,)


def test_a_column_of_classes_can_be_named(pictures):
    name = table(pictures, "label,breed", [f"{k},{'ab'[k % 2]}" for k in range(12)])
    assert load_dataset(name, labelling=Labelling(columns=("breed",))).classes == ("a", "b")


def test_a_cell_holds_any_number_of_labels(pictures):
    cells = ["red; large", "red", "", "large;red;red", *["red;caf\u00e9", ";large;"] * 4]
    data, found = in_order(table(pictures, "tags", cells), Labelling("labels", ("tags",)))
    assert data.classes == ("caf\u00e9", "large", "red") and data.labels.dtype == bool
    expected = [["large", "red"], ["red"], [], ["large", "red"]]
    expected += [["caf\u00e9", "red"], ["large"]] * 4
    assert found == {k: [name in expected[k] for name in data.classes] for k in found}
    piped = table(pictures, "tags", [cell.replace(";", "|") for cell in cells])
    other, again = in_order(piped, Labelling("labels", ("tags",), "|"))
    assert other.classes == data.classes and again == found


def test_rows_of_one_picture_add_their_labels(pictures):
    rows = [f"{k}.png,red" for k in range(1, 12, 2)] + [f"{k}.png,large" for k in range(12)]
    (pictures / "set.csv").write_text("\n".join(["path,label", *rows]))
    data, _ = in_order(f"csv:{pictures / 'set.csv'}", Labelling("labels"))
    assert data.classes == ("large", "red")
    names = [data.images.locate(at).rpartition("/")[2] for at in range(len(data))]
    assert data.labels.tolist() == [[True, int(name[:-4]) % 2 == 1] for name in names]


def test_columns_of_0_and_1_are_a_label_each(pictures):
    cells = [f"{k % 2},{str(k % 3 == 0).upper()}" for k in range(12)]
    name = table(pictures, "is_red,large", cells)
    data, found = in_order(name, Labelling("labels", ("large", "is_red")))
    assert data.classes == ("large", "is_red")
    assert found == {k: [k % 3 == 0, k % 2 == 1] for k in found}


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (
            ["x", *AGES[1:]],
            r"column age of \S+set\.csv must hold a number .*: line 2 has 'x'\. Mend",
        ),
        ([*AGES[:11], '"1,5"'], r"line 13 has '1,5'\. Write a point for the comma"),
        ([*AGES[:10], "nan", "N/A"], r"2 of 12 without: line 12 \(no label\), line 13 \(no la"),
        ([*AGES[:11], "1e999"], "line 13 has '1e999'"),
        ([*AGES[:11], "1e200"], "line 13 has '1e200'"),
        ([*AGES[:11], ""], r"set\.csv has 1 of 12 without: line 13 \(no label\)"),
    ],
)
def test_a_value_that_is_none_is_named_by_line_and_column(pictures, cells, message):
    with pytest.raises(CorruptInputError, match=message):
        load_dataset(table(pictures, "age", cells), labelling=VALUES)


MARKS = [f"{k % 2},{k // 6}" for k in range(12)]


@pytest.mark.parametrize(
    ("header", "cells", "labelling", "error", "message"),
    [
        ("age", AGES, Labelling("values", ("aeg",)), UsageError, r"no aeg, but 2 columns .*age"),
        ("age", AGES, Labelling("values"), UsageError, r"Or name the label's: columns=NAME"),
        ("age", ["7"] * 12, VALUES, UsageError, r"must vary: 1 of 1 of \S+ are the same .*\(age\)"),
        ("a,b", [*MARKS[:5], "2,0", *MARKS[6:]], Labelling("labels", ("a", "b")), CorruptInputError,
         r"column a of \S+ must hold 0 or 1 in every row: line 7 has '2'\. Several labels"),
        ("a,b", [*MARKS[:5], ",0", *MARKS[6:]], Labelling("labels", ("a", "b")), CorruptInputError,
         r"1 of 12 without: line 7 \(no a\)"),
        ("a", ["1", "0"] * 6, Labelling("labels", ("a",)), UsageError, "holds 0 and 1 alone"),
        ("tags", [""] * 12, Labelling("labels", ("tags",)), UsageError, "has none in 12 rows"),
        ("tags", ["x;y"] * 12, Labelling("labels", ("tags",)), UsageError, "none of the 2 of"),
        ("a", AGES, Labelling(), UsageError, "one of label, class, target"),
        ("label", AGES, Labelling(), UsageError, r"such as 20\.5.*are task=values"),
    ],
)  # fmt: skip
def test_labels_that_are_none_are_refused(pictures, header, cells, labelling, error, message):
    with pytest.raises(error, match=message):
        load_dataset(table(pictures, header, cells), labelling=labelling)


def test_a_separator_that_no_row_has_is_doubted(pictures):
    name = table(pictures, "tags", ["a|b", "b"] * 6)
    with pytest.warns(
        RmtgenWarning, match=r"no row has two labels with ';' .* such as 'a\|b'\. If"
    ):
        load_dataset(name, labelling=Labelling("labels", ("tags",)))


def test_a_picture_of_two_values_is_refused(pictures):
    name = table(pictures, "age", AGES)
    (pictures / "set.csv").write_text((pictures / "set.csv").read_text() + "\n0.png,99")
    with pytest.raises(
        CorruptInputError, match=r"0\.png is age 20\.5 in line 2 and age 99 in line 14"
    ):
        load_dataset(name, labelling=VALUES)


def test_a_file_without_a_value_is_skipped_with_its_row(pictures):
    name = table(pictures, "age", AGES)
    (pictures / "3.png").unlink()
    with pytest.raises(MissingInputError, match="1 of 12 that do not"):
        load_split(name, train=None, test=0, labelling=VALUES)
    with pytest.warns(RmtgenWarning, match="1 file passed over"):
        split = load_split(name, train=None, test=0, labelling=VALUES, on_corrupt="skip")
    assert sorted(split.train.labels[:, 0]) == [20.5 + k for k in range(12) if k != 3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "value"}, "task must be a known one: got 'value'"),
        ({"columns": ("a", "b")}, r"a class is in one column, got columns=a,b\. Give one, or say"),
        ({"task": "values", "columns": ("a", "a")}, "named once each, got 'a' twice"),
        ({"columns": ("",)}, "columns must be names of columns"),
        ({"separator": ""}, "separator must be text"),
    ],
)
def test_a_labelling_that_makes_no_sense_is_refused(options, message):
    with pytest.raises(UsageError, match=message):
        Labelling(**options)


def test_only_tables_have_columns_and_only_classes_are_balanced(pictures):
    with pytest.raises(
        UsageError, match=r"task=values: the images of mnist5k have a class each\. .*csv:PATH"
    ):
        load_dataset("mnist5k", labelling=Labelling("values"))
    with pytest.raises(UsageError, match=r"columns=age and task=values: the images of mnist5k"):
        load_dataset("mnist5k", labelling=VALUES)
    with pytest.raises(UsageError, match="labelling must be a Labelling: got str 'values'"):
        load_dataset("mnist5k", labelling="values")
    name = table(pictures, "age", AGES)
    with pytest.raises(UsageError, match="stratify balances classes: the images of .* have values"):
        load_dataset(name, labelling=VALUES, stratify=True)
