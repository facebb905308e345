"""Features of one's own from NumPy files: what is read, and what is refused by name."""

import io
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from rmtgen.datasets import load_features
from rmtgen.errors import (
    CorruptInputError,
    MissingInputError,
    NumericalError,
    RmtgenError,
    UsageError,
)

X = np.random.default_rng(0).standard_normal((6, 3))
Y = np.array([10, 9, 10, 2, 2, 9])


def saved(path, array):
    np.save(path, array)
    return path


@pytest.mark.parametrize(
    ("dtype", "read"),
    [
        (np.float64, np.float64),
        (np.float32, np.float32),
        (np.float16, np.float32),
        (">f8", np.float64),
        (">f4", np.float32),
        (np.int8, np.float64),
        (np.uint64, np.float64),
        (bool, np.float64),
    ],
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_features_are_read_as_floats(tmp_path, dtype, read, order):
    array = np.asarray(100 * X, order=order).astype(dtype)
    table = load_features(saved(tmp_path / "x.npy", array))
    assert (table.features.dtype, table.labels, table.classes) == (np.dtype(read), None, ())
    assert np.array_equal(table.features, array.astype(read))
    assert table.features.flags.writeable
    assert table.features.flags.c_contiguous
    assert type(table.features) is np.ndarray


@pytest.mark.parametrize(
    ("labels", "classes", "numbers"),
    [
        (Y, ("2", "9", "10"), [2, 1, 2, 0, 0, 1]),
        (Y.astype(np.float32), ("2", "9", "10"), [2, 1, 2, 0, 0, 1]),
        (Y.astype(np.uint8), ("2", "9", "10"), [2, 1, 2, 0, 0, 1]),
        (np.array(["b", "a", "b", "c", "c", "a"]), ("a", "b", "c"), [1, 0, 1, 2, 2, 0]),
        (np.array([b"b", b"a", b"b", b"c", b"c", b"a"]), ("a", "b", "c"), [1, 0, 1, 2, 2, 0]),
        (Y.astype(str), ("2", "9", "10"), [2, 1, 2, 0, 0, 1]),
    ],
)
@pytest.mark.parametrize("names", [("features", "labels"), ("X", "y")])
def test_labels_are_numbered_by_class(tmp_path, labels, classes, numbers, names):
    np.savez(tmp_path / "a.npz", **dict(zip(names, (X, labels), strict=True)), other=labels)
    np.savez_compressed(tmp_path / "b.npz", **dict(zip(names, (X, labels), strict=True)))
    alone = saved(tmp_path / "y.npy", labels)
    for table in (
        load_features(tmp_path / "a.npz"),
        load_features(str(tmp_path / "b.npz")),
        load_features(saved(tmp_path / "x.npy", X), labels=alone),
    ):
        features, found, named = table
        assert np.array_equal(features, X)
        assert (found.dtype, found.tolist(), named) == (np.int64, numbers, classes)


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    features=arrays.arrays(
        st.sampled_from([np.float32, np.float64]),
        arrays.array_shapes(min_dims=2, max_dims=2, max_side=7),
        elements=st.floats(-1e3, 1e3, width=32),
    ),
    data=st.data(),
)
def test_any_table_is_read_back(tmp_path, features, data):
    words = data.draw(
        st.lists(st.sampled_from("ab\u00e9"), min_size=len(features), max_size=len(features))
    )
    np.savez(tmp_path / "t.npz", X=features, y=np.array(words))
    if len(set(words)) < 2:
        with pytest.raises(UsageError, match="at least 2 classes"):
            load_features(tmp_path / "t.npz")
        return
    found = load_features(tmp_path / "t.npz")
    assert np.array_equal(found.features, features)
    assert [found.classes[label] for label in found.labels] == words


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_named(tmp_path, monkeypatch, value):
    monkeypatch.setattr("rmtgen.datasets.feature_file._CHUNK", 6)
    features = X.copy()
    features[4, 1] = features[5, 0] = value
    with pytest.raises(NumericalError, match=rf"x\.npy has {value} in row 4, column 1, both"):
        load_features(saved(tmp_path / "x.npy", features))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (X[0], r"shape \(n, p\), n ≥ 1 and p ≥ 1: .*x\.npy has \(3,\)"),
        (X[..., None], r"has \(6, 3, 1\)\. Save one row"),
        (X[:0], r"has \(0, 3\)"),
        (X[:, :0], r"has \(6, 0\)"),
        (np.float64(3), r"has \(\)"),
        (X.astype(complex), "real numbers of at most 8 bytes: .* has complex128"),
        (X.astype(np.longdouble), r"at most 8 bytes: .* has float128|longdouble"),
        (X.astype(str), r"real numbers .* has <U"),
        (X.astype([("a", float)]), r"real numbers .* has \[\('a'"),
        (X.astype("M8[s]"), r"real numbers .* has datetime64"),
    ],
)
def test_features_of_another_kind_are_refused(tmp_path, array, message):
    with pytest.raises(UsageError, match=message):
        load_features(saved(tmp_path / "x.npy", array))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (Y[:5], r"one value for each row of features: expected \(6,\), got \(5,\) in .*y\.npy"),
        (Y[:, None], r"expected \(6,\), got \(6, 1\)"),
        (np.eye(6), r"got \(6, 6\) in .* save argmax"),
        (X[:, 0], r"whole numbers or texts: .*y\.npy has float64, such as"),
        (np.array([1, np.inf, 2, 1, 1, 1]), r"has float64, such as"),
        (Y > 9, r"has bool, such as"),
        (Y.astype("M8[s]"), r"has datetime64\[s\], such as"),
        (np.ones(6), r"at least 2 classes: .*y\.npy has 1"),
        (np.array(["1.5", "2", "1", "1", "1", "1"]), r"fractions, such as 1\.5"),
    ],
)
def test_labels_of_another_kind_are_refused(tmp_path, labels, message):
    features = saved(tmp_path / "x.npy", X)
    with pytest.raises(UsageError, match=message):
        load_features(features, saved(tmp_path / "y.npy", labels))


