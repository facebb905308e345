"""The report: its numbers against plain NumPy, its figures by what is drawn, its page by parsing it."""

import dataclasses
import itertools
import re
import subprocess
import sys
from html.parser import HTMLParser
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtgen import report
from rmtgen.errors import CorruptInputError, UsageError
from rmtgen.pool import RISK_COLUMNS
from rmtgen.report import figures, fits, page, results, wording
from rmtgen.report.figure_axes import log_axis
from rmtgen.report.figure_learning import draw_learning
from rmtgen.report.figure_prediction import draw_prediction
from rmtgen.report.figure_spectra import draw_spectra
from rmtgen.report.fits import agreement, best, loo_warns, trial_means
from rmtgen.report.results import RunResult, format_table, summary_notes, summary_table

CLASSES, FEATURES = 3, 20
SIZES, RIDGES, TRIALS = (15, 60, 600), (1e-6, 1e-3, 1e-1, 1e1), 3


def ridge_fits(decay, rng, sizes=SIZES, ridges=RIDGES, trials=TRIALS):
    """Rows of a real ridge problem, every number from its definition; kappa, kappa_prime and norm2 are not looked at here."""
    scales = np.arange(1.0, FEATURES + 1) ** -decay
    directions = rng.standard_normal((FEATURES, CLASSES))

    def draw(count):
        latent = rng.standard_normal((count, FEATURES))
        labels = (latent @ directions + rng.standard_normal((count, CLASSES))).argmax(axis=1)
        return latent * scales, np.eye(CLASSES)[labels] - 1 / CLASSES

    pool, targets = draw(max(sizes))
    test, test_targets = draw(100)
    mean_diagonal = (pool**2).sum() / len(pool)
    rows = []
    for n, trial, relative in itertools.product(sizes, range(trials), ridges):
        chosen = np.random.default_rng(trial).permutation(len(pool))[:n]
        x, y, ridge = pool[chosen], targets[chosen], relative * mean_diagonal
        weights = np.linalg.solve(x.T @ x + n * ridge * np.eye(FEATURES), x.T)
        hat, residual = x @ weights, y - x @ weights @ y
        test_loss = ((test_targets - test @ weights @ y) ** 2).sum(axis=1)
        loo_residual = residual / (1 - np.diag(hat))[:, None]
        rows.append(
            {
                **{"n": n, "trial": trial, "ridge": ridge, "relative_ridge": relative, "outputs": CLASSES},
                **{"kappa": np.nan, "kappa_prime": np.nan, "norm2": np.nan, "df": np.trace(hat)},
                "train_risk": (residual**2).sum() / n,
                "gcv": (residual**2).sum() / n / (1 - np.trace(hat) / n) ** 2,
                "loo": (loo_residual**2).sum() / n,
                "test_risk": test_loss.mean(),
                "test_risk_se": test_loss.std(ddof=1) / 10,
                "train_error": wrong(y - residual, y),
                "loo_error": wrong(y - loo_residual, y),
                "test_error": wrong(test @ weights @ y, test_targets),
            }
        )
    left, singular, _ = np.linalg.svd(pool, full_matrices=False)
    power = ((left.T @ targets) ** 2).sum(axis=1)
    return pd.DataFrame(rows), singular**2 / len(pool), power, (targets**2).sum() - power.sum()


def wrong(predicted, targets):
    return (predicted.argmax(axis=1) != targets.argmax(axis=1)).mean()


def make_run(name, init, decay=0.5, seed=0, **grid):
    risk, eigenvalues, power, null_energy = ridge_fits(decay, np.random.default_rng(seed), **grid)
    return RunResult(
        name=name,
        model="tiny_net",
        init=init,
        dataset="blobs",
        kernel="features",
        config={"model": "tiny_net", "ridges": list(RIDGES)},
        risk=risk,
        eigenvalues=eigenvalues,
        target_power=power,
        null_energy=null_energy,
        spectrum_n=max(risk["n"]),
        provenance={"risk": {"seconds": 1.25, "made": "2026-11-24"}},
    )


@pytest.fixture(scope="module")
def runs():
    return [make_run("tiny-pretrained-1a2b", "pretrained"), make_run("tiny-random-3c4d", "random", decay=2.0, seed=1)]


