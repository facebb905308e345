"""Configuration: every mistake named at once; hashes that change exactly when a result would."""

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmtgen.errors import MissingInputError, RmtgenWarning, UsageError
from rmtgen.runs.config import FIELDS, Config
from rmtgen.runs.experiment import EXPERIMENTS, load_experiment
from rmtgen.runs.graph import STAGES, solves_gram
from rmtgen.runs.parsers import parse_grid
from rmtgen.units import parse_bytes

WITH_FIELDS = ("extract", "gram", "spectrum", "risk")


def test_flags_override_yaml_which_overrides_defaults(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("model: resnet18\ntrain: 500\nridges: [0, 1e-3]\n")
    (run,) = load_experiment(str(file), {"TRAIN": "600", "init": "random"}).runs
    assert (run.model, run.train, run.test, run.init, run.ridges) == (
        "resnet18",
        600,
        2000,
        "random",
        (0.0, 1e-3),
    )


def test_lists_make_one_run_for_each_combination():
    runs = load_experiment(None, {"model": "resnet18,resnet50", "init": "pretrained,random"}).runs
    expected = [
        ("resnet18", "pretrained"),
        ("resnet18", "random"),
        ("resnet50", "pretrained"),
        ("resnet50", "random"),
    ]
    assert [(run.model, run.init) for run in runs] == expected
    assert len({run.run_name for run in runs}) == 4


@pytest.mark.parametrize(
    ("name", "least"), [("demo", 1e-6), ("cifar100-lite0", 1e-8), ("cifar100-resnet50", 1e-8)]
)
def test_shipped_experiments_compare_pretrained_with_random(name, least):
    runs = load_experiment(name, {}).runs
    assert [run.init for run in runs] == ["pretrained", "random"]
    for run in runs:
        assert len(run.sizes) >= 8
        assert run.trials >= 3
        assert (min(run.ridges), run.ridges[1], max(run.ridges)) == (0, least, 1e2)


def test_the_whole_of_cifar100_is_solved_from_features():
    runs = load_experiment("cifar100-full", {}).runs
    assert [(run.init, run.train, max(run.sizes)) for run in runs] == [
        ("pretrained", 49990, 49990),
        ("random", 49990, 49990),
    ]
    # 20 GB that nothing would read
    assert not any(solves_gram(run, None) for run in runs)


def test_all_mistakes_are_named_in_one_message(tmp_path):
    file = tmp_path / "typo.yaml"
    file.write_text("modle: resnet18\ntrain: many\n")
    with pytest.raises(UsageError) as caught:
        load_experiment(str(file), {"ridges": "1,-2"})
    message = str(caught.value)
    assert "unknown field 'modle'. Did you mean model?" in message
    assert "train: expected a whole number ≥ 2, got 'many'" in message
    assert "ridges: grid values must be finite and ≥ 0, got '-2'" in message


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"ridges": "nan"}, "ridges: grid values must be finite and ≥ 0, got 'nan'"),
        ({"ridges": ""}, "ridges: expected a number or low:high:count, got ''"),
        ({"ridges": "1:2"}, "low:high:count with 0 < low < high"),
        ({"sizes": "10,2.5"}, "sizes: expected whole numbers, got '10,2.5'"),
        ({"sizes": "0"}, "sizes: sample sizes must be ≥ 1, got '0'"),
        ({"sizes": "20000"}, "sizes must be ≤ train: expected at most 10000, got 20000"),
        ({"test": "-1"}, "test: expected a whole number ≥ 0, got '-1'"),
        (
            {"init": "pretraned"},
            "init: expected one of pretrained, random, calibrated, got 'pretraned'."
            " Did you mean pretrained?",
        ),
        ({"memory": "4 Gigs"}, "memory: unknown unit 'Gigs' in '4 Gigs'. Known: B, GB"),
        ({"memory": "lots"}, "memory: expected an amount of memory such as 4GiB, got 'lots'"),
        ({"stratify": "perhaps"}, "stratify: expected true or false, got 'perhaps'"),
        (
            {"model": "a,b", "weights": "w.pth"},
            "weights names one file, but there are several models",
        ),
    ],
)
def test_each_mistake_is_one_clear_line(overrides, message):
    with pytest.raises(UsageError) as caught:
        load_experiment(None, overrides)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [("model: [", "is not valid YAML"), ("- model", "must map field names to values, got list")],
)
def test_broken_yaml_is_a_usage_error(tmp_path, content, message):
    file = tmp_path / "broken.yaml"
    file.write_text(content)
    with pytest.raises(UsageError, match=message):
        load_experiment(str(file), {})


