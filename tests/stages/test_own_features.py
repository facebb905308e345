"""Features of one's own through the stages: what is stored, ranked, reported, and refused."""

import json
import re

import numpy as np
import pandas as pd
import pytest

import rmtgen
from rmtgen import load_run
from rmtgen.cli.main import main
from rmtgen.datasets import load_split
from rmtgen.errors import CorruptInputError
from rmtgen.report.loading import load_result
from rmtgen.report.ranked_set import RankedSet
from rmtgen.report.run_set import run_labels
from rmtgen.runs.config import Config
from rmtgen.runs.experiment import load_experiment
from rmtgen.runs.own_features import OF_A_NETWORK

RIDGES = "ridges=1e-4:1e1:11"


@pytest.fixture(autouse=True)
def without_figures(monkeypatch):
    monkeypatch.setattr("rmtgen.stages.rank.save_figures", lambda *_: [])


@pytest.fixture
def files(tmp_path, monkeypatch):
    """a.npz and b.npy of the same 90 images of three classes, and words for them."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 90)
    features = np.eye(3)[labels] @ rng.standard_normal((3, 8)) + rng.standard_normal((90, 8))
    np.savez("a.npz", features=features, labels=labels)
    np.save("b.npy", features[:, :3].astype(np.float32))
    np.save("b.labels.npy", np.array(["x", "y", "z"])[labels])
    return {"a": features, "b": features[:, :3]}, labels


def ranked(tmp_path):
    (path,) = tmp_path.glob("out/reports/*/ranking.csv")
    return pd.read_csv(path)


def test_files_of_the_same_images_are_ranked_as_their_arrays_are(files, tmp_path, capsys):
    arrays, labels = files
    assert main(["rank", "--data", "features:a.npz,features:b.npy", "output=out", RIDGES]) == 0
    table = ranked(tmp_path)
    runs = {run.config["dataset"][9:10]: run for run in map(load_run, tmp_path.glob("out/runs/*"))}
    drawn = runs["a"].indices.train
    assert np.array_equal(runs["b"].features.train, arrays["b"][drawn].astype(np.float32))
    assert not set(runs["a"].config) & set(OF_A_NETWORK)
    assert {run.name.rpartition("-")[0] for run in runs.values()} == {
        *("features-a-n90", "features-b-n90")
    }
    rounded = {name: x.astype(np.float32)[drawn] for name, x in arrays.items()}
    relative = np.geomspace(1e-4, 1e1, 11)
    plain = rmtgen.rank(rounded, labels[drawn], relative_ridges=relative)
    assert table["representation"].tolist() == plain["representation"].tolist()
    for name in ("loo", "behind", "behind_high", "accuracy", "with_more"):
        assert table[name].to_numpy() == pytest.approx(
            plain[name].to_numpy(), rel=1e-5, nan_ok=True
        )
    assert table[["images_per_second", "parameters"]].isna().all(axis=None)
    assert table["dim"].tolist() == [8, 3] and not table["pareto"].any()
    (page,) = tmp_path.glob("out/reports/*/ranking.html")
    assert "labelled images of a and b\n" in page.read_text() and "Against size" in page.read_text()
    assert "a is first" in capsys.readouterr().out


def test_a_network_and_features_of_its_images_are_ranked_together(
    image_folder, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    folder = f"folder:{image_folder / 'train'}"
    images = load_split(folder, train=None, test=0, shuffle=False).train
    pixels = np.stack([np.asarray(image, dtype=np.float32).ravel() for image in images.images])
    np.savez("pixels.npz", features=pixels, labels=images.labels)
    words = ["models=test_resnet", "init=random", "img_size=32", "train=60", "output=out", RIDGES]
    assert main(["rank", f"data={folder},features:pixels.npz", *words]) == 0
    table = ranked(tmp_path).set_index("representation")
    assert set(table.index) == {"test_resnet", "pixels"}
    assert table["images_per_second"].notna().to_dict() == {"test_resnet": True, "pixels": False}
    (page,) = tmp_path.glob("out/reports/*/ranking.html")
    assert "labelled images of train\n" in page.read_text()


def test_labels_that_disagree_are_named(files, capsys):
    _, labels = files
    labels = labels.copy()
    labels[7] = (labels[7] + 1) % 3
    np.save("b.labels.npy", labels)
    assert main(["rank", "data=features:a.npz,features:b.npy", "output=out", "shuffle=false"]) == 3
    message = capsys.readouterr().err.splitlines()[-1]
    assert "of 90 labels 1 disagree between features-a-n90-" in message
    before = (labels[7] - 1) % 3
    assert f"image 7, from 0, which is '{before}' there and '{labels[7]}' here" in message


@pytest.mark.parametrize("rows", [89, 45])
def test_files_of_other_numbers_of_rows_are_not_of_the_same_images(files, rows, capsys):
    arrays, labels = files
    np.savez("c.npz", X=arrays["a"][:rows], y=labels[:rows])
    assert main(["rank", "data=features:a.npz,features:c.npz", "output=out"]) == 3
    assert re.search(
        "train_indices of features-c-.* differ from those of features-a-.*a row for every image",
        capsys.readouterr().err,
    )


def test_a_file_that_is_not_there_is_reported_and_the_others_go_on(files, tmp_path, capsys):
    words = ["data=features:no.npz,features:a.npz,features:b.npy", "output=out", "train=90"]
    assert main(["rank", *words]) == 0
    assert "no.npz does not exist" in capsys.readouterr().err
    assert ranked(tmp_path)["representation"].tolist() == ["a", "b"]


def test_other_content_makes_another_result(files, capsys):
    arrays, labels = files
    words = ["rank", "data=features:a.npz", "output=out", RIDGES]
    assert main(words) == 0 and main(words) == 0
    assert len(re.findall(r"extract +\S+ +cached", capsys.readouterr().out)) == 1
    np.savez("a.npz", features=arrays["a"] + 1, labels=labels)
    assert main(words) == 3
    assert "a.npz (dataset a.npz) is not what" in capsys.readouterr().err
    np.savez("a.npz", features=arrays["a"], labels=labels)
    assert main(words) == 0
    assert main(["rank", "data=features:b.npy", "output=out", RIDGES]) == 0
    np.save("b.labels.npy", labels[::-1])
    assert main(["rank", "data=features:b.npy", "output=out", RIDGES]) == 3
    assert "dataset b.labels.npy" in capsys.readouterr().err


def test_a_run_goes_to_its_report(files, tmp_path, capsys):
    words = ["dataset=features:a.npz,features:b.npy", "output=out", "sizes=24,72", "trials=1"]
    assert main(["run", *words, RIDGES, "--stage", "risk"]) == 0
    assert "a.npz is divided: 72 images for training, 18 for the test" in capsys.readouterr().err
    results = [load_result(path) for path in sorted(tmp_path.glob("out/runs/*"))]
    assert run_labels(results) == ["a, own features", "b, own features"]
    (run,) = map(load_run, tmp_path.glob("out/runs/features-a-*"))
    assert len(run.indices.test) == 18 and "model" not in run.command("theory")
    assert "not stored yet" not in run.command("theory")
    assert main(["compare", "output=out"]) == 0
    assert "a, own features" in capsys.readouterr().out


def test_the_plan_knows_the_size_of_the_file(files, capsys):
    assert main(["plan", "dataset=features:a.npz", "output=out", "--json"]) == 0
    (planned,) = json.loads(capsys.readouterr().out)["runs"]
    extract = planned["details"]["stages"][0]
    assert (extract["stage"], extract["disk"], extract["flops"]) == ("extract", 4 * 90 * 8, 0)


def test_shares_of_the_rows_are_copied_apart(files, tmp_path):
    words = ["dataset=features:a.npz", "test=0", "output=out", "batch_size=10"]
    for share in ("1/2", "2/2"):
        assert main(["run", *words, "--stage", "extract", f"shard={share}"]) == 0
    assert main(["run", *words, "--stage", "extract"]) == 0
    (run,) = map(load_run, tmp_path.glob("out/runs/*"))
    assert np.array_equal(run.features.train, files[0]["a"][run.indices.train].astype(np.float32))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["models=resnet18"], "model is of a network, and none runs on features:a.npz: got"),
        (["img_size=64"], "img_size is of a network, .*: got img_size=64. Leave it out"),
        (["init=random"], "init is of a network"),
        (["layer=none"], "layer is of a network"),
        (["kernel=entk"], "kernel=entk is of a network, and none runs on features:a.npz"),
    ],
)
def test_what_is_said_of_a_network_is_refused_where_none_runs(files, words, message, capsys):
    assert main(["rank", "data=features:a.npz", *words]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_runs_differ_in_their_file_alone():
    runs = {Config(dataset="features:a.npz", train=9, test=0, model=name) for name in "ab"}
    assert len(runs) == 1
    config = runs.pop()
    assert not set(config.stage_fields("theory")) & set(OF_A_NETWORK)
    assert config.run_name != Config(dataset="features:b.npz", train=9, test=0).run_name


def test_two_files_of_one_name_are_told_apart(files, tmp_path):
    (tmp_path / "deep").mkdir()
    np.savez("deep/a.npz", features=files[0]["b"], labels=files[1])
    assert main(["rank", "data=features:a.npz,features:deep/a.npz", "output=out"]) == 0
    assert ranked(tmp_path)["representation"].tolist() == ["features:a.npz", "features:deep/a.npz"]


def test_classes_under_other_names_are_the_same_classes(files, tmp_path):
    assert main(["rank", "data=features:a.npz,features:b.npy", "output=out"]) == 0
    folders = sorted(tmp_path.glob("out/runs/*"))
    classes = [load_run(path).classes for path in folders]
    assert classes == [("0", "1", "2"), ("x", "y", "z")]
    assert len(RankedSet.load(folders).representations) == 2
    np.save("b.labels.npy", np.minimum(files[1], 1))  # two classes in one
    with pytest.raises(CorruptInputError, match="labels .* disagree"):
        assert main(["rank", "data=features:b.npy", "output=other"]) == 0
        RankedSet.load([folders[0], *tmp_path.glob("other/runs/*")])


@pytest.mark.parametrize(
    ("given", "listed"),
    [
        ("features:a.npz,features:b, c.npy", ["features:a.npz", "features:b, c.npy"]),
        ("folder:my,pictures, features:a.npz", ["folder:my,pictures", "features:a.npz"]),
        (["cifar10", "features:a.npz"], ["cifar10", "features:a.npz"]),
        ("wds:{a,b}.tar", ["wds:{a,b}.tar"]),
    ],
)
def test_data_sets_are_listed_by_commas_before_features(given, listed):
    fields = {"dataset": given, "train": 9, "test": 2, "sizes": "9"}
    runs = load_experiment(None, fields).runs
    assert [run.dataset for run in runs] == listed
