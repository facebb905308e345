"""Runs of several head seeds: one each, of heads that no two of them share."""

import pytest

from rmtgen.errors import UsageError
from rmtgen.runs.config import Config
from rmtgen.runs.experiment import load_experiment


def seeds_of(**fields):
    return [(run.kernel, run.head_seed) for run in load_experiment(None, fields).runs]


def test_several_head_seeds_make_one_run_each_and_the_features_one():
    fields = {"head_seed": "438, 7,none", "kernel": "entk,features"}
    heads = [("entk", 438), ("entk", 7), ("entk", None)]
    assert seeds_of(**fields) == [*heads, ("features", 438)]
    assert seeds_of(**fields | {"head_seed": [438, 7, None]}) == seeds_of(**fields)
    runs = load_experiment(None, fields).runs
    alone = [Config(kernel="entk", head_seed=seed) for seed in (438, 7, None)]
    assert [run.run_name for run in runs] == [run.run_name for run in (*alone, Config())]
    inits = load_experiment(None, fields | {"init": "random,pretrained", "kernel": "entk"}).runs
    assert [(run.init, run.head_seed) for run in inits] == [
        (init, seed) for init in ("random", "pretrained") for seed in (438, 7, None)
    ]
    assert len({run.stage_hash("extract") for run in runs}) == 1


def test_the_names_of_runs_are_what_they_were():
    assert Config(kernel="entk").run_name.endswith("-4096ba1b")
    assert Config(kernel="entk", head_seed=439).run_name.endswith("-05c185ff")


def test_names_tell_runs_of_other_heads_apart_and_sort_by_their_seeds():
    seeds = (438, 439, 440, None)
    names = [Config(kernel="entk", head_seed=seed).run_name for seed in seeds]
    slugs = [name.rpartition("-")[0] for name in names]
    assert slugs[0] == "resnet50-pretrained-entk-cifar100-n10000-224px"
    assert slugs[2] == "resnet50-pretrained-entk-head440-cifar100-n10000-224px"
    assert slugs[3] == "resnet50-pretrained-entk-headnone-cifar100-n10000-224px"
    assert sorted(names) == names
    assert "head" not in Config(kernel="features", head_seed=439).run_name


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"head_seed": "5,1,5", "kernel": "entk"},
            "runs must share no head: expected seeds at least 1 apart in head_seed, got 5 and 5."
            " Leave one out, or set head_seed=5,6.",
        ),
        (
            {"head_seed": "9,1,8", "kernel": "entk", "heads": "8"},
            "expected seeds at least 8 apart in head_seed, got 1 and 8 with heads=8. Leave one out,"
            " or set head_seed=1,9.",
        ),
        ({"head_seed": "1,x", "kernel": "entk"}, "head_seed: expected a whole number ≥ 0, got 'x'"),
        ({"head_seed": [], "kernel": "entk"}, "head_seed: expected at least one value"),
        (
            {"head_seed": "1,2"},
            "head_seed lists heads of kernel=entk, and no run has it. Add it, or give one seed.",
        ),
        ({"head_seed": "1,none", "kernel": "entk", "heads": 2}, "several heads need a seed each"),
    ],
)
def test_seeds_that_make_no_draws_of_a_kernel_are_refused(fields, message):
    with pytest.raises(UsageError) as caught:
        load_experiment(None, fields)
    assert message in str(caught.value)


def test_seeds_of_means_over_heads_may_be_as_far_apart_as_the_heads(tmp_path):
    assert seeds_of(head_seed="9,1", kernel="entk", heads="8") == [("entk", 9), ("entk", 1)]
    file = tmp_path / "heads.yaml"
    file.write_text(
        "kernel: entk\nhead_seed: [1, 2]\n---\nkernel: features\n---\nheads: 2\nhead_seed: 1\n"
    )
    runs = load_experiment(str(file), {}).runs
    assert [(run.kernel, run.head_seed, run.heads) for run in runs] == [
        *(("entk", 1, None), ("entk", 2, None), ("features", 438, None), ("entk", 1, 2)),
    ]
