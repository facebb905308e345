"""Features of one's own in the place of images: what is drawn, and what is refused by name."""

import zipfile

import numpy as np
import pytest

from rmtgen.datasets import load_dataset, load_split
from rmtgen.datasets.array_file import ArrayFile
from rmtgen.datasets.catalogue import dataset_files, default_sizes
from rmtgen.datasets.feature_rows import dimension
from rmtgen.errors import CorruptInputError, MissingInputError, UsageError

N = 40
X = np.random.default_rng(0).standard_normal((N, 3))
Y = np.arange(N) % 4


def rows(subset):
    return subset.images.rows(slice(None))


@pytest.fixture
def saved(tmp_path):
    np.savez(tmp_path / "clip.npz", features=X, labels=Y)
    return f"features:{tmp_path / 'clip.npz'}"


def test_rows_are_drawn_as_images_are(saved, image_folder):
    split = load_split(saved, train=None, test=0, seed=3)
    drawn = split.train.indices
    assert sorted(drawn.tolist()) == list(range(N)) and drawn.tolist() != list(range(N))
    assert not len(split.test)
    assert np.array_equal(rows(split.train), X[drawn].astype(np.float32))
    assert np.array_equal(split.train.labels, Y[drawn])
    assert split.train.classes == ("0", "1", "2", "3")
    folder = f"folder:{image_folder / 'train'}"  # as many rows as images are drawn alike
    images = load_split(folder, train=30, test=0, seed=3)
    np.savez(saved.removeprefix("features:"), features=np.eye(120), labels=np.arange(120) % 3)
    alike = load_split(saved, train=30, test=0, seed=3)
    assert np.array_equal(alike.train.indices, images.train.indices)


def test_rows_are_divided_as_a_folder_is_and_equal_rows_stay_together(tmp_path):
    features = np.concatenate([X, X])
    np.savez(tmp_path / "clip.npz", features=features, labels=np.concatenate([Y, Y]))
    split = load_split(f"features:{tmp_path / 'clip.npz'}", train=None, test=None, split=0.5)
    train, test = ({row.tobytes() for row in rows(part)} for part in (split.train, split.test))
    assert train and test and not train & test
    assert len(split.train) + len(split.test) == 2 * N
    assert len(split.test) == N  # of each class half, since no more rows are equal than two


@pytest.mark.parametrize("name", ["clip.labels.npy", "labels.npy"])
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_labels_may_lie_beside(tmp_path, name, suffix):
    if suffix == "npy":
        np.save(tmp_path / "clip.npy", X)
    else:
        np.savez(tmp_path / "clip.npz", X=X)
    np.save(tmp_path / name, np.array(list("dcba"))[Y])
    data = load_dataset(f"features:{tmp_path / f'clip.{suffix}'}", shuffle=False, share=0.5)
    assert data.classes == tuple("abcd")
    assert np.array_equal(data.labels, 3 - Y[data.indices])
    files = dataset_files(f"features:{tmp_path / f'clip.{suffix}'}", "data")
    assert [path.name for path in files] == [f"clip.{suffix}", name]


def test_labels_of_its_own_come_before_shared_ones_and_those_inside_before_both(tmp_path, saved):
    np.save(tmp_path / "labels.npy", Y[::-1])
    inside = load_split(saved, train=None, test=0, shuffle=False)
    assert np.array_equal(inside.train.labels, Y)
    assert [path.name for path in dataset_files(saved, "data")] == ["clip.npz"]
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "x.labels.npy", Y // 2)
    data = load_split(f"features:{tmp_path / 'x.npy'}", train=None, test=0, shuffle=False)
    assert np.array_equal(data.train.labels, Y // 2)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_npz_is_mapped_where_it_holds_the_numbers_as_they_are(tmp_path, save, order):
    save(tmp_path / "x.npz", name=np.arange(7), features=np.asarray(X, order=order), labels=Y)
    found = ArrayFile(tmp_path / "x.npz").read("features")
    assert np.array_equal(found, X)
    assert isinstance(found, np.memmap) == (save is np.savez)
    assert dimension(f"features:{tmp_path / 'x.npz'}") == 3


def test_a_damaged_member_that_is_mapped_fails_its_checksum(tmp_path):
    """It is so long that its header is read without its end."""
    path, features = tmp_path / "x.npz", np.tile(X, 2000)
    np.savez(path, features=features, labels=Y)
    content = bytearray(path.read_bytes())
    content[content.index(features.tobytes()) + 10**6] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptInputError, match=r"x\.npz must be a whole .*CRC"):
        load_split(f"features:{path}", train=None, test=0)


