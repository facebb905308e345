"""AUCs of leave-pair-out and their intervals against refits and loops written plainly."""

import numpy as np
import pytest

from rmtgen.errors import UsageError
from rmtgen.ranking import areas
from rmtgen.ranking.paired import area_difference
from rmtgen.ridge.eigen import Fits
from rmtgen.ridge.kernel import FeatureKernel
from rmtgen.ridge.outputs import split_targets
from rmtgen.ridge.problem import Problem
from rmtgen.ridge.shares import wilson
from tests.ranking.labelled import drawn, fitted, probed


def labelled(n, shares=(0.5, 0.8), seed=0):
    """Features, and labels that the smallest shares of two values lack."""
    features, values = drawn(n, seed)
    return features, values > np.quantile(values, shares, axis=0).diagonal()


def area_at(features, labels, ridge):
    """The mean AUC of a fit at one ridge."""
    targets, _ = split_targets(labels, labels[:0], labels.shape[1], "intercept")
    kernel, n = FeatureKernel.checked(features, None), len(features)
    problem = Problem.checked(kernel, targets.values, None, loo=True, intercept=True)
    fit = Fits(problem, kernel.modes(n, True)).at(n * ridge)
    return areas.areas(fit, n * ridge, problem.targets)[1]


def in_order(features, labels, ridge, label, *out):
    """Which pairs of samples with a label and without are in order, left out with others."""
    targets, n = labels.astype(float), len(labels)
    found = np.full((n, n), np.nan)
    for i in np.flatnonzero(labels[:, label]):
        for j in np.flatnonzero(~labels[:, label]):
            if i in out or j in out:
                continue
            kept = np.delete(np.arange(n), [i, j, *out])
            scores = fitted(features[kept], targets[kept], ridge, n)(features[[i, j]])[:, label]
            found[i, j] = (scores[0] > scores[1]) + (scores[0] == scores[1]) / 2
    return found


def shares_of(pairs):
    """V_i of pairs in order."""
    both = np.where(np.isnan(pairs), pairs.T, pairs)
    counts = np.isfinite(both).sum(axis=1)
    return np.nansum(both, axis=1) / np.maximum(counts, 1)


def effects_out(matrix):
    """The mean of η_ij η_ji by least squares on effects of rows and columns."""
    n = len(matrix)
    places = [(i, j) for i in range(n) for j in range(n) if i != j]
    design = np.zeros((len(places), 2 * n))
    for row, (i, j) in enumerate(places):
        design[row, i] = design[row, n + j] = 1
    values = np.array([matrix[place] for place in places])
    rest = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    eta = np.zeros((n, n))
    for place, value in zip(places, rest, strict=True):
        eta[place] = value
    even, odd = (eta + eta.T) / 2, (eta - eta.T) / 2
    return (even**2).sum() / (n * (n - 3)) - (odd**2).sum() / ((n - 1) * (n - 2))


def plain(features, labels, ridge):
    """By label and for their mean: AUC and standard error."""
    n, count = labels.shape
    values, moves, changes = [], np.zeros((n, count)), np.zeros((n, n, count))
    for label in range(count):
        has = labels[:, label]
        sizes = np.where(has, has.sum(), (~has).sum())
        pairs = in_order(features, labels, ridge, label)
        values.append(np.nanmean(pairs))
        moves[:, label] = (shares_of(pairs) - values[-1]) / np.sqrt(sizes * (sizes - 1))
        for out in range(n):
            without = pairs.copy()
            without[out], without[:, out] = np.nan, np.nan
            moved = shares_of(in_order(features, labels, ridge, label, out)) - shares_of(without)
            changes[:, out, label] = n / sizes * moved
            changes[out, out, label] = 0
    values.append(np.mean(values))
    moves = np.column_stack([moves, moves.mean(axis=1)])
    changes = np.dstack([changes, changes.mean(axis=2)])
    shared = [max(effects_out(one), 0) for one in np.moveaxis(changes, 2, 0)]
    errors = np.sqrt((moves**2).sum(axis=0) + (n - 1) / n * np.array(shared))
    return np.array(values), errors


