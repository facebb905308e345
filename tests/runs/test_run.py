"""A run read back, and its tables: each attribute against plain readers, what is read when, and
what a broken directory gets."""

import json
import pickle
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

import rmtgen
from rmtgen.errors import CorruptInputError, MissingInputError, StaleInputError, UsageError
from rmtgen.report.loading import load_result
from rmtgen.runs.columns import COLUMNS, DIMENSIONLESS, as_markdown, write_table
from rmtgen.runs.run import STAGES
from rmtgen.stages import extract, gram, risk, spectrum, theory
from rmtgen.store.gram_store import GramLayout, GramStore

MODULES = {"extract": extract, "gram": gram, "spectrum": spectrum, "risk": risk, "theory": theory}
TABLES = {"risk": "risk.csv", "curve": "curve.csv", "theory": "theory.csv"}
FROM_FEATURES = ("solve_from=features", "targets=intercept", "tile=1024", "loo=false")


def make(words, stages=STAGES):
    assert [MODULES[stage].main(words) for stage in stages] == [0] * len(stages)


@pytest.fixture(scope="module")
def output(tmp_path_factory, tiny_images):
    """Two runs, one from a Gram matrix and one from features with an intercept; tests that change
    anything copy one."""
    folder = tmp_path_factory.mktemp("made")
    words = [*tiny_images, f"output={folder}"]
    make(words)
    make([*words, *FROM_FEATURES], ("extract", "gram", "spectrum", "risk"))
    return folder


@pytest.fixture(scope="module")
def folder(output):
    return next(path.parent for path in output.glob("runs/*/gram.json"))


@pytest.fixture(scope="module")
def other(output, folder):
    return next(path for path in output.glob("runs/*") if path != folder)


@pytest.fixture
def copied(folder, tmp_path):
    return shutil.copytree(
        folder, tmp_path / "data" / "runs" / folder.name, copy_function=shutil.copy2
    )


@pytest.fixture
def run(folder):
    return rmtgen.load_run(folder)


