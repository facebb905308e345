"""Rankings in which every class counts the same, end to end: numbers, words, cache and refusals."""

import json

import h5py
import numpy as np
import pandas as pd
import pytest

import rmtgen
from rmtgen import load_run
from rmtgen.cli.main import main
from rmtgen.runs.config import Config
from rmtgen.runs.stored import stored_probe

GIVEN = ["data=features:a.npz,features:b.npz", "output=out", "ridges=1e-4:1e1:11"]
NAMES = np.array(["ash", "birch", "cedar"])


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    """Two files of features of the same 150 images of three unequal classes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rmtgen.stages.rank.save_figures", lambda *_: [])
    rng = np.random.default_rng(3)
    labels = np.repeat(np.arange(3), (90, 45, 15))
    features = 0.8 * rng.standard_normal((3, 12))[labels] + rng.standard_normal((150, 12))
    features = features.astype(np.float32)
    written("a", features, labels)
    written("b", features[:, :4], labels)
    return {"a": features, "b": features[:, :4]}, labels


def written(name, features, labels):
    np.savez(f"{name}.npz", features=features, labels=NAMES[labels])


def rows(tmp_path, name="ranking.csv"):
    (path,) = tmp_path.glob(f"out/reports/*/{name}")
    return pd.read_csv(path)


def test_the_ranking_is_that_of_the_arrays_and_says_balanced_everywhere(files, tmp_path, capsys):
    assert main(["rank", *GIVEN, "balanced=true"]) == 0
    shown, table = " ".join(capsys.readouterr().out.split()), rows(tmp_path)
    arrays, labels = files
    order = load_run(next(tmp_path.glob("out/runs/*"))).indices.train
    grid = np.geomspace(1e-4, 1e1, 11)
    shuffled = {name: part[order] for name, part in arrays.items()}
    plain = rmtgen.rank(shuffled, labels[order], relative_ridges=grid, balanced=True)
    assert table["representation"].tolist() == plain["representation"].tolist()
    for name in plain.columns.drop("representation"):
        known = plain[name].to_numpy(float)
        assert table[name].to_numpy(float) == pytest.approx(known, rel=1e-6, nan_ok=True)
    assert table["balanced"].all()
    first = table.iloc[0]
    assert f"a is first: balanced accuracy {100 * first['accuracy']:.1f} %" in shown
    assert f"balanced LOO risk {first['loo']:.4f}" in shown
    assert "balanced accuracy, % balanced risk behind, points images/s" in shown
    assert "10 × labels" not in shown and "behind: balanced accuracy below" in shown
    assert "15 to 90 images each; every class counts the same here" in shown
    (page,) = tmp_path.glob("out/reports/*/ranking.html")
    text = " ".join(page.read_text().split())
    assert "balanced accuracy (%)" in text and "means over classes" in text
    assert "forecast for ten times" not in text
    sidecar = json.loads(next(page.parent.glob("ranking.csv-*")).read_text())
    described = {one["name"]: one["dc:description"] for one in sidecar["tableSchema"]["columns"]}
    assert "every class counts the same" in described["balanced"]


def test_the_plain_ranking_keeps_its_runs_and_shares_its_features(tmp_path, capsys):
    assert main(["rank", *GIVEN]) == 0
    assert "With balanced=true every class counts the same" in " ".join(
        capsys.readouterr().out.split()
    )
    plain = {path.name for path in tmp_path.glob("out/runs/*")}
    assert main(["rank", *GIVEN, "balanced=true"]) == 0
    assert capsys.readouterr().out.count("taken from") == 2
    assert len({path.name for path in tmp_path.glob("out/runs/*")} - plain) == 2
    for words in (GIVEN, [*GIVEN, "BALANCED=yes"], [*GIVEN, "balanced=false"]):
        assert main(["rank", *words]) == 0
        shown = capsys.readouterr().out
        assert "computed" not in shown and shown.count("cached") == 5


def test_a_wish_that_is_the_default_changes_no_hash():
    plain, wished = (Config(dataset="features:a.npz", balanced=one) for one in (False, True))
    assert "balanced" not in plain.stage_fields("score")
    assert wished.stage_fields("score")["balanced"] is True
    assert plain.stage_hash("extract") == wished.stage_hash("extract")
    assert plain.run_name != wished.run_name


@pytest.mark.parametrize("words", [["solve_from=gram"], ["solve_from=gram", "solver=matrix_free"]])
def test_a_gram_matrix_gives_what_its_features_do(words, tmp_path):
    assert main(["rank", *GIVEN, "balanced=true", "solve_from=features"]) == 0
    known = rows(tmp_path)
    given = [word.replace("output=out", "output=other") for word in GIVEN]
    assert main(["rank", *given, "balanced=true", *words]) == 0
    (path,) = tmp_path.glob("other/reports/*/ranking.csv")
    found = pd.read_csv(path)
    for name in ("loo", "loo_low", "accuracy", "accuracy_high", "behind", "behind_low"):
        assert found[name].to_numpy() == pytest.approx(known[name].to_numpy(), rel=1e-6)


def test_pairs_say_that_they_are_balanced(tmp_path, capsys):
    assert main(["compare-features", *GIVEN, "balanced=true"]) == 0
    shown, table = " ".join(capsys.readouterr().out.split()), rows(tmp_path, "pairs.csv")
    assert table["balanced"].all()
    assert f"is best alone: balanced risk {table['loo_first'].iloc[0]:.4f}" in shown
    assert "balanced risk, 95 % balanced accuracy, %" in shown and "balanced risk of both" in shown
    assert "every class counts the same, in all risks" in shown
    names = sorted(path.name for path in tmp_path.glob("out/runs/*"))
    assert main(["compare-features", "output=out", "--runs", *names]) == 0
    assert "balanced risk" in capsys.readouterr().out
    assert main(["rank", *GIVEN]) == 0
    other = next(path.name for path in tmp_path.glob("out/runs/*") if path.name not in names)
    assert main(["compare-features", "output=out", "--runs", names[0], other]) == 2
    error = capsys.readouterr().err
    assert f"got balanced=true of {names[0]} and not of {other}" in error


@pytest.mark.parametrize(
    ("command", "words", "message"),
    [
        ("rank", ["targets=intercept"], "a coding without an intercept: got intercept"),
        ("rank", ["budget=10s"], "balanced=true has no forecast"),
        ("compare-features", ["targets=intercept"], "without an intercept: got intercept"),
        ("run", ["test=30", "--stage", "risk"], "got it for stage spectrum"),
        ("rank", ["balanced=perhaps"], "perhaps"),
    ],
)
def test_what_cannot_be_balanced_is_refused(command, words, message, capsys):
    given = ["dataset=features:a.npz,features:b.npz", *GIVEN[1:]]
    balanced = [] if "balanced=perhaps" in words else ["balanced=true"]
    assert main([command, *given, *balanced, *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("option", [[], ["--plan"], ["--budget", "1m"]])
def test_balanced_and_plain_are_not_ranked_together(option, tmp_path, capsys):
    (tmp_path / "two.yaml").write_text("dataset: mnist5k\n---\nbalanced: true\n")
    assert main(["rank", "--config", str(tmp_path / "two.yaml"), *option]) == 2
    said = capsys.readouterr().err
    assert "a ranking is of one balanced: got balanced=false and balanced=true. Rank each" in said


@pytest.mark.parametrize("task", ["labels", "values"])
def test_tables_of_labels_and_values_are_refused(task, tmp_path, capsys):
    listed = "".join(f"{place}.png,{place % 2}\n" for place in range(8))
    (tmp_path / "table.csv").write_text(f"path,label\n{listed}")
    given = ["data=csv:table.csv", f"task={task}", "models=test_resnet", "train=6"]
    assert main(["rank", *given, "balanced=true"]) == 2
    assert f"got {task}, which are no classes" in capsys.readouterr().err


def test_a_class_of_one_image_is_named(files, capsys):
    arrays, labels = files
    for name, features in arrays.items():
        written(name, features[:136], labels[:136])
    assert main(["rank", *GIVEN, "balanced=true"]) == 2
    assert "got 1 of class cedar, among 136 images" in capsys.readouterr().err


def test_stored_classes_are_checked(tmp_path):
    assert main(["rank", *GIVEN, "balanced=true"]) == 0
    folder = next(tmp_path.glob("out/runs/*"))
    probe = load_run(folder).score
    assert np.bincount(probe.classes).tolist() == [90, 45, 15] and probe.balanced
    for wrong in (np.zeros(3, int), np.full(150, -1), np.zeros(150)):
        with h5py.File(folder / "score.h5", "r+") as file:
            del file["classes"]
            file["classes"] = wrong
            with pytest.raises(ValueError, match="classes, whole numbers from 0, one an image"):
                stored_probe(file)


def test_a_balanced_probe_is_not_exported(image_folder, tmp_path, capsys):
    given = [f"data=folder:{image_folder}", "models=test_resnet", "init=random", "img_size=32"]
    given += ["train=60", "output=pictures", "ridges=1e-4:1e1:11", "balanced=true"]
    assert main(["rank", *given]) == 0
    (run,) = (tmp_path / "pictures" / "runs").iterdir()
    capsys.readouterr()
    assert main(["export", run.name, "output=pictures"]) == 2
    error = capsys.readouterr().err
    assert f"got balanced=true in {run.name}" in error and "class_weight='balanced'" in error
