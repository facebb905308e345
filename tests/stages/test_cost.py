"""The plan: counted operations, predicted times, and what it shows."""

import json
import re
from pathlib import Path

import pytest
import torch

from rmtgen.cli.main import main
from rmtgen.errors import UsageError
from rmtgen.rates import Rates
from rmtgen.runs.experiment import load_experiment
from rmtgen.runs.graph import RUN_STAGES
from rmtgen.stages import cost, score, simulation
from rmtgen.stages.cost import PROBE_IMAGES, Estimate, StageCost, Workload, estimate
from rmtgen.stages.extract import _seconds_of_image
from rmtgen.units import duration

TIME = r"\d+\.\d (?:s|min|h)"
PLANNED = (
    *("model=test_resnet", "init=random", "dataset=cifar100", "img_size=32"),
    *("train=100", "test=20"),
)


def config(**fields):
    (run,) = load_experiment(None, {"model": "test_resnet", "init": "random", **fields}).runs
    return run


def test_the_time_of_a_run_is_that_of_its_stages():
    stages = {"extract": StageCost(1e9, 1, 1, 2.0), "risk": StageCost(1e9, 1, 1, 3.5)}
    assert Estimate(stages, load=4.0).seconds == 5.5


def test_no_unit_is_divided_among_workers():
    shared, alone = StageCost(1e9, 1, 1, 100.0, 20.0), StageCost(1e9, 1, 1, 30.0)
    found = Estimate({"extract": shared, "theory": alone}, load=1.0)
    assert [found.on(count) for count in (1, 4, 8)] == [130.0, 55.0, 50.0]
    simulated = StageCost(1e9, 1, 1, 100.0, 0.0, {4: 27.0})
    assert [simulated.on(count) for count in (4, 10)] == [27.0, 10.0]


def test_a_plan_states_time_and_passes_on_several_workers(monkeypatch, capsys):
    monkeypatch.setattr(Rates, "seconds", lambda *_: 1e-3)
    words = [*PLANNED[:-2], "train=400", "test=80", "kernel=entk", "tile=16", "memory=16MiB"]
    assert main(["plan", *words, "cluster=3"]) == 0
    shown = capsys.readouterr().out
    table = shown[shown.index("workers") :]
    rows = re.findall(r"^ +(\d+) .* ([\d,]+) +([\d,]+) +(\d+\.\d\d)$", table, re.MULTILINE)
    assert [int(row[0]) for row in rows] == [1, 3, 8, 64]
    passes, fewest = ([int(row[at].replace(",", "")) for row in rows] for at in (1, 2))
    assert fewest == sorted(fewest)
    assert all(least <= own for own, least in zip(passes, fewest, strict=True))
    assert passes[0] < passes[-1]


def test_a_plan_of_many_units_divides_the_time_alone(monkeypatch):
    monkeypatch.setattr(Rates, "seconds", lambda *_: 1e-3)
    monkeypatch.setattr(simulation, "MOST_UNITS", 3)
    fields = {"kernel": "entk", "img_size": 32, "train": 400, "test": 80, "tile": 16}
    found = estimate(config(**fields, memory="16MiB"))
    assert not found.entk.shared
    assert found.stages["gram"].on(8) == found.stages["gram"].seconds / 8


def test_an_estimate_has_the_load_that_was_measured(monkeypatch):
    monkeypatch.setattr(Rates, "seconds", lambda *_: 1e-3)
    monkeypatch.setattr(Rates, "load", property(lambda _: 7.0))
    found = estimate(config(img_size=32, train=100, test=20))
    assert found.load == 7
    assert list(found.stages) == [stage for stage in RUN_STAGES if stage != "gram"]  # p = 96 < 100


def test_an_estimate_takes_the_gram_matrix_where_the_run_does(monkeypatch):
    monkeypatch.setattr(Rates, "seconds", lambda *_: 1e-3)
    for fields, needed in (
        ({"train": 90}, True),
        ({"train": 97}, False),
        ({"train": 97, "solve_from": "gram"}, True),
        ({"train": 90, "solve_from": "features"}, False),
    ):
        found = estimate(config(img_size=32, test=20, **fields))
        assert ("gram" in found.stages) is needed


