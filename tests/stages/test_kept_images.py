"""Images that are decoded once for all networks of a command, and what is said of their speed."""

import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from budgeted import KILLED
from PIL import Image

from rmtgen import load_run
from rmtgen.cli.main import main
from rmtgen.datasets.images import EncodedImages
from rmtgen.memory import Bound
from rmtgen.models import framed_images
from rmtgen.runs.experiment import load_experiment
from rmtgen.runs.rundir import RunDir
from rmtgen.stages import engine, extract, loading
from rmtgen.stages.decoding import Decoding
from rmtgen.stages.entrant import Entrant, Scoring
from rmtgen.stages.extract import Extraction
from rmtgen.stages.shared import images_shared
from rmtgen.store.feature_store import FeatureStore

BICUBIC = "test_efficientnet,test_vit"
"""Networks that scale alike, and normalise by other constants."""
BILINEAR = "test_resnet"
TRAIN = 96
OF_IMAGE = 3 * 32 * 32 + 4
"""Bytes that an image takes: its pixels, and how long it took."""


@pytest.fixture
def given(images, tmp_path, monkeypatch):
    """The folder of images, and words of a ranking of them by two networks."""
    monkeypatch.setattr("rmtgen.stages.rank.save_figures", lambda *_: [])
    folder, _ = images
    return folder / "train", [
        *(f"data=folder:{folder / 'train'}", f"models={BICUBIC}", "init=random", "img_size=32"),
        *(f"train={TRAIN}", "batch_size=20", "ridges=1e-3:1e0:3", f"output={tmp_path / 'out'}"),
    ]


@pytest.fixture
def decoded(monkeypatch):
    """How often each image was decoded for a pass; the check of a data set does not count."""
    found, decode = Counter(), EncodedImages.decode

    def counted(self, content, where):
        found[where] += 1
        return decode(self, content, where)

    monkeypatch.setattr(EncodedImages, "decode", counted)
    return found


def but(words, **changed):
    """Words with other values, or more of them."""
    left = [word for word in words if word.partition("=")[0] not in changed]
    return left + [f"{name}={value}" for name, value in changed.items()]


def features(folder):
    runs = map(load_run, folder.glob("runs/*"))
    return {(run.config["model"], run.config["img_size"]): run.features.train for run in runs}


def alone(words, folder):
    """Features of each network of `BICUBIC` by a command of its own."""
    for model in BICUBIC.split(","):
        assert main(["rank", *but(words, models=model, output=folder)]) == 0
    return features(folder)


def same(first, second):
    assert first.keys() == second.keys() and len(first) > 1
    return all(first[name].tobytes() == second[name].tobytes() for name in first)


# --- decoded once, and the same bits --------------------------------------------------------------


@pytest.mark.parametrize("command", ["rank", "compare-features", "extract"])
def test_networks_that_scale_alike_decode_once_and_have_the_features_that_they_have_alone(
    command, given, tmp_path, decoded
):
    _, words = given
    if command == "extract":
        words = [word.replace("data=", "dataset=").replace("models=", "model=") for word in words]
        words = [*words, "test=0"]
    assert main([command, *words]) == 0
    assert sorted(decoded.values()) == [1] * TRAIN
    shown = features(tmp_path / "out")
    assert same(shown, alone(given[1], tmp_path / "alone"))
    assert set(decoded.values()) == {3}


def test_members_of_a_single_concatenation_decode_once(given, decoded):
    assert main(["rank", *but(given[1], models="test_resnet", layer="layer1+layer2")]) == 0
    assert sorted(decoded.values()) == [1] * TRAIN


def test_each_size_and_interpolation_is_decoded_once(given, tmp_path, decoded):
    _, words = given
    words = but(words, models=f"{BICUBIC},{BILINEAR}", img_size="32,48")
    assert main(["rank", *words]) == 0
    assert Counter(decoded.values()) == {2 * 2: TRAIN}


def test_what_exceeds_memory_is_decoded_again_or_lies_in_a_folder(given, tmp_path, decoded):
    _, words = given
    memory = 40 * OF_IMAGE + 99
    assert main(["rank", *words, f"memory={memory}"]) == 0
    assert Counter(decoded.values()) == {1: 40, 2: TRAIN - 40}
    spill, decoded_before = tmp_path / "spill", dict(decoded)
    words = but(words, memory=memory, spill=spill, output=tmp_path / "spilled")
    assert main(["rank", *words]) == 0
    assert {decoded[name] - decoded_before[name] for name in decoded} == {1}
    assert same(features(tmp_path / "out"), features(tmp_path / "spilled"))
    assert not list(spill.iterdir())