@pytest.fixture(scope="module")
def drawn(runs, tmp_path_factory):
    return figures.save_figures(runs, tmp_path_factory.mktemp("figures"))


def with_risk(run, **columns):
    return dataclasses.replace(run, risk=run.risk.assign(**columns))


# ------------------------------------------------------------------------------------------------------------ the input


def test_missing_columns_are_named_with_the_run(runs):
    with pytest.raises(
        CorruptInputError, match=r"needs 17 columns of numbers: gcv, loo missing.*\(run tiny-pretrained-1a2b\)"
    ):
        dataclasses.replace(runs[0], risk=runs[0].risk.drop(columns=["gcv", "loo"]))


def test_the_risk_stage_writes_what_the_report_needs():
    assert set(fits.RISK_COLUMNS) <= set(RISK_COLUMNS)


def test_text_in_a_number_column_is_refused(runs):
    with pytest.raises(CorruptInputError, match="17 columns of numbers: test_risk missing or not numeric"):
        with_risk(runs[0], test_risk="high")


def test_risk_without_rows_or_with_broken_keys_is_refused(runs):
    with pytest.raises(CorruptInputError, match="got 0 rows, 0 of them broken"):
        dataclasses.replace(runs[0], risk=runs[0].risk.head(0))
    broken = runs[0].risk["relative_ridge"].where(runs[0].risk["n"] != 15)
    with pytest.raises(CorruptInputError, match="got 36 rows, 12 of them broken"):
        with_risk(runs[0], relative_ridge=broken)


def test_spectrum_must_fit_together(runs):
    with pytest.raises(CorruptInputError, match="expected 20, got 19 .run tiny-pretrained-1a2b"):
        dataclasses.replace(runs[0], target_power=runs[0].target_power[1:])
    with pytest.raises(CorruptInputError, match="got sums 0 and"):
        dataclasses.replace(runs[0], eigenvalues=np.zeros(20))
    with pytest.raises(CorruptInputError, match="and nan"):
        dataclasses.replace(runs[0], null_energy=np.nan)


@pytest.mark.parametrize(
    "build",
    [summary_table, lambda runs: figures.save_figures(runs, None), lambda runs: page.render_page(runs, [], "title")],
    ids=["summary", "figures", "page"],
)
def test_no_runs_and_repeated_runs_are_refused(build, runs):
    with pytest.raises(UsageError, match="at least one run: got none"):
        build([])
    with pytest.raises(UsageError, match="got tiny-random-3c4d more than once among 3 runs"):
        build([*runs, runs[1]])


# ---------------------------------------------------------------------------------------------------------- the numbers


def test_agreement_is_taken_over_finite_rows_of_large_n(runs):
    risk = runs[0].risk.copy()
    large = risk.index[risk["n"] >= 60]
    risk.loc[large[0], "gcv"] = np.nan
    risk.loc[large[1], "test_risk"] = np.inf
    risk.loc[large[5], "gcv"] *= 3
    found = agreement(risk, min_n=60)
    expected = [abs(risk.loc[row, "gcv"] / risk.loc[row, "test_risk"] - 1) for row in large[2:]]
    assert found.median == pytest.approx(np.median(expected), rel=1e-12)
    assert found.worst == pytest.approx(max(expected), rel=1e-12)
    assert (found.count, found.skipped) == (len(expected), 2)
    assert found.close == sum(gap <= 0.1 for gap in expected) and 0 < found.close < found.count
    worst = risk.loc[large[5]]
    assert (found.worst_n, found.worst_ridge) == (60, worst["relative_ridge"])
    assert (found.worst_gcv, found.worst_loo, found.worst_test_risk) == tuple(worst[["gcv", "loo", "test_risk"]])


def test_agreement_without_large_n_is_unknown(runs):
    found = agreement(runs[0].risk, min_n=601)
    assert np.isnan(found.median) and np.isnan(found.worst)
    assert (found.count, found.skipped, found.close, found.worst_n, found.worst_ridge) == (0, 0, 0, None, None)
    assert np.isnan([found.worst_gcv, found.worst_loo, found.worst_test_risk]).all()