def test_a_missing_configuration_suggests_the_shipped_ones():
    with pytest.raises(MissingInputError, match="no configuration 'dmo'.*Did you mean demo"):
        load_experiment("dmo", {})


@given(low=st.floats(1e-9, 1.0), factor=st.floats(1.1, 1e9), count=st.integers(2, 50))
def test_a_range_is_geometric_and_keeps_its_ends(low, factor, count):
    high = low * factor
    grid = parse_grid(f"{low!r}:{high!r}:{count}", integers=False)
    assert (len(grid), grid[0], grid[-1]) == (count, low, high)
    steps = [b / a for a, b in zip(grid, grid[1:], strict=False)]
    assert max(steps) == pytest.approx(min(steps), rel=1e-9)


def test_auto_sizes_end_at_the_pool():
    assert Config(train=6000).sizes == (100, 179, 322, 578, 1038, 1863, 3343, 6000)
    assert Config(train=2).sizes == (2,)
    assert all(Config(train=n).sizes[-1] == n for n in range(2, 300))


@pytest.mark.parametrize(
    ("text", "size"), [("4GiB", 4 * 2**30), ("500 MB", 500_000_000), (17, 17), ("1.5KiB", 1536)]
)
def test_amounts_of_memory(text, size):
    assert parse_bytes(text) == size


CHANGES = {
    "ridges": ((1.0,), {"risk"}),
    "loo": (False, {"risk"}),
    "trials": (5, {"spectrum", "risk"}),
    "targets": ("onehot", {"spectrum", "risk"}),
    "tile": (512, {"gram", "spectrum", "risk"}),
    "img_size": (64, set(WITH_FIELDS)),
    "init": ("random", set(WITH_FIELDS)),
    "dataset": ("mnist5k", set(WITH_FIELDS)),
    "device": ("cuda:1", set()),
    "output": ("elsewhere", set()),
    "workers": (3, set()),
    "memory": (1, set()),
    "spill": ("/fast/disk", set()),
}


@pytest.mark.parametrize("field", CHANGES)
def test_a_field_changes_the_hash_of_exactly_the_stages_it_affects(field):
    value, affected = CHANGES[field]
    base = Config()
    changed = dataclasses.replace(base, **{field: value})
    assert {
        stage for stage in WITH_FIELDS if base.stage_hash(stage) != changed.stage_hash(stage)
    } == affected
    assert (base.run_name != changed.run_name) == bool(affected)


def test_solving_from_features_does_not_depend_on_the_gram_matrix():
    assert STAGES["risk"].reads(Config(solve_from="features")) == ("extract",)
    assert Config(solve_from="features", tile=512).stage_hash("risk") == Config(
        solve_from="features"
    ).stage_hash("risk")


def test_random_init_forgets_the_weights_file():
    assert Config(init="random", weights="a.pth").run_name == Config(init="random").run_name


def test_every_field_has_help_and_a_default_that_parses():
    for field in FIELDS.values():
        assert field.metadata["help"]
        field.metadata["parse"](field.default)


def test_run_names_are_safe_file_names():
    name = Config(
        dataset="folder:/some where/c i/data.tar", model="vit_tiny_patch16_224.augreg_in21k"
    ).run_name
    assert name.startswith("vit_tiny_patch16_224.augreg_in21k-pretrained-data-n10000-224px-")
    assert Config(dataset="folder:/x/ü ß").run_name.isascii()


def test_yaml_and_flags_are_read_alike(tmp_path):
    """1:10:5 is a range in both (YAML's own reading is a number to base 60), and so are 1e-8 and
    null."""
    file = tmp_path / "mine.yaml"
    file.write_text("ridges: 1:10:5\nsizes: 10:50:5\nimg_size: null\ntrain: 100\nloo: no\n")
    (by_file,) = load_experiment(str(file), {}).runs
    words = {
        "ridges": "1:10:5",
        "sizes": "10:50:5",
        "img_size": "null",
        "train": "100",
        "loo": "no",
    }
    assert (by_file,) == load_experiment(None, words).runs
    assert (by_file.ridges[0], by_file.ridges[-1], by_file.img_size, by_file.loo) == (
        1,
        10,
        None,
        False,
    )


