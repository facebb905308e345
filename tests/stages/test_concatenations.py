"""Concatenations in a ranking: numbers, what is shared with the members, costs, and failures."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest

import rmtgen
from rmtgen import load_run
from rmtgen.cli.main import main
from rmtgen.datasets import load_split
from rmtgen.errors import CorruptInputError, MissingInputError, StaleInputError
from rmtgen.runs.features import CONCATENATION
from rmtgen.runs.manifest import FileRecord
from rmtgen.store.feature_store import FeatureStore

RIDGES = "ridges=1e-4:1e1:11"
MEMBERS = ["test_resnet", "test_byobnet"]
BOTH = "+".join(MEMBERS)


@pytest.fixture
def words(image_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("rmtgen.stages.rank.save_figures", lambda *_: [])
    return [
        *(f"data=folder:{image_folder}", "init=random", "train=60", "img_size=32", "tile=32"),
        *("batch_size=16", RIDGES, f"output={tmp_path}"),
    ]


def ranked(tmp_path):
    (path,) = tmp_path.glob("reports/*/ranking.csv")
    return pd.read_csv(path).set_index("representation")


def runs_of(tmp_path, *names):
    """Runs by what they are told apart by."""
    runs = map(load_run, tmp_path.glob("runs/*"))
    return {" ".join(str(run.config.get(name)) for name in names): run for run in runs}


def unit(features):
    features = features.astype(np.float64)
    return features / np.sqrt(np.square(features).sum(axis=1).mean())


def by_hand(*members):
    """The ranking of arrays side by side, each of a mean squared norm of 1."""
    stacked = np.hstack([unit(run.features.train) for run in members])
    labels, grid = members[0].labels.train, np.geomspace(1e-4, 1e1, 11)
    table = rmtgen.rank({"both": stacked}, labels, classes=3, relative_ridges=grid)
    return stacked, table.iloc[0]


@pytest.mark.parametrize("solve_from", ["auto", "features"])
def test_the_score_is_that_of_the_scaled_features_side_by_side(words, tmp_path, solve_from, capsys):
    assert main(["rank", *words, f"models=test_resnet,{BOTH}", f"solve_from={solve_from}"]) == 0
    runs, table = runs_of(tmp_path, "model"), ranked(tmp_path)
    assert set(table.index) == {"test_resnet", BOTH}
    stacked, expected = by_hand(runs["test_resnet"], runs["test_byobnet"])
    for name in ("loo", "loo_low", "loo_high", "accuracy", "accuracy_low", "with_more", "df"):
        assert table.loc[BOTH, name] == pytest.approx(expected[name], rel=1e-4)
    assert runs[BOTH].features.train == pytest.approx(stacked, rel=1e-6)
    assert runs[BOTH].features.test.shape == (0, stacked.shape[1])
    assert table.loc[BOTH, "dim"] == stacked.shape[1] == table.loc["test_resnet", "dim"] + 256
    shown = " ".join(capsys.readouterr().out.split())
    assert "each scaled to a mean squared norm of 1; images/s with a pass for each" in shown
    (page,) = tmp_path.glob("reports/*/ranking.html")
    assert "mean squared norm of 1" in page.read_text() and BOTH in page.read_text()


def test_members_are_extracted_once_and_no_feature_is_copied(words, tmp_path, capsys):
    assert main(["rank", *words, f"models={BOTH},test_resnet"]) == 0
    assert len(re.findall(r"extract +test_resnet-\S+ +\d", capsys.readouterr().out)) == 1
    (folder,) = tmp_path.glob("runs/test_resnet_test_byobnet-*")
    assert not list(folder.glob("features*"))
    assert (folder / CONCATENATION).stat().st_size < 1000
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/features/*")}
    assert main(["rank", *words, f"models={BOTH},test_resnet,test_byobnet"]) == 0
    again = capsys.readouterr().out
    assert len(re.findall(r"extract +\S+ +cached", again)) == 3
    assert not re.search(r"extract +\S+ +\d", again)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert main(["verify", f"output={tmp_path}"]) == 0


def test_another_grid_of_ridges_reuses_the_features_of_members(words, tmp_path, capsys):
    assert main(["rank", *words, f"models={BOTH}"]) == 0
    capsys.readouterr()
    assert main(["rank", *words, f"models={BOTH}", "ridges=1e-2"]) == 0
    assert len(re.findall(r"extract +\S+ +cached +taken from", capsys.readouterr().out)) == 2


def test_three_members_cost_what_all_of_them_do(words, tmp_path):
    models = "test_resnet,test_byobnet,test_efficientnet"
    triple = models.replace(",", "+")
    assert main(["rank", *words, f"models={models},{triple}"]) == 0
    table = ranked(tmp_path)
    alone, joint = table.drop(index=triple), table.loc[triple]
    assert 1 / joint["images_per_second"] == pytest.approx((1 / alone["images_per_second"]).sum())
    for name in ("flops", "parameters", "dim"):
        assert joint[name] == alone[name].sum()
    slower = alone["images_per_second"] > joint["images_per_second"]
    better = alone["accuracy"] >= joint["accuracy"]
    assert joint["pareto"] == (not (slower & better).any())


def test_layers_of_a_network_take_a_pass_each_and_its_parameters_count_once(words, tmp_path):
    layers = "layer=layer1,layer2+layer1,none,layer1 + none"
    assert main(["rank", *words, "models=test_resnet", layers, "pooling=avg,max"]) == 0
    table, runs = ranked(tmp_path), runs_of(tmp_path, "layer", "pooling")
    assert {"test_resnet (layer2+layer1, max)", "test_resnet (layer1+none, avg)"} < set(table.index)
    joint = table.loc["test_resnet (layer1+none, max)"]
    first, last = (table.loc[f"test_resnet ({of})"] for of in ("layer1, max", "last, avg"))
    assert joint["flops"] == first["flops"] + last["flops"]
    assert joint["parameters"] == first["parameters"] == last["parameters"]
    stacked, expected = by_hand(runs["layer1 max"], runs["None None"])
    assert runs["layer1+none max"].features.train == pytest.approx(stacked, rel=1e-6)
    assert joint["loo"] == pytest.approx(expected["loo"], rel=1e-4)


def test_every_layer_of_every_network_is_a_member(words, tmp_path):
    listed = ["models=test_resnet+test_resnet.r160_in1k", "layer=layer1+layer2"]
    assert main(["rank", *words, *listed]) == 0
    (run,) = (
        run for run in runs_of(tmp_path, "model", "layer").values() if run.stages.get("score")
    )
    assert len(run.manifest("extract").details["members"]) == 4


def test_a_network_and_a_file_of_features_are_a_concatenation(
    words, image_folder, tmp_path, capsys
):
    folder = f"folder:{image_folder / 'train'}"
    images = load_split(folder, train=None, test=0, shuffle=False).train
    pixels = np.stack([np.asarray(image, dtype=np.float32).ravel() for image in images.images])
    names = np.array(["x", "y", "z"])[images.labels]
    path = tmp_path / "pixels.npz"
    np.savez(path, features=pixels, labels=names)
    joint = f"features:{path}+test_resnet"
    listed = [f"data={folder},features:{path}", f"models=test_resnet,{joint}"]
    assert main(["rank", *words, *listed]) == 0
    table, runs = ranked(tmp_path), runs_of(tmp_path, "dataset", "model")
    assert set(table.index) == {"test_resnet", "pixels", "pixels+test_resnet"}
    file, network = runs[f"features:{path} None"], runs[f"{folder} test_resnet"]
    stacked, expected = by_hand(file, network)
    run = runs[f"{folder} {joint}"]
    assert run.features.train == pytest.approx(stacked, rel=1e-6)
    assert run.classes == network.classes and run.name.startswith("pixels_test_resnet-random-train")
    assert table.loc["pixels+test_resnet", "loo"] == pytest.approx(expected["loo"], rel=1e-4)
    costs = ["images_per_second", "parameters", "flops"]
    assert table.loc["pixels+test_resnet", costs].isna().all()
    np.savez(path, features=pixels, labels=np.roll(names, 7))
    given = [f"data={folder}", f"models={joint}", f"output={tmp_path / 'other'}"]
    assert main(["rank", *words, *given]) == 3
    assert re.search(r"of 60 labels \d+ disagree between", capsys.readouterr().err)


def test_a_member_that_fails_is_named_and_the_others_go_on(words, tmp_path, capsys):
    models = "models=tst_resnet,tst_resnet+test_byobnet,test_byobnet+tst_resnet,test_byobnet"
    assert main(["rank", *words, models]) == 0
    errors = capsys.readouterr().err
    assert re.search(
        r"tst_resnet_test_byobnet-\S+ is not ranked: model=tst_resnet\+test_byobnet needs"
        r" tst_resnet-random-trees-n60-32px-\w+: model must be a name of timm, got 'tst_resnet'."
        r" Did you mean test_resnet",
        errors,
    )
    assert errors.count("is not ranked") == 3
    assert ranked(tmp_path).index.tolist() == ["test_byobnet"]


def test_each_initialisation_is_that_of_all_members(words, tmp_path):
    assert main(["rank", *words, f"models={BOTH}", "init=random,calibrated"]) == 0
    assert set(ranked(tmp_path).index) == {f"{BOTH} (random)", f"{BOTH} (calibrated)"}
    inits = {run.config["init"] for run in runs_of(tmp_path, "model", "init").values()}
    assert inits == {"random", "calibrated"} and len(list(tmp_path.glob("runs/*"))) == 6


def test_a_concatenation_is_compared_with_its_members(words, tmp_path, capsys):
    command = ["compare-features", *words, f"models=test_resnet,{BOTH}"]
    assert main(command) == 0
    assert main(command) == 0
    assert len(re.findall(r"(extract|score) +\S+ +cached", capsys.readouterr().out)) == 4
    (path,) = tmp_path.glob("reports/pairs-*/pairs.csv")
    (pair,) = pd.read_csv(path).to_dict("records")
    runs = runs_of(tmp_path, "model")
    shown = {name: runs[name].features.train for name in ("test_resnet", BOTH)}
    grid = np.geomspace(1e-4, 1e1, 11)
    plain = rmtgen.compare_features(
        shown, runs[BOTH].labels.train, classes=3, relative_ridges=grid
    ).iloc[0]
    for name in ("cka", "loo_first", "loo_second", "loo_both", "gain_over_first_low"):
        assert pair[name] == pytest.approx(plain[name], rel=1e-4)


def test_features_in_files_there_give_the_same_ranking(words, tmp_path):
    """With spill nothing is held in memory as a whole."""
    words = [*words, f"models={BOTH}", "solve_from=features"]
    assert main(["rank", *words]) == 0
    plain = ranked(tmp_path)
    for path in tmp_path.glob("runs/*/score.*"):
        path.unlink()
    assert main(["rank", *words, f"spill={tmp_path / 'there'}"]) == 0
    pd.testing.assert_frame_equal(ranked(tmp_path), plain)


def test_workers_of_a_cluster_extract_the_members(words, tmp_path):
    assert main(["rank", *words, f"models={BOTH}", "cluster=1"]) == 0
    assert ranked(tmp_path).index.tolist() == [BOTH]


def test_a_plan_counts_a_member_once(words, tmp_path, capsys):
    assert main(["rank", *words, "models=test_resnet"]) == 0
    capsys.readouterr()
    command = ["rank", *words, f"models={BOTH},test_byobnet", "--plan", "--json"]
    assert main(command) == 0
    joint, alone = json.loads(capsys.readouterr().out)["runs"]
    first, *_ = joint["details"]["stages"]
    assert first["seconds"] > 0 and not first["cached"]
    assert first["disk"] == 4 * 60 * (256 + 96)
    assert alone["details"]["stages"][0]["seconds"] == 0
    assert main(["rank", *words, "models=test_byobnet"]) == 0
    capsys.readouterr()
    assert main(command) == 0
    joint, _ = json.loads(capsys.readouterr().out)["runs"]
    assert joint["details"]["stages"][0]["flops"] == 2 * 60 * (256 + 96)  # to look at them
    assert main(["rank", *words, f"models={BOTH}"]) == 0
    capsys.readouterr()
    assert main(command) == 0
    joint, _ = json.loads(capsys.readouterr().out)["runs"]
    assert all(stage["cached"] for stage in joint["details"]["stages"])


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["run", "model=a+b"], r"is for `rmtgen rank` .*: got model=a\+b. Rank it, or list"),
        (["extract", "model=a", "layer=x+y"], r"is for `rmtgen rank` .*: got layer=x\+y\. "),
        (["plan", "model=a+b"], "is for `rmtgen rank` and `rmtgen compare-features`"),
        (["rank", "model=a+b", "shard=1/2"], "got shard=1/2"),
    ],
)
def test_what_makes_no_concatenation_refuses_it_by_name(words, command, message, capsys):
    words = [word.replace("data=", "dataset=") for word in words]
    assert main([*command, *words]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_what_is_of_one_network_refuses_the_run_of_a_concatenation(words, tmp_path, capsys):
    assert main(["rank", *words, f"models={BOTH}"]) == 0
    capsys.readouterr()
    (report,) = tmp_path.glob("reports/*")
    assert main(["export", report.name, f"output={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert "an export is of one network up to one layer" in error and f"model={BOTH}" in error
    assert main(["compare", f"output={tmp_path}"]) == 3
    assert f"it is a concatenation, model={BOTH}; rank it" in capsys.readouterr().err
    run = runs_of(tmp_path, "model")[BOTH]
    assert run.command("extract").startswith("`rmtgen rank ") and BOTH in run.command("extract")


def test_what_lacks_a_member_is_not_sound(words, tmp_path, capsys):
    kept = [word for word in words if not word.startswith("models=")]
    assert main(["rank", *kept, "models=test_resnet+test_byobnet"]) == 0
    assert main(["verify", f"output={tmp_path}"]) == 0
    (gone,) = tmp_path.glob("runs/test_byobnet-*")
    shutil.rmtree(gone)
    assert main(["verify", f"output={tmp_path}"]) == 3
    assert f"puts features of {gone.name} side by side with others" in capsys.readouterr().err


def test_members_that_are_gone_or_others_are_named(words, tmp_path):
    assert main(["rank", *words, f"models={BOTH}"]) == 0
    runs = runs_of(tmp_path, "model")
    run, joint = runs["test_byobnet"], runs[BOTH]
    manifest = run.path / "extract.json"
    there = tmp_path / "there.json"
    manifest.rename(there)
    with pytest.raises(MissingInputError, match=f"features of {run.name} side by side.*got none"):
        _ = joint.features
    assert joint.score.n == 60
    there.rename(manifest)
    path = joint.path / CONCATENATION
    stored = path.read_text()
    path.write_text(stored.replace('"scale": ', '"scale": 1'))
    with pytest.raises(CorruptInputError, match="is not what was written"):
        _ = runs_of(tmp_path, "model")[BOTH].features
    path.write_text(stored)
    assert main(["rank", *words, f"models={BOTH}"]) == 0


def test_a_member_with_other_features_makes_the_concatenation_stale(words, tmp_path, capsys):
    assert main(["rank", *words, f"models={BOTH}"]) == 0
    run, joint = (runs_of(tmp_path, "model")[name] for name in ("test_byobnet", BOTH))
    layout, rows = run.feature_store.layout, run.features.train
    digest = run.stages["extract"].outputs_digest
    shutil.rmtree(run.path / "features")
    other = FeatureStore.create(run.path, layout, "other things")
    for batch in layout.batches("train"):
        other.write("train", batch, 2 * rows[layout.span("train", batch)])
    other.shards.seal()
    outputs = {str(path.relative_to(run.path)): FileRecord.of(path) for path in other.files()}
    changed = dataclasses.replace(run.stages["extract"], outputs=outputs)
    changed.write(run.path)
    with pytest.raises(
        StaleInputError, match=f"digest {digest[:8]}, got {changed.outputs_digest[:8]}"
    ):
        _ = load_run(joint.path).features
    capsys.readouterr()
    assert main(["rank", *words, f"models={BOTH},test_byobnet"]) == 0
    said = rf"{joint.name} is not ranked: .*got\s+other results of {run.name}/extract"
    assert re.search(said, capsys.readouterr().err)
    assert main(["rank", *words, f"models={BOTH},test_byobnet", "budget=1h"]) == 0
    assert re.search(said, capsys.readouterr().err)


def test_runs_of_concatenations_are_compared_by_their_names(words, tmp_path, capsys):
    words = [word for word in words if not word.startswith(("tile", "batch_size"))]
    assert main(["rank", *words, f"models=test_resnet,{BOTH}", "tile=1024", "batch_size=64"]) == 0
    runs = runs_of(tmp_path, "model")
    names = [runs[name].name for name in ("test_resnet", BOTH)]
    assert main(["compare-features", f"output={tmp_path}", "--runs", *names]) == 0
    assert f"test_resnet + {BOTH}" in capsys.readouterr().out


def test_the_features_of_test_images_stand_side_by_side_too(words, tmp_path):
    assert main(["rank", *words, f"models={BOTH}", "test=20"]) == 0
    runs = runs_of(tmp_path, "model")
    scale = [np.sqrt(np.square(runs[name].features.train).sum(axis=1).mean()) for name in MEMBERS]
    tests = [runs[name].features.test for name in MEMBERS]
    expected = np.hstack([rows / one for rows, one in zip(tests, scale, strict=True)])
    assert expected.shape[0] == 20
    assert runs[BOTH].features.test == pytest.approx(expected, rel=1e-5)


def test_a_plan_takes_a_member_that_is_gone_into_account(words, tmp_path, capsys):
    assert main(["rank", *words, f"models={BOTH}"]) == 0
    assert (
        main(["clean", f"output={tmp_path}", runs_of(tmp_path, "model")["test_resnet"].name]) == 0
    )
    capsys.readouterr()
    assert main(["rank", *words, f"models={BOTH}", "--plan", "--json"]) == 0
    (joint,) = json.loads(capsys.readouterr().out)["runs"]
    assert [stage["cached"] for stage in joint["details"]["stages"]] == [False, True, True]
    assert main(["rank", *words, f"models={BOTH}"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"extract +test_resnet-\S+ +\d", shown) and shown.count("cached") == 4
