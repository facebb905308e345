"""The train/test pair: no shared image, damaged images refused or skipped, bounded memory."""

import os
import weakref
from pathlib import Path

import numpy as np
import pytest
from image_files import encoded, noise, pack, write_folder
from PIL import Image

from rmtgen.datasets import decoding, load_dataset, load_split
from rmtgen.errors import CorruptInputError, MissingInputError, UsageError


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
        r"train size must be at most the 31 images .* remain, got 32: of 36, 0 are damaged and 5"
        r" are also test images"
    )
    with pytest.raises(UsageError, match=message):
        load_split(name, train=32, test=None)


def test_equal_training_images_of_several_classes_are_named(folder, name):
    (folder / "train/bee/00.png").write_bytes((folder / "train/ant/03.png").read_bytes())
    (folder / "train/bee/02.png").write_bytes((folder / "train/bee/01.png").read_bytes())
    split = load_split(name, train=None, test=0)
    (same,) = split.contradictions
    parts = {str(folder / f"train/{part}") for part in ("ant/03.png (ant)", "bee/00.png (bee)")}
    assert set(same.split(" = ")) == parts
    (folder / "train/bee/00.png").write_bytes((folder / "train/bee/04.png").read_bytes())
    assert load_split(name, train=None, test=0).contradictions == ()


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
        match=r"test size must be at most the 0 images .* remain, got None: of 15, 15 are damaged",
    ):
        load_split(name, train=None, test=None, on_corrupt="skip")


def test_an_image_that_vanished_or_was_cut_off_is_named(folder, name, archive):
    files, members = load_dataset(name), load_dataset(f"folder:{archive}")
    (folder / "train/ant/00.png").unlink()
    with pytest.raises(MissingInputError, match=r"train/ant/00\.png cannot be read: No such file"):
        files[list(files.indices).index(0)]
    os.truncate(archive, int(members.images.offsets.max()) + 10)
    last = int(np.argmax(members.images.offsets))
    with pytest.raises(
        CorruptInputError,
        match=rf"must hold {members.images.sizes[last]} bytes, got 10: the archive was truncated",
    ):
        members[last]
    archive.unlink()
    with pytest.raises(MissingInputError, match=r"cannot be read: No such file"):
        members.subset([0])[0]


def test_decoded_pictures_are_not_kept(tmp_path, monkeypatch):
    write_folder(tmp_path, train=60, test=20)
    pictures, alive = [], []
    opened = decoding._open

    def watched(*arguments):
        picture = opened(*arguments)
        pictures.append(weakref.ref(picture))
        alive.append(sum(reference() is not None for reference in list(pictures)))
        return picture

    monkeypatch.setattr(decoding, "_open", watched)
    load_split(f"folder:{tmp_path}", train=None, test=None)
    assert len(pictures) == 240
    assert max(alive) <= 33, "at most one per thread, of which there are at most 32"


def test_the_policy_for_damage_is_one_of_two(name):
    with pytest.raises(UsageError, match="on_corrupt must be refuse or skip, got 'ignore'"):
        load_split(name, train=None, test=None, on_corrupt="ignore")
