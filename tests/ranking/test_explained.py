"""R² and AUC of a probe against refits and loops written plainly, and how often R² is held."""

import numpy as np
import pytest

from rmtgen.ranking import best_ridge, explained
from rmtgen.ranking.probe import Probe
from rmtgen.ridge.kernel import FeatureKernel, GramKernel
from rmtgen.ridge.outputs import split_targets
from rmtgen.ridge.problem import Problem

P, RIDGES = 6, (1e-3, 0.03, 0.3, 3.0)
SCALE = np.arange(1, P + 1) ** -0.6
SLOPES = np.random.default_rng(7).standard_normal((P, 2))


def drawn(n, seed=0, noise=(1.0, 2.0)):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, P)) * SCALE
    values = features @ SLOPES + np.array(noise) * rng.standard_normal((n, 2))
    return features, np.array([1000.0, 1.0]) * values + np.array([2000.0, -3.0])


def probed(features, labels, task, *, gram=False, ridges=RIDGES):
    targets, _ = split_targets(labels, labels[:0], labels.shape[1], "intercept")
    kernel = (
        GramKernel.checked(features @ features.T, None)
        if gram
        else FeatureKernel.checked(features, None)
    )
    problem = Problem.checked(kernel, targets.values, None, loo=True, intercept=True)
    return Probe.of(problem, ridges, task=task)


def fitted(features, targets, ridge, count):
    """Predictions of the fit to some samples, at the sum ridge of `count`."""
    means = features.mean(axis=0), targets.mean(axis=0)
    x, y = features - means[0], targets - means[1]
    weights = np.linalg.solve(x.T @ x + count * ridge * np.eye(x.shape[1]), x.T @ y)
    return lambda points: (points - means[0]) @ weights + means[1]


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


@pytest.mark.parametrize("gram", [False, True])
def test_an_auc_is_that_of_refits_without_both_images(gram):
    features, values = drawn(24)
    labels = values > np.quantile(values, (0.5, 0.8), axis=0).diagonal()
    probe = probed(features, labels, "labels", gram=gram)
    targets, ridge = labels.astype(float), probe.best["ridge"]
    for k in (0, 1):
        above = []
        for i in np.flatnonzero(labels[:, k]):
            for j in np.flatnonzero(~labels[:, k]):
                kept = np.delete(np.arange(24), [i, j])
                scores = fitted(features[kept], targets[kept], ridge, 24)(features[[i, j]])[:, k]
                above.append((scores[0] > scores[1]) + (scores[0] == scores[1]) / 2)
        assert probe.explained.outputs["auc"][k] == pytest.approx(np.mean(above), abs=1e-12)
    assert probe.explained.auc == pytest.approx(probe.explained.outputs["auc"].mean())
    assert probe.explained.outputs["share"].tolist() == labels.mean(axis=0).tolist()


def test_of_many_images_the_pairs_of_some_are_looked_at(monkeypatch):
    features, values = drawn(300)
    labels = values > values.mean(axis=0)
    whole = probed(features, labels, "labels").explained
    monkeypatch.setattr(explained, "PAIR_ROWS", 100)
    monkeypatch.setattr(explained, "ROWS_AT_ONCE", 7)
    some = probed(features, labels, "labels").explained
    assert some.auc != whole.auc and some.auc == pytest.approx(whole.auc, abs=0.03)
    assert some.r2 == whole.r2


def test_features_that_know_nothing_have_an_auc_about_a_half():
    """Scores of leave-one-out would have put every image with the label below all others."""
    rng = np.random.default_rng(3)
    labels = rng.random((200, 3)) < (0.1, 0.3, 0.5)
    probe = probed(rng.standard_normal((200, 4)), labels, "labels", ridges=(1e9,))
    assert probe.explained.auc == pytest.approx(0.5, abs=0.06)
    assert abs(probe.explained.r2) < 0.02


def test_a_label_of_all_images_counts_for_nothing():
    features, values = drawn(40)
    labels = values > values.mean(axis=0)
    shown = np.column_stack([labels, np.ones(40, bool), np.zeros(40, bool)])
    alone, among = (probed(features, some, "labels") for some in (labels, shown))
    assert among.best["loo"] == pytest.approx(alone.best["loo"], rel=1e-9)
    first, second = alone.explained, among.explained
    assert (second.r2, second.low, second.auc) == pytest.approx((first.r2, first.low, first.auc))
    assert second.outputs[["r2", "r2_low", "auc"]].iloc[2:].isna().all(axis=None)
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
    assert single.auc == pytest.approx(double.auc, abs=1e-5)
    numbers = [[one.r2, one.low, one.high, one.variance] for one in (single, double)]
    assert numbers[0] == pytest.approx(numbers[1], abs=1e-5)
