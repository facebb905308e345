"""Folders and tars: which files count, equal classes, unsafe members, truncated archives."""

import os
import tarfile

import pytest
from image_files import CLASSES, add_member, encoded, noise, pack, write_folder

from rmtgen.datasets import (
    TarImages,
    load_dataset,
    load_split,
)
from rmtgen.errors import CorruptInputError, MissingInputError, RmtgenWarning, UsageError


def test_strays_are_counted_by_reason_and_deeper_images_belong_to_their_class(
    folder, name, tmp_path
):
    before = load_dataset(name).digests()
    picture = encoded(noise(8, 8, 3, seed=77))
    for stray in (
        "README.md",
        ".DS_Store",
        "loose.png",
        "train/loose.png",
        "train/ant/notes.txt",
        "train/ant/._00.png",
        "train/.cache/x.png",
        "val/ant/0.png",
    ):
        (folder / stray).parent.mkdir(parents=True, exist_ok=True)
        (folder / stray).write_bytes(picture)
    (folder / "train/dog").mkdir()
    told = (
        r"{}: {} files passed over: 3 × hidden, 2 × outside a class folder,{} 1 × \.md, 1 × \.txt,"
        r" 1 × under val/\.$"
    )
    packed = pack(folder, tmp_path / "strays.tar")
    empty = r" 1 × empty folder \(train/dog\),"
    for path, message in (
        (folder, told.format(folder, 9, empty)),
        (packed, told.format(packed, 8, "")),
    ):
        with pytest.warns(RmtgenWarning, match=message):
            data = load_dataset(f"folder:{path}")
        assert (data.digests(), data.classes) == (before, CLASSES)
        assert data.origin["passed_over"]["hidden"] == 3
    (folder / "train/ant/batch").mkdir()
    (folder / "train/ant/batch/1.JPEG").write_bytes(encoded(noise(8, 8, 3), "jpg"))
    with pytest.warns(RmtgenWarning, match="9 files passed over"):
        deeper = load_dataset(name)
    assert len(deeper) == 37
    assert deeper.classes[deeper.labels[list(deeper.indices).index(12)]] == "ant"


def test_class_folders_may_be_links(folder, name, tmp_path):
    (folder / "train/ant").rename(tmp_path / "elsewhere")
    (folder / "train/ant").symlink_to(tmp_path / "elsewhere")
    assert len(load_dataset(name)) == 36


def test_a_missing_split_is_named(folder, name, tmp_path):
    (folder / "test").rename(folder / "held-out")
    packed = pack(folder, tmp_path / "half.tar")
    for half in (name, f"folder:{packed}"):
        with pytest.warns(RmtgenWarning, match=r"15 files passed over: 15 × under held-out/"):
            assert len(load_dataset(half)) == 36
        with pytest.raises(
            MissingInputError,
            match=r"must hold .*train/CLASS/IMAGE .*, got no image under test/.*15 × under held",
        ):
            load_split(half, train=None, test=None)


def test_an_empty_folder_a_missing_path_and_a_file_are_named(tmp_path):
    with pytest.raises(MissingInputError, match=r"must hold CLASS/IMAGE, .*, got no image\."):
        load_dataset(f"folder:{tmp_path}")
    with pytest.raises(MissingInputError, match=r"nowhere does not exist"):
        load_dataset(f"folder:{tmp_path / 'nowhere'}")
    (tmp_path / "set.tar.gz").write_bytes(b"")
    with pytest.raises(UsageError, match=r"uncompressed \.tar, got .*set\.tar\.gz.*gunzip"):
        load_dataset(f"folder:{tmp_path / 'set.tar.gz'}")


def test_both_splits_must_have_the_same_classes(folder, name):
    (folder / "test/bee").rename(folder / "test/dog")
    (folder / "test/elk").mkdir()
    (folder / "test/elk/0.png").write_bytes((folder / "test/ant/00.png").read_bytes())
    message = r"has 3 and 4 \(only in train/: bee; only in test/: dog, elk\)"
    for split in ("train", "test"):
        with pytest.raises(CorruptInputError, match=message):
            load_dataset(name, split=split)


def test_one_class_is_refused(tmp_path):
    write_folder(tmp_path, classes=("ant",))
    with pytest.raises(UsageError, match=r"at least 2 classes: .* train has 1 \(ant\)"):
        load_dataset(f"folder:{tmp_path}")


def test_a_folder_that_cannot_be_listed_is_named(folder, name, monkeypatch):
    scan = os.scandir

    def guarded(path):
        if str(path).endswith("bee"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(MissingInputError, match=r"bee cannot be listed: Permission denied"):
        load_dataset(name)


@pytest.mark.parametrize(
    ("member", "options", "reason"),
    [
        ("../train/ant/x.png", {}, "leads out of the archive"),
        ("train/ant/../../../x.png", {}, "leads out of the archive"),
        ("/train/ant/x.png", {}, "leads out of the archive"),
        (
            "train/ant/x.png",
            {"kind": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
            "it is a link to '/etc/passwd'",
        ),
        (
            "train/ant/x.png",
            {"kind": tarfile.LNKTYPE, "linkname": "../x.png"},
            r"it is a link to '\.\./x\.png'",
        ),
        ("train/ant/x.png", {"kind": tarfile.FIFOTYPE}, "neither a plain file nor a folder"),
    ],
)
def test_a_member_that_escapes_is_refused_by_name(archive, member, options, reason):
    add_member(archive, member, **options)
    with pytest.raises(
        CorruptInputError, match=rf"inside the archive: .* holds '{member}', but .*{reason}"
    ):
        load_dataset(f"folder:{archive}")


def test_a_tar_that_was_cut_short_is_refused_wherever_the_cut_is(archive):
    with tarfile.open(archive) as opened:
        middle = opened.getmembers()[20]
    content = archive.read_bytes()
    for cut in (middle.offset, middle.offset + 100, middle.offset_data + 1, middle.offset_data):
        archive.write_bytes(content[:cut])
        with pytest.raises(
            CorruptInputError,
            match=r"pictures\.tar (is not a valid tar|must end with a block of zeros)",
        ):
            load_dataset(f"folder:{archive}")


def test_a_damaged_header_in_the_middle_is_refused_not_taken_for_the_end(archive):
    with tarfile.open(archive) as opened:
        middle = opened.getmembers()[20]
    content = bytearray(archive.read_bytes())
    content[middle.offset] ^= 1
    archive.write_bytes(content)
    with pytest.raises(
        CorruptInputError, match=rf"after 20 members, got other bytes at byte {middle.offset}"
    ):
        load_dataset(f"folder:{archive}")


def test_a_file_that_is_no_tar_is_refused(tmp_path):
    (tmp_path / "set.tar").write_bytes(b"hello" * 1000)
    with pytest.raises(CorruptInputError, match=r"set\.tar is not a valid tar archive"):
        load_dataset(f"folder:{tmp_path / 'set.tar'}")


def test_long_names_in_a_tar_are_read(folder, tmp_path):
    long = "x" * 180
    (folder / "train/ant" / f"{long}.png").write_bytes(encoded(noise(8, 8, 3)))
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(tmp_path / "long.tar", "w", format=kind) as packed:
            packed.add(folder, arcname="")
        data = load_dataset(f"folder:{tmp_path / 'long.tar'}")
        assert isinstance(data.images, TarImages)
        assert f"train/ant/{long}.png" in data.images.names