@pytest.mark.parametrize(
    ("gcv", "loo", "test_risk", "expected"),
    [
        (0.4, 5.7e4, 6.2e5, True),  # the leverage of a few samples: LOO sees it
        (3.0, 3.7, 4.7, True),
        (6.0, 4.8, 4.6, True),
        (0.0, 1.0, 2.0, True),
        (3.0, 3.5, 4.7, False),  # LOO is nearer, but within 20 % of GCV
        (3.0, 2.0, 4.7, False),  # LOO differs, the wrong way
        (3.0, 9.0, 4.7, False),  # LOO is farther: a ratio of 1.9 against 1.6
        (2.0, 8.0, 5.0, True),  # nearer by ratio, 1.6 against 2.5, and not by difference
        (3.0, np.nan, 4.7, False),
        (np.nan, np.nan, np.nan, False),
    ],
)
def test_loo_warns_where_it_parts_from_gcv_towards_the_truth(gcv, loo, test_risk, expected):
    assert loo_warns(gcv, loo, test_risk) is expected


def test_best_is_the_ridge_of_smallest_mean_test_risk(runs):
    risk = runs[0].risk
    top = best(risk, 60)
    by_ridge = {ridge: risk[(risk["n"] == 60) & (risk["relative_ridge"] == ridge)] for ridge in RIDGES}
    ridge = min(RIDGES, key=lambda ridge: np.mean(by_ridge[ridge]["test_risk"]))
    rows = by_ridge[ridge]
    assert (top["n"], top["relative_ridge"], top["trials"]) == (60, ridge, TRIALS)
    for name in ("test_risk", "gcv", "loo", "test_error", "train_risk"):
        assert top[name] == pytest.approx(np.mean(rows[name]), rel=1e-12)
    over_trials = np.std(rows["test_risk"], ddof=1) / np.sqrt(TRIALS)
    assert top["test_risk_trial_se"] == pytest.approx(over_trials, rel=1e-12)
    assert top["total_se"] == pytest.approx(np.hypot(over_trials, np.mean(rows["test_risk_se"])), rel=1e-12)


def test_one_trial_has_the_sampling_error_of_the_test_images_only(runs):
    top = best(runs[0].risk.query("trial == 0"), 60)
    assert np.isnan(top["test_risk_trial_se"])
    assert top["total_se"] == pytest.approx(top["test_risk_se"], rel=1e-12)


def test_a_ridge_measured_in_fewer_trials_cannot_win(runs):
    risk = runs[0].risk.copy()
    winner = best(risk, 60)["relative_ridge"]
    rows = risk.index[(risk["n"] == 60) & (risk["relative_ridge"] == winner)]
    risk.loc[rows[0], "test_risk"] = np.nan
    assert best(risk, 60)["relative_ridge"] != winner


def test_best_of_nothing_is_unknown_and_of_another_size_refused(runs):
    nothing = best(runs[0].risk.assign(test_risk=np.nan), 60)
    assert nothing["n"] == 60 and nothing.drop("n").isna().all()
    with pytest.raises(UsageError, match="expected one of 15, 60, 600, got 61"):
        best(runs[0].risk, 61)


def test_summary_has_one_row_a_run_at_its_largest_size(runs):
    table = summary_table(runs)
    assert list(table["run"]) == [run.name for run in runs]
    for row, run in zip(table.itertuples(), runs, strict=True):
        top, gap = best(run.risk, 600), agreement(run.risk)
        assert (row.model, row.init, row.n, row.relative_ridge) == (run.model, run.init, 600, top["relative_ridge"])
        assert (row.test_risk, row.test_risk_se, row.gcv) == (top["test_risk"], top["total_se"], top["gcv"])
        assert row.accuracy_percent == pytest.approx(100 - 100 * top["test_error"])
        assert row.loo_accuracy_percent == pytest.approx(100 - 100 * top["loo_error"])
        assert (row.median_gap, row.worst_gap) == (gap.median, gap.worst)
        assert (row.fits, row.close_fits) == (len(RIDGES) * TRIALS, gap.close)
        assert (row.worst_n, row.worst_ridge, row.worst_gcv) == (600, gap.worst_ridge, gap.worst_gcv)
        assert (row.worst_loo, row.worst_test_risk) == (gap.worst_loo, gap.worst_test_risk)
        assert 0 < row.median_gap < row.worst_gap < 0.5  # a real ridge problem: GCV must be near the truth


# --------------------------------------------------------------------------------------------------------- the terminal


