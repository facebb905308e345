"""Runs with `init=calibrated`: the network with the statistics of their first training images."""

import numpy as np
import pytest
import torch
from trees import tree

import rmtgen
from rmtgen.cli.main import main
from rmtgen.errors import RmtgenWarning
from rmtgen.models.features import TransformedImages
from rmtgen.rates import Rates
from rmtgen.runs.experiment import load_experiment
from rmtgen.runs.graph import STAGES
from rmtgen.stages import calibrating
from rmtgen.stages.cost import StageCost, estimate
from rmtgen.stages.loading import open_backbone, open_images

MANIFESTS = tuple(f"{name}.json" for name in STAGES)


@pytest.fixture
def words(tiny_images, tmp_path):
    sizes = ("train=40", "test=20", "sizes=8,40", "ridges=1e-2,1")
    return [*tiny_images, *sizes, "init=calibrated", f"output={tmp_path}"]


def config_of(words):
    (config,) = load_experiment(None, dict(word.split("=", 1) for word in words)).runs
    return config


def made(tmp_path):
    (run,) = (tmp_path / "runs").iterdir()
    return rmtgen.load_run(run)


def by_hand(config, head=None):
    """The backbone of a run and its images, by public functions."""
    split, seeds = open_images(config), {"head_seed": config.head_seed}
    options = {"init": "random", "img_size": config.img_size, "head": head, **seeds}
    backbone = rmtgen.load_backbone(config.model, **options)
    first = split.train.subset(np.arange(min(calibrating.IMAGES, len(split.train))))
    return rmtgen.calibrate_norms(backbone, first), split


@pytest.mark.parametrize("taken", [16, 40])
def test_features_are_those_of_the_network_that_the_first_images_calibrate(
    words, tmp_path, monkeypatch, taken
):
    monkeypatch.setattr(calibrating, "IMAGES", taken)
    assert main(["extract", *words]) == 0
    run, (backbone, split) = made(tmp_path), by_hand(config_of(words))
    assert run.name.startswith("test_resnet-calibrated-trees-n40-32px-")
    for name in ("train", "test"):
        features = rmtgen.extract_features(backbone, getattr(split, name), batch_size=16)
        np.testing.assert_array_equal(getattr(run.features, name), features.numpy())
    details = run.manifest("extract").details
    assert details["backbone_blake2b"] == backbone.digest()
    said = f"random, seed 438; BatchNorm statistics of {taken} training images"
    assert details["backbone"] == backbone.source == said