def test_features_need_neither_a_gram_matrix_nor_an_eigensolve_in_n(monkeypatch):
    monkeypatch.setattr(Rates, "seconds", lambda *_: 1e-3)
    fields = {"img_size": 32, "solve_from": "features", "test": 20, "sizes": [200]}
    small, large = (estimate(config(train=n, **fields)).stages for n in (2_000, 200_000))
    assert set(large) == {"extract", "spectrum", "risk", "theory"}
    assert large["spectrum"].flops == small["spectrum"].flops  # of the same 200 samples
    assert large["risk"].flops < 200 * small["risk"].flops
    assert large["risk"].ram < 200 * small["risk"].ram


def test_a_plan_costs_nothing_and_needs_no_data(capsys, tmp_path):
    assert main(["plan", *PLANNED, f"output={tmp_path}"]) == 0
    shown = capsys.readouterr().out
    stages = re.findall(r"^  ([a-z]+)  ", shown, re.MULTILINE)
    assert stages == ["stage", "extract", "spectrum", "risk", "theory", "total", "workers"]
    assert "100 + 20 images" in shown
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("load", "shown"), [(1.0, False), (1.4, False), (20.0, True)])
def test_a_plan_names_the_load_where_there_is_one(monkeypatch, capsys, load, shown):
    stages = {"extract": StageCost(1e9, 1, 1, 30.0)}
    monkeypatch.setattr(cost, "estimate", lambda _: Estimate(stages, load))
    assert main(["plan", *PLANNED]) == 0
    line = " ".join(capsys.readouterr().out.split())
    assert "about 30.0 s on this machine with nothing else to do" in line
    assert (f"{duration(30 * load)} as it is loaded now" in line) is shown


def test_a_plan_of_several_runs_adds_them_up(monkeypatch, capsys):
    stages = {"extract": StageCost(1e9, 1, 1, 30.0)}
    monkeypatch.setattr(cost, "estimate", lambda _: Estimate(stages, 1.0))
    assert main(["plan", *PLANNED, "model=test_resnet,test_vit"]) == 0
    assert "2 run(s), about 1.0 min" in capsys.readouterr().out


def test_a_plan_shows_the_entk_weight_by_weight(capsys):
    assert main(["plan", *PLANNED, "kernel=entk"]) == 0
    shown = capsys.readouterr().out
    assert "(100 + 20) × 100: 7,050 entries" in shown
    assert "head.weight" in shown


def test_a_plan_knows_heads_and_sketches(tiny_images, tmp_path, capsys):
    words = [*tiny_images, "train=40", "test=20", "sizes=40", "kernel=entk", f"output={tmp_path}"]
    assert main(["plan", *words, "heads=3"]) == 0
    assert "head.weight" in capsys.readouterr().out
    assert main(["plan", *words, "projection=64"]) == 0
    assert not re.search(r"^  gram ", capsys.readouterr().out, re.MULTILINE)


def test_a_plan_shows_what_a_finished_stage_took(finished, capsys):
    output, words = finished
    (run,) = (output / "runs").iterdir()
    assert main(["plan", *words]) == 0
    rows = dict(re.findall(r"^  (\w+) .*? +(\S+ (?:s|min|h))$", capsys.readouterr().out, re.M))
    for stage in RUN_STAGES:
        seconds = json.loads((run / f"{stage}.json").read_text())["seconds"]
        assert rows[stage].endswith(duration(seconds))
    assert main(["plan", *words, "img_size=40"]) == 0
    table = re.findall(r"^  (?:extract|risk) .*", capsys.readouterr().out, re.MULTILINE)
    assert all(re.search(rf"{TIME} +–$", row) for row in table)


def test_a_plan_of_a_ranking_divides_no_folder(tiny_images, tmp_path, capsys):
    whole = Path(tiny_images[0].removeprefix("dataset=folder:")) / "train"
    words = [f"dataset=folder:{whole}", *tiny_images[3:], f"output={tmp_path}"]
    assert main(["rank", *words, "--plan"]) == 0
    shown = capsys.readouterr()
    assert "1 representation(s)" in shown.out and "is divided" not in shown.out + shown.err


