"""Leave-one-out scores against refits, and the errors after noise is added or taken away."""

import numpy as np
import pytest
import reference
import torch
from cases import CASES
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtgen.linalg.modes import gram_modes
from rmtgen.ridge.targets import encode_targets
from rmtgen.theory import loo_scores
from rmtgen.theory.loo_scores import LooScores, Scores

cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def made(n, classes, seed, width=30, ratio=1.0):
    """Scores of a pool of classes that overlap."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, width))
    noise = rng.standard_normal((n, classes))
    labels = np.argmax(features @ rng.standard_normal((width, classes)) / 3 + noise, axis=1)
    return pool_of(features, labels, classes).at(ratio * width)


def pool_of(features, labels, classes):
    targets = encode_targets(torch.from_numpy(labels), classes, "centered").values
    return LooScores.of(gram_modes(features @ features.T), targets)


def deviations(scores):
    """The matrix G_ij/G_ii without its diagonal, from the definition."""
    modes = scores.pool.modes
    vectors, values = modes.vectors.numpy(), modes.values.numpy()
    gram = (vectors * values) @ vectors.T
    inverse = np.linalg.inv(gram + scores.delta * np.eye(len(gram)))
    shares = inverse / np.diag(inverse)[:, None]
    np.fill_diagonal(shares, 0)
    return shares


def drawn(scores, ratio, draws, top=1):
    """Chance of each sample over fresh draws of the noise, from the definition."""
    shares, residuals = deviations(scores), scores.residuals.numpy()
    variance = (shares**2 @ (residuals**2).sum(1)).mean()
    scale = ((ratio - 1) * (residuals**2).sum(1).mean() / variance) ** 0.5
    rng, total = np.random.default_rng(99), np.zeros(len(residuals))
    for _ in range(draws):
        noise = scale * shares @ (residuals * rng.standard_normal((len(residuals), 1)))
        total += higher(scores.values.numpy() + noise, scores.labels.numpy()) >= top
    return total / draws


def higher(values, labels):
    """Number of classes that score higher than the own."""
    return (values > np.take_along_axis(values, labels[:, None], 1)).sum(1)


@cases
@pytest.mark.parametrize("intercept", [False, True], ids=["plain", "intercept"])
@pytest.mark.parametrize("relative", [1e-3, 1.0])
def test_scores_are_those_of_refits_without_each_sample(case, intercept, relative):
    delta = relative * np.trace(case.gram) / len(case.gram)
    modes = gram_modes(case.gram, intercept=intercept)
    found = LooScores.of(modes, torch.from_numpy(case.targets)).at(delta)
    known = reference.refit_loo(case.gram, case.targets, delta, intercept)
    np.testing.assert_allclose(found.values, known, rtol=1e-7, atol=1e-9)
    residuals = case.targets - known
    np.testing.assert_allclose(found.residuals, residuals, rtol=1e-7, atol=1e-9)
    assert found.labels.tolist() == case.targets.argmax(1).tolist()


def test_targets_that_are_no_words_have_no_scores():
    modes = gram_modes(np.eye(9))
    assert LooScores.of(modes, torch.linspace(0, 1, 9, dtype=torch.float64)[:, None]) is None


@pytest.mark.parametrize(("classes", "top"), [(2, 1), (5, 1), (5, 2), (5, 4)])
@pytest.mark.parametrize("ratio", [1.2, 3.0])
def test_chances_are_those_of_fresh_draws(classes, top, ratio):
    """Of 60 samples over 137 pairs of draws, against 1,000: four standard errors of a chance."""
    scores = made(60, classes, 2)
    found, known = scores.wrong(ratio, top).numpy(), drawn(scores, ratio, 1000, top)
    assert np.abs(found - known).max() < 4 * 0.5 * np.hypot(274**-0.5, 1000**-0.5)
    assert found.mean() == pytest.approx(known.mean(), abs=0.015)


def test_noise_has_the_energy_that_the_ratio_says():
    """One draw of 60 features that all samples share varies by some 15 %."""
    scores = made(400, 3, 3, width=60)
    added = (scores.moved(1.5) - scores.values).square().sum(1)
    known = 0.5 * scores.residuals.square().sum(1).mean()
    assert added.mean().item() == pytest.approx(known.item(), rel=0.3)
    larger = scores.moved(3.0) - scores.values
    np.testing.assert_allclose(larger, 2 * (scores.moved(1.5) - scores.values), atol=1e-12)


@pytest.mark.parametrize("delta", [0.0, 1e-3, 7.0, 40.0, 1e5])
def test_draws_are_those_of_a_sum_ridge_within_a_factor_of_two(delta):
    pool = made(40, 3, 8, width=60).pool
    draws = pool.noise(delta)
    assert draws.square().sum().item() / len(draws) == pytest.approx(1)
    weights = torch.randn(40, len(draws), 1, dtype=torch.float64, generator=_seeded())
    distances = []
    for near in [0.0] if delta == 0 else delta * np.geomspace(0.5, 2, 201):
        scores = pool.at(near)
        columns = (scores.residuals[:, None] * weights).flatten(1).numpy()
        known = (deviations(scores) @ columns).reshape(40, len(draws), 3).transpose(1, 0, 2)
        known /= ((known**2).sum() / len(draws)) ** 0.5
        distances.append(np.abs(draws.numpy() - known).max() / known.max())
    assert min(distances) < 1e-2


def _seeded():
    return torch.Generator().manual_seed(0)


def test_what_a_sample_has_taught_is_what_scores_change_without_it():
    """Σ_i g_i·(change of score i without j), against refits without two samples."""
    rng = np.random.default_rng(4)
    features, labels = rng.standard_normal((40, 4)), rng.integers(0, 3, 40)
    scores, slopes = pool_of(features, labels, 3).at(60.0), rng.standard_normal((40, 3))
    found = scores.learnt(torch.from_numpy(slopes)).numpy()
    targets, gram = scores.pool.targets.numpy(), features @ features.T
    for left in (0, 7, 21):
        kept = np.delete(np.arange(40), left)
        without = reference.refit_loo(gram[np.ix_(kept, kept)], targets[kept], 60.0, False)
        change = (slopes[kept] * (without - scores.values.numpy()[kept])).sum()
        scale = np.abs(slopes[kept] * (without - scores.values.numpy()[kept])).sum()
        assert found[left] == pytest.approx(change, abs=0.1 * scale)


def test_slopes_are_those_of_smoothed_chances():
    """The mean slope along own − rival, against differences of chances under 10 % of noise."""
    scores, step = made(500, 3, 5), 0.02
    slopes = scores.slopes(1.0).numpy()
    values, labels = scores.values.numpy(), scores.labels.numpy()
    own = np.eye(3)[labels]
    residuals = scores.residuals.numpy()
    root = np.linalg.cholesky(0.1 * residuals.T @ residuals / 500 + 1e-12 * np.eye(3))
    rng, total = np.random.default_rng(6), 0.0
    for _ in range(500):
        noisy = values + rng.standard_normal((500, 3)) @ root.T
        up, down = (higher(noisy + sign * step * own, labels) >= 1 for sign in (1, -1))
        total += (up.mean() - down.mean()) / (2 * step) / 500
    assert (slopes * own).sum(1).mean() == pytest.approx(total, rel=0.15)
    np.testing.assert_allclose(slopes.sum(1), 0, atol=1e-12)


@settings(max_examples=20)
@given(st.integers(2, 6), st.integers(0, 99), st.floats(1.01, 50))
def test_more_guesses_err_less(classes, seed, ratio):
    scores = made(30, classes, seed)
    shares = [scores.wrong(ratio, top).mean() for top in range(1, classes)]
    assert shares == sorted(shares, reverse=True)
    assert ((scores.wrong(ratio) >= 0) & (scores.wrong(ratio) <= 1)).all()


def test_noise_without_end_leaves_chance():
    assert made(50, 2, 5).wrong(np.inf).tolist() == [0.5] * 50
    assert made(200, 5, 5).wrong(np.inf).mean() == pytest.approx(0.8, abs=0.06)


def test_of_scores_that_tie_the_first_class_is_chosen():
    values = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0 + 1e-12, 0.0]], dtype=torch.float64)
    for own, known in ((0, [0, 0]), (1, [1, 1]), (2, [1, 1])):
        pool = pool_of(np.eye(2), np.array([own, own]), 3)
        assert Scores(pool, 1.0, values, values, values[:, :1]).wrong(1.0).tolist() == known


def test_one_output_is_two_outputs_of_half_the_size():
    rng = np.random.default_rng(6)
    features = rng.standard_normal((30, 50))
    labels = (features[:, 0] + rng.standard_normal(30) > 0).astype(int)
    modes = gram_modes(features @ features.T)
    two = encode_targets(labels, 2, "centered").values
    pair = LooScores.of(modes, two).at(3.0)
    one = LooScores.of(modes, two[:, 1:]).at(3.0)
    np.testing.assert_allclose(2 * one.values, pair.values, atol=1e-12)
    assert one.labels.tolist() == pair.labels.tolist() == labels.tolist()
    assert one.wrong(1.5).tolist() == pair.wrong(1.5).tolist()


def test_draws_are_the_same_in_every_call():
    scores = made(25, 4, 7)
    assert scores.wrong(1.3).tolist() == scores.wrong(1.3).tolist()


def test_scores_at_many_ridges_are_those_at_each(monkeypatch):
    monkeypatch.setattr(loo_scores, "TOGETHER", 2)
    pool, deltas = made(60, 4, seed=3).pool, [0.3, 1.0, 4.0]
    for scores, delta in zip(pool.at_each(deltas), deltas, strict=True):
        torch.testing.assert_close(scores.values, pool.at(delta).values)
        torch.testing.assert_close(scores.leverages, pool.at(delta).leverages)
    assert not [*pool.at_each([])]