def edit(path, **changes):
    """Replace fields of a manifest."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def of(exact):
    """The pattern of a path."""
    return re.escape(str(exact))


# ------------------------------------------------------------------------------------------
# attributes, and plain readers


def test_tables_are_what_pandas_reads(run, folder):
    pd.testing.assert_frame_equal(run.risk, pd.read_csv(folder / "risk.csv"))
    pd.testing.assert_frame_equal(run.curve, pd.read_csv(folder / "curve.csv"))
    predictions = pd.read_csv(folder / "theory.csv")
    pd.testing.assert_frame_equal(
        run.theory["predictions"][list(predictions)], predictions, rtol=1e-14
    )
    with h5py.File(folder / "theory.h5") as file:
        assert set(run.theory) == set(file) >= {"trust", "curves", "modes"}
        for name, table in run.theory.items():
            assert set(table) == set(file[name])
            for column in table.select_dtypes(["number", "bool"]):
                np.testing.assert_array_equal(table[column], file[name][column])
        messages = [text.decode() for text in file["trust/message"]]
    assert list(run.theory["trust"]["message"]) == messages
    assert run.theory["trust"]["tripped"].dtype == bool


def test_spectra_are_those_of_the_gram_matrix_at_the_samples_they_say(run, folder):
    with h5py.File(folder / "gram.h5") as file:
        matrix = file["gram"][:96]
    assert list(run.spectrum) == [(8, 0), (8, 1), (24, 0), (24, 1), (96, 0)]
    for (n, trial), solved in run.spectrum.items():
        order = np.random.default_rng([run.config["seed"], trial]).permutation(96)[:n]
        values, vectors = np.linalg.eigh(matrix[np.ix_(order, order)])
        rank = len(solved.eigenvalues)
        np.testing.assert_allclose(solved.eigenvalues, values[::-1][:rank], atol=1e-12 * values[-1])
        assert (solved.n, solved.intercept) == (n, False)
        energy = np.square(run.targets.train[order]).sum()
        assert solved.power.sum() + solved.null_energy == pytest.approx(energy, rel=1e-12)
        top = np.abs(vectors[:, -1] @ run.targets.train[order])
        np.testing.assert_allclose(np.abs(solved.coefficients[0]), top, rtol=1e-6)
        np.testing.assert_array_equal(solved.power, (solved.coefficients**2).sum(axis=1))
        assert 0 <= max(solved.residual, solved.orthogonality) < 1e-10
    assert run.spectrum.largest is run.spectrum[96, 0]


def test_the_largest_spectrum_is_of_the_first_trial(run):
    del run.spectrum[96, 0]
    assert run.spectrum.largest is run.spectrum[24, 0]


def test_features_gram_labels_and_targets_are_what_h5py_reads(run, folder):
    with h5py.File(folder / "features.h5") as features, h5py.File(folder / "gram.h5") as file:
        for split in ("train", "test"):
            np.testing.assert_array_equal(getattr(run.features, split), features[split])
            np.testing.assert_array_equal(getattr(run.labels, split), features[f"{split}_labels"])
        np.testing.assert_array_equal(run.gram.read(), file["gram"])
    assert run.classes == ("ash", "birch", "cedar")
    np.testing.assert_array_equal(run.targets.test, np.eye(3)[run.labels.test] - 1 / 3)
    details = json.loads((folder / "extract.json").read_text())["details"]
    assert (run.indices.train.tolist(), run.indices.test.tolist()) == (
        details["train_indices"],
        details["test_indices"],
    )
    assert {
        len(part)
        for part in (run.features.train, run.labels.train, run.targets.train, run.indices.train)
    } == {96}


def test_stages_and_settings_are_those_of_the_manifests(run, folder):
    manifests = {stage: json.loads((folder / f"{stage}.json").read_text()) for stage in STAGES}
    assert list(run.stages) == list(STAGES)
    for stage, manifest in manifests.items():
        found = run.stages[stage]
        assert (found.seconds, found.provenance) == (manifest["seconds"], manifest["provenance"])
        assert manifest["spec"].items() <= run.config.items()
    assert (run.config["model"], run.config["tile"], run.config["trials"]) == ("test_resnet", 32, 2)
    assert (run.name, run.path) == (folder.name, folder)


def test_a_run_solved_from_features_has_no_gram_matrix_and_lacks_none(other):
    run = rmtgen.load_run(other)
    assert run.gram is None
    assert "not done: theory)" in repr(run)
    assert run.spectrum.largest.intercept
    np.testing.assert_array_equal(run.targets.train, np.eye(3)[run.labels.train])
    centred = run.targets.train - run.targets.train.mean(axis=0)
    largest = run.spectrum.largest
    assert largest.power.sum() + largest.null_energy == pytest.approx(
        np.square(centred).sum(), rel=1e-12
    )


def test_the_report_draws_what_the_run_holds(run, folder):
    result = load_result(folder)
    largest = run.spectrum.largest
    assert (result.name, result.kernel, result.spectrum_n) == (folder.name, "features", 96)
    assert (result.config, result.null_energy) == (run.config, largest.null_energy)
    np.testing.assert_array_equal(result.eigenvalues, largest.eigenvalues / 96)
    np.testing.assert_array_equal(result.target_power, largest.power)
    pd.testing.assert_frame_equal(result.risk, run.risk)
    assert set(result.theory) == set(run.theory)
    assert (
        "train_indices" not in result.provenance["extract"]
        and result.provenance["risk"]["seconds"] > 0
    )


def test_one_line_says_what_there_is(run, folder):
    seconds = sum(manifest.seconds for manifest in run.stages.values())
    stages = "extract, gram, spectrum, risk, theory"
    assert repr(run) == f"Run('{folder}': 96 + 48 images; done in {seconds:,.0f} s: {stages})"


def test_text_and_path_name_the_same_run_wherever_one_stands(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    runs = [
        rmtgen.load_run(path)
        for path in (folder, str(folder), folder.name, f"{folder.name}/../{folder.name}/")
    ]
    monkeypatch.chdir("/")
    assert {run.path for run in runs} == {folder}
    assert len({len(run.risk) for run in runs}) == 1


def test_a_run_travels_to_another_process(run):
    assert len(run.risk) == len(pickle.loads(pickle.dumps(run)).risk)
    assert pickle.loads(pickle.dumps(run)).gram.shape == (144, 96)


def test_nothing_but_targets_needs_torch(folder):
    code = (
        "import sys, rmtgen; run = rmtgen.load_run(sys.argv[1]); repr(run); run.risk, run.theory,"
        " run.spectrum, run.features\nrun.gram.read(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)


# --------------------------------------------------------------------------------------------------
# --------- laziness


@pytest.fixture
def bare(folder, tmp_path):
    """The manifests of a run without its files."""
    (tmp_path / "bare").mkdir()
    for path in folder.glob("*.json"):
        shutil.copy2(path, tmp_path / "bare")
    return tmp_path / "bare"


def bring(folder, bare, *names):
    for name in names:
        (bare / name).parent.mkdir(exist_ok=True)
        shutil.copy2(folder / name, bare / name)


def test_each_attribute_reads_its_own_file_when_it_is_asked_for(folder, bare):
    run = rmtgen.load_run(bare)
    assert "theory" in repr(run) and run.indices.train.size == 96
    for attribute, name in {**TABLES, "theory": "theory.h5", "spectrum": "spectrum.h5"}.items():
        with pytest.raises(
            MissingInputError,
            match=rf"{of(bare / name)} is gone. Run `make \w+ .*makes just that again",
        ):
            getattr(run, attribute)
        bring(folder, bare, name)
        assert getattr(run, attribute) is not None


def test_what_was_read_is_kept(copied):
    run = rmtgen.load_run(copied)
    kept = {
        name: getattr(run, name)
        for name in ("risk", "curve", "theory", "spectrum", "gram", "features", "targets")
    }
    shutil.rmtree(copied)
    assert all(getattr(run, name) is value for name, value in kept.items())
    assert len(run.labels.train) == 96


def test_the_gram_matrix_is_opened_by_its_view_and_read_by_its_tiles(folder, bare):
    run = rmtgen.load_run(bare)
    with pytest.raises(MissingInputError, match="gram.h5 is gone"):
        _ = run.gram
    bring(folder, bare, "gram.h5", "gram/journal.jsonl")
    assert run.gram.shape == (144, 96)
    with pytest.raises(MissingInputError, match="tile-00000032-00000000"):
        run.gram.read(slice(40, 50), slice(0, 5))
    bring(folder, bare, "gram/tile-00000032-00000000.h5")
    with h5py.File(folder / "gram.h5") as file:
        np.testing.assert_array_equal(
            run.gram.read(slice(40, 50), slice(0, 5)), file["gram"][40:50, :5]
        )


def test_labels_need_no_features(folder, bare):
    bring(folder, bare, "features.h5", "features/journal.jsonl")
    run = rmtgen.load_run(bare)
    assert len(run.labels.test) == len(run.targets.test) == 48
    with pytest.raises(MissingInputError, match="train-000000"):
        _ = run.features


# --------------------------------------------------------------------------------------------------
# half-finished runs


def test_a_half_finished_run_opens_and_says_how_to_go_on(copied):
    for name in ("theory.json", "theory.csv", "theory.h5", "theory.csv-metadata.json"):
        (copied / name).unlink()
    run = rmtgen.load_run(copied)
    assert list(run.stages) == [
        "extract",
        "gram",
        "spectrum",
        "risk",
    ] and "; not done: theory)" in repr(run)
    assert len(run.risk) == 30
    with pytest.raises(
        MissingInputError, match=rf"stage theory is not done .* no {of(copied)}/theory.json"
    ) as refused:
        _ = run.theory
    command = re.search("Run `make theory (.*)`\\.$", str(refused.value))[1]
    assert "OUTPUT=" in command and "RIDGES=0.0," in command and "LOO" not in command
    make(shlex.split(command), ("theory",))  # as the Makefile does
    assert len(rmtgen.load_run(copied).theory["predictions"]) == 30


def test_settings_that_no_finished_stage_knows_are_asked_for(copied):
    for stage in STAGES[1:]:
        (copied / f"{stage}.json").unlink()
    run = rmtgen.load_run(copied)
    assert run.features.train.shape[0] == 96
    unknown = "kernel, head_seed, solve_from, gram_dtype, tile, targets, sizes, trials, ridges, loo"
    for attribute, stage in {
        "risk": "risk",
        "gram": "gram",
        "targets": "spectrum",
        "curve": "risk",
    }.items():
        with pytest.raises(
            MissingInputError,
            match=f"Run `make {stage} .*` with what was set of {unknown}, which is not stored",
        ):
            getattr(run, attribute)


def test_settings_that_are_the_defaults_need_not_be_stored(other):
    """No stage of this run knows of the tile, and the run's name tells that it is the default."""
    run = rmtgen.load_run(other)
    assert "tile" not in run.config
    with pytest.raises(MissingInputError, match=r"Run `make theory .* LOO=False OUTPUT=\S*`\.$"):
        _ = run.theory
    assert run.risk["loo"].isna().all() and run.risk["loo"].dtype == float