def test_a_plan_knows_the_classes_of_data_that_are_there(tiny_images):
    folder = tiny_images[0].removeprefix("dataset=")
    assert cost.count_classes(config(dataset=folder)) == 3
    assert cost.count_classes(config(dataset="mnist5k")) == 10
    for absent in ("cifar100", "folder:/nonesuch", "hfds/trees"):
        assert cost.count_classes(config(dataset=absent)) == cost.ASSUMED_CLASSES
    with pytest.raises(UsageError, match="unknown data set 'mnist'"):
        cost.count_classes(config(dataset="mnist"))


def test_a_plan_counts_a_stage_that_runs_share_once(monkeypatch, capsys):
    stages = {"extract": StageCost(1e9, 1, 1, 30.0), "risk": StageCost(1e9, 1, 1, 30.0)}
    monkeypatch.setattr(cost, "estimate", lambda _: Estimate(stages, 1.0))
    assert main(["plan", *PLANNED, "kernel=features,entk"]) == 0
    assert "2 run(s), about 1.5 min" in capsys.readouterr().out
    assert stages["extract"].seconds == 30


def test_a_plan_of_a_sketch_counts_its_check_against_the_exact_kernel(monkeypatch):
    monkeypatch.setattr(Rates, "seconds", lambda *_: 1e-3)

    def flops(train):
        fields = {"kernel": "entk", "projection": 16, "img_size": 32, "test": 20, "train": train}
        return estimate(config(**fields)).stages["extract"].flops

    image = (flops(400) - flops(300)) / 100
    check = flops(300) - 320 * image
    assert check > 10 * image


@pytest.mark.parametrize("field", ["projection", "heads"])
def test_a_field_of_another_kernel_is_refused_by_name(field, capsys):
    assert main(["plan", *PLANNED, f"{field}=8"]) == 2
    assert f"{field} is for kernel=entk, and no run has it" in capsys.readouterr().err


@pytest.mark.parametrize(("takes", "largest"), [(0.001, 100), (0.01, 32), (1.0, 16)])
def test_passes_are_timed_in_the_batch_of_the_run_unless_a_smaller_one_takes_long(
    monkeypatch, takes, largest
):
    """Sixteen images, then twice as many, until that takes a fifth of a second."""
    sizes = []

    class Counting:
        def seconds(self, work):
            sizes.append(len(work.args[0]))
            return takes * sizes[-1]

    workload = Workload(config(batch_size=100), 10, Counting())
    model, images = torch.nn.Flatten(), torch.zeros(PROBE_IMAGES, 3, 4, 4)
    assert _seconds_of_image(workload, model, images) == pytest.approx(takes)
    assert sizes[0] == 16
    assert max(sizes) == largest


def test_the_score_of_several_labels_counts_their_auc(monkeypatch):
    """Each of 2,048 images with all others, and three of 256: formed once, compared by label."""
    monkeypatch.setattr(Rates, "seconds", lambda *_: 1e-3)
    rates, found = Rates(torch.device("cpu")), {}
    for task in ("values", "labels"):
        own = config(
            dataset="csv:set.csv", task=task, columns="a,b", train=5000, test=0, img_size=32
        )
        for outputs in (3, 6):
            workload = Workload(own, outputs, rates)
            found[task, outputs] = score.cost(workload)
    counted = {
        outputs: found["labels", outputs].flops - found["values", outputs].flops
        for outputs in (3, 6)
    }
    each = 500 * 2048 * 5000 + 150 * 256**3
    assert counted[3] == pytest.approx(2 * 2048 * 5000 * workload.dim + 3 * each, rel=1e-6)
    assert counted[6] - counted[3] == pytest.approx(3 * each, rel=1e-6)
    assert found["labels", 3].seconds > found["values", 3].seconds
    assert found["labels", 3].ram - found["values", 3].ram == 8 * 6 * 256 * 5000