@pytest.mark.parametrize("gram", [False, True])
def test_an_auc_and_its_interval_are_those_of_refits(gram):
    features, labels = labelled(20)
    probe = probed(features, labels, "labels", gram=gram)
    values, errors = plain(features, labels, probe.best["ridge"])
    found, area = probe.explained.outputs, probe.explained.area
    assert [*found["auc"], area.value] == pytest.approx(values, abs=1e-12)
    assert found["share"].tolist() == labels.mean(axis=0).tolist()
    ends = [*found[["auc_low", "auc_high"]].to_numpy(), (area.low, area.high)]
    for value, error, own in zip(values, errors, ends, strict=True):
        assert own == pytest.approx(wilson(value, error, 4), abs=1e-9)
    assert areas.area_error(area.moves, area.changes) == pytest.approx(errors[-1], rel=1e-9)


def test_of_many_images_the_pairs_of_some_are_looked_at(monkeypatch):
    features, labels = labelled(300)
    whole = probed(features, labels, "labels").explained
    monkeypatch.setattr(areas, "PAIR_ROWS", 100)
    monkeypatch.setattr(areas, "ROWS_AT_ONCE", 7)
    monkeypatch.setattr(areas, "TRIPLES", 60)
    some = probed(features, labels, "labels").explained
    assert some.area.value != whole.area.value
    assert some.area.value == pytest.approx(whole.area.value, abs=0.03)
    assert some.area.changes.shape == (60, 60) and some.area.moves.shape == (300,)
    widths = [one.outputs["auc_high"] - one.outputs["auc_low"] for one in (some, whole)]
    assert (widths[0] / widths[1]).tolist() == pytest.approx([1.3, 1.3], abs=0.2)
    assert some.r2 == whole.r2


def test_the_standard_error_counts_the_pairs_that_were_looked_at(monkeypatch):
    """Sampled pairs of many draws vary as stated: V_i here are of scores that no fit changes."""
    monkeypatch.setattr(areas, "PAIR_ROWS", 40)
    monkeypatch.setattr(areas, "TRIPLES", 8)
    errors, stated = [], []
    for draw in range(200):
        rng = np.random.default_rng(draw)
        has = rng.permutation(120) < 40
        features = (has + 1.2 * rng.standard_normal(120))[:, None]
        area = area_at(features, has[:, None], 100.0)
        errors.append(area.value)
        stated.append(np.linalg.norm(area.moves))
    assert np.median(stated) == pytest.approx(np.std(errors), rel=0.12)


def test_features_that_know_nothing_have_an_auc_about_a_half():
    """Scores of leave-one-out would have put every image with the label below all others."""
    rng = np.random.default_rng(3)
    labels = rng.random((200, 3)) < (0.1, 0.3, 0.5)
    probe = probed(rng.standard_normal((200, 4)), labels, "labels", ridges=(1e9,))
    assert probe.explained.area.value == pytest.approx(0.5, abs=0.06)
    assert probe.explained.area.low < 0.5 < probe.explained.area.high
    assert abs(probe.explained.r2) < 0.02


def test_a_label_of_one_image_has_no_interval_and_is_not_in_the_mean():
    features, labels = labelled(40)
    alone = np.arange(40) == 5
    known = probed(features, np.column_stack([labels, alone, ~alone]), "labels").explained
    assert known.outputs["auc"].notna().all()
    assert known.outputs["auc_low"].isna().tolist() == [False, False, True, True]
    assert known.area.value == pytest.approx(known.outputs["auc"][:2].mean())
    assert known.area.low < known.area.value < known.area.high
    single = probed(features, alone[:, None], "labels").explained
    assert np.isnan([single.area.value, single.area.low]).all()


def test_labels_that_are_told_apart_have_an_interval_below_1():
    """That of Wilson, of as many images as the rarer kind."""
    features = np.arange(40.0)[:, None] - 5
    known = probed(features, features >= 25, "labels").explained
    assert known.area.value == 1
    assert (known.area.low, known.area.high) == pytest.approx(wilson(1, 0, 10))


