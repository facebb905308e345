"""Folders of CLASS/IMAGE: their division; the names of splits; what is passed over; names."""

import logging
import os
import shutil
import tarfile
import unicodedata

import numpy as np
import pytest
from image_files import CLASSES, add_member, encoded, noise, pack, write_folder
from PIL import Image

from rmtgen.datasets import load_dataset, load_split
from rmtgen.datasets.catalogue import default_sizes
from rmtgen.errors import (
    CorruptInputError,
    MissingInputError,
    RmtgenWarning,
    UsageError,
)
from rmtgen.names import class_name, printable


def write_classes(root, counts, *, seed=0):
    """Write CLASS/NN.png with distinct pictures."""
    pictures = iter(noise(sum(counts.values()), 8, 8, 3, seed=seed))
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            (root / name / f"{number:02d}.png").write_bytes(encoded(next(pictures)))
    return root


@pytest.fixture
def classes(tmp_path):
    return write_classes(tmp_path / "pets", {"ant": 20, "bee": 10, "cat": 3, "dog": 1})


def names_of(data):
    return sorted("/".join(data.images.locate(k).split("/")[-2:]) for k in range(len(data)))


def test_a_folder_of_classes_is_divided_by_class(classes):
    split = load_split(f"folder:{classes}", train=None, test=None)
    assert split.train.classes == split.test.classes == ("ant", "bee", "cat", "dog")
    assert np.bincount(split.test.labels, minlength=4).tolist() == [4, 2, 1, 0]
    assert np.bincount(split.train.labels, minlength=4).tolist() == [16, 8, 2, 1]
    both = names_of(split.train) + names_of(split.test)
    assert sorted(both) == sorted(f"{p.parent.name}/{p.name}" for p in classes.glob("*/*.png"))
    for data in (split.train, split.test):
        for position in range(len(data)):
            folder = data.images.locate(position).split("/")[-2]
            assert data.classes[data.labels[position]] == folder
    assert sorted([*split.train.indices, *split.test.indices]) == list(range(34))
    assert split.train.origin == {"passed_over": {}, "split": 0.2, "split_seed": 0}


def test_the_division_depends_on_the_seed_and_on_the_share_alone(classes, tmp_path):
    def drawn(path, **options):
        return names_of(load_split(f"folder:{path}", train=None, test=None, **options).test)

    first = drawn(classes)
    assert first == drawn(classes)
    assert len({tuple(drawn(classes, seed=seed)) for seed in range(6)}) > 3
    wide = drawn(classes, split=0.5)
    assert len(wide) == 10 + 5 + 2
    assert set(first) <= set(wide), "a larger share adds images, it does not replace them"
    packed = pack(classes, tmp_path / "pets.tar", arcname="anything")
    assert names_of(load_dataset(f"folder:{packed}", split="test")) == first
    (classes / "cat" / "99.png").write_bytes(encoded(noise(8, 8, 3, seed=98)))
    assert [x for x in drawn(classes) if "cat" not in x] == [x for x in first if "cat" not in x]


def test_load_dataset_and_load_split_divide_alike(classes):
    for seed in (0, 3):
        split = load_split(f"folder:{classes}", train=None, test=None, seed=seed, split=0.3)
        for name in ("train", "test"):
            alone = load_dataset(f"folder:{classes}", split=name, seed=seed, share=0.3)
            assert names_of(alone) == names_of(getattr(split, name))


def test_equal_files_stay_on_one_side(tmp_path):
    root = write_classes(tmp_path / "twins", {"ant": 30, "bee": 30})
    for path in sorted(root.glob("*/*.png")):
        shutil.copy(path, path.with_name(f"copy-of-{path.name}"))
    for seed in range(5):
        split = load_split(f"folder:{root}", train=None, test=None, seed=seed)
        assert (len(split.train), len(split.test), split.duplicates) == (96, 24, ())
        assert not set(split.train.digests()) & set(split.test.digests())


