"""Runs of several head seeds end to end, and what the report says of their spread."""

import pandas as pd
import pytest

from rmtgen import load_run
from rmtgen.cli.main import main

SEEDS = (5, 6, 7)
HEADING = "How much hangs on the random head"


@pytest.fixture
def words(tiny_images, tmp_path, monkeypatch):
    monkeypatch.setattr("rmtgen.stages.report.save_figures", lambda *_: [])
    fields = "train=60", "test=30", "sizes=30,60", "ridges=1e-3:1e1:5", f"output={tmp_path}"
    return [*tiny_images, *fields]


def at_the_ridge_of_leave_one_out(run, n):
    """Test risk, LOO and GCV of a run, by what risk.csv holds."""
    rows = pd.read_csv(run.path / "risk.csv").query(f"n == {n}")
    means = rows.groupby("relative_ridge")[["test_risk", "loo", "gcv"]].mean()
    return means.sort_values("loo").iloc[0]


def test_heads_share_their_features_and_a_report_states_their_spread(words, tmp_path, capsys):
    upto, listed = ["run", "--stage", "risk", *words], ",".join(map(str, SEEDS))
    assert main([*upto, "kernel=entk,features", f"head_seed={listed}"]) == 0
    made = capsys.readouterr().out
    assert made.count("cached  taken from") == 3  # the features, which have no head
    assert main([*upto, "kernel=entk", "head_seed=5", "heads=3"]) == 0
    assert main(["compare", f"output={tmp_path}"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    found = [load_run(path) for path in tmp_path.glob("runs/*")]
    runs = {tuple(map(run.config.get, ("kernel", "head_seed", "heads"))): run for run in found}
    heads = [runs.pop(("entk", seed, None)) for seed in SEEDS]
    mean = runs.pop(("entk", 5, 3))
    assert [kernel for kernel, *_ in runs] == ["features"]
    (csv,) = tmp_path.glob("reports/*/heads.csv")
    spread = pd.read_csv(csv, index_col="n")
    assert set(spread["run"]) == {heads[0].name} and set(spread["averaged_run"]) == {mean.name}
    for n in (30, 60):
        fits = pd.DataFrame([at_the_ridge_of_leave_one_out(run, n) for run in heads])
        for name in ("test_risk", "loo", "gcv"):
            stated = spread.loc[n, [f"{name}_mean", f"{name}_sd"]]
            assert tuple(stated) == pytest.approx((fits[name].mean(), fits[name].std()), rel=1e-12)
            assert fits[name].std() > 0
        averaged = at_the_ridge_of_leave_one_out(mean, n)
        stated = spread.loc[n, ["averaged_test_risk", "averaged_loo"]]
        assert tuple(stated) == pytest.approx((averaged["test_risk"], averaged["loo"]), rel=1e-12)
    for label in (*(f"entk, head {seed}" for seed in SEEDS), "entk 3 heads", "features"):
        assert f"test_resnet, random, {label} 60" in shown
    sentence = "test_resnet, random, entk, n = 60: over 3 heads the test risk has a standard"
    assert sentence in shown and "The mean kernel of 3 heads has a risk" in shown
    (page,) = tmp_path.glob("reports/*/report.html")
    assert page.read_text().count(HEADING) == 1 and sentence in page.read_text()
