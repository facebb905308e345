"""The spread of the risk over the heads of an eNTK, in the report of made-up runs."""

import dataclasses
import html
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_runs import make_run, studied_run, with_risk

from rmtgen.report.charts import make_charts
from rmtgen.report.head_spread import (
    COLUMNS,
    HEADINGS,
    READING,
    deviation,
    draws_of,
    head_spread,
    spread_notes,
    spread_table,
)
from rmtgen.report.page import render_page
from rmtgen.report.run_set import RunSet, heads_label
from rmtgen.report.theory_scores import flat_scores
from rmtgen.runs.columns import write_table

HEADING = "How much hangs on the random head"


def tangent(seed, init="random", heads=None, draw=None, **config):
    """A run of a head, or of the mean of several, with risks of its own."""
    kernel = "entk" + (f" {heads} heads" if heads else "")
    run = make_run(f"tiny-{init}-{seed}-{heads}-{draw}", init, seed=seed or 0, sizes=(60, 120))
    config = {"kernel": "entk", "head_seed": seed, "targets": "centered", **config}
    return dataclasses.replace(
        run, kernel=kernel, config=config | ({"heads": heads} if heads else {})
    )


@pytest.fixture(scope="module")
def heads():
    return [tangent(seed) for seed in (3, 5, 4, 8)]


def plainly(runs, n):
    """Risks of each run at the ridge of smallest mean LOO, by loops over the rows."""
    rows = []
    for run in runs:
        table = run.risk[run.risk["n"] == n]
        means = {
            ridge: {name: np.mean(part[name]) for name in ("test_risk", "loo", "gcv")}
            for ridge, part in table.groupby("relative_ridge")
        }
        ridge = min(means, key=lambda ridge: means[ridge]["loo"])
        part = table[table["relative_ridge"] == ridge]
        trials = np.var(part["test_risk"], ddof=1) / len(part)
        rows.append(
            means[ridge] | {"total_se": np.sqrt(trials + np.mean(part["test_risk_se"]) ** 2)}
        )
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def test_mean_and_spread_are_those_of_the_ridges_that_leave_one_out_chooses(heads):
    spread = head_spread(heads)
    assert list(spread) == list(COLUMNS) and spread["n"].tolist() == [60, 120]
    assert set(spread["run"]) == {heads[0].name} and set(spread["draws"]) == {4}
    for row in spread.itertuples():
        plain = plainly(heads, row.n)
        assert row.total_se == pytest.approx(plain["total_se"].mean(), rel=1e-12)
        plain["signed_gap"] = plain["gcv"] / plain["test_risk"] - 1
        for name in ("test_risk", "loo", "gcv", "signed_gap"):
            values = plain[name]
            off = values - values.sum() / 4
            found = (getattr(row, f"{name}_{what}") for what in ("mean", "sd"))
            expected = values.sum() / 4, np.sqrt(off @ off / 3)
            assert tuple(found) == pytest.approx(expected, rel=1e-12)
        loo, test = (plain[name] - plain[name].mean() for name in ("loo", "test_risk"))
        correlation = loo @ test / np.sqrt(loo @ loo * (test @ test))
        assert row.correlation == pytest.approx(correlation, rel=1e-10)
    assert spread[["averaged_test_risk", "above"]].isna().all(axis=None)


def test_the_interval_of_a_standard_deviation_is_that_of_the_textbook():
    values = pd.Series([1.0, 2, 3, 4, 5, 6, 7, 8])
    spread, ends = deviation(values)
    assert spread == pytest.approx(6**0.5)
    assert np.array(ends) / spread == pytest.approx([0.6612, 2.0353], rel=1e-4)
    assert np.array(deviation(values[:2])[1]) == pytest.approx(
        [0.7071 * 0.44612, 0.7071 * 31.91], rel=1e-3
    )
    assert np.isnan(deviation(pd.Series([1.0, np.nan, 2.0]))[0])


@given(
    st.lists(st.integers(-1000, 1000), min_size=2, max_size=9),
    st.randoms(),
    st.integers(-1000, 1000),
    st.sampled_from([0.25, 2.0, 1024.0]),
)
def test_a_spread_knows_no_origin_and_no_order_and_scales(values, random, origin, scale):
    spread, ends = deviation(pd.Series(values, dtype=float))
    shuffled = random.sample(values, len(values))
    moved, moved_ends = deviation(scale * (pd.Series(shuffled, dtype=float) + origin))
    assert (moved, *moved_ends) == pytest.approx((scale * spread, *(scale * np.array(ends))))
    assert ends[0] <= spread <= ends[1]


