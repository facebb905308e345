"""`rmtgen rank` end to end on real files: order, cache, failures, and what is refused."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest

import rmtgen
from rmtgen import load_run
from rmtgen.cli.main import main
from rmtgen.models import facts
from rmtgen.report.ranked_set import COSTS
from rmtgen.runs.columns import SIDECAR_SUFFIX


@pytest.fixture
def words(image_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("rmtgen.stages.rank.save_figures", lambda *_: [])
    return [
        *(f"data=folder:{image_folder}", "models=test_resnet,test_byobnet", "init=random"),
        *("train=60", "img_size=32", "tile=32", "ridges=1e-4:1e1:11", f"output={tmp_path}"),
    ]


def ranked(tmp_path):
    (path,) = tmp_path.glob("reports/*/ranking.csv")
    return pd.read_csv(path)


def test_the_ranking_is_that_of_the_features_and_needs_no_test_images(words, tmp_path, capsys):
    assert main(["rank", *words]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    table = ranked(tmp_path)
    runs = {run.config["model"]: run for run in map(load_run, tmp_path.glob("runs/*"))}
    assert set(table["representation"]) == set(runs) == {"test_resnet", "test_byobnet"}
    features = {name: run.features.train for name, run in runs.items()}
    assert all(run.features.test.shape[0] == 0 for run in runs.values())
    labels, relative = runs["test_resnet"].labels.train, np.geomspace(1e-4, 1e1, 11)
    plain = rmtgen.rank(features, labels, classes=3, relative_ridges=relative)
    assert table["representation"].tolist() == plain["representation"].tolist()
    numbers = [name for name in plain if name != "representation"]
    for name in numbers:
        assert table[name].to_numpy(float) == pytest.approx(
            plain[name].to_numpy(float), rel=1e-6, nan_ok=True
        )
    first = table.iloc[0]
    assert f"{first['representation']} is first: accuracy {100 * first['accuracy']:.1f} %" in shown
    assert "from these 60 labelled images alone" in shown
    assert runs["test_resnet"].score.n == 60
    assert list(table)[-len(COSTS) - 2 :] == [*COSTS, "pareto", "run_name"]
    assert (table["parameters"] > 1e4).all() and (table["images_per_second"] > 0).all()
    assert table["pareto"].any() and (table["flops"] > 1e5).all()
    assert set(table["run_name"]) == {run.name for run in runs.values()}


def test_a_second_ranking_takes_all_from_the_cache_and_verify_knows_it(words, tmp_path, capsys):
    assert main(["rank", *words]) == 0
    before = {path: path.read_bytes() for path in tmp_path.glob("reports/*/*") if path.is_file()}
    first = capsys.readouterr().out
    assert main(["rank", *words]) == 0
    again = capsys.readouterr().out
    assert again.count("cached") == 7 and first.split("\n\n")[1:] == again.split("\n\n")[1:]
    assert {path: path.read_bytes() for path in before} == before
    assert main(["verify", f"output={tmp_path}"]) == 0
    assert capsys.readouterr().out.count("sound") == 7
    (page,) = tmp_path.glob("reports/*/ranking.html")
    page.write_text("other")
    assert main(["verify", f"output={tmp_path}"]) == 3
    assert "ranking.html" in capsys.readouterr().err
    assert main(["rank", *words]) == 0
    assert page.read_bytes() == before[page]


def test_another_grid_of_ridges_reuses_the_features(words, tmp_path, capsys):
    assert main(["rank", *words]) == 0
    capsys.readouterr()
    assert main(["rank", *words, "ridges=1e-2"]) == 0
    assert capsys.readouterr().out.count("taken from") == 4


def test_a_model_that_fails_is_reported_and_the_others_go_on(words, tmp_path, capsys):
    listed = ["models=test_resnet,nosuchnet", "init=random,pretrained"]
    assert main(["rank", *words, *listed]) == 0
    streams = capsys.readouterr()
    assert "model must be a name of timm, got 'nosuchnet'" in streams.err
    assert "test_resnet must have pretrained weights" in streams.err
    assert ranked(tmp_path)["representation"].tolist() == ["test_resnet"]
    (page,) = tmp_path.glob("reports/*/ranking.html")
    text = page.read_text()
    assert "3 of\n4" in text and "got &#39;nosuchnet&#39;" in text and 'id="failed"' in text
    (kept,) = tmp_path.glob("reports/*/rank.json")
    assert len(json.loads(kept.read_text())["details"]["omitted"]) == 3


def test_where_weights_may_lie_is_said_once(words, tmp_path, capsys):
    models = "models=test_resnet,test_byobnet,test_efficientnet,tf_efficientnet_lite0"
    assert main(["rank", *words, models, "init=pretrained"]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "is not ranked" in line]
    assert len(said) == 3 and "download=true" in said[0]
    first = said[0].removeprefix("rmtgen: warning: ").partition(" ")[0]
    for line in said[1:]:
        model = line.removeprefix("rmtgen: warning: ").partition("-")[0]
        reason = f"there are no pretrained weights of {model} either (see {first})"
        assert line.endswith(reason)
    assert ranked(tmp_path)["representation"].tolist() == ["tf_efficientnet_lite0"]


def test_where_none_has_weights_the_error_says_of_how_many(words, capsys):
    models = "models=test_resnet,test_byobnet,test_efficientnet"
    assert main(["rank", *words, models, "init=pretrained"]) == 3
    said = capsys.readouterr().err.splitlines()
    assert sum("is not ranked" in line for line in said) == 2
    assert said[-1].startswith("rmtgen: error: none of 3 can be ranked; the last: test_")
    assert "must have pretrained weights, and there are none" in said[-1]


def test_a_network_with_a_bug_ends_none_of_the_others(words, tmp_path, monkeypatch, capsys):
    whole = facts.backbone_facts

    def broken(backbone):
        if backbone.name == "test_resnet":
            raise AttributeError("no next_functions")
        return whole(backbone)

    monkeypatch.setattr("rmtgen.stages.extract.backbone_facts", broken)
    assert main(["rank", *words]) == 0
    said = capsys.readouterr().err
    assert "is not ranked: AttributeError: no next_functions. This is a bug: rank it alone" in said
    assert ranked(tmp_path)["representation"].tolist() == ["test_byobnet"]
    alone = [word for word in words if not word.startswith("models=")]
    with pytest.raises(AttributeError, match="no next_functions"):
        main(["rank", *alone, "models=test_resnet"])


def test_a_fault_of_the_images_ends_the_ranking_at_the_second_model(words, tmp_path, capsys):
    missing = f"data=folder:{tmp_path / 'nowhere'}"
    models = "models=test_resnet,test_byobnet,test_efficientnet"
    assert main(["rank", *words, missing, models]) == 3
    errors = capsys.readouterr().err
    assert errors.count("is not ranked") == 1 and "nowhere" in errors.splitlines()[-1]
    assert not list(tmp_path.glob("reports/*"))


def test_a_pattern_stands_for_all_that_match(words, tmp_path):
    assert main(["rank", *words, "models=test_b?obnet,test_res[n]et"]) == 0
    assert set(ranked(tmp_path)["representation"]) == {"test_byobnet", "test_resnet"}


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ("models=resnext999*", "models must match a name of timm, got 'resnext999*'. Did you mean"),
        (
            "models=vit*,resnet*",
            "a ranking without a budget is of at most 100 representations, got",
        ),
    ],
)
def test_a_pattern_of_nothing_and_one_of_everything_are_refused(words, models, message, capsys):
    assert main(["rank", *words, models]) == 2
    assert message in capsys.readouterr().err


def test_all_images_of_a_folder_that_is_not_divided_are_taken(image_folder, tmp_path, capsys):
    given = [f"data=folder:{image_folder / 'train'}", "models=test_resnet", "init=random"]
    assert main(["rank", *given, "img_size=32", f"output={tmp_path}"]) == 0
    shown = capsys.readouterr()
    assert "from these 120 labelled images alone" in " ".join(shown.out.split())
    assert "divided" not in shown.err
    (run,) = map(load_run, tmp_path.glob("runs/*"))
    assert sorted(run.indices.train.tolist()) == list(range(120)) and not len(run.indices.test)


def test_the_order_may_be_that_of_the_risks(words, tmp_path, capsys):
    measured = {}
    for wish, by in ((["by=risk"], "risk"), (["--by", "accuracy"], "accuracy"), ([], "accuracy")):
        assert main(["rank", *words, *wish]) == 0
        shown = capsys.readouterr().out
        table = ranked(tmp_path)
        measured[by] = table["loo"] if by == "risk" else -table["accuracy"]
        assert measured[by].is_monotonic_increasing
        assert ("behind, points" in shown) == (by == "accuracy")
        assert ("behind, %" in shown) == (by == "risk")
    assert main(["rank", *words, "by=speed"]) == 2
    assert "'speed'" in capsys.readouterr().err


def test_the_usual_order_is_one_ranking_whether_it_is_asked_for_or_not(words, tmp_path, capsys):
    assert main(["rank", *words, "by=risk"]) == 0
    stages = len(list(tmp_path.glob("runs/*/*.json"))) + 1
    for wish, fresh in ((["by=accuracy"], 1), ([], 0), (["--by", "accuracy"], 0), (["by=risk"], 1)):
        capsys.readouterr()
        assert main(["rank", *words, *wish]) == 0
        assert capsys.readouterr().out.count("cached") == stages - fresh


def test_classes_out_of_balance_are_named(image_folder, tmp_path, capsys):
    folder = tmp_path / "images"
    shutil.copytree(image_folder / "train", folder)
    for path in sorted((folder / "ash").iterdir())[5:]:
        path.unlink()
    given = [f"data=folder:{folder}", "models=test_resnet", "init=random", "img_size=32"]
    assert main(["rank", *given, f"output={tmp_path}"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "the classes are not balanced: 5 to 40 images each" in shown


def test_runs_of_other_images_are_not_compared(words, tmp_path, image_folder):
    from rmtgen.errors import CorruptInputError
    from rmtgen.report.ranked_set import RankedSet

    assert main(["rank", *words]) == 0
    assert main(["rank", *words, "seed=1"]) == 0
    with pytest.raises(CorruptInputError, match="the same images in every run: train_indices"):
        RankedSet.load(sorted(tmp_path.glob("runs/*")))


@pytest.mark.parametrize("stage", ["spectrum", "risk", "theory", "report"])
def test_a_run_without_test_images_is_for_a_ranking_alone(words, stage, capsys):
    words = [word.replace("data=", "dataset=").replace("models=", "model=") for word in words]
    assert main(["run", *words, "test=0", "--stage", stage]) == 2
    assert "compares with test images: got test=0" in capsys.readouterr().err
    assert main([stage, *words, "test=0"]) == 2


def test_a_share_of_test_images_is_refused_where_there_are_none(words, capsys):
    assert main(["rank", *words, "split=0.3"]) == 2
    assert "got split=0.3 with test=0" in capsys.readouterr().err


def test_every_column_is_described(words, tmp_path):
    assert main(["rank", *words]) == 0
    (path,) = tmp_path.glob("reports/*/ranking.csv")
    schema = json.loads(path.with_name(path.name + SIDECAR_SUFFIX).read_text())["tableSchema"]
    assert [column["name"] for column in schema["columns"]] == list(ranked(tmp_path))
    assert schema["primaryKey"] == ["representation"]


def test_images_that_are_copies_are_doubted(image_folder, tmp_path, capsys):
    folder = tmp_path / "images"
    shutil.copytree(image_folder / "train", folder)
    for path in sorted(folder.glob("*/*.png")):
        shutil.copy(path, path.with_name(f"copy-{path.name}"))
    given = [f"data=folder:{folder}", "models=test_resnet", "init=random", "img_size=32"]
    assert main(["rank", *given, f"output={tmp_path}"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "doubtful, as test_resnet sees them:" in shown and "copy among the others" in shown
    (page,) = tmp_path.glob("reports/*/ranking.html")
    assert "doubtful, as test_resnet sees them" in page.read_text()


def test_several_image_sizes_are_several_representations(words, tmp_path):
    assert main(["rank", *words, "models=test_resnet", "img_size=32,48"]) == 0
    table = ranked(tmp_path)
    assert set(table["representation"]) == {"test_resnet (32 px)", "test_resnet (48 px)"}
    small, large = (
        table.set_index("representation")["flops"][f"test_resnet ({n} px)"] for n in (32, 48)
    )
    assert large > small


def test_a_ranked_run_is_listed_and_no_report_is_made_of_it(words, tmp_path, capsys):
    assert main(["rank", *words, "models=test_resnet"]) == 0
    capsys.readouterr()
    assert main(["ls", f"output={tmp_path}"]) == 0
    assert re.search(r"test_resnet-random-trees-n60-32px-\w+ +score ", capsys.readouterr().out)
    assert main(["compare", f"output={tmp_path}"]) == 3
    assert "it has no test images to compare with" in capsys.readouterr().err
    (run,) = map(load_run, tmp_path.glob("runs/*"))
    assert "not done" not in repr(run)


def test_features_of_a_run_with_test_images_are_ranked_too(words, tmp_path, capsys):
    fields = [word.replace("data=", "dataset=").replace("models=", "model=") for word in words]
    fields += ["model=test_resnet", "test=30"]
    assert main(["run", *fields, "--stage", "extract"]) == 0
    capsys.readouterr()
    assert main(["rank", *words, "models=test_resnet", "test=30"]) == 0
    assert re.search(r"extract +\S+ +cached", capsys.readouterr().out)
    assert main(["run", *fields, "--stage", "risk"]) == 0
    (run,) = map(load_run, tmp_path.glob("runs/*"))
    whole = run.risk.query("n == 60").sort_values("loo").iloc[0]
    assert run.score.best["loo"] == pytest.approx(whole["loo"], rel=1e-9)
    assert (run.score.best["loo_low"], run.score.best["df"]) == pytest.approx(
        (whole["loo_low"], whole["df"]), rel=1e-6
    )


def test_layers_and_poolings_are_representations(words, tmp_path):
    listed = ["models=test_resnet", "layer=layer1,none", "pooling=avg,max"]
    assert main(["rank", *words, *listed]) == 0
    table = ranked(tmp_path).set_index("representation")
    assert set(table.index) == {
        f"test_resnet ({what})" for what in ("layer1, avg", "layer1, max", "last, avg")
    }
    runs = {
        run.config.get("pooling", "avg"): run
        for run in map(load_run, tmp_path.glob("runs/*"))
        if run.config.get("layer")
    }
    assert (runs["max"].features.train >= runs["avg"].features.train).all()
    assert table["dim"].nunique() == 2


def test_a_pattern_of_layers_is_of_the_networks_that_have_them(words, tmp_path, capsys):
    listed = ["models=test_resnet,test_byobnet", "layer=layer[34]"]
    assert main(["rank", *words, *listed]) == 0
    assert ranked(tmp_path)["representation"].str.contains(r"layer[34]\)").tolist() == [True] * 2
    said = capsys.readouterr().err
    assert "layer must be a module of test_byobnet, got 'layer[34]'" in said


def test_all_images_of_a_table_without_splits_are_taken(image_folder, tmp_path, capsys):
    rows = [
        f"{path},{path.parent.name}" for path in sorted((image_folder / "train").glob("*/*.png"))
    ]
    (tmp_path / "images.csv").write_text("\n".join(["path,label", *rows]))
    given = [f"data=csv:{tmp_path / 'images.csv'}", "models=test_resnet", "init=random"]
    assert main(["rank", *given, "img_size=32", f"output={tmp_path}"]) == 0
    shown = capsys.readouterr()
    assert "from these 120 labelled images alone" in " ".join(shown.out.split())
    assert "divided" not in shown.err


def test_a_share_of_the_work_is_no_ranking(words, capsys):
    assert main(["rank", *words, "shard=1/2"]) == 2
    assert "a ranking compares whole results, got shard=1/2" in capsys.readouterr().err


def test_workers_of_a_cluster_extract_what_one_process_ranks(words, tmp_path, capsys):
    """The units of the extraction are shared; the score and the ranking are not."""
    words = [*words, "models=test_resnet"]
    assert main(["rank", *words, "cluster=1"]) == 0
    apart = ranked(tmp_path).drop(columns=["images_per_second", "pareto"])
    shutil.rmtree(tmp_path / "runs")
    shutil.rmtree(tmp_path / "reports")
    assert main(["rank", *words]) == 0
    pd.testing.assert_frame_equal(
        apart, ranked(tmp_path).drop(columns=["images_per_second", "pareto"])
    )
