"""Work divided among independent processes leaves what one process leaves."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import but, tree

from rmtgen.cli.main import main
from rmtgen.errors import UsageError
from rmtgen.runs.experiment import load_experiment
from rmtgen.runs.graph import STAGES
from rmtgen.runs.rundir import RunDir
from rmtgen.runs.share import parse_share
from rmtgen.stages.division import Unit, spans_of
from rmtgen.store.shards import ShardSet

DIVIDED = [name for name, stage in STAGES.items() if stage.divided]
MANIFESTS = [f"{name}.json" for name in STAGES]


blocks = st.lists(
    st.tuples(st.floats(1e-3, 1e3), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=24
)


def needing(drawn, load=10.0):
    """Units that need two blocks each."""
    return [
        Unit(f"unit-{number}", (), cost, tuple((block, load) for block in sorted({one, other})))
        for number, (cost, one, other) in enumerate(drawn)
    ]


@given(st.lists(st.floats(1e-3, 1e9), min_size=1, max_size=60), st.integers(1, 40))
def test_spans_divide_the_units_about_equally(costs, count):
    spans = spans_of([Unit(str(cost), (), cost) for cost in costs], count)
    assert [position for span in spans for position in span] == list(range(len(costs)))
    assert len(spans) == count
    most = max(sum(costs[position] for position in span) for span in spans)
    assert most <= (sum(costs) / count + max(costs)) * (1 + 1e-9)


@given(blocks, st.integers(1, 4))
def test_the_costliest_span_costs_as_little_as_any_division(drawn, count):
    """Against all divisions, by dynamic programming over the last span."""
    units = needing(drawn)

    def cost(low, high):
        pairs = zip([None, *units[low : high - 1]], units[low:high], strict=True)
        return sum(
            unit.cost + 10.0 * len({*dict(unit.needs)} - {*dict(before.needs if before else ())})
            for before, unit in pairs
        )

    best = [0.0] + [float("inf")] * len(units)
    for _ in range(count):
        best = [0.0] + [
            min(max(best[low], cost(low, high)) for low in range(high))
            for high in range(1, len(units) + 1)
        ]
    spans = spans_of(units, count)
    found = max(cost(span.start, span.stop) for span in spans if span)
    assert found == pytest.approx(best[-1], rel=1e-9)


@pytest.mark.parametrize("value", ["17/16", "0/4", "4", "1/0", "-1/4", "1/4/2", "a/b", "", "1.5/2"])
def test_what_is_no_shard_is_refused(value):
    with pytest.raises(UsageError, match=r"a shard is INDEX/COUNT with 1 ≤ INDEX ≤ COUNT"):
        parse_share(value)


def run_shares(words, count, stages=DIVIDED):
    """Every share of some stages in turn, and after each stage the run that gathers it."""
    for stage in stages:
        for index in range(1, count + 1):
            assert main(["run", "--stage", stage, *words, f"shard={index}/{count}"]) == 0
        assert main(["run", "--stage", stage, *words]) == 0


@pytest.mark.parametrize("count", [1, 3])
def test_shares_leave_the_bytes_of_one_process(finished, tmp_path, capsys, count):
    output, words = finished
    shared = tmp_path / "out"
    run_shares([*words[:-1], f"output={shared}"], count)
    assert main(["run", *words[:-1], f"output={shared}"]) == 0
    reference, made = tree(output / "runs"), tree(shared / "runs")
    manifests = [name for name in reference if name.endswith(tuple(MANIFESTS))]
    assert but(made, *manifests) == but(reference, *manifests)
    for name in manifests:
        mine, theirs = json.loads(made[name]), json.loads(reference[name])
        assert mine["outputs"].keys() == theirs["outputs"].keys()
        for one in mine["outputs"]:
            assert mine["outputs"][one]["blake2b"] == theirs["outputs"][one]["blake2b"]
    assert not list(shared.rglob(".lock.*"))


def test_a_run_without_a_shard_names_and_makes_what_is_missing(tiny_images, tmp_path, capfd):
    words = [*tiny_images, f"output={tmp_path}"]
    assert main(["extract", *words, "shard=2/3", "--json"]) == 0
    line = json.loads(capfd.readouterr().out)
    (outcome,) = line["runs"]
    assert outcome["status"] == "shard"
    assert outcome["headline"] == "shard 2/3: 3 made, 3 of 9 parts there"
    assert "run --stage extract" in line["next"] and "shard=" not in line["next"]
    assert main(["extract", *words]) == 0
    err = capfd.readouterr().err
    assert "the shards lack 6 of 9 parts (train-000000, train-000001, train-000002," in err


def test_a_share_skips_what_others_have_made_under_another_number(tiny_images, tmp_path, capfd):
    words = [*tiny_images, f"output={tmp_path}"]
    assert main(["extract", *words, "shard=1/2"]) == 0
    assert main(["extract", *words, "shard=2/3"]) == 0
    assert "shard 2/3: 1 made, 6 of 9 parts there" in capfd.readouterr().out


def test_a_shared_run_stops_where_the_others_are_needed(tiny_images, tmp_path, capfd):
    words = [*tiny_images, f"output={tmp_path}"]
    assert main(["run", *words, "shard=1/2"]) == 0
    said = capfd.readouterr().out
    assert "extract" in said and "gram " not in said
    assert main(["gram", *words, "shard=1/2"]) == 3
    assert "stage extract is not done" in capfd.readouterr().err


def test_a_stage_that_is_not_divided_refuses_a_shard(copied, capfd):
    run, words = copied
    (run / "theory.json").unlink()
    assert main(["theory", *words, "shard=1/2"]) == 2
    assert "stage theory is not divided: got shard=1/2" in capfd.readouterr().err


def test_a_finished_stage_is_cached_for_every_share(copied, capfd):
    run, words = copied
    before = tree(run)
    assert main(["gram", *words, "shard=2/4"]) == 0
    assert "cached" in capfd.readouterr().out
    assert tree(run) == before


def test_the_one_process_and_the_shares_keep_out_of_each_others_way(tiny_images, tmp_path, capfd):
    words = [*tiny_images, f"output={tmp_path}"]
    fields = dict(word.split("=", 1) for word in words)
    run = RunDir(load_experiment(None, fields).runs[0])
    with run.lock():
        assert main(["extract", *words, "shard=1/2"]) == 3
    with run.lock("1-of-2"):
        assert main(["extract", *words, "shard=1/2"]) == 3
        assert main(["extract", *words]) == 3
        assert f"held by another process (pid {os.getpid()})" in capfd.readouterr().err
        assert main(["extract", *words, "shard=2/2"]) == 0
    assert main(["extract", *words]) == 0


def test_of_two_records_the_one_that_describes_the_file_holds(tmp_path):
    """As machines leave it that round otherwise."""
    for writer, value in (("1-of-2", 1.0), ("2-of-2", 2.0)):
        ShardSet(tmp_path, "made of", writer=writer).write("a", {"x": np.array(value)})
    first, second = tmp_path / "journal.1-of-2.jsonl", tmp_path / "journal.2-of-2.jsonl"
    assert ShardSet(tmp_path).read("a")["x"] == 2.0
    swapped = first.read_bytes(), second.read_bytes()
    second.write_bytes(swapped[0])
    first.write_bytes(swapped[1])
    whole = ShardSet(tmp_path, "made of")
    assert whole.read("a")["x"] == 2.0
    whole.seal()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.h5", "journal.jsonl"]
    assert ShardSet(tmp_path).read("a")["x"] == 2.0


def test_a_torn_journal_of_a_writer_loses_its_last_shard_alone(tmp_path):
    for writer in ("1-of-2", "2-of-2"):
        shards = ShardSet(tmp_path, "made of", writer=writer)
        for number in range(2):
            shards.write(f"{writer}-{number}", {"x": np.ones(2)})
    torn = tmp_path / "journal.1-of-2.jsonl"
    torn.write_bytes(torn.read_bytes()[:-9])
    there = [f"{writer}-{number}" for writer in ("1-of-2", "2-of-2") for number in range(2)]
    other = ShardSet(tmp_path, "made of", writer="2-of-2")
    assert [name in other for name in there] == [True, False, True, True]
    other.write("another", {"x": np.ones(1)})
    assert torn.read_bytes()[-1:] != b"\n"  # of another writer nothing is mended
    again = ShardSet(tmp_path, "made of", writer="1-of-2")
    again.write("1-of-2-1", {"x": np.ones(2)})
    assert all(name in ShardSet(tmp_path) for name in [*there, "another"])


CROWD = 6
"""Processes that make the same tiles at once."""


def test_a_crowd_that_makes_the_same_tiles_leaves_the_same_bytes(finished, copied):
    """The same units under other numbers, so that no lock keeps them apart."""
    run, words = copied
    for name in ("gram.json", "gram.h5"):
        (run / name).unlink()
    for path in (run / "gram").iterdir():
        path.unlink()
    command = [sys.executable, "-m", "rmtgen", "gram", *words]
    crowd = [
        subprocess.Popen([*command, f"shard=1/{count}"], stdout=subprocess.DEVNULL)
        for count in range(1, CROWD + 1)
    ]
    assert [process.wait(300) for process in crowd] == [0] * CROWD
    assert main(["gram", *words]) == 0
    (reference,) = (finished[0] / "runs").iterdir()
    assert tree(run / "gram") == tree(reference / "gram")
