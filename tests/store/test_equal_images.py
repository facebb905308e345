"""Equal content gives equal bytes, whoever else holds on to objects of HDF5 for a while."""

import itertools
import threading

import h5py
import numpy as np
import pytest

from rmtgen.store.shards import Piece, View, hdf5_image

ROWS = np.arange(40.0).reshape(8, 5)
ARRAYS = {"block": ROWS, "labels": np.arange(8), "few": np.arange(3), "one": np.float64(3.0)}
PIECES = [Piece((slice(0, 8), slice(0, 5)), "tile", "block", (8, 5))]
VIEWS = {name: View((8, 5), "float64", "parts", PIECES) for name in ("train", "test")}


def image():
    return hdf5_image(ARRAYS, VIEWS, {"classes": "ash, birch", "dim": 5})


@pytest.mark.parametrize("held", [{0}, {1}, {0, 2}, {4}, {4, 5}, set(range(6))], ids=str)
def test_a_profiler_that_holds_datasets_changes_no_byte(held, monkeypatch):
    """As one does that keeps the frames of all threads."""
    expected, kept, numbers, honest = image(), [], itertools.count(), h5py.h5d.create

    def create(*arguments, **options):
        made = honest(*arguments, **options)
        if next(numbers) in held:
            kept.append(made)
        return made

    monkeypatch.setattr(h5py.h5d, "create", create)
    assert image() == expected
    assert len(kept) == len(held)


def test_threads_make_images_side_by_side():
    expected, found = image(), []
    threads = [
        threading.Thread(target=lambda: found.extend(image() for _ in range(50))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 200
