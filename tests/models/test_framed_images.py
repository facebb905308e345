"""Pictures that are decoded and framed once: which are kept, who sees them, and the limit."""

import errno
import multiprocessing
import pickle
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from rmtgen import load_backbone
from rmtgen.errors import DamagedImageError, StorageError
from rmtgen.models import framed_images
from rmtgen.models.features import TransformedImages
from rmtgen.models.framed_images import FramedImages, Room
from rmtgen.models.recipes import framing_of, framing_settings, normalisation_of, transform_of

SIZE = 3, 6, 8
OF_IMAGE = 3 * 6 * 8 + 4
"""Bytes that an image takes: its pixels, and how long it took."""


class Pictures:
    """Pictures by number that note which were read; some are damaged."""

    def __init__(self, count, damaged=()):
        self.read, self.count, self.damaged = [], count, set(damaged)

    def __len__(self):
        return self.count

    def __getitem__(self, position):
        self.read.append(position)
        if position in self.damaged:
            raise DamagedImageError(f"picture {position} is damaged")
        rng = np.random.default_rng(position)
        return Image.fromarray(rng.integers(0, 256, (9, 11, 3), dtype=np.uint8))


def cut(picture):
    return picture.crop((0, 0, 8, 6))


def pixels(frames):
    return np.stack([np.asarray(frames[position]) for position in range(len(frames))])