def test_draws_differ_in_the_head_seed_alone_and_share_no_head():
    runs = [
        *(tangent(seed) for seed in (7, 438, None)),
        *(tangent(seed, targets="onehot") for seed in (7, 8)),
        tangent(7, "pretrained"),  # one draw is none
        *(tangent(seed, heads=4) for seed in (6, 1, 9, 5)),  # 5 to 8 has heads of 6 to 9
        tangent(7, draw="again"),
        *(tangent(seed, kernel="features") for seed in (1, 2)),
    ]
    found = [[run.config["head_seed"] for run in draws] for draws in draws_of(runs)]
    assert found == [[7, 438, None], [7, 8], [1, 5, 9]]


def test_order_does_not_matter_and_the_smallest_seed_names_the_network(heads):
    first, second = head_spread(heads), head_spread(heads[::-1])
    pd.testing.assert_frame_equal(first, second, rtol=1e-12)
    assert first["run"][0] == tangent(3).name
    alone = head_spread([*heads[:1], *heads[2:]])
    assert (alone["draws"] == 3).all()


def test_the_mean_kernel_of_most_heads_stands_beside_the_heads(heads):
    few, many = tangent(3, heads=2), tangent(40, heads=8)
    other = tangent(40, heads=16, targets="onehot")
    spread = head_spread([many, few, other, *heads])
    assert set(spread["averaged_run"]) == {many.name} and (spread["averaged_heads"] == 8).all()
    for row in spread.itertuples():
        plain = plainly([many], row.n)
        assert row.averaged_test_risk == pytest.approx(plain["test_risk"][0])
        assert row.averaged_loo == pytest.approx(plain["loo"][0])
        single = plainly(heads, row.n)
        assert row.above == (single["test_risk"] > plain["test_risk"]).sum()
        assert row.loo_above == (single["loo"] > plain["loo"]).sum()
    draws = head_spread([tangent(seed, heads=2) for seed in (3, 5)])
    assert draws["averaged_run"].isna().all() and (draws["draws"] == 2).all()


def test_what_is_unknown_of_a_draw_is_unknown_of_all_of_them(heads):
    without = [with_risk(run, loo=np.nan, loo_low=np.nan) for run in heads]
    spread = head_spread(without)
    assert spread["loo_sd"].isna().all() and spread["correlation"].isna().all()
    assert np.isfinite(spread["gcv_sd"]).all()  # which chooses the ridge then
    assert RunSet.of(without).heads_table.rows[0][7:10] == ("–",) * 3
    untested = with_risk(heads[0], test_risk=np.nan)
    assert (head_spread([untested, *heads[1:]])["draws"] == 3).all()
    assert head_spread([untested, heads[1]]).empty
    assert head_spread([with_risk(run, test_risk=0.0) for run in heads]).empty
    assert head_spread([])["run"].tolist() == []


def test_a_size_that_one_draw_lacks_is_of_the_others(heads):
    short = dataclasses.replace(heads[0], risk=heads[0].risk.query("n == 60"))
    mean = tangent(40, heads=8)
    mean = dataclasses.replace(mean, risk=mean.risk.query("n == 120"))
    spread = head_spread([short, *heads[1:], mean])
    assert spread["draws"].tolist() == [4, 3]
    assert spread["averaged_heads"].isna().tolist() == [True, False]


def test_equal_draws_have_no_spread_and_no_correlation(heads):
    copies = [
        dataclasses.replace(run, risk=heads[0].risk.assign(loo=0.0, gcv=0.0)) for run in heads
    ]
    spread = head_spread(copies)
    assert (spread["test_risk_sd"].abs() < 1e-15).all() and spread["correlation"].isna().all()
    assert spread_table(spread, {heads[0].name: "x"}).rows[0][8] == "–"


def test_runs_of_other_heads_have_labels_that_say_so(heads):
    runs = [*heads, tangent(None), tangent(40, heads=8), tangent(48, heads=8)]
    labels = RunSet.of(runs).labels
    assert labels == (
        *(f"tiny_net, random, entk, head {seed}" for seed in (3, 5, 4, 8, "none")),
        *(f"tiny_net, random, entk 8 heads, heads {ends}" for ends in ("40–47", "48–55")),
    )
    assert RunSet.of([heads[0], tangent(3, "pretrained")]).labels == (
        "tiny_net, random",
        "tiny_net, pretrained",
    )
    assert RunSet.of([heads[0], tangent(5, "pretrained")]).labels == (
        "tiny_net, random",
        "tiny_net, pretrained",
    )
    alike = [tangent(3), tangent(3, draw="b", targets="onehot"), tangent(4)]
    assert RunSet.of(alike).labels == (
        *(run.name for run in alike[:2]),
        "tiny_net, random, head 4",
    )
    assert heads_label(make_run("a", "random")) == ""


