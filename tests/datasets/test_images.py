"""Image sources: content, labels, digests, conversion to RGB, pickling, subsets of positions."""

import os
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from hashlib import blake2b
from multiprocessing import get_context

import numpy as np
import pytest
from image_files import CLASSES, add_member, encoded, noise, pack
from PIL import Image

from rmtgen.datasets import (
    ArrayImages,
    LabelledImages,
    load_dataset,
)


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
        assert processes.submit(LabelledImages.digests, data).result() == expected


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
