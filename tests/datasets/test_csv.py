"""`csv:PATH`: how a table is read, what its rows must name, and the splits that it states."""

import csv
import io
import logging
import os
import string

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_files import encoded, noise

from rmtgen.datasets import load_dataset, load_split
from rmtgen.datasets.catalogue import default_sizes
from rmtgen.datasets.csv_table import read_rows
from rmtgen.errors import (
    CorruptInputError,
    MissingInputError,
    RmtgenWarning,
    StorageError,
    UsageError,
)

LABELS = ("ant", "bee", "cat")


@pytest.fixture
def pictures(tmp_path):
    """24 distinct pictures, img/00.png to img/23.png."""
    (tmp_path / "img").mkdir()
    for number, pixels in enumerate(noise(24, 8, 8, 3)):
        (tmp_path / "img" / f"{number:02d}.png").write_bytes(encoded(pixels))
    return tmp_path


def rows_of(numbers=range(24), labels=LABELS):
    return [(f"img/{number:02d}.png", labels[number % len(labels)]) for number in numbers]


def write(folder, rows, header=("path", "label"), name="set.csv", encoding="utf-8", **dialect):
    text = io.StringIO(newline="")
    csv.writer(text, **dialect).writerows([*([header] if header else []), *rows])
    (folder / name).write_bytes(text.getvalue().encode(encoding))
    return f"csv:{folder / name}"


def raw(folder, text, name="set.csv"):
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return f"csv:{folder / name}"


def found_in(data):
    return {
        data.images.locate(k).rpartition("/")[2]: data.classes[data.labels[k]]
        for k in range(len(data))
    }


EXPECTED = {f"{number:02d}.png": LABELS[number % 3] for number in range(24)}


def everything(name, **options):
    split = load_split(name, train=None, test=None, **options)
    return found_in(split.train) | found_in(split.test)


def test_a_table_gives_its_pictures_and_classes(pictures):
    name = write(pictures, rows_of())
    split = load_split(name, train=None, test=None)
    assert (len(split.train), len(split.test)) == (18, 6)
    assert split.train.classes == split.test.classes == LABELS
    assert found_in(split.train) | found_in(split.test) == EXPECTED
    assert sorted([*split.train.indices, *split.test.indices]) == list(range(24))
    assert split.train.origin == {"split": 0.2, "split_seed": 0, "passed_over": {}}
    assert np.bincount(split.test.labels).tolist() == [2, 2, 2]
    first = load_dataset(name, shuffle=False)
    assert first.images.paths[0] == f"{pictures}/img/{first.indices[0]:02d}.png"
    wide = load_split(name, train=None, test=None, split=0.5)
    assert len(wide.test) == 12


def test_a_table_is_divided_as_a_folder_of_the_same_names_would_be(pictures):
    for label in LABELS:
        (pictures / "set" / label).mkdir(parents=True)
    for path, label in rows_of():
        os.link(pictures / path, pictures / "set" / label / path[4:])
    rows = [(f"{path[4:]}", label) for path, label in rows_of()]
    for path, _ in rows_of():
        os.link(pictures / path, pictures / path[4:])
    name = write(pictures, rows)
    for seed in (0, 5):
        folder = load_dataset(f"folder:{pictures / 'set'}", split="test", seed=seed)
        assert found_in(load_dataset(name, split="test", seed=seed)) == found_in(folder)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("header", [("path", "label"), ("Label", "File Name"), None])
def test_every_usual_way_of_writing_reads_alike(pictures, delimiter, end, encoding, header):
    rows = rows_of()
    if header and header[0] == "Label":
        rows = [row[::-1] for row in rows]
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL):
        dialect = {"delimiter": delimiter, "lineterminator": end, "quoting": quoting}
        name = write(pictures, rows, header, encoding=encoding, **dialect)
        assert everything(name) == EXPECTED


def test_blank_lines_spaces_and_empty_cells_at_the_end_do_not_count(pictures):
    lines = ["", '  "path" ,label,,'.replace('" ,', '",'), " ", ",,,"]
    lines += [
        f'{path},  "{label}",,' if k % 2 else f" {path} , {label} "
        for k, (path, label) in enumerate(rows_of())
    ]
    name = raw(pictures, "\n\n".join(lines) + "\n\n,,\n")
    assert everything(name) == EXPECTED


