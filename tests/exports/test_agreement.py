"""An export predicts what its run has measured: against plain NumPy, timm, and a fresh process."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import timm
import torch
import torchvision
from digit_runs import made
from safetensors.torch import load_file

import rmtgen
from rmtgen.datasets import load_split
from rmtgen.exports.writing import export_probe


def images_of(found):
    """The images of a run, in its order."""
    return load_split("mnist5k", train=found.config["train"], test=found.config["test"])


def plain_scores(found, ridge):
    """Ridge regression on 0 and 1 from the stored features, by the normal equations."""
    x, tests = (features.astype(np.float64) for features in found.features)
    y = np.eye(10)[found.labels.train]
    if found.config["targets"] == "centered":
        y -= 0.1
    centre = found.config["targets"] == "intercept"
    means = (x.mean(axis=0), y.mean(axis=0)) if centre else (np.zeros(x.shape[1]), np.zeros(10))
    x, y = x - means[0], y - means[1]
    penalty = len(x) * ridge * np.eye(x.shape[1])
    weights = np.linalg.solve(x.T @ x + penalty, x.T @ y)
    constant = 0.1 if found.config["targets"] == "centered" else 0.0
    return (tests - means[0]) @ weights + means[1] + constant


@pytest.fixture(params=["measured", "wide"])
def case(request, tmp_path):
    """A run, its row of the ridge that leave-one-out chooses, and its export."""
    run = request.getfixturevalue(request.param)
    found = rmtgen.load_run(run)
    images = images_of(found).test
    assert images.indices.tolist() == found.indices.test.tolist()
    whole = found.risk[found.risk["n"] == found.config["train"]]
    row = whole.loc[whole["loo"].idxmin()]
    return images, found, row, export_probe(run, tmp_path / "probe")


def test_scores_are_those_of_the_run_and_so_is_the_error(case):
    images, found, row, folder = case
    probe = rmtgen.load_probe(folder)
    scores = probe.scores(images)
    assert scores.dtype == torch.float32 and scores.shape == (200, 10)
    expected = plain_scores(found, row["ridge"])
    assert np.abs(scores.numpy() - expected).max() <= 2e-5 * np.abs(expected).max()
    assert scores.sum(dim=1).numpy() == pytest.approx(np.ones(200), abs=0.3)
    wrong = [
        name != images.classes[label]
        for name, label in zip(probe.predict(images), images.labels, strict=True)
    ]
    assert np.mean(wrong) == row["test_error"]
    assert probe.quality["test_error"] == row["test_error"]
    assert probe.quality["ridge"] == row["ridge"] and probe.quality["smallest"]
    assert probe.quality["loo"] == row["loo"] and probe.quality["n"] == found.config["train"]


def test_a_fresh_process_gives_the_same_classes(case, tmp_path):
    images, found, row, folder = case
    (tmp_path / "digits").mkdir()
    for place in range(len(images)):
        images[place].save(tmp_path / "digits" / f"{place:03d}.png")
    command = [sys.executable, "-m", "rmtgen", "predict", str(folder), str(tmp_path / "digits")]
    command += ["--scores", "--to", str(tmp_path / "out.csv")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 200
    wrong = [
        line["class"] != images.classes[label]
        for line, label in zip(rows, images.labels, strict=True)
    ]
    assert np.mean(wrong) == row["test_error"]
    columns = [f"score of {name}" for name in found.classes]
    scores = np.array([[float(line[name]) for name in columns] for line in rows])
    expected = plain_scores(found, row["ridge"])
    assert np.abs(scores - expected).max() <= 2e-5 * np.abs(expected).max()
    assert [float(line["score"]) for line in rows] == scores.max(axis=1).tolist()


def test_timm_loads_the_folder_and_the_state_dict(exported):
    probe, pixels = rmtgen.load_probe(exported), torch.randn(3, 3, 32, 32)
    expected = probe.model(pixels)
    of_folder = timm.create_model(f"local-dir:{exported}", pretrained=True).eval()
    by_hand = timm.create_model("test_byobnet", num_classes=10).eval()
    by_hand.load_state_dict(load_file(exported / "model.safetensors"))
    for model in (of_folder, by_hand):
        assert torch.allclose(model(pixels), expected, atol=1e-6)
    assert of_folder.pretrained_cfg["label_names"] == list(probe.classes)
    assert list(of_folder.pretrained_cfg["input_size"]) == [3, 32, 32]
    assert json.loads((exported / "config.json").read_text())["architecture"] == "test_byobnet"


def test_the_transform_is_that_of_the_run(exported):
    probe = rmtgen.load_probe(exported)
    backbone = rmtgen.load_backbone("test_byobnet", init="random", img_size=32)
    picture = rmtgen.load_dataset("mnist5k", size=20)[3].resize((61, 40))
    assert torch.equal(probe.transform(picture), backbone.transform(picture))
    assert probe.input_size == (3, 32, 32)


@pytest.mark.parametrize(
    ("words", "form", "said"),
    [
        (["model=test_resnet", "layer=layer2", "pooling=max"], "backbone and head", "inner layer"),
        (["model=dla34"], "backbone and head", "no linear layer with a constant"),
        (["model=torchvision/resnet18"], "classifier", "torchvision.models.resnet18(num_classes="),
        (["model=test_vit", "img_size=64"], "classifier", "img_size=64"),
        (["model=test_resnet", "init=calibrated"], "classifier", "timm.create_model"),
        (["model=test_resnet", "dataset=mnist5k", "transform=svhn"], "classifier", "`published`"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_every_kind_of_network_is_exported(words, form, said, tmp_path):
    run = made(tmp_path, "rank", "train=60", *words)
    folder = export_probe(run, tmp_path / "probe")
    probe, found = rmtgen.load_probe(folder), rmtgen.load_run(run)
    assert probe.description.blueprint.form == form
    card = (folder / "README.md").read_text()
    assert said in card
    assert (folder / "config.json").exists() == ("timm.create_model" in card)
    images = images_of(found).train
    best = found.score.best["ridge"]
    x, y = found.features.train.astype(np.float64), np.eye(10)[found.labels.train] - 0.1
    dual = np.linalg.solve(x @ x.T + 60 * best * np.eye(60), y)
    expected = x @ (x.T @ dual) + 0.1
    scores = probe.scores(images).numpy()
    assert np.abs(scores - expected).max() <= 1e-4 * np.abs(expected).max()


def test_torchvision_loads_its_state_dict(tmp_path):
    run = made(tmp_path, "rank", "train=40", "model=torchvision/resnet18")
    folder = export_probe(run, tmp_path / "probe")
    model = torchvision.models.resnet18(num_classes=10).eval()
    model.load_state_dict(load_file(folder / "model.safetensors"))
    pixels = torch.randn(2, 3, 32, 32)
    assert torch.allclose(model(pixels), rmtgen.load_probe(folder).model(pixels), atol=1e-6)


def test_a_mapped_file_of_features_gives_the_same_fit(ranked, exported, tmp_path):
    folder = export_probe(ranked, tmp_path / "probe", spill=tmp_path / "spill")
    there, here = (load_file(path / "model.safetensors") for path in (exported, folder))
    assert all(torch.equal(there[name], here[name]) for name in there)