def test_equal_files_of_different_classes_are_for_training(tmp_path):
    root = write_classes(tmp_path / "doubt", {"ant": 10, "bee": 10})
    for number in range(5):
        shutil.copy(root / "ant" / f"{number:02d}.png", root / "bee" / f"x{number}.png")
    for seed in range(5):
        split = load_split(f"folder:{root}", train=None, test=None, seed=seed)
        assert not [name for name in names_of(split.test) if name.startswith("bee/x")]
        assert not [name for name in names_of(split.test) if name[:6] in ("ant/00", "ant/04")]
        assert split.duplicates == ()


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, True, "half", float("nan")])
def test_a_share_is_between_0_and_1(classes, share):
    with pytest.raises(UsageError, match=r"split must be the share of test images, .* got"):
        load_split(f"folder:{classes}", train=None, test=None, split=share)


def test_a_share_of_what_is_divided_already_is_refused(name):
    with pytest.raises(UsageError, match=r"split=0\.5 divides .* train/ and test/ already"):
        load_split(name, train=None, test=None, split=0.5)
    with pytest.raises(UsageError, match=r"split=0\.5 divides .*mnist5k has a test set of its own"):
        load_split("mnist5k", train=None, test=None, split=0.5)


def test_classes_of_one_picture_cannot_be_divided(tmp_path):
    root = write_classes(tmp_path / "single", {"ant": 1, "bee": 1})
    with pytest.raises(MissingInputError, match=r"must hold two images of a class"):
        load_split(f"folder:{root}", train=None, test=None)