def test_other_columns_are_left_alone(pictures):
    rows = [(k, path, "a;b, c", label) for k, (path, label) in enumerate(rows_of())]
    for header in (("", "image_path", "note", "class"), ("id", "filename", "x", "target")):
        assert everything(write(pictures, rows, header)) == EXPECTED


def test_a_header_comes_before_what_looks_like_a_picture_and_its_class(pictures):
    rows = [("x", path, label) for path, label in rows_of()]
    assert everything(write(pictures, rows, ("a.png;b", "path", "label"))) == EXPECTED


NAMES = st.text(string.ascii_letters + string.digits + " ,;'\"\t\u00e9\u732b.#\\", max_size=12)


def _stripped(text):
    return text.strip()


TABLES = st.lists(
    st.tuples(NAMES.map(lambda name: f"{name}x.png".strip()), NAMES.map(_stripped).filter(bool)),
    min_size=1,
    max_size=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rows=TABLES,
    delimiter=st.sampled_from(",;\t"),
    end=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    order=st.permutations(["path", "label", "note"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig"]),
)
def test_what_a_writer_wrote_is_read_back(tmp_path, rows, delimiter, end, quoting, order, encoding):
    table = [{"path": path, "label": label, "note": "1, 2; 3"} for path, label in rows]
    written = [[row[name] for name in order] for row in table]
    dialect = {"delimiter": delimiter, "lineterminator": end, "quoting": quoting}
    write(tmp_path, written, order, encoding=encoding, **dialect)
    found = read_rows(tmp_path / "set.csv")
    assert list(zip(found.paths, found.cells, strict=True)) == [
        (path, (label.replace("\t", "\\t"),)) for path, label in rows
    ]
    assert found.lines == list(range(2, len(rows) + 2))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=TABLES, delimiter=st.sampled_from(",;\t"), quoting=st.sampled_from([0, 1]))
def test_without_a_header_it_is_read_back_or_refused_for_doubt(tmp_path, rows, delimiter, quoting):
    write(tmp_path, rows, None, delimiter=delimiter, quoting=quoting)
    try:
        found = read_rows(tmp_path / "set.csv")
    except UsageError as error:
        assert "may be separated by" in str(error)
        assert any(mark in rows[0][0] + rows[0][1] for mark in {",", ";", "\t"} - {delimiter})
        return
    expected = [(path, (label.replace("\t", "\\t"),)) for path, label in rows]
    assert list(zip(found.paths, found.cells, strict=True)) == expected


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=st.binary(max_size=80) | st.text(',;"\t\n\rpathlbe.ng', max_size=60))
def test_any_bytes_are_read_or_refused_by_name(tmp_path, content):
    raw(tmp_path, content)
    try:
        found = read_rows(tmp_path / "set.csv")
    except (UsageError, CorruptInputError, MissingInputError) as error:
        assert "set.csv" in str(error)
    else:
        assert len(found.paths) == len(found.cells) == len(found.lines) > 0
        assert all(found.paths)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", MissingInputError, "must hold a row for each image, got an empty file"),
        ("path,label\n", MissingInputError, "got none below its header"),
        ("a.png\nb.png\n", UsageError, r"in its first row .*: got one column \('a\.png'\)"),
        ("a.png,ant,3\n", UsageError, r"got 3 columns \(a\.png, ant, 3\)"),
        ("ant,a.png\n", UsageError, r"got 2 columns \(ant, a\.png\)"),
        ("image,breed\na.png,1\n", UsageError, r"got 2 columns \(image, breed\)"),
        ("a.png;b.png,ant\n", UsageError, "may be separated by semicolon and comma"),
        (
            "path,label,class\na.png,1,x\n",
            UsageError,
            r"one column of the label, got 2 \(label, class\)",
        ),
        ("file,image,label\na,b,c\n", UsageError, r"one column of the path, got 2 \(file, image\)"),
        (
            "path,label\na.png,ant\nb.png\nc.png,,\n,d\ne.png,x,y\n",
            CorruptInputError,
            r"must have 2 columns, with a path and a label: 3 of 5 in .*set\.csv have not: line 3"
            r" \(1 columns\), line 5 \(no path\), line 6 \(3 columns\)\.",
        ),
        (
            "path,label\na.png,ant\nb.png,\nc.png,bee\nd.png, \n",
            CorruptInputError,
            r"every image must have a label: .*set\.csv has 2 of 4 without: line 3 \(no label\),"
            r" line 5 \(no label\)\. Label them, or leave them out: on_corrupt=skip",
        ),
        (
            "path,label\na.png,\n",
            CorruptInputError,
            r"has 1 of 1 without: line 2 \(no label\)\. Label some\.",
        ),
        (
            'path,label\n"a\nb.png",ant\nc.png,x,y\n',
            CorruptInputError,
            r"1 of 2 .*: line 4 \(3 columns\)",
        ),
        (
            "path,label,split\na.png,ant,train\nb.png,bee,hold out\n",
            CorruptInputError,
            r"line 3 \(split 'hold out', expected train, val or test\)",
        ),
        ('path,label\na.png,ant\n"b.png,bee\nc.png,cat\n', CorruptInputError, "from line 3 on"),
        ('path,label\n"a"x.png,ant\n', CorruptInputError, r"is not a CSV from line 2 on"),
        (
            "path,label\na.png,ant\nb.png,caf\xe9\n".encode("latin-1"),
            CorruptInputError,
            "must be in UTF-8: line 3 of .*set.csv has the byte 0xe9",
        ),
        ("path,label\na\0.png,b\n", CorruptInputError, "line 2 of .* has a null character"),
        ("path,label\n".encode("utf-16"), CorruptInputError, "which is in UTF-16"),
        (b"PK\x03\x04", CorruptInputError, "which is a spreadsheet or a zip file"),
        (b"\x1f\x8b\x08", CorruptInputError, "which is compressed by gzip"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused_by_line(tmp_path, text, error, message):
    name = raw(tmp_path, text)
    with pytest.raises(error, match=message):
        load_dataset(name)


def test_a_place_that_is_no_table_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    for place, error, message in (
        ("", UsageError, r"csv: must be followed by a path, got none\. Write csv:PATH"),
        (tmp_path / "no.csv", MissingInputError, r"no\.csv does not exist\. Expected a CSV"),
        (tmp_path, UsageError, r"must be a plain file, got a folder: .*images is folder:"),
        (tmp_path / "pipe.csv", UsageError, "got a pipe or a device"),
        ("x" * 5000, MissingInputError, "cannot be read: File name too long"),
    ):
        with pytest.raises(error, match=message):
            load_dataset(f"csv:{place}")


def test_missing_files_are_counted_and_named_before_any_is_read(pictures, monkeypatch):
    monkeypatch.setattr("rmtgen.datasets.images.read_file", None)
    (pictures / "img/sub").mkdir()
    (pictures / "img/broken.png").symlink_to("nothing")
    rows = [
        ("img/nix.png", "ant"),
        *rows_of(),
        ("img/sub", "bee"),
        ("img/broken.png", "bee"),
        ("x" * 300, "bee"),
    ]
    name = write(pictures, rows)
    message = (
        r"set\.csv has 4 of 28 that do not \(line 2: img/nix\.png \(missing file\), line 27:"
        r" img/sub \(no plain file\), line 28: img/broken\.png \(missing file\), …\)"
    )
    for call in (lambda: load_dataset(name), lambda: load_split(name, train=4, test=4)):
        with pytest.raises(MissingInputError, match=message):
            call()
    assert default_sizes(name, None, 99, 98) == (99, 98)


def test_missing_files_are_left_out_and_said(pictures):
    name = write(pictures, [("img/nix.png", "ant"), *rows_of(), ("img/no.png", "dog")])
    with pytest.warns(
        RmtgenWarning, match=r"2 files passed over: 2 × missing file \(img/nix\.png, img/no\.png\)"
    ):
        split = load_split(name, train=None, test=None, on_corrupt="skip")
    assert found_in(split.train) | found_in(split.test) == EXPECTED
    assert split.train.classes == LABELS
    assert split.train.origin["passed_over"] == {"missing file": 2}
    assert sorted([*split.train.indices, *split.test.indices]) == list(range(1, 25))
    assert default_sizes(name, None, 99, 98, skip=True) == (18, 6)
    with pytest.raises(MissingInputError, match="has 1 of 1 that do not"):
        load_split(write(pictures, [("no.png", "a")]), train=1, test=1, on_corrupt="skip")


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("img\\00.png", r"Write / for \\"),
        ("img/00", r"Did you mean img/00\.png\?"),
        ("elsewhere/set.csv", r"Did you mean set\.csv\?"),
        ("https://host/00.png", "Files are not downloaded"),
        ("img/xx.png", r"/\. Mend them"),
    ],
)
def test_what_a_missing_file_may_be(pictures, path, hint):
    with pytest.raises(MissingInputError, match=hint):
        load_dataset(write(pictures, [(path, "ant"), *rows_of()]))