def test_half_of_the_free_memory_is_left_to_the_networks(given, decoded, monkeypatch):
    _, words = given
    monkeypatch.setattr(loading, "tightest", lambda: Bound("a test", 2 * 30 * OF_IMAGE))
    assert main(["rank", *words]) == 0
    assert Counter(decoded.values()) == {1: 30, 2: TRAIN - 30}


def test_a_single_network_keeps_nothing(given, monkeypatch):
    _, words = given
    rooms, take = [], framed_images.Room.take
    monkeypatch.setattr(
        framed_images.Room, "take", lambda self, *of: rooms.append(self.free) or take(self, *of)
    )
    assert main(["rank", *but(words, models=BILINEAR)]) == 0
    assert rooms == [0]
    assert main(["rank", *words]) == 0
    assert rooms == [0, 4 * 2**30]


def test_a_kernel_of_one_run_keeps_the_images_that_it_reads_again(images, decoded, monkeypatch):
    _, words = images
    (config,) = load_experiment(None, dict(word.split("=", 1) for word in words)).runs
    backbone, split = loading.open_backbone(config), loading.open_images(config)
    expected = [backbone.transform(image) for part in (split.train, split.test) for image in part]
    decoded.clear()
    monkeypatch.setattr(loading, "KEPT_BYTES", (96 + 20) * OF_IMAGE)
    joint = loading.joint_images(config, backbone, split)
    for _ in range(3):
        assert len(joint) == 96 + 48 == len(expected)
        assert all(torch.equal(joint[at], image) for at, image in enumerate(expected))
        joint[5].zero_()
    assert Counter(decoded.values()) == {1: 96 + 20, 3: 28}


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_what_processes_decode_serves_the_next_network(given, tmp_path, decoded):
    _, words = given
    assert main(["rank", *words, "workers=2"]) == 0
    assert not decoded
    assert same(features(tmp_path / "out"), alone(words, tmp_path / "alone"))


# --- files that change, and processes that end ----------------------------------------------------


def after_the_first(monkeypatch, act):
    """Do something to the files once the first network is through with them."""
    gather, seen = Extraction.gather, []

    def gathered(self):
        result = gather(self)
        if not seen:
            act()
        seen.append(self.job.config.model)
        return result

    monkeypatch.setattr(Extraction, "gather", gathered)


def test_a_picture_that_changes_between_networks_is_seen_by_the_next(
    given, tmp_path, decoded, monkeypatch
):
    folder, words = given
    changed = sorted(folder.glob("*/*.png"))

    def act():
        for path in changed:
            Image.open(path).transpose(Image.Transpose.ROTATE_90).save(path)

    after_the_first(monkeypatch, act)
    assert main(["rank", *words]) == 0
    assert set(decoded.values()) == {2}
    there = features(tmp_path / "out")["test_vit", 32]
    assert main(["rank", *but(words, models="test_vit", output=tmp_path / "alone")]) == 0
    assert there.tobytes() == features(tmp_path / "alone")["test_vit", 32].tobytes()


def test_a_picture_that_is_damaged_between_networks_is_named_for_each_of_the_next(
    given, tmp_path, monkeypatch, capsys
):
    folder, words = given
    broken = sorted((folder / "ash").glob("*.png"))
    after_the_first(monkeypatch, lambda: [path.write_bytes(b"no picture") for path in broken])
    assert main(["rank", *but(words, models=f"{BICUBIC},test_byobnet")]) == 3
    stale, *damaged = capsys.readouterr().err.splitlines()
    assert "test_efficientnet" in stale and "(dataset train) is not what" in stale
    assert len(damaged) == 2 and "test_vit" in damaged[0] and "error:" in damaged[1]
    assert all(f"{folder / 'ash'}/" in line and "cannot be decoded" in line for line in damaged)


def test_a_pass_that_fails_at_an_image_fails_for_each_network(given, tmp_path, monkeypatch, capsys):
    """The check of the data set lets it pass, as of a disk that cannot read it any more."""
    folder, words = given
    broken, decode = sorted((folder / "ash").glob("*.png"))[0], EncodedImages.decode

    def failing(self, content, where):
        return decode(self, b"" if where == str(broken) else content, where)

    monkeypatch.setattr(EncodedImages, "decode", failing)
    assert main(["rank", *but(words, train=120)]) == 3
    text = " ".join(capsys.readouterr().err.split())
    assert text.count(f"{broken} cannot be decoded") >= 2


