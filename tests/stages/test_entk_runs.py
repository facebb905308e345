"""Runs with an empirical NTK end to end: exact, averaged over heads, sketched."""

import contextlib
import dataclasses
import json
import re
from collections import Counter

import h5py
import numpy as np
import pytest
import torch
from trees import but, tree

from rmtgen import entk_gram
from rmtgen.cli.main import main
from rmtgen.kernels.entk import Entk, kernel, precision, spilled
from rmtgen.kernels.entk.chunks import _first_calls, _groups
from rmtgen.models.features import TransformedImages
from rmtgen.rates import Rates
from rmtgen.runs.experiment import load_experiment
from rmtgen.stages import tangent
from rmtgen.stages.loading import open_backbone, open_images
from rmtgen.stages.products import NOTE
from rmtgen.store.gram_store import GramStore
from rmtgen.store.tile_sums import TileSums


@pytest.fixture
def words(tiny_images, tmp_path):
    return [
        *tiny_images,
        *("train=40", "test=20", "sizes=8,40", "ridges=1e-2,1", "kernel=entk"),
        f"output={tmp_path}",
    ]


def finish(words, capsys):
    """Run every stage but the report; what was shown."""
    assert main(["run", "--stage", "theory", *words]) == 0
    return capsys.readouterr().out


def config_of(words):
    (config,) = load_experiment(None, dict(word.split("=", 1) for word in words)).runs
    return config


def gram_details(run):
    return json.loads((run / "gram.json").read_text())["details"]


def kernels(config, **changes):
    """The Gram matrices of the training images, and of the test against the training images, from
    one call of `entk_gram` each."""
    backbone = open_backbone(dataclasses.replace(config, **changes), head="random")
    split = open_images(config)
    train, test = (TransformedImages(images, backbone) for images in (split.train, split.test))
    return entk_gram(backbone.model, train), entk_gram(backbone.model, test, train)


def test_an_entk_run_ends_to_end_and_resumes_tile_by_tile(words, tmp_path, capsys, monkeypatch):
    finish(words, capsys)
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.startswith("test_resnet-random-entk-trees-")
    with h5py.File(run / "gram.h5") as file:
        stored = file["gram"][()]
    assert stored.dtype == np.float32
    train, test = kernels(config_of(words))
    np.testing.assert_allclose(stored[:40], train, rtol=2e-6)
    np.testing.assert_allclose(stored[40:], test, rtol=2e-6)
    assert "predicted_seconds" not in gram_details(run)
    before = tree(run)
    (run / "gram.json").unlink()
    next(run.glob("gram/tile-*.h5")).unlink()
    monkeypatch.setattr(tangent, "WORTH", {"cpu": 0.0})
    assert finish(words, capsys).count("cached") == 4
    assert but(tree(run), "gram.json") == but(before, "gram.json")
    details = gram_details(run)
    assert details["predicted_seconds"] > 0
    assert 0 < details["measured_seconds"] <= json.loads((run / "gram.json").read_text())["seconds"]


def _budget(config, samples):
    """Memory for the gradients of so many of the images, beside passes and work space."""
    images = torch.zeros(4, *open_backbone(config).input_size)
    entk = Entk(open_backbone(config, head="random").model, images)
    return int(samples * 4 * entk.layout.entries / 0.6)


class StoppedError(Exception):
    """What stands for a kill."""


@pytest.mark.parametrize("samples", [12, 45], ids=["less than two tiles", "panels"])
def test_a_spill_changes_no_bit_and_outlives_the_process(
    words, tmp_path, capsys, monkeypatch, samples
):
    monkeypatch.setattr(spilled, "TRIED", 10**9)
    monkeypatch.setattr(tangent, "chunks", lambda kernel, *_, **__: [kernel])
    words = [*words, "tile=16"]
    words.append(f"memory={_budget(config_of(words), samples)}")
    finish(words, capsys)
    (run,) = (tmp_path / "runs").iterdir()
    expected = tree(run)
    assert (run / "gram").is_dir()
    disk = tmp_path / "disk"
    elsewhere = [word for word in words if not word.startswith("output=")]
    elsewhere += [f"spill={disk}", f"output={tmp_path / 'other'}"]
    write, left = GramStore.write, [2]

    def stopping(store, tile, block):
        left[0] -= 1
        if left[0] < 0:
            raise StoppedError
        write(store, tile, block)

    with monkeypatch.context() as patch, pytest.raises(StoppedError):
        patch.setattr(GramStore, "write", stopping)
        main(["run", "--stage", "gram", *elsewhere])
    kept = {path.name for path in disk.rglob("*.spill")}
    assert kept
    finish(elsewhere, capsys)
    (other,) = (tmp_path / "other" / "runs").iterdir()
    found = tree(other)
    tiles = {name for name in expected if name.startswith("gram/tile")}
    assert tiles
    assert all(found[name] == expected[name] for name in tiles)
    assert not any(disk.iterdir())


