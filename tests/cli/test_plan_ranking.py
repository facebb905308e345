"""`rmtgen rank --plan`: the time of each stage of each representation."""

import json
import re

import pytest

from rmtgen.cli.main import main


@pytest.fixture
def words(image_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("rmtgen.stages.rank.save_figures", lambda *_: [])
    return [
        *(f"data=folder:{image_folder}", "models=test_resnet,test_byobnet", "init=random"),
        *("train=60", "img_size=32", "tile=32", "ridges=1e-4:1e1:11", f"output={tmp_path}"),
    ]


def test_a_plan_states_the_time_of_each_stage_and_what_is_cached(words, tmp_path, capsys):
    assert main(["rank", *words, "models=test_resnet"]) == 0
    capsys.readouterr()
    assert main(["rank", *words, "models=test_resnet,nosuchnet,test_byobnet", "--plan"]) == 0
    shown = capsys.readouterr()
    assert "nosuchnet" in shown.err and "is not ranked" in shown.err
    lines = [line.split() for line in shown.out.splitlines()]
    assert lines[0] == ["representation", "extract", "gram", "score", "total", "disk"]
    rows = {line[0].partition("-")[0]: line[1:] for line in lines[2:5]}
    assert rows["test_resnet"][:5] == ["cached", "cached", "cached", "0.0", "s"]
    assert re.fullmatch(r"(\d+\.\d s ){4}.* KiB", " ".join(rows["test_byobnet"]))
    assert "2 representation(s), about" in " ".join(shown.out.split())
    assert not list(tmp_path.glob("runs/test_byobnet*"))
    assert main(["rank", *words, "--plan", "--budget", "1h"]) == 0
    assert "A budget of 60.0 min suffices for all" in " ".join(capsys.readouterr().out.split())
    assert main(["rank", *words, "ridges=1", "train=59", "--plan", "--budget", "0.0001s"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "A budget of 0.0 s takes those furthest that promise most" in text


def test_a_plan_as_json_has_every_stage_of_every_representation(words, capsys):
    assert main(["rank", *words, "--plan", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)["runs"]
    assert [[stage["stage"] for stage in run["details"]["stages"]] for run in planned] == [
        ["extract", "gram", "score"]
    ] * 2
    assert all(run["seconds"] > 0 and run["status"] == "planned" for run in planned)
