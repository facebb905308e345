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
from rmtgen.theory.loo_scores import LooScores, Scores

cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def made(n, classes, seed, spread=1.0):
    """Scores near their classes, with a covariance of no symmetry."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    missed = rng.standard_normal((n, classes)) @ rng.standard_normal((classes, classes))
    values = np.eye(classes)[labels] + spread * missed / classes**0.5
    return Scores(*(torch.from_numpy(part) for part in (values, labels, missed)), 1e-9)


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
    known = residuals.T @ residuals / len(residuals)
    np.testing.assert_allclose(found.covariance, known, rtol=1e-7, atol=1e-12)
    assert found.labels.tolist() == case.targets.argmax(1).tolist()


def test_targets_that_are_no_words_have_no_scores():
    modes = gram_modes(np.eye(9))
    assert LooScores.of(modes, torch.linspace(0, 1, 9, dtype=torch.float64)[:, None]) is None


def test_two_classes_have_a_normal_integral():
    """Against a million draws: four standard errors."""
    scores, rng = made(12, 2, 0), np.random.default_rng(1)
    noise = rng.multivariate_normal([0, 0], 0.7 * scores.covariance.numpy(), 10**6)
    margins = (scores.values[:, 1] - scores.values[:, 0]).numpy()
    drawn = noise[:, 1] - noise[:, 0]
    below = np.array([(margin + drawn < 0).mean() for margin in margins])
    known = np.where(scores.labels.numpy() == 1, below, 1 - below)
    np.testing.assert_allclose(scores.wrong(1.7), known, atol=4 * 0.5e-3)


@pytest.mark.parametrize("top", [1, 2, 4])
def test_more_classes_have_the_share_of_draws(top):
    """Of 40 samples 1,638 draws each in pairs, against 20,000 others: four standard errors of both,
    and of the mean over the samples."""
    scores, rng = made(40, 5, 2, spread=0.5), np.random.default_rng(3)
    found = scores.wrong(1.8, top).numpy()
    total = np.zeros(40)
    for _ in range(20_000):
        noise = rng.multivariate_normal(np.zeros(5), 0.8 * scores.covariance.numpy(), 40)
        total += higher(scores.values.numpy() + noise, scores.labels.numpy()) >= top
    assert np.abs(found - total / 20_000).max() < 4 * 0.5 * np.hypot(1638**-0.5, 20_000**-0.5)
    assert abs(found.mean() - total.mean() / 20_000) < 4 * 0.5 * np.hypot(2**-8, 800_000**-0.5)


def test_a_class_that_never_wins_changes_nothing():
    """Two classes by draws agree with two by the integral: the mean over 200 samples."""
    two = made(200, 2, 4)
    low, none = two.values.new_full((200, 1), -1e6), two.values.new_zeros(200, 1)
    parts = torch.cat([two.values, low], 1), two.labels, torch.cat([two.residuals, none], 1)
    three = Scores(*parts, two.tie)
    for ratio in (1.1, 2.0, 30.0):
        assert three.wrong(ratio).mean() == pytest.approx(two.wrong(ratio).mean(), abs=4 / 2**9)


@settings(max_examples=25)
@given(st.integers(2, 6), st.integers(0, 99), st.floats(1.01, 50))
def test_more_guesses_err_less_and_all_classes_never(classes, seed, ratio):
    scores = made(30, classes, seed)
    shares = [scores.wrong(ratio, top).mean() for top in range(1, classes)]
    assert shares == sorted(shares, reverse=True)
    assert all(0 <= share <= 1 for share in shares)
    assert ((scores.wrong(ratio) >= 0) & (scores.wrong(ratio) <= 1)).all()


def test_noise_without_end_leaves_chance():
    two = made(50, 2, 5)
    assert two.wrong(np.inf).tolist() == pytest.approx([0.5] * 50)
    five = made(50, 5, 5)
    even = Scores(five.values, five.labels, 3 * torch.eye(5).double().repeat(10, 1), five.tie)
    assert even.wrong(np.inf).mean() == pytest.approx(0.8, abs=4 * 0.4 / 2**8)


def test_of_scores_that_tie_the_first_class_is_chosen():
    values = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0 + 1e-12, 0.0]], dtype=torch.float64)
    for own, known in ((0, [0, 0]), (1, [1, 1]), (2, [1, 1])):
        labels = torch.tensor([own, own])
        scores = Scores(values, labels, values, 1e-9)
        assert scores.wrong(1.0).tolist() == known


@settings(max_examples=25)
@given(st.integers(2, 6), st.integers(0, 99), st.floats(0.5, 0.99))
def test_noise_is_taken_from_the_covariance_within_classes_alone(classes, seed, ratio):
    """Exactly (1 − r)·C where that is within W, as with the C that makes the scores."""
    scores = made(120, classes, seed)

    def parts(values):
        labels, values = scores.labels.numpy(), values.numpy()
        present = np.unique(labels)
        means = np.stack([values[labels == one].mean(0) for one in present])
        apart = values - means[np.searchsorted(present, labels)]
        return means, apart.T @ apart / (120 - len(present))

    means, within = parts(scores.values)
    fewer, less = parts(scores.moved(ratio))
    np.testing.assert_allclose(fewer, means, atol=1e-9)
    wanted = within - (1 - ratio) * scores.covariance.numpy()
    scale = np.abs(within).max()
    if np.linalg.eigvalsh(wanted)[0] > 1e-6 * scale:
        np.testing.assert_allclose(less, wanted, atol=1e-7 * scale)
    assert np.linalg.eigvalsh(within - less)[0] > -1e-7 * scale


def test_one_output_is_two_outputs_of_half_the_size():
    rng = np.random.default_rng(6)
    features = rng.standard_normal((30, 50))
    labels = (features[:, 0] + rng.standard_normal(30) > 0).astype(int)
    modes = gram_modes(features @ features.T)
    two = encode_targets(labels, 2, "centered").values
    pair = LooScores.of(modes, two).at(3.0)
    one = LooScores.of(modes, two[:, 1:]).at(3.0)
    np.testing.assert_allclose(2 * one.values, pair.values, atol=1e-12)
    np.testing.assert_allclose(4 * one.covariance, pair.covariance, atol=1e-12)
    assert one.labels.tolist() == pair.labels.tolist() == labels.tolist()
    np.testing.assert_allclose(one.wrong(1.5), pair.wrong(1.5), rtol=1e-10)


def test_draws_are_the_same_in_every_call():
    scores = made(25, 4, 7)
    assert scores.wrong(1.3).tolist() == scores.wrong(1.3).tolist()