def test_one_stage_alone_can_be_handed_on(folder, tmp_path):
    for name in ("risk.json", "risk.csv", "curve.csv"):
        shutil.copy2(folder / name, tmp_path)
    run = rmtgen.load_run(tmp_path)
    assert len(run.risk) == 30 and run.config["train"] == 96
    with pytest.raises(MissingInputError, match="stage extract is not done"):
        _ = run.labels


@pytest.mark.parametrize("value", ["a b", "it's", "$HOME", "50%", "#1", "ü"])
def test_the_command_keeps_odd_settings(folder, tmp_path, value):
    run = shutil.copytree(folder, tmp_path / value / "runs" / folder.name)
    (run / "theory.json").unlink()
    with pytest.raises(MissingInputError) as refused:
        _ = rmtgen.load_run(run).theory
    words = shlex.split(re.search("`(make theory .*)`", str(refused.value))[1])
    assert f"OUTPUT={tmp_path / value}".replace("$", "$$") in words


def test_runs_made_before_there_were_sidecars_and_curves_still_open(copied):
    (copied / "theory.json").unlink()
    for path in (copied / "curve.csv", *copied.glob("*-metadata.json")):
        path.unlink()
    outputs = json.loads((copied / "risk.json").read_text())["outputs"]
    edit(copied / "risk.json", outputs={"risk.csv": outputs["risk.csv"]})
    run = rmtgen.load_run(copied)
    assert len(run.risk) == 30 and run.curve is None
    result = load_result(copied)
    assert result.curve is None and result.theory is None