def plain(count):
    return np.stack(
        [np.asarray(cut(picture)) for picture in map(Pictures(count).__getitem__, range(count))]
    )


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 9), room=st.integers(0, 12 * OF_IMAGE))
def test_as_many_are_decoded_once_as_there_is_room_for(count, room):
    pictures, left = Pictures(count), Room(room)
    frames = FramedImages(pictures, cut, SIZE, left)
    fitting = min(count, room // OF_IMAGE)
    assert left.free == room - fitting * OF_IMAGE >= 0
    for _ in range(3):
        assert (pixels(frames) == plain(count)).all()
    assert Counter(pictures.read) == {i: 1 if i < fitting else 3 for i in range(count)}
    assert len(frames.seconds) == fitting and (frames.seconds > 0).all()


def test_sets_share_their_room_and_a_change_stays_with_its_reader():
    room = Room(5 * OF_IMAGE)
    first, second = (FramedImages(Pictures(3), cut, SIZE, room) for _ in range(2))
    assert (len(first.seconds), len(second.seconds), room.free) == (3, 2, 0)
    for _ in range(2):  # of the decoded picture, and of the kept one
        first[0].paste((1, 2, 3), (0, 0, 8, 6))
    assert (pixels(first) == plain(3)).all()
    with pytest.raises(IndexError):
        first[3]
    assert first[-1].tobytes() == first[2].tobytes()


def test_a_picture_that_cannot_be_decoded_fails_each_time_and_is_kept_once_it_can():
    pictures = Pictures(3, damaged=[1])
    frames = FramedImages(pictures, cut, SIZE, Room(99 * OF_IMAGE))
    for _ in range(2):
        with pytest.raises(DamagedImageError, match="picture 1 is damaged"):
            frames[1]
    assert frames.seconds[1] == 0
    pictures.damaged.clear()
    assert [frames[1].tobytes() for _ in range(2)] == [plain(3)[1].tobytes()] * 2
    assert pictures.read == [1, 1, 1]


def test_a_copy_that_is_pickled_keeps_nothing_and_gives_the_same():
    frames = FramedImages(
        [Image.new("RGB", (9, 9), (i, 2, 3)) for i in range(4)], cut, SIZE, Room(9999)
    )
    pixels(frames)
    copy = pickle.loads(pickle.dumps(frames))
    assert len(copy.seconds) == 0 and (pixels(copy) == pixels(frames)).all()


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_what_forked_workers_decode_is_kept_for_all():
    pictures = Pictures(6)
    frames = FramedImages(pictures, cut, SIZE, Room(4 * OF_IMAGE))
    loader = DataLoader(
        frames,
        batch_size=None,
        num_workers=2,
        collate_fn=np.asarray,
        multiprocessing_context="fork",
        generator=torch.Generator(),
    )
    assert (np.stack(list(loader)) == plain(6)).all()
    assert not pictures.read and (frames.seconds > 0).all()
    assert (pixels(frames) == plain(6)).all()
    assert pictures.read == [4, 5]


# --- a folder for what exceeds memory -------------------------------------------------------------


def test_a_set_beyond_the_room_lies_in_a_file_that_nobody_sees(tmp_path):
    room = Room(5 * OF_IMAGE, tmp_path / "spill")
    small, large = Pictures(4), Pictures(9)
    sets = [FramedImages(pictures, cut, SIZE, room) for pictures in (small, large)]
    assert room.free == OF_IMAGE and [len(one.seconds) for one in sets] == [4, 9]
    for frames in sets * 2:
        assert (pixels(frames) == plain(len(frames))).all()
    assert len(small.read) == 4 and len(large.read) == 9
    assert not list((tmp_path / "spill").iterdir())


def test_a_full_disk_is_named_before_a_picture_is_written(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(framed_images.os, "posix_fallocate", full, raising=False)
    said = f"cannot write {tmp_path}: No space left on device. Free space there, or choose another"
    with pytest.raises(StorageError, match=said):
        FramedImages(Pictures(3), cut, SIZE, Room(OF_IMAGE, tmp_path))
    assert not list(tmp_path.iterdir())


def test_where_the_system_gives_no_memory_images_are_decoded_again(monkeypatch):
    def refused(*_):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(framed_images.mmap, "mmap", refused)
    pictures, room = Pictures(2), Room(99 * OF_IMAGE)
    frames = FramedImages(pictures, cut, SIZE, room)
    assert (pixels(frames) == pixels(frames)).all() and room.free == 99 * OF_IMAGE
    assert pictures.read == [0, 1] * 2


# --- the two parts of a transform -----------------------------------------------------------------


def test_networks_that_normalise_in_their_own_way_share_pictures_to_the_bit():
    pictures, room = Pictures(4), Room(2**20)
    first, second = (
        load_backbone(name, init="random", img_size=32)
        for name in ("test_efficientnet", "test_vit")
    )
    assert framing_settings(first.recipe) == framing_settings(second.recipe)
    assert first.recipe["mean"] != second.recipe["mean"]
    frames = FramedImages(pictures, framing_of(first.recipe), first.input_size, room)
    for backbone in (first, second):
        own = TransformedImages(Pictures(4), backbone)
        normalise = normalisation_of(backbone.recipe)
        assert all(torch.equal(normalise(frames[i]), own[i]) for i in range(4))
    assert pictures.read == [0, 1, 2, 3]


@pytest.mark.parametrize("crop", ["center", "squash", "border"])
def test_equal_settings_frame_alike_and_a_border_has_the_colour_of_the_mean(crop):
    recipe = {**load_backbone("test_resnet", init="random", img_size=20).recipe, "crop_mode": crop}
    other = {**recipe, "mean": [0.1, 0.2, 0.3], "std": [0.3, 0.2, 0.1]}
    picture = Image.new("RGB", (40, 12), (200, 100, 50))
    framed = [framing_of(one)(picture) for one in (recipe, other)]
    same = framing_settings(recipe) == framing_settings(other)
    assert same == (framed[0].tobytes() == framed[1].tobytes()) == (crop != "border")
    for one, frame in zip((recipe, other), framed, strict=True):
        step, (_, height, width) = transform_of(one)
        assert frame.mode == "RGB" and frame.size == (width, height)
        assert torch.equal(normalisation_of(one)(frame), step(picture))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("interpolation", "bicubic"),
        ("crop_pct", 0.9),
        ("crop_mode", "squash"),
        ("input_size", [3, 24, 24]),
    ],
)
def test_other_framings_are_told_apart(setting, value):
    recipe = load_backbone("test_resnet", init="random", img_size=20).recipe
    assert framing_settings({**recipe, setting: value}) != framing_settings(recipe)
