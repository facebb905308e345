"""The tables of a run and their descriptions: columns, keys and units."""

import json
import subprocess
import sys

import h5py
import numpy as np
import pandas as pd
import pytest
from damage import flip

import rmtgen
from rmtgen.cli.main import main
from rmtgen.errors import UsageError
from rmtgen.exports.predictions import COLUMNS as PREDICTED
from rmtgen.ranking.table import BY_OUTPUT
from rmtgen.ranking.table import COLUMNS as RANKING_COLUMNS
from rmtgen.ranking.together import COLUMNS as PAIR_COLUMNS
from rmtgen.report.dropped import COLUMNS as DROPPED_COLUMNS
from rmtgen.report.head_spread import head_spread
from rmtgen.report.ranked_set import COSTS
from rmtgen.report.theory_scores import flat_scores
from rmtgen.ridge.columns import ERROR_COLUMNS
from rmtgen.runs.columns import COLUMNS, DIMENSIONLESS, as_markdown, write_table
from rmtgen.store.gram_store import GramLayout, GramStore
from rmtgen.theory.scores import FIGURES


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
    scores = {f"{name}{end}" for name in FIGURES for end in ("", "_low", "_high")}
    heads = set(flat_scores(head_spread([])))
    assert heads - set(COLUMNS) == set()
    ranked = {*RANKING_COLUMNS, *BY_OUTPUT, *COSTS, *PAIR_COLUMNS, "pareto", "run_name"}
    ranked |= {*DROPPED_COLUMNS}
    assert ranked - set(COLUMNS) == set()
    predicted = set(PREDICTED)
    assert predicted - set(COLUMNS) == set()
    assert set(COLUMNS) - seen - set(ERROR_COLUMNS) - heads - ranked - predicted == scores | {
        *("dataset", "theory", "fit", "estimator", "runs"),
        *("worst_error", "within", "fits", "skipped"),
    }  # of the report's theories.csv and beyond.csv; heads are its heads.csv; estimates have errors


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


def test_a_changed_sidecar_is_refused_and_a_missing_one_made_again(copy, tiny_images, capsys):
    words = [*tiny_images, f"output={copy.parent.parent}"]
    sidecar = copy / "risk.csv-metadata.json"
    content = sidecar.read_bytes()
    flip(sidecar)
    assert main(["risk", *words]) == 3
    assert f"{sidecar.name} is not what was written" in capsys.readouterr().err
    sidecar.unlink()
    assert main(["risk", *words]) == 0
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