def in_thirds(kernel, *_, **__):
    """The kernel in about three chunks, however much fits into memory."""
    order = _first_calls(kernel)
    sizes = {name: kernel.layout.restricted([name], 0).entries for name in order}
    return [
        kernel.restricted(names, order[names[0]], kernel.budget)
        for names in _groups(sizes, sum(sizes.values()) / 3)
    ]


@pytest.mark.parametrize("heads", [(), ("heads=2",)], ids=["one head", "two heads"])
def test_chunks_of_parameters_sum_to_the_same_and_outlive_the_process(
    words, tmp_path, capsys, monkeypatch, heads
):
    monkeypatch.setattr(tangent, "WORTH", {"cpu": 0.0})
    words = [*words, "tile=16", *heads]
    finish(words, capsys)
    (whole,) = (tmp_path / "runs").iterdir()
    monkeypatch.setattr(tangent, "chunks", in_thirds)
    other = [word for word in words if not word.startswith("output=")]
    (tmp_path / "other").mkdir()
    words = [*other, f"output={tmp_path / 'other'}"]
    parts = tangent.tangent_plan(config_of(words), Rates(torch.device("cpu"))).chunks
    assert parts > 1
    add, left, added = TileSums.add, [7], []

    def stopping(sums, tile, block):
        left[0] -= 1
        if left[0] < 0:
            raise StoppedError
        added.append(tile.name)
        add(sums, tile, block)

    monkeypatch.setattr(TileSums, "add", stopping)
    for after in (7, 20):
        left[0] = after
        with pytest.raises(StoppedError):
            main(["run", "--stage", "gram", *words])
    left[0] = 10**9
    finish(words, capsys)
    (run,) = (tmp_path / "other" / "runs").iterdir()
    layout = GramStore.open(run).layout
    assert Counter(added) == {tile.name: parts for tile in layout.tiles()}
    with h5py.File(whole / "gram.h5") as one, h5py.File(run / "gram.h5") as many:
        np.testing.assert_allclose(many["gram"][()], one["gram"][()], rtol=3e-6)
    assert not (run / tangent.SUMS).exists()
    assert gram_details(run)["predicted_seconds"] > 0


@pytest.mark.parametrize("heads", [(), ("heads=2",)], ids=["one head", "two heads"])
def test_processes_that_share_chunks_leave_the_bytes_of_one(words, tmp_path, monkeypatch, heads):
    """Two shares, one of which is never run, after a process alone that was killed."""
    monkeypatch.setattr(tangent, "chunks", in_thirds)
    words = [*words, "tile=16", *heads]
    parts = tangent.tangent_plan(config_of(words), Rates(torch.device("cpu"))).chunks
    assert main(["extract", *words]) == main(["gram", *words]) == 0
    (alone,) = (tmp_path / "runs").iterdir()
    words = [*words, f"output={tmp_path / 'other'}"]
    assert main(["extract", *words]) == 0
    with monkeypatch.context() as patch:
        patch.setattr(TileSums, "add", _stopped_after(TileSums.add, 5))
        with pytest.raises(StoppedError):
            main(["gram", *words])
    (run,) = (tmp_path / "other" / "runs").iterdir()
    assert (run / tangent.SUMS).exists()
    assert main(["gram", *words, "shard=2/3"]) == 0
    assert main(["gram", *words, "shard=1/3"]) == 0
    made = {path.stem for path in run.glob("gram.parts/*/tile-*.h5")}
    layout = GramStore.open(run).layout
    assert {name.rpartition("-")[2] for name in made} >= {"0", "1"}
    assert len(made) < parts * layout.tile_count
    assert main(["gram", *words]) == 0
    assert {*tree(run)} == {*tree(alone)}
    tiles = [name for name in tree(alone) if name.startswith("gram/")]
    assert all(tree(run)[name] == tree(alone)[name] for name in tiles)
    assert gram_details(run)["computed"] == parts * layout.tile_count - len(made)


