"""`rmtgen rank` and `rmtgen run` on tables of several labels, and of regression targets."""

import json
import shutil

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from rmtgen.cli.main import main
from rmtgen.ranking.table import BY_OUTPUT
from rmtgen.report.ranking_words import area
from rmtgen.runs.columns import SIDECAR_SUFFIX
from rmtgen.runs.config import Config
from rmtgen.runs.run import load_run
from rmtgen.runs.stored import stored_probe

AREA = ("auc", "auc_low", "auc_high")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """80 squares of some hue and size, with a table of both and of labels."""
    folder, rng = tmp_path_factory.mktemp("squares"), np.random.default_rng(0)
    lines = ["path,age,weight,tags,never,red"]
    for number in range(80):
        hue, size = rng.random(), int(rng.integers(4, 28))
        pixels = rng.integers(0, 25, (32, 32, 3)).astype(np.uint8)
        pixels[:size, :size] += np.array([220 * hue, 220 * (1 - hue), 60]).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        tags = ";".join(["red"] * (hue > 0.5) + ["large"] * (size > 16))
        lines.append(f"{number}.png,{20 + 30 * hue:.1f},{1000 * size},{tags},0,{hue > 0.5:d}")
    (folder / "set.csv").write_text("\n".join(lines))
    return folder / "set.csv"


def words_of(table, output, *more):
    models = ["model=test_resnet,test_byobnet", "init=random", "img_size=32"]
    return [f"dataset=csv:{table}", *models, f"output={output}", *more]


def ranked(output, name="ranking.csv"):
    (path,) = output.glob(f"reports/*/{name}")
    return pd.read_csv(path)