@pytest.mark.parametrize(
    ("train", "others", "test"),
    [
        ("train", ["val"], "val"),
        ("train", ["valid", "test"], "test"),
        ("training", ["validation", "testing"], "testing"),
        ("Train", ["Test"], "Test"),
        ("training", ["validation"], "validation"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_the_usual_names_of_splits(tmp_path, caplog, train, others, test, packed):
    folder = write_folder(tmp_path / "pictures")
    (folder / "train").rename(folder / "t")
    (folder / "t").rename(folder / train)
    (folder / "test").rename(folder / "u")
    (folder / "u").rename(folder / test)
    for other in set(others) - {test}:
        write_classes(folder / other, dict.fromkeys(CLASSES, 2), seed=7)
    path = pack(folder, tmp_path / "set.tar", arcname="wrapped") if packed else folder
    caplog.set_level(logging.INFO, "rmtgen")
    if len(others) > 1:
        with pytest.warns(RmtgenWarning, match=rf"6 files passed over: 6 × under {others[0]}/"):
            split = load_split(f"folder:{path}", train=None, test=None)
    else:
        split = load_split(f"folder:{path}", train=None, test=None)
    assert (len(split.train), len(split.test)) == (36, 15)
    assert split.train.origin["folders"] == {"train": train, "test": test}
    assert (f"{test}/ is the test set" in caplog.text) == ("val" in test)


def test_two_folders_of_one_split_are_refused(folder, name):
    shutil.copytree(folder / "train", folder / "Training")
    with pytest.raises(UsageError, match=r"one folder per split: Training/ and train/ are both"):
        load_dataset(name)


def test_classes_may_bear_the_names_of_splits(tmp_path):
    root = write_classes(tmp_path / "rail", {"car": 5, "train": 5, "test": 5})
    assert load_dataset(f"folder:{root}").classes == ("car", "test", "train")


def test_one_folder_around_everything_is_no_class(tmp_path, classes):
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    classes.rename(inside / "pets")
    data = load_dataset(f"folder:{tmp_path}")
    assert data.classes == ("ant", "bee", "cat", "dog")


def test_every_still_format_is_read_in_any_case(folder, name):
    for suffix, kind in (("JFIF", "JPEG"), ("jpe", "JPEG"), ("TIF", "TIFF"), ("PGM", "PPM")):
        Image.fromarray(noise(8, 8)).save(folder / f"train/ant/x.{suffix}", kind)
    assert len(load_dataset(name)) == 40


def test_a_class_of_unknown_suffixes_is_named_with_its_suffix(folder, name):
    for path in (folder / "train/bee").glob("*.png"):
        path.rename(path.with_suffix(".heic"))
    message = r"only in test/: bee\).* 12 × \.heic; no image in train/bee/ \(\.heic\)\."
    with pytest.raises(CorruptInputError, match=message):
        load_dataset(name)
    shutil.rmtree(folder / "test/bee")
    with pytest.warns(RmtgenWarning, match=r"12 × \.heic; no image in train/bee/ \(\.heic\)\.$"):
        assert load_dataset(name).classes == ("ant", "cat")


def test_a_folder_is_read_once_however_many_links_lead_to_it(folder, name):
    before = load_dataset(name)
    (folder / "train/ant/again").symlink_to("../ant")
    (folder / "train/bee/up").symlink_to(folder)
    (folder / "train/cat/root").symlink_to("/")
    (folder / "train/cat/self").symlink_to("self")
    message = (
        r"4 files passed over: 3 × folder met before \(.*\), 1 × broken link \(train/cat/self\)"
    )
    with pytest.warns(RmtgenWarning, match=message):
        after = load_dataset(name)
    assert after.digests() == before.digests()


def test_a_pipe_with_the_name_of_an_image_is_refused(folder, name):
    os.mkfifo(folder / "train/ant/pipe.PNG")
    with pytest.raises(CorruptInputError, match=r"train/ant/pipe\.PNG is a pipe"):
        load_dataset(name)
    (folder / "train/ant/pipe.PNG").rename(folder / "train/ant/pipe")
    with pytest.warns(RmtgenWarning, match="1 file passed over: 1 × special file"):
        load_dataset(name)
    os.mkfifo(folder / "set.tar")
    with pytest.raises(UsageError, match=r"got a pipe or a device: .*set\.tar"):
        load_dataset(f"folder:{folder}/set.tar")


def test_joined_archives_are_read_to_the_end(folder, archive, tmp_path):
    whole = load_dataset(f"folder:{archive}")
    for split in ("train", "test"):
        pack(folder / split, tmp_path / f"{split}.tar", arcname=split)
    parts = [(tmp_path / f"{split}.tar").read_bytes() for split in ("train", "test")]
    joined = tmp_path / "joined.tar"
    for padding in (0, 512, 5120):
        joined.write_bytes(parts[0] + bytes(padding) + parts[1])
        data = load_dataset(f"folder:{joined}")
        assert data.digests() == whole.digests()
        assert len(load_dataset(f"folder:{joined}", split="test")) == 15
    joined.write_bytes(parts[0] + b"garbage" * 200)
    with pytest.raises(CorruptInputError, match=r"joined\.tar (is not|must end)"):
        load_dataset(f"folder:{joined}")
    joined.write_bytes(parts[0] + parts[1][: len(parts[1]) // 2])
    with pytest.raises(CorruptInputError, match=r"joined\.tar (is not|must end)"):
        load_dataset(f"folder:{joined}")


def test_a_hard_link_in_a_tar_stands_for_its_file(archive):
    with tarfile.open(archive) as opened:
        content = opened.extractfile("train/ant/00.png").read()
    add_member(archive, "train/bee/link.png", kind=tarfile.LNKTYPE, linkname="train/ant/00.png")
    data = load_dataset(f"folder:{archive}")
    places = [k for k in range(len(data)) if data.images.locate(k).endswith("bee/link.png")]
    assert [data.images.read(k) for k in places] == [content]
    assert data.classes[data.labels[places[0]]] == "bee"
    add_member(archive, "train/bee/odd.png", kind=tarfile.LNKTYPE, linkname="train/ant/no.png")
    with pytest.raises(CorruptInputError, match=r"link to 'train/ant/no\.png', which is not"):
        load_dataset(f"folder:{archive}")


@pytest.mark.parametrize(
    ("kind", "mark"),
    [("gzip", "w:gz"), ("xz", "w:xz"), ("bzip2", "w:bz2")],
)
def test_a_compressed_archive_is_named_whatever_its_suffix(tmp_path, kind, mark):
    for suffix in (".tar", ".tgz"):
        with tarfile.open(tmp_path / f"set{suffix}", mark):
            pass
        with pytest.raises(UsageError, match=rf"uncompressed \.tar, got .*set{suffix} \({kind}\)"):
            load_dataset(f"folder:{tmp_path}/set{suffix}")


def test_composed_and_decomposed_names_are_one_class(tmp_path):
    composed, decomposed = "caf\u00e9", unicodedata.normalize("NFD", "caf\u00e9")
    folder = write_folder(tmp_path / "set", classes=("ant", composed))
    (folder / "test" / composed).rename(folder / "test" / decomposed)
    split = load_split(f"folder:{folder}", train=None, test=None)
    assert split.train.classes == split.test.classes == ("ant", composed)
    shutil.copytree(folder / "test" / decomposed, folder / "train" / decomposed)
    with pytest.warns(RmtgenWarning, match=rf"the folders .* are one class, {composed}\."):
        data = load_dataset(f"folder:{folder}")
    assert data.classes == ("ant", composed)
    assert np.bincount(data.labels).tolist() == [12, 17]


@pytest.mark.parametrize(
    ("folder", "shown"),
    [
        (os.fsdecode(b"caf\xe9"), r"caf\xe9"),
        ("new\nline\ttab", r"new\nline\ttab"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("mark\u202egnp", r"mark\u202egnp"),
        ('<b> "it\'s", $x^2$ \\', '<b> "it\'s", $x^2$ \\'),
        ("\U0001f469\u200d\U0001f467", "\U0001f469\u200d\U0001f467"),
        ("e\u0301", "\u00e9"),
    ],
)
def test_names_are_text_that_can_be_seen_and_stored(folder, shown):
    assert class_name(folder) == shown
    assert printable(folder).encode("utf-8")


def test_the_sizes_of_a_data_set_are_known_without_reading_it(classes, name, tmp_path, monkeypatch):
    monkeypatch.setattr("rmtgen.datasets.images.read_file", None)
    assert default_sizes(f"folder:{classes}", None, 99, 99) == (27, 7)
    assert default_sizes(f"folder:{classes}", 0.5, 99, 99) == (34 - 17, 17)
    assert default_sizes(name, None, 99, 99) == (36, 15)
    assert default_sizes(name, None, 20, 10) == (20, 10)
    assert default_sizes("mnist5k", None, 10**4, 2000) == (4000, 1000)
    assert default_sizes("flowers102", None, 10**4, 2000) == (2040, 2000)
    (tmp_path / "empty").mkdir()
    for nothing in ("nowhere", "empty"):
        assert default_sizes(f"folder:{tmp_path}/{nothing}", None, 99, 98) == (99, 98)
    assert default_sizes("hfds/some/set", None, 99, 98) == (99, 98)


def test_the_sizes_are_those_that_are_loaded(classes):
    for share in (None, 0.1, 0.5, 0.9):
        split = load_split(f"folder:{classes}", train=None, test=None, split=share)
        sizes = len(split.train), len(split.test)
        assert default_sizes(f"folder:{classes}", share, 10**4, 10**4) == sizes


def test_a_name_that_leads_nowhere_is_one_line(tmp_path):
    with pytest.raises(UsageError, match="folder: must be followed by a path"):
        load_dataset("folder:")
    with pytest.raises(MissingInputError, match="cannot be read: File name too long"):
        load_dataset(f"folder:{'x' * 5000}")
    Image.fromarray(noise(8, 8)).save(tmp_path / "x.png")
    with pytest.raises(
        MissingInputError, match=r"got no image\. 1 file passed over: 1 × outside a"
    ):
        load_dataset(f"folder:{tmp_path}")
