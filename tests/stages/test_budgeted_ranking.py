"""`rmtgen rank --budget` end to end on real images and networks, by a clock that the test turns."""

import json
import signal
import subprocess
import sys

import pandas as pd
import pytest
from budgeted import IMAGES, KILLED, SECONDS, ranking_words, turned_clock

from rmtgen import load_run
from rmtgen.cli.main import main
from rmtgen.stages import race
from rmtgen.store.feature_store import FeatureStore

MODELS = "test_resnet,test_byobnet,test_efficientnet"


@pytest.fixture
def words(tmp_path, monkeypatch):
    return [f"models={MODELS}", *ranking_words(tmp_path, monkeypatch)]


@pytest.fixture
def clock(monkeypatch):
    return turned_clock(monkeypatch)


def table(tmp_path, name="ranking.csv"):
    (path,) = tmp_path.glob(f"reports/*/{name}")
    return pd.read_csv(path)


def written(tmp_path):
    """When each shard of features was written."""
    return {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/features/*.h5")}


def batches(tmp_path):
    found = {}
    for path in written(tmp_path):
        model = path.parts[-3].partition("-")[0]
        found[model] = found.get(model, 0) + 1
    return found


def test_a_large_budget_gives_the_plain_ranking(words, tmp_path, clock, capsys):
    assert main(["rank", *words, "--budget", "1h"]) == 0
    shown = capsys.readouterr()
    ranked = table(tmp_path).drop(columns=["images_per_second", "pareto"])
    assert "3 of 3 go on to 256 images" in shown.err
    assert "3 of 3 go on to 1,024 images" in shown.err
    assert "not taken further" not in shown.out
    assert not list(tmp_path.glob("reports/*/dropped.csv"))
    assert not list(tmp_path.glob("runs/*/extract-begun.json"))
    assert clock[0] == IMAGES / 32 * sum(SECONDS.values())
    assert main(["rank", *words]) == 0
    again = capsys.readouterr().out
    assert again.count("cached") == 10 - 3 * ("gram" not in again)
    pd.testing.assert_frame_equal(
        ranked, table(tmp_path).drop(columns=["images_per_second", "pareto"])
    )
    assert main(["verify", f"output={tmp_path}"]) == 0


def test_a_small_budget_lists_what_was_dropped_and_a_larger_one_goes_on(
    words, tmp_path, clock, capsys
):
    assert main(["rank", *words, "budget=100s"]) == 0
    shown = capsys.readouterr()
    text = " ".join(shown.out.split())
    (dropped,) = table(tmp_path, "dropped.csv").to_dict("records")
    assert dropped["representation"] == "test_resnet" and dropped["n"] == 64
    assert set(table(tmp_path)["representation"]) == {"test_efficientnet", "test_byobnet"}
    sure = (
        abs(dropped["accuracy_behind"])
        > dropped["accuracy_behind_high"] - dropped["accuracy_behind"]
    )
    assert sure != dropped["tied"] and 0 < dropped["accuracy_foreseen"] < 1
    assert "from these 1,024 labelled images alone" in text
    assert f"not taken further images behind, points why {'-' * 11}" in text
    assert "test_resnet 64 " in text
    assert dropped["reason"] in text
    (page,) = tmp_path.glob("reports/*/ranking.html")
    assert 'id="dropped"' in page.read_text() and dropped["reason"] in page.read_text()
    (manifest,) = tmp_path.glob("reports/*/rank.json")
    assert json.loads(manifest.read_text())["details"]["dropped"][0]["n"] == 64
    assert clock[0] <= 100 + max(SECONDS.values())
    before, spent = written(tmp_path), clock[0]
    assert batches(tmp_path) == {"test_resnet": 2, "test_byobnet": 32, "test_efficientnet": 32}
    assert main(["verify", f"output={tmp_path}"]) == 0

    assert main(["rank", *words, "budget=1h"]) == 0
    assert len(table(tmp_path)) == 3 and not list(tmp_path.glob("reports/*/dropped.csv*"))
    assert clock[0] == spent + 30 * SECONDS["test_resnet"]
    after = written(tmp_path)
    assert {path: after[path] for path in before} == before
    assert 'id="dropped"' not in page.read_text()


@pytest.mark.parametrize(
    ("given", "by"),
    [([], "accuracy"), (["by=accuracy"], "accuracy"), (["by=risk"], "risk")],
)
def test_the_order_that_is_asked_for_decides(words, clock, monkeypatch, given, by):
    asked, judge = [], race.standings
    monkeypatch.setattr(race, "standings", lambda *args: asked.append(args[2]) or judge(*args))
    words = [*words, "train=128", "models=test_efficientnet,test_byobnet", "budget=100s"]
    assert main(["rank", *words, *given]) == 0
    assert set(asked) == {by}


def test_a_ranking_of_fewer_images_is_that_of_the_first_ones(words, tmp_path, clock, capsys):
    import rmtgen

    words = [*words, "models=test_efficientnet,test_byobnet"]
    assert main(["rank", *words, "budget=40s"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    ranked = table(tmp_path).set_index("representation")
    n = 32 * batches(tmp_path)["test_byobnet"]
    (seen,) = {int(word.replace(",", "")) for word in text.split("from ")[1].split()[:1]}
    assert 256 < seen <= n < IMAGES and f"from {seen} of the 1,024 labelled images alone" in text
    assert set(ranked.index) == {"test_efficientnet", "test_byobnet"} and clock[0] <= 41
    assert (ranked["parameters"] > 1e4).all() and (ranked["images_per_second"] > 0).all()
    assert not list(tmp_path.glob("runs/*/extract.json"))
    assert main(["rank", *words]) == 0
    runs = {run.config["model"]: run for run in map(load_run, tmp_path.glob("runs/*"))}
    labels = runs["test_byobnet"].labels.train[:seen]
    plain = rmtgen.rank(
        {name: run.features.train[:seen] for name, run in runs.items()},
        labels,
        classes=10,
        relative_ridges=[10.0**power for power in range(-4, 2)],
    ).set_index("representation")
    for column in ("loo", "loo_low", "behind", "behind_high", "accuracy", "with_more"):
        for name in ranked.index:
            assert ranked[column][name] == pytest.approx(plain[column][name], rel=1e-4)


def test_the_images_are_opened_once_for_all(words, clock, monkeypatch):
    from rmtgen.stages import loading

    opened, load = [], loading.load_split
    monkeypatch.setattr(
        loading, "load_split", lambda *args, **named: opened.append(1) or load(*args, **named)
    )
    assert main(["rank", *words, "budget=1h"]) == 0
    assert len(opened) == 1


def test_a_ranking_that_is_killed_goes_on_from_what_is_there(words, tmp_path, monkeypatch):
    """Kills after the third and the tenth batch that are written, then one call to the end."""
    words = [*words, "train=512", "models=test_resnet,test_byobnet"]
    for count in (3, 10):
        before = written(tmp_path)
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(count), *words, "budget=1h"],
            check=False,
            capture_output=True,
        )
        assert done.returncode == -signal.SIGKILL
        after = written(tmp_path)
        assert len(after) == len(before) + count
        assert {path: after[path] for path in before} == before
    made, write = [], FeatureStore.write
    monkeypatch.setattr(
        FeatureStore, "write", lambda self, *rows: made.append(rows[1]) or write(self, *rows)
    )
    assert main(["rank", *words, "budget=1h"]) == 0
    assert len(made) == 2 * 16 - 13
    ranked = table(tmp_path)
    assert main(["rank", *words, f"output={tmp_path / 'whole'}"]) == 0
    whole = table(tmp_path / "whole")
    assert ranked["loo"].tolist() == whole["loo"].tolist()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--budget", "10"], "expected a time above 0 with its unit, such as 90s, 10m or 1h30m"),
        (["budget=soon"], "got 'soon'"),
        (["budget=0m"], "got '0m'"),
        (["budget=10m", "kernel=entk"], "a budget needs features, whose time grows"),
        (["budget=10m", "cluster=2"], "a budget is that of this machine: got cluster=2"),
        (["budget=1s"], "a budget must suffice for the first 64 images of a representation"),
    ],
)
def test_a_budget_that_makes_no_sense_is_refused(words, clock, given, message, capsys):
    assert main(["rank", *words, *given]) == 2
    assert message in capsys.readouterr().err


def test_hundreds_of_representations_ask_for_a_budget_and_begin_with_one(words, clock, capsys):
    words = [*words, "models=resnet*,test_resnet,vit*"]
    assert main(["rank", *words]) == 2
    assert "--budget 30m (make: BUDGET=30m)" in capsys.readouterr().err


def test_a_damaged_record_of_what_was_begun_costs_no_features(words, tmp_path, clock):
    words = [*words, "models=test_efficientnet,test_byobnet"]
    assert main(["rank", *words, "budget=40s"]) == 0
    (begun, *_) = sorted(tmp_path.glob("runs/*/extract-begun.json"))
    begun.write_text(begun.read_text().replace("images_per_second", "images_per_minute"))
    before = written(tmp_path)
    assert main(["rank", *words, "budget=1h"]) == 0
    assert {path: written(tmp_path)[path] for path in before} == before