def test_a_chunk_of_a_tile_that_is_damaged_is_named_and_made_again(
    words, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(tangent, "chunks", in_thirds)
    words = [*words, "tile=16"]
    assert main(["extract", *words]) == 0
    assert main(["gram", *words, "shard=1/1"]) == 0
    (run,) = (tmp_path / "runs").iterdir()
    damaged = sorted(run.glob("gram.parts/*/tile-*-1.h5"))[0]
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    capsys.readouterr()
    assert main(["gram", *words]) == 3
    assert str(damaged) in capsys.readouterr().err
    damaged.unlink()
    assert main(["gram", *words]) == 0
    assert gram_details(run)["computed"] == 1


def _stopped_after(add, count):
    """`TileSums.add`, which stops the process after so many calls."""
    left = [count]

    def stopping(*arguments):
        left[0] -= 1
        if left[0] < 0:
            raise StoppedError
        add(*arguments)

    return stopping


def test_an_entk_is_averaged_over_heads_and_says_how_far_they_differ(words, tmp_path, capsys):
    shown = finish([*words, "heads=3"], capsys)
    (run,) = (tmp_path / "runs").iterdir()
    config = config_of([*words, "heads=3"])
    seeds = range(config.head_seed, config.head_seed + 3)
    single = torch.stack([kernels(config, heads=None, head_seed=seed)[0] for seed in seeds])
    with h5py.File(run / "gram.h5") as file:
        np.testing.assert_allclose(file["gram"][:40], single.mean(dim=0), rtol=2e-6)
    details = gram_details(run)
    spread = single.std(dim=0).norm() / single.mean(dim=0).norm()
    assert details["spread_of_heads"] == pytest.approx(float(spread), rel=1e-4)
    scaled = torch.stack([kernel / kernel.trace() for kernel in single])
    spread = scaled.std(dim=0).norm() / scaled.mean(dim=0).norm()
    assert details["spread_without_scale"] == pytest.approx(float(spread), rel=1e-4)
    assert spread < details["spread_of_heads"]
    noted = r"spread of heads \d+\.\d%, spread without scale \d+\.\d%"
    assert re.search(rf"Gram matrix in \d+ tiles, {noted}", shown)


def test_a_sketched_entk_is_solved_from_its_rows_and_says_how_far_off_it_is(
    words, tmp_path, capsys
):
    words = [*words, "projection=512"]
    shown = finish(words, capsys)
    done = (
        r"60 images × 512 sketched gradients; kernel off by \d+\.\d%"
        r" \(root mean square at most \d+\.\d%\)"
    )
    assert re.search(done, shown)
    assert re.search(
        r"^gram .*  –  not needed: the later stages read the features$", shown, re.MULTILINE
    )
    (run,) = (tmp_path / "runs").iterdir()
    assert not (run / "gram.h5").exists()
    exact = kernels(config_of(words))[0].numpy()
    with h5py.File(run / "features.h5") as file:
        rows = file["train"][()]
    error = np.linalg.norm(rows @ rows.T - exact) / np.linalg.norm(exact)
    details = json.loads((run / "extract.json").read_text())["details"]
    assert details["sketch_error"] == pytest.approx(error, rel=1e-3)
    assert 0 < error < 0.2


def test_a_sketch_is_resumed_to_the_same_bytes_and_named_in_the_report(
    words, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("rmtgen.stages.report.save_figures", lambda *_: [])
    words = [*words, "projection=512"]
    finish(words, capsys)
    (run,) = (tmp_path / "runs").iterdir()
    before = tree(run)
    (run / "extract.json").unlink()
    next(run.glob("features/train-*.h5")).unlink()
    assert main(["run", *words]) == 0
    assert but(tree(run), "extract.json") == but(before, "extract.json")
    assert "test_resnet, random, entk sketch 512" in capsys.readouterr().out
    (page,) = (tmp_path / "reports").glob("*/report.html")
    assert "entk sketch 512" in page.read_text()


def test_an_entk_of_other_images_than_the_features_is_refused(words, capsys, monkeypatch):
    assert main(["extract", *words]) == 0
    honest = tangent.open_images
    monkeypatch.setattr(
        tangent, "open_images", lambda config: honest(dataclasses.replace(config, seed=5))
    )
    assert main(["gram", *words]) == 3
    assert "the train images must be those of" in capsys.readouterr().err


SMALL = ("train=18", "test=4", "sizes=8,18", "tile=16")
"""A run of a few tiles, for products that are emulated."""


@contextlib.contextmanager
def tensor_cores(monkeypatch):
    """The CPU as a device that multiplies halves, whose products are split if none are named."""

    def chosen(name, *arguments):
        return precision.chosen("split" if name is None else name, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(kernel, "chosen", chosen)
        yield


def stored(run):
    with h5py.File(run / "gram.h5") as file:
        return file["gram"][()]


def test_products_are_those_of_the_device_and_are_not_mixed(words, tmp_path, capsys, monkeypatch):
    words = [*words, *SMALL]
    with tensor_cores(monkeypatch):
        assert main(["run", "--stage", "gram", *words]) == 0
    (run,) = (tmp_path / "runs").iterdir()
    assert gram_details(run)["products"] == "split"
    before = tree(run)
    ieee = tmp_path / "ieee"
    assert main(["run", "--stage", "gram", *words, f"output={ieee}"]) == 0
    (other,) = (ieee / "runs").iterdir()
    assert other.name == run.name
    assert gram_details(other)["products"] == "ieee"
    assert not np.array_equal(stored(run), stored(other))
    np.testing.assert_allclose(stored(run), stored(other), rtol=2e-5)
    (run / "gram.json").unlink()
    assert main(["run", "--stage", "gram", *words]) == 0  # it only gathers
    assert gram_details(run)["products"] == "split"
    (run / "gram.json").unlink()
    next(run.glob("gram/tile-*.h5")).unlink()
    capsys.readouterr()
    assert main(["run", "--stage", "gram", *words]) == 3
    assert "must have the same products: those in" in capsys.readouterr().err
    with tensor_cores(monkeypatch):
        assert main(["run", "--stage", "gram", *words]) == 0
    assert but(tree(run), "gram.json") == but(before, "gram.json")


@pytest.mark.parametrize("noted", [True, False], ids=["noted", "of an earlier version"])
def test_a_device_with_tensor_cores_ends_an_ieee_run_in_ieee(words, tmp_path, monkeypatch, noted):
    words = [*words, *SMALL]
    assert main(["run", "--stage", "gram", *words]) == 0
    (run,) = (tmp_path / "runs").iterdir()
    expected = tree(run)
    for path in (run / "gram.json", *sorted(run.glob("gram/tile-*.h5"))[1:]):
        path.unlink()
    if not noted:
        (run / NOTE).unlink()
    with tensor_cores(monkeypatch):
        assert main(["run", "--stage", "gram", *words]) == 0
    assert but(tree(run), "gram.json") == but(expected, "gram.json")
    assert gram_details(run)["products"] == "ieee"


def test_sums_of_chunks_of_other_products_are_kept_for_their_device(
    words, tmp_path, capsys, monkeypatch
):
    words = [*words, *SMALL]
    monkeypatch.setattr(tangent, "chunks", in_thirds)
    with monkeypatch.context() as patch, tensor_cores(monkeypatch), pytest.raises(StoppedError):
        patch.setattr(TileSums, "add", _stopped_after(TileSums.add, 1))
        main(["run", "--stage", "gram", *words])
    (run,) = (tmp_path / "runs").iterdir()
    sums = tree(run / "sums")
    assert sums
    assert main(["run", "--stage", "gram", *words]) == 3
    assert "must have the same products" in capsys.readouterr().err
    assert tree(run / "sums") == sums
    with tensor_cores(monkeypatch):
        assert main(["run", "--stage", "gram", *words]) == 0
    assert gram_details(run)["products"] == "split"


def test_a_damaged_note_of_products_is_named(words, tmp_path, capsys):
    assert main(["run", "--stage", "gram", *words]) == 0
    (run,) = (tmp_path / "runs").iterdir()
    (run / "gram.json").unlink()
    for content in (b"", b"[1]", b'{"products": "best"}', b'{"products": ["ieee"]}'):
        (run / NOTE).write_bytes(content)
        assert main(["run", "--stage", "gram", *words]) == 3
        assert "must name the products of the tiles" in capsys.readouterr().err