# -------------------------------------------------------------------------------------------------
# broken directories


def test_what_is_no_run_is_refused(folder, output, tmp_path):
    with pytest.raises(
        MissingInputError,
        match=rf"no run at .*: no such directory. Did you mean .*{of(folder.name)}",
    ):
        rmtgen.load_run(str(folder)[:-1])
    with pytest.raises(MissingInputError, match="no such directory. Runs are made by `make all`"):
        rmtgen.load_run(tmp_path / "nonesuch")
    with pytest.raises(
        MissingInputError,
        match="expected extract.json, gram.json.*, or one of them. Runs are made by",
    ):
        rmtgen.load_run(tmp_path)
    with pytest.raises(
        MissingInputError, match=rf"There are runs in it. Known: .*{of(folder.name)}"
    ):
        rmtgen.load_run(output / "runs")
    with pytest.raises(MissingInputError, match="risk.csv: no such directory"):
        rmtgen.load_run(folder / "risk.csv")
    for wrong, reason in (("null\0byte", "null"), ("long" * 2000, "too long")):
        with pytest.raises(
            UsageError, match=f"path must be that of a run's directory: got .*{reason}"
        ):
            rmtgen.load_run(wrong)


@pytest.mark.parametrize(
    "name", ["rün ‘1’", "a b", "$x", "#%b%20", "line\nbreak", "{brace}", "q\"'", "-t000", "*?["]
)
def test_any_name_will_do(folder, tmp_path, name):
    shutil.copytree(folder, tmp_path / name)
    run = rmtgen.load_run(tmp_path / name)
    assert run.name == name and "\n" not in repr(run)
    assert len(run.risk) == 30 and run.features.test.shape[0] == 48
    with h5py.File(run.path / "gram.h5") as file:
        np.testing.assert_array_equal(run.gram.read(), file["gram"])
    (run.path / "theory.json").unlink()
    with pytest.raises(MissingInputError, match="Run `make theory"):
        _ = rmtgen.load_run(run.path).theory