def test_format_table_shows_the_numbers_in_aligned_columns(runs):
    table = summary_table(runs).assign(
        test_risk=[0.12361, 0.5],
        test_risk_se=[0.002, np.nan],
        relative_ridge=[0.00123, 0.0],
        median_gap=[0.0042, np.nan],
    )
    heading, rule, first, second, note = format_table(table).split("\n")
    assert re.split("  +", heading) == ["run", "n", "ridge", "test risk", "GCV", "acc %", "LOO %", "gap %", "max %"]
    assert first.startswith("tiny_net, pretrained  600  1.2e-3  0.1236 ±0.0020  ")
    assert second.startswith("tiny_net, random      600       0          0.5000  ")
    assert first.split()[-2] == "0.42" and second.split()[-2] == "–"
    assert set(rule) == {"-", " "} and len({len(line) for line in (heading, rule, first, second)}) == 1
    assert "n >= 500" in note


def leveraged(run, **worst):
    """`run` with the first of its fits at n = 600 replaced, as where a few samples carry a ridgeless fit."""
    risk = run.risk.copy()
    for name, value in worst.items():
        risk.loc[risk.index[risk["n"] == 600][0], name] = value
    return dataclasses.replace(run, risk=risk)


def test_a_wide_gap_is_named_with_its_fit_and_the_warning_of_loo(runs):
    seen = leveraged(runs[0], gcv=0.375, loo=57139.0, test_risk=616584.0, relative_ridge=0.0)
    unseen = leveraged(runs[1], gcv=0.375, loo=0.36, test_risk=0.94)
    table = summary_table([seen, unseen])
    close = list(table["close_fits"])
    assert summary_notes(table) == [
        f"tiny_net, pretrained: {close[0]} of 12 fits within 10 %; worst at n = 600, ridge 0: "
        "GCV 0.375, LOO 5.7e4, test risk 6.2e5. LOO differs there: do not trust GCV.",
        f"tiny_net, random: {close[1]} of 12 fits within 10 %; worst at n = 600, ridge 1.0e-6: "
        "GCV 0.375, LOO 0.36, test risk 0.94.",
    ]
    lines = format_table(table).split("\n")[5:]
    assert " ".join(" ".join(lines).split()) == " ".join(summary_notes(table)) and len(lines) == 4


@pytest.mark.parametrize("worst", [0.2, np.nan])
def test_a_small_or_unknown_gap_needs_no_note(runs, worst):
    assert summary_notes(summary_table(runs).assign(worst_gap=worst)) == []


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), max_size=150),
        min_size=1,
        max_size=4,
        unique=True,
    )
)
def test_format_table_never_passes_100_columns(names):
    rows = [
        {"run": f"{name}-{place}", "model": name, "init": "random", "dataset": "d", "kernel": "k"}
        for place, name in enumerate(names)
    ]
    columns = (
        "relative_ridge",
        "test_risk",
        "test_risk_se",
        "gcv",
        "accuracy_percent",
        "loo_accuracy_percent",
        "median_gap",
        "worst_gap",
        "worst_n",
        "worst_ridge",
        "worst_gcv",
        "worst_loo",
        "worst_test_risk",
    )
    table = pd.DataFrame(rows).assign(n=100000, fits=5000, close_fits=4000, **dict.fromkeys(columns, 0.323456))
    assert len(summary_notes(table)) == len(names)
    assert max(len(line) for line in format_table(table).split("\n")) <= 100


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=60), st.integers(3, 50))
def test_shorten_keeps_both_ends(text, width):
    short = wording.shorten(text, width)
    assert len(short) <= width
    assert short == text or (short[0], short[-1], "…" in short) == (text[0], text[-1], True)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (wording.percentage(0.00123), "0.12"),
        (wording.percentage(0.0949), "9.5"),
        (wording.percentage(0.996), "100"),
        (wording.percentage(12.3), "1230"),
        (wording.percentage(np.nan), "–"),
        (wording.scientific(0.0), "0"),
        (wording.scientific(12.34), "1.2e1"),
        (wording.scientific(1e-8), "1.0e-8"),
        (wording.scientific(np.nan), "–"),
        (wording.number(np.inf), "–"),
        (wording.compact(0.37485), "0.375"),
        (wording.compact(616584.1), "6.2e5"),
        (wording.compact(0.00012), "1.2e-4"),
        (wording.compact(0.0), "0"),
        (wording.compact(np.nan), "–"),
        (wording.number(1234.56), "1235"),
    ],
)
def test_numbers_in_words(shown, expected):
    assert shown == expected