@pytest.mark.parametrize("seed", ["438", "none"])
def test_the_entk_is_that_of_the_same_network_under_the_head_of_the_random_one(
    words, tmp_path, seed
):
    words = [*words, "kernel=entk", "gram_dtype=float64", f"head_seed={seed}"]
    assert main(["run", "--stage", "gram", *words]) == 0
    run, config = made(tmp_path), config_of(words)
    backbone, split = by_hand(config, head="random")
    train, test = (TransformedImages(images, backbone) for images in (split.train, split.test))
    kernel = torch.cat(
        [
            rmtgen.entk_gram(backbone.model, rows, train, dtype=torch.float64)
            for rows in (train, test)
        ]
    )
    np.testing.assert_allclose(run.gram.read(), kernel, rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(
        run.features.train, rmtgen.extract_features(by_hand(config)[0], split.train, batch_size=16)
    )
    plain = open_backbone(config, head="random").model
    assert torch.equal(plain.head.weight, backbone.model.head.weight)
    assert torch.equal(plain.backbone.conv1[0].weight, backbone.model.backbone.conv1[0].weight)


@pytest.mark.parametrize("option", ["heads=2", "projection=64"])
def test_kernels_over_heads_and_sketches_are_calibrated_too(words, tmp_path, capsys, option):
    words = [*words, "kernel=entk", option]
    for init in ("calibrated", "random"):
        assert main(["run", "--stage", "risk", *words, f"init={init}"]) == 0
    calibrated, random = sorted((tmp_path / "runs").iterdir())
    risks = [rmtgen.load_run(run).risk["test_risk"].to_numpy() for run in (calibrated, random)]
    assert (np.abs(risks[0] / risks[1] - 1) > 1e-3).all()


def share_out(words, stages, count=2):
    for stage in stages:
        for index in range(1, count + 1):
            assert main(["run", "--stage", stage, *words, f"shard={index}/{count}"]) == 0
        assert main(["run", "--stage", stage, *words]) == 0


def test_shares_leave_the_bytes_of_one_process(words, tmp_path):
    words = [*words[:-1], "kernel=entk"]
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    assert main(["run", "--stage", "risk", *words, f"output={alone}"]) == 0
    share_out([*words, f"output={shared}"], ("extract", "gram", "spectrum", "risk"))
    found, expected = (tree(one / "runs") for one in (shared, alone))
    assert found.keys() == expected.keys()
    for name, content in expected.items():
        if not name.endswith(MANIFESTS):
            assert found[name] == content


def test_parts_of_another_last_bit_are_kept(words, tmp_path, monkeypatch, capfd):
    """As machines leave them that round a statistic otherwise; those of another network are not."""
    assert main(["extract", *words, "shard=1/2"]) == 0
    calibrated = calibrating.calibrate_norms

    def rounded(backbone, images):
        found = calibrated(backbone, images)
        mean = found.model.conv1[1].running_mean
        mean[0] = torch.nextafter(mean[0], torch.tensor(torch.inf))
        assert found.digest() != calibrated(backbone, images).digest()
        return found

    monkeypatch.setattr(calibrating, "calibrate_norms", rounded)
    assert main(["extract", *words]) == 0
    assert "the shards lack 3 of 5 parts" in capfd.readouterr().err
    assert main(["extract", *words]) == 0
    assert "cached" in capfd.readouterr().out


def test_runs_of_one_set_of_images_share_no_features(words, tmp_path, capsys):
    for init in ("random", "calibrated"):
        assert main(["run", "--stage", "extract", *words, f"init={init}"]) == 0
    assert main(["run", "--stage", "extract", *words, "init=calibrated", "ridges=1"]) == 0
    assert capsys.readouterr().out.count("taken from test_resnet-calibrated-") == 1


@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_network_without_batchnorm_is_refused(words, capsys, command):
    assert main([command, *words, "model=test_vit"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "test_vit must have a BatchNorm with running statistics to calibrate" in said
    assert "Take init=random, which is the same network" in said


def test_weights_of_a_calibrated_network_are_ignored(words):
    with pytest.warns(RmtgenWarning, match="weights is not used: no run has init=pretrained"):
        named = config_of([*words, "weights=a.pt"])
    assert named == config_of(words)
    names = {config_of([*words, f"init={init}"]).run_name for init in ("random", "calibrated")}
    assert len(names) == 2


def test_hashes_of_other_runs_are_what_they_were(words):
    fields = {"train": 100, "test": 10, "dataset": "cifar100", "init": "random"}
    (run,) = load_experiment(None, fields).runs
    assert run.run_name == "resnet50-random-cifar100-n100-224px-c9139ca3"
    assert run.stage_hash("extract") == "05159695c94cf90854a7a1dbf67aba2c"


@pytest.mark.parametrize("train", [90, 400])
@pytest.mark.parametrize("kernel", ["features", "entk"])
def test_a_plan_counts_the_pass_of_every_stage_that_opens_the_network(monkeypatch, kernel, train):
    """Of as many images as it takes: each has the FLOPs of an extracted one."""
    monkeypatch.setattr(Rates, "seconds", lambda *_: 1.6)
    fields = {"model": "test_resnet", "img_size": 32, "train": train, "test": 20, "kernel": kernel}
    random, calibrated = (
        estimate(load_experiment(None, fields | {"init": init}).runs[0]).stages
        for init in ("random", "calibrated")
    )
    count, opening = min(train, 256), {"extract"} | ({"gram"} if kernel == "entk" else set())
    for stage, cost in calibrated.items():
        flops = count * random["extract"].flops / (train + 20) if stage in opening else 0
        assert cost.flops - random[stage].flops == pytest.approx(flops)
    seconds = count * (1.6 / 16 + 1.6)  # of a pass of 16 images, and of the transform of each
    first, before = calibrated["extract"], random["extract"]
    assert first.seconds - before.seconds == pytest.approx(seconds)
    assert first.on(10**6) == pytest.approx(before.on(10**6) + seconds)
    assert first.ram > count * 8 * 3 * 32**2


def test_what_comes_first_is_added_to_every_worker():
    first = StageCost(5.0, 70, 9, 3.0)
    cost = StageCost(1e9, 50, 2, 100.0, 20.0, {4: 27.0}).after(first)
    assert (cost.flops, cost.ram, cost.disk) == (1e9 + 5, 70, 2)
    assert [cost.seconds, cost.longest, cost.on(4), cost.on(100)] == [103.0, 23.0, 30.0, 23.0]
    assert StageCost(1.0, 90, 0, 1.0).after(first).ram == 90
    assert StageCost(1.0, 90, 0, 1.0).after(first).longest is None