def test_a_kill_leaves_nothing_in_the_folder_and_the_next_call_goes_on(given, tmp_path, decoded):
    """The first network has 5 batches of images; the second is killed after 2 of them."""
    _, words = given
    spilling = [*words, "memory=1", f"spill={tmp_path / 'spill'}"]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, "7", *spilling], check=False, capture_output=True
    )
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "spill").is_dir() and not list((tmp_path / "spill").iterdir())
    assert main(["rank", *spilling]) == 0
    assert sorted(decoded.values()) == [1] * (TRAIN - 2 * 20)
    assert same(features(tmp_path / "out"), alone(words, tmp_path / "alone"))


# --- speed ----------------------------------------------------------------------------------------


class Clock:
    """In the place of the module `time`: an image takes a second, storing a batch ten."""

    strftime, monotonic = staticmethod(time.strftime), staticmethod(time.monotonic)

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock, decode, write = Clock(), EncodedImages.decode, FeatureStore.write

    def decoding(self, content, where):
        clock.now += 1.0
        return decode(self, content, where)

    def writing(self, *rows):
        clock.now += 10.0
        write(self, *rows)

    monkeypatch.setattr(EncodedImages, "decode", decoding)
    monkeypatch.setattr(FeatureStore, "write", writing)
    for module in (framed_images, extract, engine):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.mark.parametrize("memory", ["4GiB", f"{40 * OF_IMAGE}"])
def test_a_network_that_got_kept_images_looks_no_faster(memory, given, tmp_path, clock):
    _, words = given
    assert main(["rank", *words, f"memory={memory}"]) == 0
    (path,) = tmp_path.glob("out/reports/*/ranking.csv")
    speeds = pd.read_csv(path)["images_per_second"]
    assert speeds.tolist() == pytest.approx([TRAIN / (TRAIN + 5 * 10)] * 2)
    kept = TRAIN if memory == "4GiB" else 40
    assert clock.now == (TRAIN + 50) + (TRAIN - kept + 50)
    details = [load_run(run).stages["extract"].details for run in tmp_path.glob("out/runs/*")]
    assert sorted(one["decoding_saved"] for one in details) == pytest.approx([0, kept])


def test_a_budget_foresees_images_that_none_has_decoded(given, clock, monkeypatch):
    """The second has had 40 images in 20 seconds, and foresees 10 + 20 for the next 20.

    Opening takes 7 seconds.
    """
    _, words = given
    opening = Extraction.__init__

    def opened(self, job):
        clock.now += 7.0
        opening(self, job)

    monkeypatch.setattr(Extraction, "__init__", opened)
    words = [word.replace("data=", "dataset=").replace("models=", "model=") for word in words]
    runs = load_experiment(None, dict(word.split("=", 1) for word in [*words, "test=0"])).runs
    folders = [RunDir(run) for run in runs]

    def racer(folder):
        return Entrant(folder, clock.perf_counter, Scoring(), lambda _: None)

    with images_shared(2):
        for entrant, seconds in zip(map(racer, folders), (67.0, 27.0), strict=True):
            before = clock.now
            assert entrant.advance(40, np.inf) and entrant.reached == 40
            assert clock.now - before == seconds
            assert entrant.seconds(60) == pytest.approx(37.0)
            # and so does a later call, from what is recorded
            assert racer(entrant.folder).seconds(60) == pytest.approx(37.0)


@pytest.mark.parametrize(
    ("workers", "took", "seconds"),
    [
        (0, 7.0, 7 + 30 * 2),  # decoding comes on top
        (4, 7.0, 40 * 2 / 4),  # four processes decode all 40 images
        (4, 90.0, 90.0),  # the network is slower than they
    ],
)
def test_seconds_of_a_network_that_decodes_all_itself(workers, took, seconds):
    decoding = Decoding(workers)
    assert decoding.alone(took) == took
    decoding.note(20, np.full(20, 2.0, np.float32))
    decoding.note(20, np.array([2.0] * 10 + [0.0] * 5, np.float32))
    assert (decoding.images, decoding.kept) == (40, 30)
    assert decoding.alone(took) == pytest.approx(seconds)