def test_another_version_is_refused(copied):
    edit(copied / "gram.json", format=2)
    with pytest.raises(
        StaleInputError, match="gram.json has manifest format 2; this version reads 1"
    ):
        rmtgen.load_run(copied)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda path: path.write_text(path.read_text()[:-20]),
        lambda path: path.write_text("[]"),
        lambda path: path.write_bytes(b"\xff\x00"),
        lambda path: path.write_text(""),
        lambda path: path.write_text('{"format": 1}'),
        lambda path: edit(path, outputs=7),
        lambda path: edit(path, spec="text"),
        lambda path: edit(path, spec={}),
        lambda path: edit(path, seconds="long"),
        lambda path: edit(path, details=[]),
        lambda path: edit(path, spec={**json.loads(path.read_text())["spec"], "trials": 3}),
        lambda path: edit(
            path, spec={**json.loads(path.read_text())["spec"], "trials": float("nan")}
        ),
        lambda path: shutil.copy(path.parent / "spectrum.json", path),
    ],
)
def test_a_corrupt_manifest_is_refused_by_name(copied, break_it):
    break_it(copied / "risk.json")
    with pytest.raises(CorruptInputError, match=rf"{of(copied)}/risk.json is not"):
        rmtgen.load_run(copied)


def test_stages_of_two_runs_in_one_directory_are_refused(copied, other):
    shutil.copy(other / "risk.json", copied)
    with pytest.raises(
        StaleInputError,
        match="must agree on solve_from, targets: got 'auto', and .*/risk.json 'features'",
    ):
        rmtgen.load_run(copied)


FILES = {
    "risk": "risk.csv",
    "curve": "curve.csv",
    "theory": "theory.h5",
    "spectrum": "spectrum.h5",
    "gram": "gram/journal.jsonl",
    "labels": "features.h5",
    "classes": "features/journal.jsonl",
}


@pytest.mark.parametrize("attribute", FILES)
def test_a_changed_file_is_refused_by_name_and_the_rest_still_read(copied, attribute):
    victim = copied / FILES[attribute]
    flip(victim)
    run = rmtgen.load_run(copied)
    with pytest.raises(
        CorruptInputError,
        match=rf"{of(victim)} is not what stage \w+ wrote: .*BLAKE2b.*Delete it and run `make",
    ):
        getattr(run, attribute)
    for rest in FILES.keys() - {attribute, "labels", "classes"}:
        assert getattr(run, rest) is not None


@pytest.mark.parametrize("attribute", FILES)
def test_a_missing_file_is_refused_by_name(copied, attribute):
    (copied / FILES[attribute]).unlink()
    with pytest.raises(
        MissingInputError, match=rf"{of(copied / FILES[attribute])} is gone. Run `make"
    ):
        getattr(rmtgen.load_run(copied), attribute)


