"""The shipped experiments of the paper's set-up; one of them end to end at a tiny size."""

import json

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from rmtgen.cli.main import main
from rmtgen.runs.experiment import EXPERIMENTS, load_experiment
from tests import paper

NAMES = sorted(file.stem for file in EXPERIMENTS.glob("paper-*.yaml"))
NETWORKS = ("resnet18", "resnet34", "resnet50", "resnet101", "efficientnet_b7")


@pytest.fixture
def words(image_folder, tmp_path):
    return [
        "paper-food101",
        f"DATASET=folder:{image_folder}",
        *("MODEL=torchvision/resnet18", "INIT=random", "IMG_SIZE=32", "TRAIN=12", "TEST=6"),
        *("SIZES=6,12", "RIDGES=0.01,1", "TRIALS=1", f"OUTPUT={tmp_path}"),
    ]


def pictures(image_folder, details, split):
    """The pictures of a split, opened plainly, by the numbers that the manifest lists."""
    files = sorted((image_folder / split).glob("*/*.png"))
    opened = [Image.open(files[number]) for number in details[f"{split}_indices"]]
    return [paper.transform("food101", 32)(picture.convert("RGB")) for picture in opened]


def test_the_gram_matrix_of_a_run_is_that_of_the_paper(words, image_folder, tmp_path):
    assert main(["run", "--stage", "theory", *words, "GRAM_DTYPE=float64"]) == 0
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.startswith("torchvision_resnet18-random-entk-headnone-trees-n12-32px-")
    details = json.loads((run / "extract.json").read_text())["details"]
    drawn = [pictures(image_folder, details, split) for split in ("train", "test")]
    images = torch.stack([image for part in drawn for image in part]).double()
    with torch.random.fork_rng():
        expected = paper.gram(paper.network("resnet18").double(), images, 12, chunk=6_000_000)
    with h5py.File(run / "gram.h5") as file:
        np.testing.assert_allclose(file["gram"][()], expected, rtol=1e-10)


def test_it_can_be_planned(words, capsys):
    assert main(["plan", *words]) == 0
    assert "torchvision_resnet18-random-entk-headnone-trees-n12-32px-" in capsys.readouterr().out


def test_there_is_one_for_each_data_set_of_the_paper():
    runs = {name: load_experiment(name, {}).runs for name in NAMES}
    assert {name: {run.dataset for run in runs[name]} for name in NAMES} == {
        "paper-aircraft": {"fgvcaircraft"},
        **{
            f"paper-{name}": {name}
            for name in ("cifar10", "cifar100", "flowers102", "fashionmnist", "food101", "svhn")
        },
    }
    for found in runs.values():
        assert [run.model for run in found[::2]] == [f"torchvision/{name}" for name in NETWORKS]
        for run in found:
            assert run.transform == run.dataset
            assert (run.init_seed, run.head_seed, run.img_size) == (438, None, 224)
            assert (run.kernel, run.fp32_precision, run.gram_dtype) == ("entk", "ieee", "float32")