def test_table_and_sentence_say_how_much_hangs_on_the_head(heads):
    spread = head_spread([*heads, tangent(40, heads=8)]).assign(
        test_risk_mean=0.5,
        test_risk_sd=0.001,
        test_risk_sd_interval=[(0.0005, 0.004)] * 2,
        total_se=0.004,
        loo_mean=0.25,
        loo_sd=0.001,
        signed_gap_mean=-0.0123,
        signed_gap_sd=0.004,
        averaged_test_risk=0.49,
        correlation=0.456,
        above=3,
        loo_above=4,
    )
    labels = {heads[0].name: "tiny_net, random"}
    table = spread_table(spread, labels)
    assert table.headings == HEADINGS and table.notes == (READING,)
    row = dict(zip(HEADINGS[:8], table.rows[1], strict=False))
    assert row == {
        "run": "tiny_net, random",
        "n": "120",
        "heads": "4",
        "test risk": "0.5000 ±0.0040",
        "SD, %": "0.2 [0.1, 0.8]",
        "gap, %": "-1.2 ±0.4",
        "mean kernel": "0.4900 (8)",
        "LOO": "0.2500",
    }
    assert table.rows[1][8:10] == ("0.4", "0.46")
    assert spread_notes(spread, labels) == [
        "tiny_net, random, n = 120: over 4 heads the test risk has a standard deviation of 0.2"
        " [0.1, 0.8] %, 0.25 of one head's standard error; GCV is off by -1.2 ±0.4 %. The mean"
        " kernel of 8 heads has a risk 2 % below their mean, and a smaller one than 3, by LOO"
        " than 4."
    ]
    (above,) = spread_notes(spread.assign(averaged_test_risk=0.51), labels)
    assert "a risk 2 % above their mean" in above
    (alone,) = spread_notes(spread.assign(averaged_test_risk=np.nan), labels)
    assert alone.endswith("off by -1.2 ±0.4 %.")


def test_the_csv_describes_its_columns(heads, tmp_path):
    for runs in ([*heads, tangent(40, heads=8)], heads, []):
        spread = head_spread(runs)
        path, sidecar = write_table(tmp_path / "heads.csv", flat_scores(spread), "draws")
        found, schema = pd.read_csv(path), json.loads(sidecar.read_text())["tableSchema"]
        assert [column["name"] for column in schema["columns"]] == list(found)
        assert schema["primaryKey"] == ["run", "n"] and len(found) == len(spread)
        ends = [high for _, high in spread["gcv_sd_interval"]]
        assert found["gcv_sd_high"].tolist() == pytest.approx(ends)


def test_page_and_summary_show_the_spread_where_there_is_one(heads):
    runs = RunSet.of([*heads, tangent(3, "pretrained"), tangent(40, heads=8)])
    page = render_page(runs, make_charts(runs), "title", {})
    assert page.count(HEADING) == 1 and page.count('href="#heads"') == 1
    (note,) = runs.heads_notes
    assert note.startswith("tiny_net, random, entk, n = 120: over 4 heads")
    assert html.escape(note, quote=True).replace("&#x27;", "&#39;") in page
    table = runs.heads_table
    assert [row[0] for row in table.rows] == ["tiny_net, random, entk"] * 2
    assert all(f">{cell}</td>" in page for row in table.rows for cell in row)
    assert runs.summary.tables == (runs.summary.tables[0], table)
    assert runs.summary.notes == (note,)
    studied = RunSet.of([studied_run("a", "random"), studied_run("b", "pretrained")])
    page = render_page(studied, make_charts(studied), "title", {})
    assert HEADING not in page and "#heads" not in page


def test_one_of_the_runs_that_differ_in_their_head_alone_has_an_answer(heads):
    runs = RunSet.of([*heads, tangent(3, "pretrained"), tangent(40, heads=8)])
    assert set(runs.answers) == {
        "tiny_net, random, entk, head 3",
        "tiny_net, pretrained, entk",
        "tiny_net, random, entk 8 heads",
    }
    assert [line.partition(": ")[0] for line in runs.summary.answers] == list(runs.answers)