@pytest.mark.parametrize(
    ("attribute", "shard"),
    [("gram", "gram/tile-00000000-00000000.h5"), ("features", "features/test-000001.h5")],
)
def test_a_changed_shard_is_refused_by_name(copied, attribute, shard):
    flip(copied / shard)
    with pytest.raises(CorruptInputError, match=f"{Path(shard).name} is damaged"):
        _ = (
            rmtgen.load_run(copied).gram.read()
            if attribute == "gram"
            else rmtgen.load_run(copied).features
        )


def test_a_file_that_its_manifest_does_not_list_is_refused(copied):
    edit(copied / "spectrum.json", outputs={})
    with pytest.raises(
        CorruptInputError, match="spectrum.json must list spectrum.h5 among its outputs"
    ):
        _ = rmtgen.load_run(copied).spectrum


def test_results_made_from_others_than_those_there_are_refused(copied):
    """As where the spectrum was made again, to other bytes: theory read the old one, risk none."""
    record = json.loads((copied / "spectrum.json").read_text())["outputs"]["spectrum.h5"]
    edit(copied / "spectrum.json", outputs={"spectrum.h5": {**record, "blake2b": "0" * 32}})
    run = rmtgen.load_run(copied)
    assert len(run.risk) == 30
    with pytest.raises(
        StaleInputError,
        match="theory.json was made from other results of spectrum than those there now",
    ):
        _ = run.theory


# ------------------------------------------------------------------------------------------------
# tables and their units


def sidecars(folder):
    return {
        path.name: json.loads((folder / f"{path.name}-metadata.json").read_text())
        for path in folder.glob("*.csv")
    }


def test_every_column_of_every_csv_is_described_and_nothing_else_is(folder):
    found = sidecars(folder)
    assert set(found) == {"risk.csv", "curve.csv", "theory.csv"}
    seen = set()
    for name, metadata in found.items():
        table, columns = pd.read_csv(folder / name), metadata["tableSchema"]["columns"]
        assert (
            metadata["@context"][0] == "http://www.w3.org/ns/csvw"
            and metadata["url"] == name
            and metadata["dc:title"]
        )
        assert (
            [column["name"] for column in columns]
            == [column["titles"] for column in columns]
            == list(table)
        )
        types = {"integer": np.dtype("int64"), "double": np.dtype("float64")}
        assert [types[column["datatype"]] for column in columns] == list(table.dtypes)
        for column in columns:
            described = COLUMNS[column["name"]]
            assert (column["dc:description"], column.get("schema:unitText")) == (
                described.text,
                described.unit,
            )
        assert not table.duplicated(metadata["tableSchema"]["primaryKey"]).any()
        seen |= set(table)
    scores = {
        f"{name}{end}"
        for name in ("kendall", "log_error", "shape_error")
        for end in ("", "_low", "_high")
    }
    assert set(COLUMNS) - seen == scores | {
        "dataset",
        "theory",
        "runs",
        "fits",
        "skipped",
    }  # of the report's theories.csv


def test_keys_and_units_are_said(folder):
    found = sidecars(folder)
    keys = {name: metadata["tableSchema"]["primaryKey"] for name, metadata in found.items()}
    fits = ["n", "trial", "relative_ridge"]
    assert keys == {"risk.csv": fits, "curve.csv": ["n", "relative_sum_ridge"], "theory.csv": fits}
    units = {
        column["name"]: column.get("schema:unitText")
        for column in found["risk.csv"]["tableSchema"]["columns"]
    }
    assert units["relative_ridge"] == units["df"] == units["test_error"] == DIMENSIONLESS
    assert units["n"] == "samples" and units["trial"] is None
    assert units["ridge"] == units["kappa"] == "unit of the kernel"
    assert (
        units["gcv"] == units["test_risk"] == units["test_risk_se"] == "squared unit of the targets"
    )


