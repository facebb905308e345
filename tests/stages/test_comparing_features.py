"""`rmtgen compare-features` on files and runs: numbers, cache, interrupts, and what is refused."""

import json

import numpy as np
import pandas as pd
import pytest

import rmtgen
from rmtgen import load_run
from rmtgen.cli.main import main
from rmtgen.ranking.together import COLUMNS
from rmtgen.runs.columns import SIDECAR_SUFFIX

GRID = ["ridges=1e-4:1e1:11", "output=out"]


@pytest.fixture
def words(tmp_path, monkeypatch):
    """Three files of features of the same 80 images; all of c is in a."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, 80)
    features = np.eye(3)[labels] @ rng.standard_normal((3, 9)) + rng.standard_normal((80, 9))
    parts = {"a": features[:, :6], "b": features[:, 6:], "c": features[:, :2]}
    for name, part in parts.items():
        np.savez(f"{name}.npz", features=part.astype(np.float32), labels=labels)
    return ["compare-features", "data=features:a.npz,features:b.npz,features:c.npz", *GRID]


def compared(tmp_path):
    (path,) = tmp_path.glob("out/reports/pairs-*/pairs.csv")
    return pd.read_csv(path)


def test_the_numbers_are_those_of_the_arrays(words, tmp_path, capsys):
    assert main(words) == 0
    shown, table = " ".join(capsys.readouterr().out.split()), compared(tmp_path)
    runs = {
        run.config["dataset"][9:10]: run
        for run in map(load_run, sorted(tmp_path.glob("out/runs/*")))
    }
    assert list(runs) == ["a", "b", "c"]
    features = {name: run.features.train for name, run in runs.items()}
    relative = np.geomspace(1e-4, 1e1, 11)
    plain = rmtgen.compare_features(
        features, runs["a"].labels.train, relative_ridges=relative
    ).sort_values("loo_both")
    assert list(table) == list(COLUMNS) and table["loo_both"].is_monotonic_increasing
    assert table["first"].tolist() == plain["first"].tolist()
    for name in COLUMNS[2:]:
        assert table[name].to_numpy() == pytest.approx(plain[name].to_numpy(), rel=1e-5, abs=1e-9)
    best = table.iloc[0]
    assert "a is best alone" in shown and "b adds most to it" in shown
    gain = 100 * best["gain_over_first"] / best["loo_first"]
    assert f"the risk falls by {gain:.2g} %" in shown
    assert f"{best['cka']:.3f} {best['loo_both']:.4f}" in shown
    last = table.set_index(["first", "second"]).loc["a", "c"]
    assert last["gain_over_first_low"] < 0 < last["gain_over_second_low"]  # c is in a
    assert "= " in shown
    (page,) = tmp_path.glob("out/reports/*/pairs.html")
    text = page.read_text()
    assert "80 labelled images of a, b and c" in text.replace("\n", " ")
    assert "a + b" in text and "Two at a time" in text


def test_every_column_is_described(words, tmp_path):
    assert main(words) == 0
    (path,) = tmp_path.glob("out/reports/*/pairs.csv")
    schema = json.loads(path.with_name(path.name + SIDECAR_SUFFIX).read_text())["tableSchema"]
    assert [column["name"] for column in schema["columns"]] == list(COLUMNS)
    assert schema["primaryKey"] == ["first", "second"]


def test_a_second_comparison_is_cached_and_shares_scores_with_a_ranking(
    words, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("rmtgen.stages.rank.save_figures", lambda *_: [])
    assert main(["rank", *words[1:]]) == 0
    capsys.readouterr()
    assert main(words) == 0
    first = capsys.readouterr().out
    assert first.count("cached") == 6
    assert main(words) == 0
    again = capsys.readouterr().out
    assert again.count("cached") == 7 and first.split("\n\n")[1:] == again.split("\n\n")[1:]
    assert main(["verify", "output=out"]) == 0


def test_pairs_that_were_done_before_an_interrupt_are_kept(words, tmp_path, monkeypatch):
    from rmtgen.stages import pairs

    true, made = pairs.compared, []

    def third_is_interrupted(first, second, *rest):
        made.append((first.name, second.name))
        if len(made) == 3:
            raise KeyboardInterrupt
        return true(first, second, *rest)

    monkeypatch.setattr(pairs, "compared", third_is_interrupted)
    assert main(words) == 130
    assert main(words) == 0
    assert made == [("a", "b"), ("a", "c"), ("b", "c"), ("b", "c")]
    kept = compared(tmp_path)
    assert not list(tmp_path.glob("out/reports/*/*parts*"))
    (page,) = tmp_path.glob("out/reports/*/pairs.html")
    page.unlink()
    assert main(words) == 0
    pd.testing.assert_frame_equal(kept, compared(tmp_path))


def test_runs_that_are_there_are_compared_by_their_names(words, tmp_path, capsys):
    fields = ["dataset=features:a.npz,features:b.npz", "test=16", "sizes=30", "trials=1", *GRID]
    assert main(["run", *fields, "--stage", "risk"]) == 0
    names = sorted(path.name for path in tmp_path.glob("out/runs/*"))
    capsys.readouterr()
    assert main(["compare-features", "output=out", "--runs", names[0], names[1][-8:]]) == 0
    assert "a + b" in capsys.readouterr().out
    assert main(["compare-features", "output=out", "train=9", "--runs", *names]) == 2
    assert "got train beside --runs" in capsys.readouterr().err
    assert main(["compare-features", "output=out", "--runs", names[0], "nosuch"]) == 3
    assert "no run 'nosuch'" in capsys.readouterr().err


def test_a_run_whose_settings_are_not_known_in_full_is_refused(words, tmp_path, capsys):
    fields = ["dataset=features:a.npz,features:b.npz", "test=16", "trials=1", *GRID]
    assert main(["run", *fields, "--stage", "extract"]) == 0
    names = sorted(path.name for path in tmp_path.glob("out/runs/*"))
    assert main(["compare-features", "output=out", "--runs", *names]) == 2
    assert f"the settings of {names[0]} are not stored in full" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["data=features:a.npz"], "of 2 to 12 representations, got 1: each two take a dec"),
        (["models=resnet1*,resnet[2-9]*"], "of 2 to 12 representations, got "),
        (["models=test_resnet,test_byobnet", "shard=1/2"], "takes whole results, got shard=1/2"),
        (["kernel=features,entk", "data=mnist5k"], "of features, got kernel=entk of resnet50-"),
    ],
)
def test_what_makes_no_comparison_is_refused(words, given, message, capsys):
    assert main(["compare-features", *given, *GRID]) == 2
    assert message in capsys.readouterr().err


def test_other_images_are_no_pair(words, capsys):
    features = np.random.default_rng(0).standard_normal((80, 5))
    np.savez("d.npz", features=features, labels=np.arange(80) % 3)
    assert main(["compare-features", "data=features:a.npz,features:d.npz", *GRID]) == 3
    assert "of 80 labels" in capsys.readouterr().err


def test_few_images_leave_the_gain_without_an_interval(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name in "ab":
        np.savez(f"{name}.npz", features=rng.standard_normal((6, 3)), labels=[0, 1] * 3)
    data = "data=features:a.npz,features:b.npz"
    assert main(["compare-features", data, "ridges=1e-1,1", "output=out"]) == 0
    shown = capsys.readouterr().out.partition("pairs ")[2]
    assert "[–, –]" in shown and "nan" not in shown
    assert compared(tmp_path)["gain_over_first_low"].isna().all()