def test_files_that_may_not_be_seen_are_no_missing_ones(pictures, monkeypatch):
    stat = os.stat

    def guarded(path, **options):
        if str(path).endswith("03.png"):
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **options)

    name = write(pictures, rows_of())
    monkeypatch.setattr(os, "stat", guarded)
    with pytest.raises(StorageError, match=r"03\.png cannot be seen: Permission denied"):
        load_split(name, train=4, test=4, on_corrupt="skip")


def test_links_absolute_paths_and_parents_lead_to_files(pictures):
    (pictures / "link").symlink_to("img")
    (pictures / "table").mkdir()
    ways = [lambda p: f"../{p}", lambda p: str(pictures / p), lambda p: f"../link/{p[4:]}"]
    rows = [(ways[k % 3](path), label) for k, (path, label) in enumerate(rows_of())]
    assert everything(write(pictures / "table", rows)) == EXPECTED
    again = [*rows, ("../img/../img/00.png", "ant"), ("./../link/01.png", "bee")]
    with pytest.warns(
        RmtgenWarning,
        match=r"2 rows name a file again, with the same label \(line"
        r" 26: \.\./img/\.\./img/00\.png, line 27",
    ):
        assert everything(write(pictures / "table", again)) == EXPECTED


def test_a_file_twice_with_two_labels_is_refused(pictures):
    (pictures / "same.png").symlink_to("img/04.png")
    rows = [*rows_of(), ("img/00.png", "bee"), ("same.png", "dog"), ("img/00.png", "ant")]
    message = (
        r"2 rows that give a file another one \(img/00\.png is ant in line 2 and bee in line 26;"
        r" same\.png is bee in line 6 and dog in line 27\)"
    )
    with pytest.raises(CorruptInputError, match=message):
        load_dataset(write(pictures, rows))


