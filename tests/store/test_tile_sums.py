"""Sums of tiles on a disk: the same after any stop, and after damage."""

import os
from pathlib import Path

import numpy as np
import pytest

from rmtgen.errors import CorruptInputError, RmtgenWarning, StorageError
from rmtgen.store.gram_layout import GramLayout
from rmtgen.store.tile_sums import TileSums, discard

TILES = GramLayout(10, 5, "float32", 4).tiles()
PARTS = 3


def block(tile, part):
    return np.random.default_rng([tile.row_start, tile.column_start, part]).normal(size=tile.shape)


def filled(place):
    """Go on with whatever is there, until every tile has every part."""
    sums = TileSums(place, "kernel")
    while behind := [tile for tile in TILES if sums.parts(tile) < PARTS]:
        for tile in behind:
            sums.add(tile, block(tile, sums.parts(tile)))
    return sums


def check(sums):
    for tile in TILES:
        expected = sum(block(tile, part) for part in range(PARTS))
        assert np.array_equal(sums.read(tile), expected)


def test_parts_are_added_in_float64_and_survive_the_process(tmp_path):
    filled(tmp_path)
    again = TileSums(tmp_path, "kernel")
    assert {again.parts(tile) for tile in TILES} == {PARTS}
    check(again)
    assert len(list(again.spill.folder.iterdir())) == len(TILES)
    discard(tmp_path)
    assert not tmp_path.exists()


class StoppedError(Exception):
    """What stands for a kill."""


def test_a_stop_at_any_step_of_writing_changes_no_bit(tmp_path, monkeypatch):
    steps = {"left": 10**9}

    def counted(work):
        def counting(*args, **options):
            steps["left"] -= 1
            if steps["left"] < 0:
                raise StoppedError
            return work(*args, **options)

        return counting

    monkeypatch.setattr(os, "fsync", counted(os.fsync))
    monkeypatch.setattr(Path, "replace", counted(Path.replace))
    monkeypatch.setattr(Path, "unlink", counted(Path.unlink))
    stops = 0
    for after in range(1, 40):
        steps["left"] = after
        try:
            filled(tmp_path)
        except StoppedError:
            stops += 1
    assert stops > 5
    steps["left"] = 10**9
    check(filled(tmp_path))


def _changed(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [_changed, Path.unlink])
def test_a_damaged_sum_is_removed_and_computed_again(tmp_path, damage):
    sums, tile = filled(tmp_path), TILES[1]
    damage(sums.spill.path(f"{tile.name}-{PARTS}"))
    with pytest.raises(CorruptInputError, match=rf"{tile.name}-3.*Run the stage again"):
        sums.read(tile)
    assert sums.parts(tile) == 0
    check(filled(tmp_path))


def test_a_damaged_sum_that_is_added_to_begins_anew_with_a_warning(tmp_path):
    sums, tile = TileSums(tmp_path, "kernel"), TILES[0]
    sums.add(tile, block(tile, 0))
    _changed(sums.spill.path(f"{tile.name}-1"))
    with pytest.warns(RmtgenWarning, match="a tile is computed again"):
        sums.add(tile, block(tile, 1))
    assert sums.parts(tile) == 0
    check(filled(tmp_path))


def test_sums_of_another_kernel_are_removed(tmp_path):
    filled(tmp_path)
    other = TileSums(tmp_path, "another")
    assert [path.name for path in tmp_path.iterdir()] == ["another"]
    assert not any(map(other.parts, TILES))


def test_a_full_disk_is_named_and_leaves_the_sum(tmp_path, monkeypatch):
    sums, tile = TileSums(tmp_path, "kernel"), TILES[0]
    sums.add(tile, block(tile, 0))

    def full(handle):
        raise OSError(28, "No space left on device")

    with (
        monkeypatch.context() as patch,
        pytest.raises(StorageError, match="No space left.*it resumes"),
    ):
        patch.setattr(os, "fsync", full)
        sums.add(tile, block(tile, 1))
    assert sums.parts(tile) == 1
    assert np.array_equal(sums.read(tile), block(tile, 0))
