"""Gradients on a disk: the same kernel to the bit, whatever happens to the disk."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from rmtgen import entk_gram, load_backbone
from rmtgen.errors import RmtgenWarning, StorageError, UsageError
from rmtgen.kernels.entk import Entk, spilled
from rmtgen.kernels.entk.spilled import SpilledBatches

PIXELS, N = 24, 13
EVERY = range(N)


@pytest.fixture(scope="module")
def model():
    return load_backbone("test_resnet", init="random", head="random", img_size=PIXELS).model


@pytest.fixture(scope="module")
def images():
    return torch.randn(N, 3, PIXELS, PIXELS, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def budget(model, images):
    entk = Entk(model, images, device="cpu")
    return 5 * 4 * entk.layout.entries + 2 * entk.image_bytes


@pytest.fixture(scope="module")
def expected(model, images, budget):
    return Entk(model, images, memory=budget, device="cpu").block(EVERY, EVERY)


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """The disk is never compared with the network: a test does not depend on their speed."""
    monkeypatch.setattr(spilled, "TRIED", 10**9)


@pytest.fixture
def opened(model, images, budget, tmp_path):
    def opened(model=model, images=images, **options):
        options = {"memory": budget, "spill": tmp_path, "device": "cpu"} | options
        return Entk(model, images, **options)

    return opened


def files_of(entk):
    return sorted(entk.spilled.spill.folder.glob("*.spill"))


def test_the_kernel_is_the_same_to_the_bit_and_every_image_passes_once(
    model, images, budget, expected, opened, tmp_path
):
    plain, entk = opened(spill=None), opened()
    assert torch.equal(plain.block(EVERY, EVERY), expected)
    assert plain._blocks.computed > N
    assert torch.equal(entk.block(EVERY, EVERY), expected)
    assert entk.spilled.passed == N
    assert entk._blocks.computed == plain._blocks.computed
    found = entk_gram(model, images, memory=budget, spill=tmp_path)
    assert torch.equal(found, entk_gram(model, images, memory=budget))
    assert not any(tmp_path.iterdir())


def test_parts_and_several_outputs_are_the_same(model, images, opened, tmp_path):
    heads = nn.Sequential(model[0], nn.Linear(model[1].in_features, 3)).eval()
    memory = 2 * opened(heads, by="output", memory="1GiB").layout.entries * 4 * 3
    memory += 2 * opened(heads, by="output", memory="1GiB").image_bytes
    for by, own in (("output", heads), ("layer", model)):
        options = {"by": by, "memory": memory, "device": "cpu"}
        plain = entk_gram(own, images[:6], images[6:], **options)
        kept = entk_gram(own, images[:6], images[6:], spill=tmp_path, **options)
        assert plain.keys() == kept.keys()
        assert all(torch.equal(plain[name], kept[name]) for name in plain)


def test_what_a_process_left_is_used_by_the_next(expected, opened):
    opened().block(EVERY, EVERY)
    entk = opened()
    assert torch.equal(entk.block(EVERY, EVERY), expected)
    assert entk.spilled.passed == 0
    entk.finish()
    assert not entk.spilled.spill.folder.exists()


def test_other_images_under_the_same_positions_are_not_read(images, opened):
    opened().block(EVERY, EVERY)
    changed = images.clone()
    changed[5, 0, 3, 3] += 1e-6
    entk = opened(images=changed)
    found = entk.block(EVERY, EVERY)
    assert 0 < entk.spilled.passed < N
    assert torch.equal(found, opened(images=changed, spill=None).block(EVERY, EVERY))


def _other_weight(model):
    with torch.no_grad():
        model[0].layer1[0].conv1.weight[0, 0, 0, 0] += 1e-6
    return model


def _other_buffer(model):
    model[0].bn1.running_var[0] += 1e-6
    return model


def _other_function(model):
    """The same weights and the same operations, with another number in one of them."""
    model[0].bn1.eps *= 1.01
    return model


@pytest.mark.parametrize("change", [_other_weight, _other_buffer, _other_function])
def test_gradients_of_another_model_are_not_read(model, opened, change):
    first = opened()
    first.block(EVERY, EVERY)
    other = change(copy.deepcopy(model))
    entk = opened(other)
    found = entk.block(EVERY, EVERY)
    assert entk.spilled.passed == N
    assert torch.equal(found, opened(other, spill=None).block(EVERY, EVERY))
    assert first.spilled.spill.folder != entk.spilled.spill.folder


def _changed(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def _cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def _replaced(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [_changed, _cut, _replaced])
@pytest.mark.filterwarnings("ignore:spill is given up")  # a folder cannot be replaced by a file
def test_a_damaged_file_is_computed_again_with_a_warning(expected, opened, damage):
    opened().block(EVERY, EVERY)
    entk = opened()
    damage(files_of(entk)[1])
    with pytest.warns(RmtgenWarning, match=r"gradients are computed again: .*spill"):
        found = entk.block(EVERY, EVERY)
    assert torch.equal(found, expected)
    assert entk.spilled.passed > 0


def test_entries_without_a_gradient_stay_zero_after_a_damaged_file(images, opened):
    class Unused(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(400, 1), nn.Linear(400, 1)

        def forward(self, rows):
            return self.used(rows) + 0 * self.unused(rows).detach()

    rows, own = torch.randn(9, 400), Unused().eval()
    whole = Entk(own, rows)
    memory = 4 * 4 * whole.layout.entries + 2 * whole.image_bytes
    expected = opened(own, rows, spill=None, memory=memory).block(range(9), range(9))
    opened(own, rows, memory=memory).block(range(9), range(9))
    entk = opened(own, rows, memory=memory)
    for path in files_of(entk):
        _changed(path)
    with pytest.warns(RmtgenWarning):
        assert torch.equal(entk.block(range(9), range(9)), expected)


def test_a_file_that_is_gone_is_computed_again(expected, opened):
    opened().block(EVERY, EVERY)
    entk = opened()
    for path in files_of(entk)[::2]:
        path.unlink()
    assert torch.equal(entk.block(EVERY, EVERY), expected)
    assert 0 < entk.spilled.passed < N


def test_a_disk_that_is_full_is_given_up_with_one_warning(expected, opened, monkeypatch):
    entk, honest, left = opened(), os.fsync, [3]

    def full(handle):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        honest(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(RmtgenWarning, match="spill is given up.*No space left on device") as met:
        found = entk.block(EVERY, EVERY)
    assert len(met) == 1
    assert torch.equal(found, expected)
    entk.finish()
    assert not entk.spilled.spill.folder.exists()


def test_a_folder_that_is_gone_is_given_up_with_one_warning(expected, opened):
    entk = opened()
    entk.spilled.spill.folder.rmdir()
    with pytest.warns(RmtgenWarning, match="No such file") as met:
        found = entk.block(EVERY, EVERY)
    assert len(met) == 1
    assert torch.equal(found, expected)


def test_a_disk_slower_than_the_network_is_given_up(expected, opened, monkeypatch):
    entk, clock = opened(), [0.0]
    read = entk.spilled.spill.read

    def slow(*args):
        clock[0] += 100.0
        return read(*args)

    def tick():
        clock[0] += 0.5
        return clock[0]

    monkeypatch.setattr(spilled, "TRIED", 2)
    monkeypatch.setattr(spilled, "perf_counter", tick)
    monkeypatch.setattr(entk.spilled.spill, "read", slow)
    with pytest.warns(RmtgenWarning, match="spill is given up.*reading takes .* s a sample") as met:
        found = entk.block(EVERY, EVERY)
    assert len(met) == 1
    assert torch.equal(found, expected)
    assert entk.spilled.passed > N


def test_a_fast_disk_is_kept(opened, monkeypatch):
    entk, clock = opened(), iter(range(10**6))
    monkeypatch.setattr(spilled, "TRIED", 2)
    monkeypatch.setattr(spilled, "perf_counter", lambda: next(clock))
    entk.block(EVERY, EVERY)
    assert entk.spilled.used
    assert entk.spilled.passed == N


def test_what_fits_is_not_spilled(model, images, tmp_path):
    assert Entk(model, images, spill=tmp_path / "spill").spilled is None
    assert not any(tmp_path.iterdir())


def test_a_place_that_cannot_be_made_is_refused(opened, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot write .*file.*choose another folder"):
        opened(spill=tmp_path / "file")
    with pytest.raises(UsageError, match="spill must be a path: got int 3"):
        opened(spill=3)


def test_fifty_kills_change_no_bit(tmp_path):
    code = Path(__file__).with_name("killed_spill.py")
    done = subprocess.run([sys.executable, code, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["killed"] == 50
    assert found["equal"]
    assert found["files"] > 0
    assert found["passed"] < 48
    assert found["after"] == []


def test_batches_are_those_of_the_files(opened):
    entk = opened()
    assert isinstance(entk.spilled, SpilledBatches)
    entk.block(EVERY, EVERY)
    names = [path.stem for path in files_of(entk)]
    starts = range(0, N, entk.batch)
    assert names == [f"{low:08d}-{min(low + entk.batch, N):08d}" for low in starts]
