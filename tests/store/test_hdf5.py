"""HDF5 files: their digest first, then what they declare; nothing is read from elsewhere."""

import resource

import h5py
import numpy as np
import pytest

from rmtgen.errors import CorruptInputError, MissingInputError
from rmtgen.store.hdf5 import integer, open_hdf5, text
from rmtgen.store.shards import Piece, ShardRecord, View, hdf5_image

SECRET = b"SECRET-TOKEN-12345678"


def external_storage(file, secret):
    file.create_dataset("x", (1,), "S21", external=[(str(secret), 0, 21)])


def external_link(file, secret):
    file["x"] = h5py.ExternalLink(str(secret), "/x")


def soft_link(file, _):
    file["x"] = h5py.SoftLink("/good")


def dangling_link(file, _):
    file["x"] = h5py.SoftLink("/nowhere")


def virtual_source(name):
    def make(file, _):
        layout = h5py.VirtualLayout((1,), "f8")
        layout[:] = h5py.VirtualSource(name, "x", (1,))
        file.create_virtual_dataset("x", layout)

    return make


def huge(file, _):
    file.create_dataset("x", (2**20, 2**20, 2**20), "f8", chunks=(1, 1, 1024))


def large_together(file, _):
    for number in range(50):
        file.create_dataset(f"x{number}", (100,), "f8", chunks=(100,))


def one_array_under_many_names(file, _):
    file["x"] = np.zeros(1000)
    for number in range(400):
        file[f"x{number}"] = file["x"]


def compound(file, _):
    file["x"] = np.zeros(2, dtype=[("a", "f8"), ("b", "S4")])


def references(file, _):
    file.create_dataset("x", (1,), h5py.ref_dtype)
    file["x"][0] = file["good"].ref


def text_of_any_length(file, _):
    file["x"] = "text"


def ragged(file, _):
    file.create_dataset("x", (1,), h5py.vlen_dtype(np.int64))


def opaque(file, _):
    file["x"] = np.array([b"ab"], dtype="V2")


def complex_numbers(file, _):
    file["x"] = np.zeros(1, dtype=np.complex128)


def compressed(file, _):
    file.create_dataset("x", data=np.zeros(1000), compression="gzip")


def shuffled(file, _):
    file.create_dataset("x", data=np.zeros(1000), shuffle=True, chunks=(100,))


def named_type(file, _):
    file["x"] = np.dtype("f8")


def null_space(file, _):
    file["x"] = h5py.Empty("f8")


def nested_deep(file, _):
    file.create_group("a/b/c/d")["x"] = 1.0


def group_within_itself(file, _):
    group = file.create_group("a")
    group["a"] = group


ATTACKS = {
    "stored in another file": external_storage,
    "x is a link": external_link,
    "link to another place": soft_link,
    "is a link to another": dangling_link,
    "reads from '/etc/passwd'": virtual_source("/etc/passwd"),
    r"reads from '\.\./x\.h5'": virtual_source("../x.h5"),
    r"reads from 'x\.h5'": virtual_source("x.h5"),
    r"reads from 'gram/\.\./x\.h5'": virtual_source("gram/../x.h5"),
    r"reads from 'gram/a\.b\.h5'": virtual_source("gram/a.b.h5"),
    r"reads from '\.'": virtual_source("."),
    "larger than the file": huge,
    r"x\d+ of shape \(100,\) is larger": large_together,
    "is larger than the": one_array_under_many_names,
    r"but \[\('a'": compound,
    "neither numbers nor text": references,
    "but object": text_of_any_length,
    "x holds neither": ragged,
    r"nor text, but \|V2": opaque,
    "but complex128": complex_numbers,
    "filters": compressed,
    "with filters": shuffled,
    "x is no array": named_type,
    "numbers nor text": null_space,
    "is no array": nested_deep,
    "/a/a is no array|a is no array": group_within_itself,
}


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret"
    path.write_bytes(SECRET)
    return path


@pytest.mark.parametrize(
    ("message", "attack"), ATTACKS.items(), ids=[attack.__name__ for attack in ATTACKS.values()]
)
def test_what_no_file_of_rmtgen_holds_is_refused(tmp_path, secret, message, attack):
    path = tmp_path / "theory.h5"
    with h5py.File(path, "w") as file:
        file["good"] = np.zeros(3)
        attack(file, secret)
    record = ShardRecord.of("theory", path.read_bytes())  # the digest is right
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with (
        pytest.raises(CorruptInputError, match=rf"theory\.h5 is not a file of rmtgen .*{message}"),
        open_hdf5(path, record, "Delete it.", shards="gram"),
    ):
        pytest.fail("it was opened")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


def test_what_rmtgen_writes_is_read(tmp_path):
    (tmp_path / "a.h5").write_bytes(
        hdf5_image(
            {"t/x": np.arange(3.0), "t/s": np.array([b"a"]), "b": np.array(True), "e": np.ones(0)},
            {"view": View((2,), "float64", "gram", [Piece((slice(0, 2),), "t-1", "x", (2,))])},
            {"number": 7, "name": "ü"},
        )
    )
    with open_hdf5(tmp_path / "a.h5", None, "", shards="gram") as file:
        assert file["t/x"][()].tolist() == [0, 1, 2]
        assert (integer(file, "number"), text(file, "name")) == (7, "ü")
    for wrong in (lambda file: integer(file, "name"), lambda file: text(file, "number")):
        with (
            pytest.raises(CorruptInputError, match=r"a\.h5 is not a file of rmtgen"),
            open_hdf5(tmp_path / "a.h5", None, "", shards="gram") as file,
        ):
            wrong(file)
    with (
        pytest.raises(CorruptInputError, match="reads from 'gram/t-1.h5'"),
        open_hdf5(tmp_path / "a.h5", None, ""),
    ):
        pass


def test_an_attribute_of_many_values_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["n_train"] = np.arange(3)
    with (
        pytest.raises(CorruptInputError, match="n_train is not one value"),
        open_hdf5(tmp_path / "a.h5", None, "") as file,
    ):
        integer(file, "n_train")


def test_no_changed_byte_gets_to_hdf5(tmp_path, monkeypatch):
    """HDF5 may crash on a damaged file: it is never asked."""
    data = hdf5_image({"x": np.arange(40.0).reshape(8, 5), "s": np.array([b"text"])})
    path, record = tmp_path / "a.h5", ShardRecord.of("a", data)
    monkeypatch.setattr(h5py, "File", lambda *_: pytest.fail("HDF5 was given the file"))
    for at in {0, 8, *range(16, len(data), 97), len(data) - 1}:
        changed = bytearray(data)
        changed[at] ^= 1
        path.write_bytes(changed)
        with (
            pytest.raises(CorruptInputError, match=r"a\.h5 is not what was written: .*Delete it"),
            open_hdf5(path, record, "Delete it."),
        ):
            pass
    for changed in (data[:-1], data + b"\0", b""):
        path.write_bytes(changed)
        with (
            pytest.raises(CorruptInputError, match=f"got {len(changed)} bytes"),
            open_hdf5(path, record, "Delete it."),
        ):
            pass
    path.unlink()
    with pytest.raises(MissingInputError), open_hdf5(path, record, "Delete it."):
        pass
