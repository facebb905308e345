"""A probe in which every class counts the same, against weighted refits written plainly."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.metrics import balanced_accuracy_score
from sklearn.utils.class_weight import compute_sample_weight

import rmtgen
from rmtgen.errors import UsageError
from rmtgen.ranking.balanced import balanced_probe
from rmtgen.ranking.paired import error_difference, risk_difference
from rmtgen.ranking.probe import FIGURES, PATH, Probe
from rmtgen.ridge.kernel import FeatureKernel, GramKernel
from rmtgen.ridge.problem import Problem
from rmtgen.ridge.strata import Strata
from rmtgen.ridge.targets import encode_targets
from rmtgen.theory.loo_scores import LooScores, Scores

COUNTS = (12, 7, 3)
RIDGES = (1e-3, 0.1, 1.0, 30.0)


def drawn(p, counts=COUNTS, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    centres = rng.standard_normal((len(counts), p))
    noise = rng.standard_normal((len(labels), p)) * np.arange(1, p + 1) ** -0.3
    return centres[labels] + 1.2 * noise, labels


def posed(features, labels, *, gram=False, coding="centered", classes=None):
    coded = encode_targets(labels, classes or int(labels.max()) + 1, coding)
    checked = GramKernel.checked if gram else FeatureKernel.checked
    kernel = checked(features @ features.T if gram else features, None)
    return Problem.checked(kernel, coded.values, None, loo=True, intercept=coded.intercept)


def left_out(features, targets, weights, ridge, *also):
    """f(x_i) of the weighted fit without sample i, and without the samples `also`."""
    found = []
    for row in range(len(features)):
        kept = np.array([other for other in range(len(features)) if other not in (row, *also)])
        model = Ridge(alpha=len(features) * ridge, fit_intercept=False, solver="svd", tol=1e-12)
        model.fit(features[kept], targets[kept], sample_weight=weights[kept])
        found.append(model.predict(features[row : row + 1])[0])
    return np.array(found)


@pytest.mark.parametrize("coding", ["centered", "onehot"])
@pytest.mark.parametrize(("p", "gram"), [(5, False), (5, True), (40, False), (40, True)])
def test_risk_and_accuracy_are_those_of_weighted_refits(p, gram, coding):
    features, labels = drawn(p)
    problem = posed(features, labels, gram=gram, coding=coding)
    probe, targets = balanced_probe(problem, RIDGES), problem.targets.numpy()
    weights, n = compute_sample_weight("balanced", labels), len(labels)
    assert list(probe.path) == list(PATH) and set(probe.figures) == set(FIGURES)
    losses, risks, guesses = {}, [], {}
    for ridge in RIDGES:
        scores = left_out(features, targets, weights, ridge)
        losses[ridge] = ((scores - targets) ** 2).sum(axis=1)
        guesses[ridge] = scores.argmax(axis=1)
        by_class = [losses[ridge][labels == one].mean() for one in range(3)]
        risks.append(np.mean(by_class))
        assert risks[-1] == pytest.approx((weights * losses[ridge]).mean())
    known = probe.path["loo"].notna().to_numpy()
    assert probe.path["loo"].to_numpy()[known] == pytest.approx(np.array(risks)[known], rel=1e-6)
    chosen = RIDGES[int(np.argmin(risks))]
    assert probe.best["ridge"] == chosen and known[int(np.argmin(risks))]
    assert probe.losses == pytest.approx(weights * losses[chosen], rel=1e-6)
    right = balanced_accuracy_score(labels, guesses[chosen])
    assert 1 - probe.figures["error"] == pytest.approx(right)
    assert 1 - probe.best["loo_error"] == pytest.approx(right)
    for also in (0, 5):
        others = np.arange(n) != also
        scores = left_out(features, targets, weights, chosen, also)
        change = weights * (((scores - targets) ** 2).sum(axis=1) - losses[chosen])
        assert probe.changes[others, also] == pytest.approx(change[others], rel=1e-5, abs=1e-9)


def plain_covariance(change):
    """The mean of η_ij η_ji, η centred by a regression on effects of rows and columns."""
    n, eta = len(change), np.zeros(change.shape)
    places = [(i, j) for i in range(n) for j in range(n) if i != j]
    design = np.zeros((len(places), 2 * n))
    for row, (i, j) in enumerate(places):
        design[row, i] = design[row, n + j] = 1
    values = np.array([change[place] for place in places])
    rest = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    for place, value in zip(places, rest, strict=True):
        eta[place] = value
    symmetric, turned = (eta + eta.T) / 2, (eta - eta.T) / 2
    return (symmetric**2).sum() / (n * (n - 3)) - (turned**2).sum() / ((n - 1) * (n - 2))


def test_the_interval_is_that_of_means_of_classes():
    features, labels = drawn(6, (30, 14, 8))
    probe, n = balanced_probe(posed(features, labels), (0.3,)), len(labels)
    within = sum(
        (probe.losses[labels == one] / probe.strata.weights[labels == one]).var(ddof=1) / count
        for one, count in enumerate((30, 14, 8))
    )
    shared = plain_covariance(probe.changes)
    best = probe.best
    error = np.sqrt(within / 9 + (n - 1) / n * max(shared, 0))
    assert best["loo_se"] == pytest.approx(error, rel=1e-6)
    reach = np.exp(1.959963984540054 * error / best["loo"])
    assert best["loo_low"] == pytest.approx(best["loo"] / reach)
    assert best["loo_high"] == pytest.approx(best["loo"] * reach)
    low, high = probe.figures["error_low"], probe.figures["error_high"]
    assert 0 <= low < probe.figures["error"] < high <= 1


def test_the_error_moves_by_what_dense_matrices_say():
    features, labels = drawn(7, (25, 12, 6))
    problem, n = posed(features, labels), len(labels)
    probe = balanced_probe(problem, (0.2,))
    weights, words = compute_sample_weight("balanced", labels), problem.targets
    root = np.sqrt(weights)[:, None]
    x, y = root * features, root * words.numpy()
    inverse = np.linalg.inv(x @ x.T + n * 0.2 * np.eye(n))
    e, scale = inverse @ y / np.diag(inverse)[:, None], np.diag(inverse)[:, None]
    values = words.numpy() - e / root
    modes = rmtgen.feature_modes(x)
    pool = LooScores(modes, words, problem.code)
    parts = (torch.from_numpy(part) for part in (values, e, np.zeros((n, 1))))
    slopes = root * Scores(pool, n * 0.2, *parts).slopes(1.0).numpy()
    wrong = values.argmax(axis=1) != labels
    moves = np.array(
        [
            ((slopes * (inverse[:, [j]] / scale)).sum(axis=0) - slopes[j]) @ e[j] / n
            for j in range(n)
        ]
    )
    for one, count in enumerate((25, 12, 6)):
        own = labels == one
        moves[own] -= (wrong[own] - wrong[own].mean()) / (3 * (count - 1))
    assert probe.moves == pytest.approx(moves, abs=1e-10)


@pytest.mark.parametrize("p", [6, 60])
def test_the_risk_is_that_of_the_estimator_with_sample_weights(p):
    features, labels = drawn(p)
    problem = posed(features, labels)
    probe = balanced_probe(problem, (0.4,))
    model = rmtgen.KernelRidgeGCV(ridges=[0.4], fit_intercept=False)
    model.fit(features, problem.targets.numpy(), compute_sample_weight("balanced", labels))
    assert probe.best["loo"] == pytest.approx(model.loo_, rel=1e-9)
    assert probe.best["df"] == pytest.approx(model.degrees_of_freedom_, rel=1e-9)
    assert probe.best["gcv"] == pytest.approx(model.gcv_[0], rel=1e-9)


@pytest.mark.parametrize("p", [6, 90])
def test_classes_of_one_size_have_the_plain_risk_and_accuracy(p):
    features, labels = drawn(p, (20, 20, 20))
    problem = posed(features, labels)
    plain, probe = Probe.of(problem, RIDGES), balanced_probe(problem, RIDGES)
    for name in ("ridge", "gcv", "loo", "df", "loo_error", "loo_kurtosis"):
        assert probe.best[name] == pytest.approx(plain.best[name], rel=1e-9)
    assert probe.figures["error"] == pytest.approx(plain.figures["error"])
    assert probe.figures["alignment"] == pytest.approx(plain.figures["alignment"])
    assert probe.losses == pytest.approx(plain.losses, rel=1e-9)
    assert probe.changes == pytest.approx(plain.changes, rel=1e-6, abs=1e-12)
    # classes that differ are no doubt of a mean over classes
    between = plain.losses.var(ddof=1) / 60 - Strata.of(labels).variance(plain.losses)
    assert probe.best["loo_se"] ** 2 == pytest.approx(plain.best["loo_se"] ** 2 - between)


def test_many_samples_of_few_features_give_the_same_in_float32():
    features, labels = drawn(6, (3000, 900, 400))
    features = features.astype(np.float32)
    probe = balanced_probe(posed(features, labels), (1e-2,))
    weights, n = compute_sample_weight("balanced", labels), len(labels)
    x = np.sqrt(weights)[:, None] * features
    targets = np.eye(3)[labels] - 1 / 3
    hat = x @ np.linalg.solve(x.T @ x + n * 1e-2 * np.eye(6), x.T)
    y = np.sqrt(weights)[:, None] * targets
    losses = (((y - hat @ y) / (1 - np.diag(hat))[:, None]) ** 2).sum(axis=1)
    assert probe.best["loo"] == pytest.approx(losses.mean(), rel=1e-5)
    assert probe.losses == pytest.approx(losses, rel=1e-3)


@given(st.lists(st.integers(2, 9), min_size=2, max_size=5), st.integers(0, 1000))
@settings(max_examples=20)
def test_to_know_nothing_costs_the_same_whatever_the_classes(counts, seed):
    features, labels = drawn(4, tuple(counts), seed)
    c = len(counts)
    for coding, risk in (("centered", 1 - 1 / c), ("onehot", 1.0)):
        probe = balanced_probe(posed(features, labels, coding=coding), (1e9,))
        assert probe.best["loo"] == pytest.approx(risk, rel=1e-6)


@given(st.integers(0, 1000))
@settings(max_examples=10)
def test_order_of_samples_names_of_classes_and_scale_change_nothing(seed):
    features, labels = drawn(5, seed=seed)
    rng = np.random.default_rng(seed)
    order, names = rng.permutation(len(labels)), rng.permutation(3)
    probe = balanced_probe(posed(features, labels), RIDGES)
    other = balanced_probe(posed(features[order], names[labels[order]]), RIDGES)
    assert other.best["loo"] == pytest.approx(probe.best["loo"], rel=1e-9)
    assert other.losses == pytest.approx(probe.losses[order], rel=1e-7)
    assert other.best["loo_se"] == pytest.approx(probe.best["loo_se"], rel=1e-6)
    assert other.figures["error"] == pytest.approx(probe.figures["error"])
    far = 2.0**120
    scaled = balanced_probe(posed(far * features, labels), [far**2 * one for one in RIDGES])
    assert scaled.losses == pytest.approx(probe.losses, rel=1e-9)


def test_a_class_without_samples_is_none():
    features, labels = drawn(5)
    missing = balanced_probe(posed(features, labels, classes=5, coding="onehot"), RIDGES)
    known = balanced_probe(posed(features, labels, coding="onehot"), RIDGES)
    assert missing.best["loo"] == pytest.approx(known.best["loo"])
    assert missing.figures["error"] == pytest.approx(known.figures["error"])


def test_few_samples_have_no_interval_and_no_forecast_is_made():
    features, labels = drawn(3, (3, 2))
    probe = balanced_probe(posed(features, labels), RIDGES)
    assert np.isfinite(probe.best["loo"]) and np.isnan(probe.best["loo_low"])
    assert np.isnan(probe.figures["error_low"]) and np.isnan(probe.changes).all()
    assert probe.outlook.empty


def test_a_class_in_which_none_is_wrong_is_no_surer_than_the_others():
    counts = (60, 20, 4)
    rng = np.random.default_rng(4)
    labels = np.repeat(np.arange(3), counts)
    features = 3 * np.eye(3)[labels] + 0.3 * rng.standard_normal((84, 3))
    features[:6] = features[60:66]  # six of the largest class look like the second
    probe = balanced_probe(posed(features, labels), (1e-3,))
    error = probe.figures["error"]
    assert error == pytest.approx(0.1 / 3)
    count = 9 / sum(1 / one for one in counts)
    least = probe.strata.spread(probe.moves)
    assert least < (error * (1 - error) / count) ** 0.5
    z2 = 1.959963984540054**2
    middle = (error + z2 / count / 2) / (1 + z2 / count)
    reach = np.sqrt(z2 * (error * (1 - error) / count + z2 / count**2 / 4)) / (1 + z2 / count)
    assert probe.figures["error_low"] == pytest.approx(middle - reach)
    assert probe.figures["error_high"] == pytest.approx(middle + reach)


def test_differences_are_of_means_of_classes():
    features, labels = drawn(8, (40, 20, 10))
    first, second = (balanced_probe(posed(features[:, :p], labels), (0.1,)) for p in (8, 4))
    apart = risk_difference(first, second)
    assert apart.value == pytest.approx(first.best["loo"] - second.best["loo"])
    d = first.losses - second.losses
    within = sum(d[labels == one].var(ddof=1) * (labels == one).sum() for one in range(3))
    shared = max(plain_covariance(first.changes - second.changes), 0)
    assert apart.se == pytest.approx(np.sqrt(within / 70**2 + 69 / 70 * shared), rel=1e-6)
    wrong, moves = error_difference(first, second), first.moves - second.moves
    spread = 0.0
    for one in range(3):
        own = moves[labels == one]
        spread += (1 - 1 / len(own)) * ((own - own.mean()) ** 2).sum()
    assert wrong.se == pytest.approx(np.sqrt(spread))
    assert wrong.value == pytest.approx(first.figures["error"] - second.figures["error"])


def test_a_balanced_probe_is_not_compared_with_a_plain_one():
    features, labels = drawn(5)
    problem = posed(features, labels)
    plain, probe = Probe.of(problem, RIDGES), balanced_probe(problem, RIDGES)
    for compare in (risk_difference, error_difference):
        with pytest.raises(UsageError, match="balanced=True, or neither"):
            compare(plain, probe)


def test_targets_that_encode_no_classes_are_refused():
    features, _ = drawn(5)
    kernel = FeatureKernel.checked(features, None)
    problem = Problem.checked(kernel, features[:, :2], None, loo=True, intercept=False)
    with pytest.raises(UsageError, match="no words of a class code"):
        balanced_probe(problem, RIDGES)


def shown(p=6, counts=(40, 20, 10)):
    features, labels = drawn(p, counts)
    return {"all": features, "half": features[:, : p // 2]}, labels


def test_a_ranking_says_that_it_is_balanced_and_foresees_nothing():
    features, labels = shown()
    plain, table = rmtgen.rank(features, labels), rmtgen.rank(features, labels, balanced=True)
    assert not plain["balanced"].any() and table["balanced"].all()
    later = [name for name in table if "with_more" in name]
    assert len(later) == 10 and table[later].isna().all().all()
    assert table["accuracy"].is_monotonic_decreasing and table["loo"].notna().all()
    assert (table["accuracy"] != plain["accuracy"].to_numpy()).all()
    risks = rmtgen.rank(features, labels, balanced=True, by="risk")["loo"]
    assert risks.is_monotonic_increasing


def test_pairs_of_features_are_compared_by_their_balanced_risk():
    features, labels = shown()
    row = rmtgen.compare_features(features, labels, balanced=True).iloc[0]
    plain = rmtgen.compare_features(features, labels).iloc[0]
    assert row["balanced"] and not plain["balanced"]
    assert row["cka"] == plain["cka"] and row["loo_first"] != plain["loo_first"]
    assert row["gain_over_second"] == pytest.approx(row["loo_second"] - row["loo_both"])
    assert row["gain_over_second_low"] < row["gain_over_second"] < row["gain_over_second_high"]


@pytest.mark.parametrize("call", [rmtgen.rank, rmtgen.compare_features])
def test_what_cannot_be_balanced_is_refused(call):
    features, labels = shown()
    marks = np.stack([labels == 0, labels == 1], axis=1)
    for other, task in ((marks, "labels"), (labels + 0.5, "values")):
        with pytest.raises(UsageError, match=f"got {task}, which are no classes"):
            call(features, other, balanced=True)
    with pytest.raises(UsageError, match="a coding without an intercept: got intercept"):
        call(features, labels, balanced=True, coding="intercept")
    with pytest.raises(UsageError, match="balanced must be True or False: got 'yes'"):
        call(features, labels, balanced="yes")
    labels = np.where(np.arange(len(labels)) == 0, 3, labels)
    with pytest.raises(UsageError, match="got 1 of class 3, among 70 images"):
        call(features, labels, balanced=True)