def test_labels_say_what_differs(runs):
    table = summary_table(runs)
    assert results.run_labels(table) == ["tiny_net, pretrained", "tiny_net, random"]
    assert results.run_labels(table.assign(dataset=["a", "b"])) == ["tiny_net, pretrained, a", "tiny_net, random, b"]
    assert results.run_labels(table.assign(init="random")) == ["tiny-pretrained-1a2b", "tiny-random-3c4d"]


# ---------------------------------------------------------------------------------------------------------- the figures


def draw(painter, runs):
    """The panels of one figure, as matplotlib holds them, and its words."""
    figure, words = figures._drawn(painter, figures._series(runs), stacked=False)
    return *figure.axes, words


def points(line):
    return np.column_stack([np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)])


def test_figures_are_whole_files_of_three_kinds(drawn):
    folder = drawn[0].svg.parent
    assert [figure.svg.name for figure in drawn] == ["predicted-vs-measured.svg", "learning-curves.svg", "spectra.svg"]
    assert {file.name for file in folder.iterdir()} == {
        path.name for figure in drawn for path in (figure.svg, figure.narrow_svg, figure.png)
    }
    for figure in drawn:
        assert figure.png.read_bytes().startswith(b"\x89PNG")
        wide, narrow = (
            ElementTree.parse(path).getroot().get("viewBox").split() for path in (figure.svg, figure.narrow_svg)
        )
        assert float(wide[2]) > float(wide[3]) and float(narrow[2]) < float(narrow[3])


def test_same_results_give_same_bytes(runs, drawn, tmp_path):
    again = figures.save_figures(runs, tmp_path / "new" / "folder")
    for old, new in zip(drawn, again, strict=True):
        for name in ("svg", "narrow_svg", "png"):
            assert getattr(old, name).read_bytes() == getattr(new, name).read_bytes(), name
    assert not re.search(rb"20\d\d-\d\d-\d\d", again[0].svg.read_bytes())


def test_drawing_leaves_matplotlib_as_it_was(runs):
    code = "import sys, rmtgen.report.figures; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    before = dict(matplotlib.rcParams)
    draw(draw_spectra, runs)
    assert dict(matplotlib.rcParams) == before


def test_prediction_figure_holds_every_fit_and_the_identity(runs):
    fits, by_size, words = draw(draw_prediction, runs)
    identity, *clouds = [points(line) for line in fits.lines]
    assert (identity[:, 0] == identity[:, 1]).all()
    for run, train, gcv, beyond in zip(runs, clouds[::3], clouds[1::3], clouds[2::3], strict=True):
        np.testing.assert_array_equal(train, run.risk[["test_risk", "train_risk"]])
        np.testing.assert_array_equal(gcv, run.risk[["test_risk", "gcv"]])
        assert beyond.size == 0
    low, high = fits.get_ylim()
    for cloud in clouds[1::3]:
        assert (cloud > low).all() and (cloud < high).all()
    below = sum((run.risk["train_risk"] < low).sum() for run in runs)
    assert below > 0 and f"({below} of them lie below the view)" in words.caption
    assert low >= min(run.risk[["gcv", "test_risk"]].min().min() for run in runs) / 20
    median, worst = points(by_size.lines[0]), points(by_size.lines[1])
    rows = runs[0].risk.query("n == 60")
    gap = 100 * np.abs(rows["gcv"] / rows["test_risk"] - 1)
    assert median[1] == pytest.approx([60, np.median(gap)]) and worst[1] == pytest.approx([60, max(gap)])
    assert "72 fits" in words.alt and "Left out" not in words.caption


