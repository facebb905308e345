"""`rmtgen rank --budget` with concatenations: members are extracted once, as far as they go."""

import numpy as np
import pandas as pd
import pytest
from budgeted import IMAGES, SECONDS, ranking_words, turned_clock

import rmtgen
from rmtgen import load_run
from rmtgen.cli.main import main
from rmtgen.errors import StaleInputError
from rmtgen.runs.config import Config
from rmtgen.runs.rundir import RunDir
from rmtgen.stages.entrant import Entrant, Scoring
from rmtgen.stages.joint_entrant import JointEntrant

BOTH = "test_byobnet+test_efficientnet"


@pytest.fixture
def words(tmp_path, monkeypatch):
    return ranking_words(tmp_path, monkeypatch)


@pytest.fixture
def clock(monkeypatch):
    return turned_clock(monkeypatch)


def table(tmp_path, name="ranking.csv"):
    (path,) = tmp_path.glob(f"reports/*/{name}")
    return pd.read_csv(path).set_index("representation")


def test_a_large_budget_gives_the_plain_ranking(words, tmp_path, clock, capsys):
    words = [*words, f"models=test_byobnet,{BOTH}"]
    assert main(["rank", *words, "--budget", "1h"]) == 0
    ranked = table(tmp_path).drop(columns=["images_per_second", "pareto"])
    assert set(ranked.index) == {"test_byobnet", BOTH}
    assert clock[0] == IMAGES / 32 * 2
    assert "not taken further" not in capsys.readouterr().out
    assert main(["rank", *words]) == 0
    assert clock[0] == IMAGES / 32 * 2
    other = table(tmp_path).drop(columns=["images_per_second", "pareto"])
    pd.testing.assert_frame_equal(ranked, other)
    assert main(["verify", f"output={tmp_path}"]) == 0


def test_a_concatenation_takes_what_its_members_lack(words, tmp_path, clock):
    """It takes as long as they do; what one alone has computed it does not compute again."""
    slow = "test_byobnet+test_resnet"
    models = f"models=test_byobnet,test_efficientnet,{slow}"
    assert main(["rank", *words, models, "budget=100s"]) == 0
    assert clock[0] == 256 / 32 * sum(SECONDS.values())
    shards = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/features/*.h5")}
    assert {path.parts[-3].partition("-")[0] for path in shards} == set(SECONDS)
    assert set(table(tmp_path).index) == {"test_byobnet", "test_efficientnet", slow}
    assert main(["rank", *words, models, "budget=1h"]) == 0
    assert clock[0] == IMAGES / 32 * sum(SECONDS.values())
    assert {path: path.stat().st_mtime_ns for path in shards} == shards


def test_the_first_images_have_a_scale_of_their_own(words, tmp_path, clock, capsys):
    words = [*words, f"models=test_efficientnet,{BOTH}"]
    assert main(["rank", *words, "budget=40s"]) == 0
    ranked = table(tmp_path)
    assert set(ranked.index) == {"test_efficientnet", BOTH} and clock[0] <= 42
    assert not list(tmp_path.glob("runs/*/extract.json"))
    said = " ".join(capsys.readouterr().out.split())
    n = int(said.partition(" of the 1,024 labelled")[0].rpartition(" ")[2])
    assert main(["rank", *words]) == 0
    runs = {run.config["model"]: run for run in map(load_run, tmp_path.glob("runs/*"))}
    first = [runs[name].features.train[:n].astype(float) for name in BOTH.split("+")]
    stacked = np.hstack([rows / np.sqrt((rows**2).sum(axis=1).mean()) for rows in first])
    plain = rmtgen.rank(
        {"both": stacked},
        runs[BOTH].labels.train[:n],
        classes=10,
        relative_ridges=[10.0**power for power in range(-4, 2)],
    ).iloc[0]
    for column in ("loo", "loo_low", "accuracy", "with_more"):
        assert ranked.loc[BOTH, column] == pytest.approx(plain[column], rel=1e-4)
    both, costs = ranked.loc[BOTH], ("images_per_second", "parameters", "flops")
    assert (both[list(costs)] > 0).all() and both["dim"] == stacked.shape[1]


def test_a_member_that_fails_ends_no_race(words, tmp_path, clock, capsys):
    models = f"models=nosuchnet+test_byobnet,{BOTH},test_byobnet"
    assert main(["rank", *words, models, "budget=1h"]) == 0
    errors = capsys.readouterr().err
    assert "model=nosuchnet+test_byobnet needs nosuchnet-random-mnist5k-n1024-32px-" in errors
    assert set(table(tmp_path).index) == {BOTH, "test_byobnet"}


def test_what_must_not_be_used_is_found_before_an_image_is_computed(monkeypatch):
    folder = RunDir(Config(model=BOTH, dataset="mnist5k", train=60, test=0))

    def stale(_stage):
        raise StaleInputError("made from other results")

    monkeypatch.setattr(folder, "done", stale)
    clock, scoring, shown = (lambda: 0.0), Scoring(), []
    members = [Entrant(member, clock, scoring, shown.append) for member in folder.members]
    entrant = JointEntrant(folder, members, clock, scoring, shown.append)
    with pytest.raises(StaleInputError, match="made from other results"):
        entrant.lacks(16)