def test_few_images_have_no_interval():
    features, labels = labelled(7)
    known = probed(features, labels, "labels").explained
    assert np.isfinite(known.area.value) and np.isnan([known.area.low, known.area.high]).all()


@pytest.mark.parametrize("copies", [2, 3])
def test_images_that_are_the_same_to_the_kernel_leave_no_digits(copies):
    """Two of them out of three leave the third to go by, and all three nothing."""
    features, labels = labelled(24)
    features[:copies] = features[0]
    labels[:3] = [[True, True], [False, False], [True, False]]
    wide = np.column_stack([features, np.eye(24)[:, 3:]])
    area = probed(wide, labels, "labels", ridges=(1e-14,)).explained.area
    assert np.isnan([area.low, area.high]).all() and np.isnan(area.value) == (copies == 2)


def test_a_difference_is_of_the_same_images():
    """Its error is that of the differences of what both are made from, less than of two alone."""
    features, labels = labelled(60)
    rng = np.random.default_rng(1)
    first = probed(features, labels, "labels")
    second = probed(features + 0.05 * rng.standard_normal(features.shape), labels, "labels")
    found, back = area_difference(first, second), area_difference(second, first)
    one, other = first.explained.area, second.explained.area
    assert found.value == one.value - other.value == -back.value
    error = areas.area_error(one.moves - other.moves, one.changes - other.changes)
    assert found.se == error == pytest.approx(back.se)
    assert 0 < found.se < 0.5 * areas.area_error(one.moves, one.changes)
    same = area_difference(first, first)
    assert (same.value, same.se) == (0, 0)
    with pytest.raises(UsageError, match="the same samples: got 60 and 40"):
        area_difference(first, probed(features[:40], labels[:40], "labels"))


def test_of_values_there_is_none():
    features, values = drawn(30)
    probe = probed(features, values, "values")
    assert np.isnan(probe.explained.area.value) and probe.explained.outputs["auc"].isna().all()
    assert np.isnan(area_difference(probe, probe).value)


def test_the_interval_holds_the_auc_of_the_fit_about_as_often_as_it_says():
    """`make bench BENCH=explained` has more draws and problems. DeLong's held it in fewer."""
    held, without = [], []
    tests, truth = labelled(4000, seed=1)
    cuts = [drawn(4000, 1)[1][truth[:, place], place].min() for place in (0, 1)]
    for draw in range(100):
        features, values = drawn(50, seed=100 + draw)
        labels = values > cuts
        area = area_at(features, labels, 0.1)
        scores = fitted(features, labels.astype(float), 0.1, 50)(tests)
        real = np.mean([in_order_of(scores[:, k], truth[:, k]) for k in (0, 1)])
        held.append(area.low <= real <= area.high)
        ends = wilson(area.value, np.linalg.norm(area.moves), labels.sum(axis=0).min())
        without.append(ends[0] <= real <= ends[1])
    assert 0.88 <= np.mean(held) <= 0.99
    assert np.mean(without) < np.mean(held)


def in_order_of(scores, has):
    """The AUC of scores, by all pairs."""
    return (scores[has][:, None] > scores[~has]).mean()


@pytest.mark.parametrize("ridge", [0.0, 1e-16, 1e-12])
def test_a_pair_without_digits_leaves_neither_its_label_nor_the_mean_an_auc(ridge):
    rng = np.random.default_rng(0)
    features, labels = rng.standard_normal((24, 60)), np.zeros((24, 2), dtype=bool)
    features[1] = features[0]  # one of them has the first label, and both have the second
    labels[[0, 5], 0] = labels[:12, 1] = True
    known = probed(features, labels, "labels", ridges=(ridge,)).explained
    first, second = known.outputs[["auc", "auc_low", "auc_high"]].to_numpy(float)
    assert np.isnan(first).all() and np.isfinite(second[0]) == (ridge == 1e-12)
    assert np.isnan([known.area.value, known.area.low, known.area.high]).all()