def test_fits_off_the_scale_stand_on_its_edge_and_are_counted(runs):
    risk = runs[0].risk
    wild = risk["test_risk"].where(~risk.index.isin([3, 4]), 1e6)
    fits, _, words = draw(draw_prediction, [with_risk(runs[0], test_risk=wild)])
    edge = fits.get_xlim()[1]
    assert risk["test_risk"].max() < edge < 20 * risk["test_risk"].quantile(0.9)
    np.testing.assert_allclose(points(fits.lines[3]), np.column_stack([[edge, edge], risk.loc[[3, 4], "gcv"]]))
    assert len(points(fits.lines[2])) == len(risk) - 2
    assert "Open points on the edge stand for 2 fits off the scale, up to 1.0e6." in words.caption
    wild = risk["test_risk"].where((risk["n"] != 60) | (risk["relative_ridge"] != 1e-6), 1e6)
    _, at_fixed, words = draw(draw_learning, [with_risk(runs[0], test_risk=wild)])
    assert at_fixed.get_ylim()[1] < 100 and "Curves that leave the view reach up to 1.0e6." in words.caption


def test_points_that_are_not_finite_are_gaps_and_counted(runs):
    risk = runs[0].risk
    holed = with_risk(
        runs[0], test_risk=risk["test_risk"].where(risk["n"] != 60), gcv=risk["gcv"].where(risk.index != 0, -1.0)
    )
    fits, by_size, words = draw(draw_prediction, [holed])
    assert len(fits.lines[2].get_xdata()) == 36 - 12 - 1
    assert np.isnan(points(by_size.lines[0])[1, 1]) and np.isfinite(points(by_size.lines[0])[[0, 2], 1]).all()
    assert words.caption.endswith("GCV and test risk: 13 fits.")
    at_best, _, words = draw(draw_learning, [holed])
    assert np.isnan(points(at_best.lines[0])[1, 1])
    assert words.caption.endswith("GCV and test risk: 13 fits.")


def test_learning_curves_show_best_and_fixed_ridges(runs):
    at_best, at_fixed, words = draw(draw_learning, runs)
    expected = [best(runs[0].risk, n)["test_risk"] for n in SIZES]
    np.testing.assert_allclose(points(at_best.lines[0]), np.column_stack([SIZES, expected]))
    means = trial_means(runs[0].risk)
    for line, ridge in zip(at_fixed.lines[:6:2], RIDGES[:3], strict=True):
        np.testing.assert_allclose(line.get_ydata(), means[means["relative_ridge"] == ridge]["test_risk"])
    assert len({line.get_linestyle() for line in at_fixed.lines[:6:2]}) == 3
    keys = [text.get_text() for text in at_fixed.get_legend().get_texts()]
    assert keys == [*(rf"ridge $10^{{{power}}}$" for power in (-6, -3, -1)), "GCV"]
    assert (
        f"tiny_net, pretrained: best test risk {expected[0]:.3g} at n = 15, {expected[-1]:.3g} at n = 600" in words.alt
    )


def test_a_dense_curve_takes_the_place_of_fixed_ridges(runs):
    sizes, ridges = np.arange(15, 601), (1e-5, 1e-1)
    table = pd.DataFrame(list(itertools.product(sizes, ridges)), columns=["n", "relative_sum_ridge"])
    table = table.assign(test_risk=1 + 1 / table["n"], gcv=1 + 2 / table["n"])
    dense = [dataclasses.replace(run, curve=table) for run in runs]
    _, at_fixed, words = draw(draw_learning, dense)
    assert at_fixed.get_title() == "Every n, at fixed sum ridges nλ"
    risk, rings = at_fixed.lines[:2]
    np.testing.assert_allclose(points(risk), np.column_stack([sizes, 1 + 1 / sizes]))
    assert 10 <= len(points(rings)) <= 14 and rings.get_marker() != "None"
    np.testing.assert_allclose(points(rings)[:, 1], 1 + 2 / points(rings)[:, 0])
    keys = [text.get_text() for text in at_fixed.get_legend().get_texts()]
    assert keys == [r"nλ = $10^{-5}$ tr K", r"nλ = $10^{-1}$ tr K", "GCV"]
    assert "Then every n, of one random order of the images, at sum ridges nλ held fixed" in words.caption
    _, at_fixed, words = draw(draw_learning, [dense[0], runs[1]])
    assert at_fixed.get_title() == "Test risk at fixed ridges"


def test_runs_on_other_ridges_share_words_not_numbers(runs):
    other = make_run("other", "random", ridges=(1e-4, 1.0), sizes=(30,), trials=1)
    _, at_fixed, _ = draw(draw_learning, [runs[0], other])
    keys = [text.get_text() for text in at_fixed.get_legend().get_texts()]
    assert keys == ["smallest ridge", "small ridge", "middle ridge", "GCV"]