def test_a_value_listed_twice_counts_once():
    (run,) = load_experiment(None, {"ridges": "0,0,1", "sizes": "100,100,50"}).runs
    assert (run.ridges, run.sizes) == ((0, 1), (100, 50))


def test_an_intercept_needs_two_samples():
    with pytest.raises(UsageError, match="targets=intercept needs sizes ≥ 2, got 1"):
        Config(targets="intercept", sizes=(1, 5))


def test_the_kernel_settles_what_depends_on_it():
    features, entk = Config(), Config(kernel="entk")
    assert (features.gram_dtype, entk.gram_dtype, entk.solve_from) == ("float64", "float32", "gram")
    assert features.run_name == Config(head_seed=1).run_name  # there is no head
    assert entk.run_name != Config(kernel="entk", head_seed=1).run_name
    assert entk.run_name.startswith("resnet50-pretrained-entk-cifar100-")
    assert entk.stage_hash("extract") == features.stage_hash("extract")
    with pytest.raises(
        UsageError,
        match=r"solve_from=features is for kernel=features, got kernel=entk.*projection=4096",
    ):
        Config(kernel="entk", solve_from="features")
    runs = load_experiment(None, {"kernel": "features,entk", "init": "random,pretrained"}).runs
    assert [(run.init, run.kernel) for run in runs] == [
        (init, kernel) for init in ("random", "pretrained") for kernel in ("features", "entk")
    ]


def test_an_option_that_is_off_leaves_every_hash_alone():
    plain = Config(kernel="entk")
    assert not {"heads", "projection"} & set(plain.stage_fields("risk"))
    heads = Config(kernel="entk", heads=4)
    assert heads.stage_fields("gram")["heads"] == 4
    assert heads.stage_hash("extract") == plain.stage_hash("extract")
    assert heads.stage_hash("gram") != plain.stage_hash("gram")
    assert "-entk4heads-" in heads.run_name
    assert Config(heads=4, projection=None) == Config()  # the features have no head


def test_the_options_of_the_paper_leave_other_hashes_alone():
    plain = Config()
    assert not {"shuffle", "transform"} & set(plain.stage_fields("risk"))
    for changed in (Config(shuffle=False), Config(transform="svhn")):
        assert changed.stage_hash("extract") != plain.stage_hash("extract")
    own, stream = Config(kernel="entk"), Config(kernel="entk", head_seed=None)
    assert own.stage_hash("gram") != stream.stage_hash("gram")
    assert own.stage_hash("extract") == stream.stage_hash("extract")
    (run,) = load_experiment(None, {"head_seed": "none", "kernel": "entk", "shuffle": "no"}).runs
    assert (run.head_seed, run.shuffle) == (None, False)
    assert Config(head_seed=None) == plain  # the features have no head
    with pytest.raises(UsageError, match="stratify draws the subsets, got shuffle=false"):
        Config(stratify=True, shuffle=False)
    with pytest.raises(UsageError, match=r"expected head_seed ≥ 0, got none with heads=3\."):
        Config(kernel="entk", heads=3, head_seed=None)


def test_a_sketch_is_made_where_features_are_and_solved_from_as_they_are():
    sketch, plain = Config(kernel="entk", projection=4096), Config(kernel="entk")
    assert (sketch.solve_from, sketch.gram_dtype) == ("features", "float64")
    assert (solves_gram(sketch, 4096), solves_gram(plain, 4096)) == (False, True)
    assert "-entksketch4096-" in sketch.run_name
    assert {"kernel", "head_seed", "projection"} <= set(sketch.stage_fields("extract"))
    assert sketch.stage_hash("extract") != Config(
        kernel="entk", projection=4096, head_seed=1
    ).stage_hash("extract")
    assert Config(projection=4096) == Config()
    assert solves_gram(Config(kernel="entk", projection=64, solve_from="gram"), 64)
    with pytest.raises(
        UsageError, match="projection sketches the gradients of one head, got heads=2"
    ):
        Config(kernel="entk", projection=4096, heads=2)