def test_labels_that_are_not_utf_8_are_refused(tmp_path):
    features = saved(tmp_path / "x.npy", X)
    with pytest.raises(CorruptInputError, match=r"labels must be UTF-8: .*y\.npy has other text"):
        load_features(features, saved(tmp_path / "y.npy", np.array([b"\xe9", b"a"] * 3)))


def test_the_arrays_of_an_npz_are_named(tmp_path):
    place = tmp_path / "a.npz"
    for names, message in (
        (("x", "labels"), r"must hold an array features or X, got labels, x\. Save it so"),
        (("X", "features"), r"one array features or X, got both"),
        (("X", "y", "labels"), r"one array labels or y, got both"),
        ((), r"features or X, got none"),
    ):
        np.savez(place, **dict.fromkeys(names, X))
        with pytest.raises(UsageError, match=message):
            load_features(place)
    np.savez(place, X=X, y=Y)
    with pytest.raises(UsageError, match=r"labels must be given once: .*a\.npz holds labels"):
        load_features(place, saved(tmp_path / "y.npy", Y))
    with pytest.raises(UsageError, match=r"labels must be an \.npy file, got the \.npz"):
        load_features(saved(tmp_path / "x.npy", X), place)


class Trap:
    def __reduce__(self):
        return print, ("unpickled",)


def test_nothing_is_unpickled(tmp_path, capsys):
    trap = np.array([[Trap()]], dtype=object)
    np.save(tmp_path / "x.npy", trap, allow_pickle=True)
    np.savez(tmp_path / "x.npz", X=trap)
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(trap))
    for suffix in ("npy", "npz", "pkl"):
        with pytest.raises(CorruptInputError, match=r"must be a whole \.npy or \.npz file"):
            load_features(tmp_path / f"x.{suffix}")
    assert capsys.readouterr().out == ""


def test_a_file_that_is_missing_or_none_is_named(tmp_path):
    with pytest.raises(MissingInputError, match=r"no\.npy does not exist\. Give an \.npy"):
        load_features(tmp_path / "no.npy")
    with pytest.raises(UsageError, match="an array must be in a plain file, got"):
        load_features(tmp_path)
    with pytest.raises(UsageError, match="path must be a path: got int 3"):
        load_features(3)
    with pytest.raises(UsageError, match="labels must be a path: got list"):
        load_features(saved(tmp_path / "x.npy", X), labels=[1])
    with zipfile.ZipFile(tmp_path / "z.npz", "w") as packed:
        packed.writestr("X", "text")
    for content in (b"", b"text", b"\x93NUMPY", (tmp_path / "z.npz").read_bytes()):
        (tmp_path / "x.npy").write_bytes(content)
        with pytest.raises(CorruptInputError, match=r"x\.npy must be a whole \.npy or \.npz"):
            load_features(tmp_path / "x.npy")


def test_a_file_cut_short_anywhere_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", X=X, y=Y)
    np.save(tmp_path / "a.npy", X)
    for name in ("a.npz", "a.npy"):
        content = (tmp_path / name).read_bytes()
        for cut in range(0, len(content), 7):
            (tmp_path / name).write_bytes(content[:cut])
            with pytest.raises(CorruptInputError):
                load_features(tmp_path / name)


def test_a_header_that_promises_more_than_there_is(tmp_path):
    header = {"descr": "<f8", "fortran_order": False, "shape": (10**9, 10**6)}
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, header)
    (tmp_path / "x.npy").write_bytes(content.getvalue() + bytes(80))
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as packed:
        packed.writestr("X.npy", content.getvalue() + bytes(80))
    for name in ("x.npy", "x.npz"):
        with pytest.raises(RmtgenError, match=r"x\.np[yz] must be a whole"):
            load_features(tmp_path / name)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(at=st.integers(0, 400), put=st.binary(min_size=1, max_size=4))
def test_damaged_bytes_are_refused_or_read(tmp_path, at, put):
    content = io.BytesIO()
    np.save(content, X)
    damaged = bytearray(content.getvalue())
    damaged[at : at + len(put)] = put
    (tmp_path / "x.npy").write_bytes(damaged)
    try:
        assert np.isfinite(load_features(tmp_path / "x.npy").features).all()
    except RmtgenError as error:
        assert "x.npy" in str(error)