def test_a_header_that_reaches_into_the_next_member_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", features=X, labels=Y)
    with zipfile.ZipFile(tmp_path / "x.npz") as old:
        members = {name: old.read(name) for name in old.namelist()}
    members["features.npy"] = members["features.npy"].replace(b"(40, 3)", b"(42, 3)")
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as new:
        for name, content in members.items():
            new.writestr(name, content)
    with pytest.raises(CorruptInputError, match="features must have 1008 bytes"):
        load_split(f"features:{tmp_path / 'x.npz'}", train=None, test=0)


def test_sizes_are_known_from_headers_and_labels(saved, tmp_path):
    assert default_sizes(saved, None, 1000, 0) == (N, 0)
    assert default_sizes(saved, 0.5, 1000, 1000) == (N // 2, N // 2)
    assert default_sizes(saved, None, 10, 3) == (10, 3)
    np.savez_compressed(tmp_path / "z.npz", features=X, labels=Y)
    assert default_sizes(f"features:{tmp_path / 'z.npz'}", None, 1000, 0) == (N, 0)
    assert default_sizes(f"features:{tmp_path / 'no.npz'}", None, 1000, 20) == (1000, 20)


def test_a_row_that_is_not_finite_is_refused_or_left_out(tmp_path):
    features = X.copy()
    features[17, 2], features[3, 0] = np.nan, 1e300  # float32 has no such number
    np.savez(tmp_path / "x.npz", features=features, labels=Y)
    name = f"features:{tmp_path / 'x.npz'}"
    with pytest.raises(CorruptInputError, match=r"2 chosen .*x\.npz row 17 has nan in column 2"):
        load_split(name, train=None, test=0, shuffle=False)
    split = load_split(name, train=None, test=0, on_corrupt="skip")
    assert sorted(split.train.indices.tolist()) == [n for n in range(N) if n not in (3, 17)]
    assert len(split.skipped) == 2


def test_what_is_no_image_is_not_shown_to_a_network(saved):
    with pytest.raises(UsageError, match=r"reads images: .*clip\.npz row 0 is a row of features"):
        load_split(saved, train=None, test=0, shuffle=False).train[0]


def test_features_without_labels_are_refused(tmp_path):
    np.save(tmp_path / "clip.npy", X)
    name = f"features:{tmp_path / 'clip.npy'}"
    with pytest.raises(MissingInputError, match=r"neither clip\.labels\.npy nor labels\.npy"):
        load_split(name, train=None, test=0)
    np.save(tmp_path / "labels.npy", Y[:5])
    with pytest.raises(UsageError, match=r"expected \(40,\), got \(5,\) in .*labels\.npy"):
        load_split(name, train=None, test=0)
    np.save(tmp_path / "labels.npy", 0 * Y)
    with pytest.raises(UsageError, match="at least 2 classes"):
        load_split(name, train=None, test=0)


def test_no_path_and_no_file_are_named(tmp_path):
    with pytest.raises(UsageError, match="features: must be followed by a path"):
        load_split("features:", train=None, test=0)
    with pytest.raises(MissingInputError, match=r"no\.npz does not exist"):
        load_split(f"features:{tmp_path / 'no.npz'}", train=None, test=0)