def test_spectra_show_shares_and_cumulative_power(runs):
    decay, power, words = draw(draw_spectra, runs)
    for run, shares, captured in zip(runs, decay.lines, power.lines, strict=True):
        np.testing.assert_allclose(points(shares)[:, 1], run.eigenvalues / run.eigenvalues.sum())
        total = run.target_power.sum() + run.null_energy
        np.testing.assert_allclose(
            points(captured)[:, 1], [run.target_power[:m].sum() / total for m in range(1, FEATURES + 1)]
        )
    assert "n = 600" in words.caption and "lie below the view" not in words.caption


def test_eigenvalues_lost_to_rounding_do_not_stretch_the_axis(runs):
    eigenvalues = np.concatenate([runs[0].eigenvalues[:17], [1e-30, 0.0, -1e-20]])
    decay, _, words = draw(draw_spectra, [dataclasses.replace(runs[0], eigenvalues=eigenvalues)])
    low, high = decay.get_ylim()
    assert low == pytest.approx(1e-10 * high)
    assert "3 eigenvalues lie below the view" in words.caption


def test_many_runs_keep_distinct_looks_and_a_short_alt(runs):
    many = [dataclasses.replace(runs[0], name=f"run-{place}", model=f"net_{place}") for place in range(56)]
    looks = {(series.color, series.marker) for series in figures._series(many)}
    assert len(looks) == 56
    *_, words = draw(draw_spectra, many[:9])
    assert words.alt.endswith("and 3 more runs.") and "net_5" in words.alt and "net_6" not in words.alt


@pytest.mark.parametrize("low", [0.7, 0.05, 1e-3, 1e-12])
def test_log_axes_have_a_few_labelled_ticks(low):
    figure = figures.Figure()
    axes = figure.subplots()
    log_axis(axes, "y", (low, 1.0))
    figure.draw_without_rendering()
    inside = [
        tick.get_text() for tick, y in zip(axes.get_yticklabels(), axes.get_yticks(), strict=True) if low <= y <= 1
    ]
    assert 3 <= len(inside) <= 8 and all(inside) and len(set(inside)) == len(inside)


def test_size_ticks_are_measured_sizes_with_room_between(runs):
    risk = pd.concat([runs[0].risk.assign(n=n) for n in (100, 110, 120, 1000)], ignore_index=True)
    axes, *_ = draw(draw_learning, [dataclasses.replace(runs[0], risk=risk)])
    assert sorted(axes.get_xticks()) == [120, 1000]
    assert sorted(axes.get_xticks(minor=True)) == [100, 110]


# ------------------------------------------------------------------------------------------------------------- the page