def test_further_documents_of_a_file_are_laid_over_the_first(tmp_path):
    file = tmp_path / "several.yaml"
    file.write_text(
        "dataset: mnist5k\ntrain: 500\nmodel: [resnet18, resnet34]\n---\nmodel: resnet50\ninit:"
        " random\n---\nmodel: resnet18\n"
    )
    runs = load_experiment(str(file), {"test": "50"}).runs
    assert [(run.model, run.init) for run in runs] == [
        ("resnet18", "pretrained"),
        ("resnet34", "pretrained"),
        ("resnet50", "random"),
    ]  # the last document repeats the first run
    assert {(run.dataset, run.train, run.test) for run in runs} == {("mnist5k", 500, 50)}


def test_each_document_must_be_a_mapping(tmp_path):
    file = tmp_path / "broken.yaml"
    file.write_text("train: 500\n---\n- 3\n")
    with pytest.raises(UsageError, match="must map field names to values, got list"):
        load_experiment(str(file), {})


def test_the_theories_experiment_sets_six_representations_of_two_data_sets_beside_each_other():
    runs = load_experiment("theories", {}).runs
    assert len(runs) == 12
    assert {run.dataset for run in runs} == {"cifar100", "mnist5k"}
    assert sum(run.tangent for run in runs) == 2
    assert len({run.run_name for run in runs}) == 12


def test_theory_reads_every_stage_before_it_and_names_nothing_anew():
    config = Config(solve_from="features")
    assert STAGES["theory"].reads(config) == ("extract", "spectrum", "risk")
    assert STAGES["theory"].reads(Config(kernel="entk")) == ("extract", "gram", "spectrum", "risk")
    assert "ridges" in config.stage_fields("theory")


def test_no_experiment_that_is_shipped_reads_beside_itself():
    """They hold wherever the package is installed."""
    for path in EXPERIMENTS.glob("*.yaml"):
        runs = load_experiment(path.stem, {}).runs
        assert not any(run.dataset.startswith("folder:") for run in runs)
        assert not any(Path(run.weights or "").is_absolute() for run in runs)
        assert not any(".." in (run.weights or "") for run in runs)


def test_a_default_is_parsed_as_a_value_is():
    assert Config().ridges == parse_grid("0,1e-8:1e2:21", integers=False)
    assert Config().memory == 4 * 2**30


def test_the_default_is_all_there_is_up_to_a_cap(tmp_path):
    assert (Config().train, Config().test) == (10_000, 2_000)
    digits = Config(dataset="mnist5k")
    assert (digits.train, digits.test, digits.sizes[-1]) == (4_000, 1_000, 4_000)
    assert digits.run_name == Config(dataset="mnist5k", train=4_000, test=1_000).run_name
    flowers = Config(dataset="flowers102", test=500)
    assert (flowers.train, flowers.test) == (2_040, 500)
    assert Config(dataset=f"folder:{tmp_path}/nowhere").train == 10_000
    for name in ("ant", "bee"):
        (tmp_path / name).mkdir()
        for number in range(10):
            (tmp_path / name / f"{number}.png").touch()
    pets = Config(dataset=f"folder:{tmp_path}")
    assert (pets.train, pets.test) == (16, 4)
    half = Config(dataset=f"folder:{tmp_path}", split=0.5)
    assert (half.train, half.test) == (10, 10)
    (run,) = load_experiment(None, {"dataset": f"folder:{tmp_path}", "TRAIN": "auto"}).runs
    assert run == pets


@pytest.mark.parametrize("value", ["0", "1", "1.5", "half", "nan", True])
def test_a_share_lies_between_0_and_1(value):
    with pytest.raises(UsageError, match=r"split: expected a share between 0 and 1, got"):
        load_experiment(None, {"split": value})


def test_weights_of_random_networks_alone_are_named_as_unused():
    with pytest.warns(RmtgenWarning, match="weights is not used: no run has init=pretrained"):
        load_experiment(None, {"weights": "a.pt", "init": "random,calibrated"})
    load_experiment(None, {"weights": "a.pt", "init": "pretrained,random"})