def test_equal_files_of_other_names_stay_on_one_side(pictures):
    rows = rows_of()
    for path, label in rows_of():
        copy = path.replace("img/", "img/copy-of-")
        (pictures / copy).write_bytes((pictures / path).read_bytes())
        rows.append((copy, label))
    name = write(pictures, rows)
    for seed in range(3):
        split = load_split(name, train=None, test=None, seed=seed)
        assert split.duplicates == ()
        assert len(split.train) + len(split.test) == 48


def test_a_file_that_is_no_picture_is_damaged_when_it_is_read(pictures):
    (pictures / "notes.txt").write_text("no picture")
    (pictures / "img/00.jpeg").write_bytes((pictures / "img/00.png").read_bytes()[:90])
    name = write(pictures, [*rows_of(), ("notes.txt", "ant"), ("img/00.jpeg", "ant")])
    assert len(load_dataset(name)) + len(load_dataset(name, split="test")) == 26
    with pytest.raises(CorruptInputError, match=r"2 chosen from .* are damaged.*notes\.txt"):
        load_split(name, train=None, test=None)
    split = load_split(name, train=None, test=None, on_corrupt="skip")
    assert sorted(path.rpartition("/")[2] for path in split.skipped) == ["00.jpeg", "notes.txt"]
    assert found_in(split.train) | found_in(split.test) == EXPECTED