def test_values_are_ranked_by_what_is_explained_and_page_and_tables_say_so(table, tmp_path, capsys):
    words = words_of(table, tmp_path, "task=values", "columns=age,weight")
    assert main(["rank", *words]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    frame = ranked(tmp_path)
    first = frame.iloc[0]
    good = f"R² {first['r2']:.3f} [{first['r2_low']:.3f}, {first['r2_high']:.3f}]"
    assert f"{first['representation']} is first: {good} of a linear probe on new images" in shown
    assert "accura" not in shown and "AUC" not in shown
    assert frame["accuracy"].isna().all() and frame["r2_with_more"].notna().all()
    apart = ranked(tmp_path, "outputs.csv")
    assert list(apart) == list(BY_OUTPUT)
    assert apart["output"].tolist() == ["age", "age", "weight", "weight"]
    own = apart[apart["representation"] == first["representation"]]
    assert own["r2"].mean() == pytest.approx(first["r2"])
    (page,) = tmp_path.glob("reports/*/ranking.html")
    text = page.read_text()
    assert "(2 targets)" in text and "Each target" in text and "R² on new images" in text
    assert "accura" not in text.partition("<script")[0]
    schema = json.loads(page.with_name(f"outputs.csv{SIDECAR_SUFFIX}").read_text())["tableSchema"]
    assert schema["primaryKey"] == ["output", "representation"]
    run = next(map(load_run, tmp_path.glob("runs/*")))
    assert run.classes == ("age", "weight") and run.labels.train.shape == (80, 2)
    assert run.score.explained.r2 == pytest.approx(
        frame.set_index("run_name")["r2"][run.name], rel=1e-12
    )
    assert run.targets.train.std(axis=0) == pytest.approx(1)
    assert main(["rank", *words, "by=risk"]) == 0
    assert capsys.readouterr().out.count("cached") == 7
    assert main(["rank", *words, "by=accuracy"]) == 2
    assert "by=accuracy is for classes: got values" in capsys.readouterr().err
    assert main(["verify", f"output={tmp_path}"]) == 0


def test_labels_are_ranked_with_the_auc_of_each(table, tmp_path, capsys):
    words = words_of(table, tmp_path, "task=labels", "columns=tags", "model=test_resnet")
    assert main(["rank", *words]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    row, apart = ranked(tmp_path).iloc[0], ranked(tmp_path, "outputs.csv")
    good = f"{row['auc']:.3f} [{row['auc_low']:.3f}, {row['auc_high']:.3f}]"
    assert f", mean AUC {good}, of a linear probe" in shown and "accura" not in shown
    assert shown.count(good) == 2 and row["auc_low"] < row["auc"] < row["auc_high"]
    for _, one in apart.iterrows():
        assert f"{one['auc']:.3f} [{one['auc_low']:.3f}, {one['auc_high']:.3f}]" in shown
    (page,) = tmp_path.glob("reports/*/ranking.html")
    assert good in page.read_text()
    assert apart["output"].tolist() == ["large", "red"]
    assert apart["auc"].mean() == pytest.approx(row["auc"])
    assert "labels as test_resnet explains them" in shown
    (run,) = map(load_run, tmp_path.glob("runs/*"))
    stored = run.score.explained.area
    assert (stored.value, stored.low, stored.high) == pytest.approx(tuple(row[list(AREA)]))
    assert (stored.moves.shape, stored.changes.shape) == ((80,), (80, 80))
    shutil.copy(run.path / "score.h5", tmp_path)
    with h5py.File(tmp_path / "score.h5", "r+") as file:
        del file["area/changes"]
        file["area/changes"] = np.zeros((80, 79))
        with pytest.raises(ValueError, match="must hold area: moves, and changes, a square matrix"):
            stored_probe(file)
    assert run.labels.train.dtype == bool
    assert apart["share"].tolist() == pytest.approx(run.labels.train.mean(axis=0).tolist())


def test_a_label_of_one_image_has_an_auc_without_an_interval():
    row = dict(zip(AREA, (0.75, np.nan, np.nan), strict=True))
    assert area(row) == "0.750" and area(row | {"auc": np.nan}) == "–"
    assert area(dict(zip(AREA, (0.75, 0.6, 0.9), strict=True))) == "0.750 [0.600, 0.900]"


def test_a_label_of_no_image_is_named(table, tmp_path, capsys):
    words = words_of(table, tmp_path, "task=labels", "columns=never,red", "model=test_resnet")
    assert main(["rank", *words]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "1 of 2 labels are in no image or in all (never): nothing is learnt of them" in shown
    assert ranked(tmp_path, "outputs.csv")["auc"].isna().tolist() == [True, False]
    assert ranked(tmp_path)["auc"].notna().all()


@pytest.mark.parametrize("given", [("task=values", "columns=age"), ("task=labels", "columns=tags")])
def test_a_run_goes_through_to_its_report_without_0_1_errors(table, tmp_path, given, capsys):
    sizes = ("model=test_resnet", "sizes=20,60", "trials=1", "ridges=1e-4:1:4")
    assert main(["run", *words_of(table, tmp_path, *given, *sizes)]) == 0
    shown = capsys.readouterr().out
    (run,) = map(load_run, tmp_path.glob("runs/*"))
    assert (len(run.labels.train), len(run.labels.test)) == (64, 16)
    errors = ["train_error", "loo_error", "test_error"]
    assert run.risk[errors].isna().all(axis=None) and run.risk["test_risk"].notna().all()
    assert "risk" in shown and "accuracy" not in shown
    assert list(tmp_path.glob("reports/*/report.html"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["dataset=mnist5k", "task=values"],
            "task=values: the images of mnist5k have a class each",
        ),
        (["dataset=mnist5k", "columns=a"], "columns=a: the images of mnist5k have a class each"),
        (["columns=age,weight"], "a class is in one column, got columns=age,weight"),
        (["task=values", "columns=age", "targets=onehot"], "targets=onehot is a coding of classes"),
        (["task=values", "columns=age", "stratify=true"], "stratify balances classes, got task=va"),
        (["task=value"], "expected one of classes, labels, values, got 'value'. Did you mean"),
        (["task=values", "columns=age,,"], "expected different names, none of them empty"),
        (["task=values", "columns=ago"], "it has no ago, but 6 columns"),
        (["task=values", "columns=never"], "must vary: 1 of 1 of"),
        (["task=values", "columns=tags"], "(no label)"),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(table, tmp_path, words, message, capsys):
    assert main(["rank", *words_of(table, tmp_path), *words]) in (2, 3)
    said = " ".join(capsys.readouterr().err.split())
    assert message in said and "Traceback" not in said


def test_fields_of_labels_change_no_hash_of_a_run_of_classes(table):
    plain = Config(dataset=f"csv:{table}", train=9, test=0)
    assert not {"task", "columns", "separator"} & plain.stage_fields("extract").keys()
    values = Config(dataset=f"csv:{table}", train=9, test=0, task="values", columns=("age",))
    assert values.targets == "intercept" and plain.targets == "centered"
    assert values.run_name != plain.run_name
