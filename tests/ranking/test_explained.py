"""R² of a probe against refits and loops written plainly, and how often R² is held."""

import numpy as np
import pytest

from rmtgen.ranking import best_ridge
from rmtgen.ridge.outputs import split_targets
from tests.ranking.labelled import drawn, fitted, probed


def losses_without(features, targets, ridge, also=None):
    """Squared errors of each sample of the fit without it and `also`, and of the mean alone."""
    n = len(features)
    own, plain = (np.zeros(targets.shape) for _ in range(2))
    for row in range(n):
        kept = [other for other in range(n) if other not in (row, also)]
        found = fitted(features[kept], targets[kept], ridge, n)(features[row])
        own[row] = (found - targets[row]) ** 2
        plain[row] = (targets[kept].mean(axis=0) - targets[row]) ** 2
    return own, plain


def plain_error(apart, changes):
    """The standard error of a mean by least squares on effects of rows and columns."""
    n = len(apart)
    places = [(i, j) for i in range(n) for j in range(n) if i != j]
    design = np.zeros((len(places), 2 * n))
    for row, (i, j) in enumerate(places):
        design[row, i] = design[row, n + j] = 1
    values = np.array([changes[place] for place in places])
    rest = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    eta = np.zeros((n, n))
    for place, value in zip(places, rest, strict=True):
        eta[place] = value
    even, odd = (eta + eta.T) / 2, (eta - eta.T) / 2
    shared = (even**2).sum() / (n * (n - 3)) - (odd**2).sum() / ((n - 1) * (n - 2))
    return np.sqrt(apart.var(ddof=1) / n + (n - 1) / n * max(shared, 0))


@pytest.mark.parametrize("task", ["values", "labels"])
def test_r2_and_its_interval_are_those_of_refits(task):
    features, labels = drawn(20)
    labels = labels > np.median(labels, axis=0) if task == "labels" else labels
    probe = probed(features, labels, task)
    targets = split_targets(labels, labels[:0], 2, "intercept")[0].values.numpy()
    ridge = probe.best["ridge"]
    own, plain = losses_without(features, targets, ridge)
    risks, means = own.mean(axis=0), plain.mean(axis=0)
    found = probe.explained.outputs
    assert found["loo"].to_numpy() == pytest.approx(risks, rel=1e-7)
    assert found["r2"].to_numpy() == pytest.approx(1 - risks / means, rel=1e-6)
    pooled = risks.sum() / means.sum()
    whole = (risks / means).mean() if task == "values" else pooled
    assert probe.explained.r2 == pytest.approx(1 - whole, rel=1e-7)

    changes = np.zeros((2, 2, 20, 20))  # of the fit and of the mean, by output
    for also in range(20):
        for kind, one in enumerate(losses_without(features, targets, ridge, also)):
            moved = one - (own, plain)[kind]
            moved[also] = 0
            changes[kind, :, :, also] = moved.T
    ratios = risks / means
    shares = ratios if task == "values" else np.full(2, pooled)
    weights = 1 / means / 2 if task == "values" else np.full(2, 1 / means.sum())
    errors = [
        plain_error(own[:, k] - ratios[k] * plain[:, k], changes[0, k] - ratios[k] * changes[1, k])
        / means[k]
        for k in (0, 1)
    ]
    apart = (own - shares * plain) @ weights
    moved = np.einsum("k,kij->ij", weights, changes[0] - shares[:, None, None] * changes[1])
    errors.append(plain_error(apart, moved))
    ends = [*found[["r2_low", "r2_high"]].to_numpy(), (probe.explained.low, probe.explained.high)]
    for ratio, error, (low, high) in zip([*ratios, whole], errors, ends, strict=True):
        reach = np.exp(1.959963984540054 * error / ratio)
        assert (low, high) == pytest.approx((1 - ratio * reach, 1 - ratio / reach), rel=1e-5)


def test_the_interval_holds_the_true_r2_of_the_fit_about_as_often_as_it_says():
    tests, truth = drawn(20_000, seed=1)
    held, single = [], []
    for draw in range(120):
        features, values = drawn(50, seed=100 + draw)
        probe = probed(features, values, "values")
        predicted = fitted(features, values, probe.best["ridge"], 50)(tests)
        real = 1 - ((predicted - truth) ** 2).mean(axis=0) / truth.var(axis=0)
        known = probe.explained
        held.append(known.low <= real.mean() <= known.high)
        ends = known.outputs["r2_low"].to_numpy(), known.outputs["r2_high"].to_numpy()
        single.append((ends[0] <= real) & (real <= ends[1]))
    assert 0.89 <= np.mean(held) <= 0.99
    assert (np.mean(single, axis=0) >= 0.87).all()


def test_a_label_of_all_images_counts_for_nothing():
    features, values = drawn(40)
    labels = values > values.mean(axis=0)
    shown = np.column_stack([labels, np.ones(40, bool), np.zeros(40, bool)])
    alone, among = (probed(features, some, "labels") for some in (labels, shown))
    assert among.best["loo"] == pytest.approx(alone.best["loo"], rel=1e-9)
    first, second = alone.explained, among.explained
    assert (second.r2, second.low) == pytest.approx((first.r2, first.low))
    assert second.outputs[["r2", "r2_low", "auc", "auc_low"]].iloc[2:].isna().all(axis=None)
    assert second.outputs["share"].tolist()[2:] == [1, 0]


def test_a_target_of_two_values_has_no_accuracy():
    features, values = drawn(40)
    probe = probed(features, np.where(values[:, :1] > 2000, 5.0, 1.0), "values")
    assert np.isnan([probe.figures[name] for name in ("error", "error_low")]).all()
    assert np.isnan(probe.moves).all() and probe.outlook["predicted_error"].isna().all()
    assert probe.explained.outputs["auc"].isna().all()


def test_r2_of_more_images_is_that_of_the_forecast():
    features, values = drawn(60)
    known = probed(features, values, "values").explained
    assert known.variance == pytest.approx(2 * 60 / 59)
    loo = known.outputs["loo"].sum()
    assert known.r2_at(loo, 59) == pytest.approx(known.r2, rel=1e-9)


def test_few_images_have_no_interval():
    features, values = drawn(6)
    known = probed(features, values, "values").explained
    assert np.isfinite(known.r2) and np.isnan([known.low, known.high]).all()


def test_modes_in_float32_say_the_same(monkeypatch):
    """Of many images of few features, whose products are in float32."""
    features, values = drawn(5000)
    labels = values > np.quantile(values, 0.7, axis=0)
    single = probed(features, labels, "labels").explained
    monkeypatch.setattr(best_ridge, "MANY", 10**6)
    double = probed(features, labels, "labels").explained
    areas = [[one.area.value, one.area.low, one.area.high] for one in (single, double)]
    assert areas[0] == pytest.approx(areas[1], abs=1e-5)
    numbers = [[one.r2, one.low, one.high, one.variance] for one in (single, double)]
    assert numbers[0] == pytest.approx(numbers[1], abs=1e-5)