class Reader(HTMLParser):
    """What a browser would find in the page: elements with their attributes, and the visible text."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.words, self.silent = [], [], False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.silent = tag in ("style", "script")

    def handle_endtag(self, tag):
        self.silent = False

    def handle_data(self, data):
        if not self.silent:
            self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def html(runs, drawn):
    return page.render_page(runs, drawn, "Blobs & <b>bold</b>")


def test_page_needs_nothing_from_outside(html):
    reader = Reader(html)
    links = [
        value
        for _, attributes in reader.elements
        for name, value in attributes.items()
        if name in ("href", "xlink:href", "src")
    ]
    assert links and all(link.startswith(("#", "data:")) for link in links)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))
    assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", html)
    assert "@import" not in html and not reader.all("script") and not reader.all("link") and "<!DOCTYPE svg" not in html


def test_ids_are_unique_and_every_reference_is_kept(html):
    reader = Reader(html)
    ids = [attributes["id"] for _, attributes in reader.elements if "id" in attributes]
    assert len(ids) == len(set(ids)) > 100
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', html))
    used |= {attributes["aria-labelledby"] for attributes in reader.all("section")}
    assert len(used) > 100 and used <= set(ids)


def test_figures_are_read_out_and_sized_by_the_page(html, drawn):
    images = Reader(html).all("svg")
    assert [image["aria-label"] for image in images] == [figure.alt for figure in drawn for _ in range(2)]
    assert all(image["role"] == "img" and "viewbox" in image and "width" not in image for image in images)


def test_page_shows_table_captions_and_all_numbers(html, runs, drawn):
    reader = Reader(html)
    for row in results.summary_cells(summary_table(runs)):
        assert all(cell in reader.text for cell in row.values())
    assert all(" ".join(figure.caption.split()) in reader.text for figure in drawn)
    assert (
        "2 runs of tiny_net (pretrained and random) on blobs, features kernel: ridge regression at 3 sample sizes"
        in reader.text
    )
    assert "(15 to 600 training images), 4 ridges and 3 random subsets of each size" in reader.text
    assert "with 3 balanced classes, predicting nothing costs about 0.67" in reader.text
    assert reader.text.count("tiny-random-3c4d") == 1 and "ridges: [1e-06, 0.001, 0.1, 10.0]" in reader.text
    assert "seconds: 1.25" in reader.text
    assert len(reader.all("details")) == 4 and not any("open" in attributes for attributes in reader.all("details"))
    assert len(reader.all("tr")) == (1 + 2) + 2 * (1 + len(SIZES) * len(RIDGES))
    assert not reader.all("li")
    assert len(reader.all("h1")) == 1 and "Blobs & <b>bold</b>" in reader.text and not reader.all("b")


def test_page_shows_the_notes_beside_the_table(runs, drawn):
    wild = [leveraged(runs[0], gcv=0.375, loo=57139.0, test_risk=616584.0), runs[1]]
    reader = Reader(page.render_page(wild, drawn, "notes"))
    (note,) = summary_notes(summary_table(wild))
    assert len(reader.all("li")) == 1 and note in reader.text
    assert reader.text.index("n ≥ 500") < reader.text.index(note) < reader.text.index(drawn[0].title)


def test_names_are_text_in_figures_and_page(runs, tmp_path):
    nasty = ["<script>alert(1)</script>", "_hidden", r"cost $\frac$ more", '--!><img src=x onerror="x">']
    odd = [dataclasses.replace(runs[0], name=f"{name}!", model=name, config={"</pre>": name}) for name in nasty]
    drawn = figures.save_figures(odd, tmp_path)
    figure, _ = figures._drawn(draw_spectra, figures._series(odd), stacked=False)
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert shown == [
        f"{name}, pretrained".replace("$", r"\$") for name in nasty
    ]  # matplotlib draws \$ as a dollar sign
    reader = Reader(page.render_page(odd, drawn, "odd"))
    assert not reader.all("script") and not reader.all("img")
    assert [image["aria-label"] for image in reader.all("svg")] == [figure.alt for figure in drawn for _ in range(2)]
    assert all(f"{name}, pretrained" in reader.text and f"{name}!" in reader.text for name in nasty)


def test_one_fit_and_no_finite_fit_still_make_a_report(tmp_path):
    run = make_run("lonely", "random", sizes=(40,), ridges=(0.0,), trials=1)
    blank = dataclasses.replace(with_risk(run, gcv=np.nan, test_risk=np.nan), name="blank", init="unknown")
    for painter in (draw_prediction, draw_learning, draw_spectra):
        assert "Left out" not in draw(painter, [run])[-1].caption
    text = Reader(page.render_page([run, blank], figures.save_figures([run, blank], tmp_path), "few")).text
    assert "at 1 sample size (40 training images), 1 ridge and 1 random subset of each size" in text
    assert text.count("GCV and test risk: 1 fit.") == 2
    assert "gap %" in format_table(summary_table([blank]))
    assert format_table(summary_table([blank])).split("\n")[2].split()[2:] == ["40"] + ["–"] * 7


def test_table_of_many_runs_names_counts_not_lists(runs):
    many = [dataclasses.replace(runs[0], name=f"run-{place}", model=f"net_{place}") for place in range(5)]
    assert "5 runs of 5 backbones (pretrained) on blobs" in page._what_was_run(many)
    assert page._shared_outputs([runs[0], with_risk(runs[1], outputs=7)]) == 0


# ------------------------------------------------------------------------------------------------------------ the package


def test_package_loads_matplotlib_only_when_asked():
    code = "import sys; from rmtgen.report import format_table; sys.exit('matplotlib' in sys.modules or 'jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert all(getattr(report, name) is not None for name in dir(report))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = report.nonsense