def test_units_follow_a_change_of_scale(tmp_path, tiny_images):
    """Features twice as large: what has the unit of the kernel is four times as large, what has
    another power of it moves with that."""
    features = np.random.default_rng(0).standard_normal((40, 60))
    labels = np.random.default_rng(1).standard_normal((40, 2))
    scale, target = 4.0, 9.0
    plain = rmtgen.ridge_path_features(
        features, labels, ridges=[0.1], test_features=features[:9], test_targets=labels[:9]
    )
    scaled = rmtgen.ridge_path_features(
        2 * features,
        3 * labels,
        ridges=[0.1 * scale],
        test_features=2 * features[:9],
        test_targets=3 * labels[:9],
    )
    factors = {
        "unit of the kernel": scale,
        "squared unit of the targets": target,
        "squared unit of the targets / unit of the kernel": target / scale,
    }
    for name in plain.columns.drop(["train_error", "loo_error", "test_error"]):
        assert scaled[name][0] == pytest.approx(
            factors.get(COLUMNS[name].unit, 1.0) * plain[name][0], rel=1e-9
        ), name


def test_sidecars_are_outputs_of_their_stage(folder):
    for stage, names in {"risk": ("risk.csv", "curve.csv"), "theory": ("theory.csv",)}.items():
        outputs = json.loads((folder / f"{stage}.json").read_text())["outputs"]
        assert {f"{name}-metadata.json" for name in names} <= set(outputs)


def test_a_changed_sidecar_is_refused_and_a_missing_one_made_again(copied, tiny_images, capsys):
    words = [*tiny_images, f"output={copied.parent.parent}"]
    sidecar = copied / "risk.csv-metadata.json"
    content = sidecar.read_bytes()
    flip(sidecar)
    assert risk.main(words) == 3
    assert f"{sidecar.name} is not what stage risk wrote" in capsys.readouterr().err
    sidecar.unlink()
    assert risk.main(words) == 0
    assert sidecar.read_bytes() == content


def test_missing_and_infinite_numbers_come_back_as_they_were(tmp_path):
    numbers = {
        "gcv": [0.1, np.nan],
        "loo": [np.nan, np.nan],
        "df": [3.0, 4.0],
        "arora": [np.inf, 1e-300],
        "ridge": [2.0, -np.inf],
    }
    table, path = pd.DataFrame({"n": [3, 4], **numbers}), tmp_path / "some.csv"
    assert write_table(path, table, "a row") == [path, tmp_path / "some.csv-metadata.json"]
    pd.testing.assert_frame_equal(pd.read_csv(path), table)
    assert (
        path.read_text() == "n,gcv,loo,df,arora,ridge\n3,0.1,,3.0,INF,2.0\n4,,,4.0,1e-300,-INF\n"
    )  # as the standard writes them


def test_a_column_without_a_description_is_refused_and_nothing_written(tmp_path):
    with pytest.raises(UsageError, match="every column of some.csv must be described: got secret"):
        write_table(tmp_path / "some.csv", pd.DataFrame({"n": [1], "secret": [2]}), "a row")
    assert not list(tmp_path.iterdir())


def test_the_descriptions_print_as_one_table():
    lines = as_markdown().split("\n")
    assert len(lines) == len(COLUMNS) + 2 and {line.count("|") for line in lines} == {4}
    assert "| `kappa_prime` | dimensionless | derivative of κ in λ |" in lines
    printed = subprocess.run(
        [sys.executable, "-m", "rmtgen.runs.columns"], capture_output=True, text=True, check=True
    )
    assert printed.stdout == as_markdown() + "\n"


def test_the_gram_file_says_what_it_holds_to_any_reader(folder, tmp_path):
    with h5py.File(folder / "gram.h5") as file:
        said = dict(file["gram"].attrs)
        assert file["gram"].shape == (144, 96)
    assert set(said) == {"description", "rows", "columns", "units"}
    assert (
        "96 training samples" in said["rows"]
        and "48 test samples" in said["rows"]
        and "96 training" in said["columns"]
    )
    first, again = (
        GramStore.create(tmp_path / name, GramLayout(7, 3)).folder / "gram.h5" for name in "ab"
    )
    assert first.read_bytes() == again.read_bytes()