def test_a_column_of_splits_divides_as_it_says(pictures, caplog):
    words = ["Train", "train", "training", "VAL", "validation", "test"]
    rows = [(*row, words[k // 4]) for k, row in enumerate(rows_of())]
    name = write(pictures, rows, ("path", "label", "Split"))
    with pytest.warns(RmtgenWarning, match="8 files passed over: 8 × of the validation set"):
        split = load_split(name, train=None, test=None)
    assert sorted(split.train.indices) == list(range(12))
    assert sorted(split.test.indices) == list(range(20, 24))
    assert split.train.origin["splits"] == {"train": "train", "test": "test"}
    assert default_sizes(name, None, 99, 99) == (12, 4)
    with pytest.raises(UsageError, match=r"split=0\.3 divides .*set\.csv states its splits"):
        load_split(name, train=None, test=None, split=0.3)
    caplog.set_level(logging.INFO, "rmtgen")
    split = load_split(
        write(pictures, rows[:20], ("path", "label", "split")), train=None, test=None
    )
    assert sorted(split.test.indices) == list(range(12, 20))
    assert "the validation set is the test set" in caplog.text


def test_one_split_alone_can_be_read_and_the_other_is_missed(pictures):
    rows = [(*row, "train") for row in rows_of()]
    name = write(pictures, rows, ("path", "label", "split"))
    assert len(load_dataset(name)) == 24
    with pytest.raises(MissingInputError, match=r"got 24 for train, 0 for test.*remove the column"):
        load_dataset(name, split="test")


def test_a_class_of_the_test_set_alone_is_refused(pictures):
    rows = [
        (path, "dog" if k == 23 else label, "train" if k < 12 else "test")
        for k, (path, label) in enumerate(rows_of())
    ]
    with pytest.raises(CorruptInputError, match=r"needs images for training: .* 1 without \(dog\)"):
        load_dataset(write(pictures, rows, ("path", "label", "split")))
    kept = [row for row in rows if row[1] != "dog" and not (row[2] == "test" and row[1] == "ant")]
    split = load_split(write(pictures, kept, ("path", "label", "split")), train=None, test=None)
    assert split.test.classes == LABELS


def test_a_file_in_both_splits_is_left_out_of_training(pictures):
    rows = [(*row, "train" if k < 12 else "test") for k, row in enumerate(rows_of())]
    rows.append((*rows[20][:2], "train"))
    split = load_split(write(pictures, rows, ("path", "label", "split")), train=None, test=None)
    assert len(split.train) == 12
    assert len(split.duplicates) == 1


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (("10", "9", "-1"), ("-1", "9", "10")),
        (("001", "010", "002"), ("001", "002", "010")),
        (("10.0", "9.0", "2"), ("2", "9.0", "10.0")),
        (("10", "9", "x"), ("10", "9", "x")),
        (("b", "a", "\u00e9"), ("a", "b", "\u00e9")),
        (("9" * 5000, "1", "2"), ("1", "2", "9" * 5000)),
    ],
)
def test_classes_are_in_the_order_of_numbers_or_of_text(pictures, labels, classes):
    data = load_dataset(write(pictures, rows_of(labels=labels)))
    assert data.classes == classes
    found = found_in(data)
    assert found == {path: labels[int(path[:2]) % 3] for path in found}


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (("1", "01", "2"), CorruptInputError, r"one name: .*set\.csv has 01 and 1, which are one"),
        (("1", "1.0"), CorruptInputError, "has 1 and 1.0, which are one number"),
        (("0.5", "1", "2e3"), UsageError, r"with fractions, such as 0\.5\. Name the classes by"),
        (("1", "2", "2e3"), UsageError, r"such as 2e3\."),
        (("ant",), UsageError, r"at least 2 classes: .* has 1 \(ant\)"),
    ],
)
def test_labels_that_are_no_classes_are_refused(pictures, labels, error, message):
    with pytest.raises(error, match=message):
        load_dataset(write(pictures, rows_of(labels=labels)))


def test_classes_of_one_picture_cannot_be_divided(pictures):
    with pytest.raises(MissingInputError, match="must hold two images of a class"):
        load_split(write(pictures, [("img/00.png", "a"), ("img/01.png", "b")]), train=1, test=1)


def test_composed_and_decomposed_labels_are_one_class(pictures):
    data = load_dataset(write(pictures, rows_of(labels=("caf\u00e9", "cafe\u0301", "bee"))))
    assert data.classes == ("bee", "caf\u00e9")


def test_opening_reads_no_picture_of_another_size(pictures, monkeypatch):
    read = []
    monkeypatch.setattr("rmtgen.datasets.images.read_file", lambda path, most: read.append(path))
    rows = [(*row, "train" if k < 12 else "test") for k, row in enumerate(rows_of())]
    load_dataset(write(pictures, rows, ("path", "label", "split")))
    assert read == []
