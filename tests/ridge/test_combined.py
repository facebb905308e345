"""Weights of several kernels, learned: the optimum, its held-out losses, and its optimism."""

import numpy as np
import pytest
import reference
import torch

import rmtgen
from rmtgen.errors import NumericalError, UsageError

intercepts = pytest.mark.parametrize("intercept", [False, True], ids=["plain", "intercept"])


def draw(n, groups=3, width=6, seed=0, noise=0.5):
    """Targets that depend on the first group of features alone; a kernel per group."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, groups * width))
    targets = features[:, :width].sum(axis=1) / width**0.5 + noise * rng.standard_normal(n)
    return features, targets[:, None], kernels_of(features, features, width)


def kernels_of(rows, columns, width):
    starts = range(0, rows.shape[1], width)
    return {
        f"group {start // width}": rows[:, start : start + width]
        @ columns[:, start : start + width].T
        for start in starts
    }


def combined(kernels, weights):
    return sum(weights[name] * kernel for name, kernel in kernels.items())


def risk_at(kernels, targets, bands, column="loo", intercept=False):
    """LOO or GCV of Σ b_j K_j at λ = 1, by the ridge path."""
    gram = sum(band * kernel for band, kernel in zip(bands, kernels.values(), strict=True))
    return rmtgen.ridge_path(gram, targets, ridges=[1.0], intercept=intercept)[column][0]


def blocks(kernels, rows, columns):
    return {name: kernel[np.ix_(rows, columns)] for name, kernel in kernels.items()}


def losses_outside(kernels, targets, rest, fold, weights, ridge, intercept):
    """Losses of a fold of the fit to the rest."""
    gram, rows = (combined(blocks(kernels, some, rest), weights) for some in (rest, fold))
    fitted = reference.predict(gram, targets[rest], len(rest) * ridge, intercept, rows)
    return ((fitted - targets[fold]) ** 2).sum(axis=1)


@pytest.mark.parametrize("loss", ["loo", "gcv"])
@intercepts
def test_no_weights_on_a_grid_are_better(loss, intercept):
    _, targets, kernels = draw(24, groups=2)
    targets = targets + 3 * intercept
    learned = rmtgen.learn_weights(kernels, targets, loss=loss, intercept=intercept, folds=2)
    gram = combined(kernels, learned.weights)
    row = rmtgen.ridge_path(gram, targets, ridges=[learned.ridge], intercept=intercept).iloc[0]
    assert learned.loss == pytest.approx(row[loss], rel=1e-9)
    assert learned.loo == pytest.approx(row["loo"], rel=1e-9)
    grid = np.exp(np.arange(-10, 8, 1.5))
    best = min(risk_at(kernels, targets, (a, b), loss, intercept) for a in grid for b in grid)
    assert learned.loss <= best * (1 + 1e-8)
    assert np.trace(gram) == pytest.approx(sum(np.trace(kernel) for kernel in kernels.values()))


def test_equal_weights_have_their_best_ridge():
    _, targets, kernels = draw(30)
    learned = rmtgen.learn_weights(kernels, targets, folds=2)
    path = rmtgen.ridge_path(
        sum(kernels.values()), targets, ridges=np.geomspace(1e-3, 1e3, 400) * learned.plain_ridge
    )
    assert learned.plain_loo == pytest.approx(path["loo"].min(), rel=1e-3)
    assert learned.plain_loo <= path["loo"].min() * (1 + 1e-9)
    assert learned.loo < learned.plain_loo


@intercepts
def test_held_out_losses_are_of_weights_learned_without_the_fold(intercept):
    n, folds = 33, 3
    _, targets, kernels = draw(n, groups=2)
    targets = targets + 3 * intercept
    options = {"intercept": intercept, "folds": 2}
    whole = rmtgen.learn_weights(kernels, targets, intercept=intercept, folds=folds, seed=5)
    held, plain, inside = np.zeros(n), np.zeros(n), np.zeros(n)
    for fold in np.array_split(np.random.default_rng(5).permutation(n), folds):
        rest = np.setdiff1d(np.arange(n), fold)
        inner = blocks(kernels, rest, rest)
        part = rmtgen.learn_weights(inner, targets[rest], **options)
        fit = kernels, targets, rest, fold
        held[fold] = losses_outside(*fit, part.weights, part.ridge, intercept)
        equal = dict.fromkeys(kernels, 1.0)
        plain[fold] = losses_outside(*fit, equal, part.plain_ridge, intercept)
        gram, delta = combined(inner, part.weights), len(rest) * part.ridge
        left_out = reference.refit_loo(gram, targets[rest], delta, intercept) - targets[rest]
        inside[rest] += (left_out**2).sum(axis=1) / (folds - 1)
    assert whole.held_out == pytest.approx(held.mean(), rel=1e-6)
    assert whole.plain_held_out == pytest.approx(plain.mean(), rel=1e-6)
    assert whole.gain == pytest.approx((plain - held).mean(), rel=1e-5)
    assert whole.gain_se == pytest.approx((plain - held).std(ddof=1) / n**0.5, rel=1e-5)
    assert whole.optimism == pytest.approx((held - inside).mean() * 2 / 3, rel=1e-5)
    assert whole.corrected == whole.loo + whole.optimism


def test_the_optimum_is_optimistic_and_its_correction_is_not():
    """The risk of every fit is known: features are independent, of variance 1."""
    found = []
    for seed in range(16):
        features, targets, kernels = draw(40, groups=8, width=8, seed=seed, noise=0.7)
        learned = rmtgen.learn_weights(kernels, targets, folds=5)
        gram = combined(kernels, learned.weights)
        dual, _ = reference.fit(gram, targets, 40 * learned.ridge, False)
        slopes = np.repeat(list(learned.weights.values()), 8) * (features.T @ dual)[:, 0]
        truth = np.repeat([8**-0.5, 0.0], [8, 56])
        risk = ((slopes - truth) ** 2).sum() + 0.49
        found.append((learned.loo - risk, learned.corrected - risk))
    bias, error = np.mean(found, axis=0), np.std(found, axis=0) / 4
    assert bias[0] < -3 * error[0]
    assert abs(bias[1]) < min(2 * error[1], abs(bias[0]) / 2)


def test_weights_find_the_kernel_that_matters():
    _, targets, kernels = draw(120, groups=4, noise=0.3)
    learned = rmtgen.learn_weights(kernels, targets)
    first, *others = learned.weights.values()
    assert first > 10 * max(others)
    assert learned.gain > 3 * learned.gain_se


def test_units_of_kernels_and_the_seed():
    _, targets, kernels = draw(40)
    one, again = (rmtgen.learn_weights(kernels, targets, folds=2) for _ in range(2))
    assert vars(one) == vars(again)
    doubled = {name: 4 * kernel for name, kernel in kernels.items()}
    other = rmtgen.learn_weights(doubled, 3 * targets, folds=2)
    assert other.ridge == pytest.approx(4 * one.ridge, rel=1e-6)
    assert other.corrected == pytest.approx(9 * one.corrected, rel=1e-6)
    assert list(other.weights.values()) == pytest.approx(list(one.weights.values()), rel=1e-5)
    assert rmtgen.learn_weights(kernels, targets, folds=2, seed=1).held_out != one.held_out


def test_a_sum_of_kernels_and_its_gradient():
    features, _, kernels = draw(9)
    weights = torch.tensor([0.5, 0.1, 2.0], dtype=torch.float64, requires_grad=True)
    by_name = {"group 2": 2.0, "group 0": 0.5, "group 1": 0.1}
    total = rmtgen.combine_kernels(kernels, weights)
    np.testing.assert_allclose(total.detach(), combined(kernels, by_name), rtol=1e-14)
    np.testing.assert_array_equal(rmtgen.combine_kernels(kernels, by_name), total.detach())
    assert torch.autograd.gradcheck(
        lambda values: rmtgen.loo_loss(
            rmtgen.combine_kernels(kernels, values), features[:, 0], 0.1
        ),
        weights,
    )
    tests = kernels_of(features[:4] + 1, features, 6)
    assert rmtgen.combine_kernels(tests, by_name).shape == (4, 9)


def test_weights_of_the_layers_of_a_network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(12, 9), torch.nn.Tanh(), torch.nn.Linear(9, 1)
        ).eval()
        images = torch.randn(24, 3, 2, 2)
    layers = rmtgen.entk_gram(model, images, by="layer")
    targets = images.flatten(1)[:, :2]
    learned = rmtgen.learn_weights(layers, targets, folds=3)
    assert set(learned.weights) == set(layers)
    assert rmtgen.combine_kernels(layers, learned.weights).trace() == pytest.approx(
        sum(layer.trace() for layer in layers.values())
    )


def test_refusals():
    _, targets, kernels = draw(20)
    for bad in ({}, None, [1.0]):
        with pytest.raises(UsageError, match="one or more matrices by name: got"):
            rmtgen.learn_weights(bad, targets)
    small = kernels | {"small": np.eye(19)}
    with pytest.raises(UsageError, match=r"kernels\['small'\] .* expected \(20, 20\), got \(19"):
        rmtgen.learn_weights(small, targets)
    with pytest.raises(NumericalError, match=r"kernels\['dead'\] .* mean diagonal of 0\. Leave"):
        rmtgen.learn_weights(kernels | {"dead": np.zeros((20, 20))}, targets)
    with pytest.raises(UsageError, match=r"folds must .* in \[2, 10\]: got 11\. A fold needs 2"):
        rmtgen.learn_weights(kernels, targets, folds=11)
    with pytest.raises(UsageError, match="need >= 16 samples: got 15"):
        rmtgen.learn_weights(blocks(kernels, np.arange(15), np.arange(15)), targets[:15], folds=2)
    with pytest.raises(UsageError, match="expected 20, got 19"):
        rmtgen.learn_weights(kernels, targets[:19], folds=2)
    with pytest.raises(UsageError, match="loss must be a known one: got 'aic'"):
        rmtgen.learn_weights(kernels, targets, loss="aic")
    with pytest.raises(NumericalError, match="positive definite"):
        rmtgen.learn_weights({"a": kernels["group 0"] - 2 * np.eye(20)}, targets, folds=2)
    with pytest.raises(UsageError, match="names of the kernels: expected .*, got"):
        rmtgen.combine_kernels(kernels, {"group 0": 1.0})
    for weights in ([1.0, 2.0], [1.0, -1.0, 1.0], [1.0, np.inf, 1.0]):
        with pytest.raises(UsageError, match=r"expected shape \(3,\), got"):
            rmtgen.combine_kernels(kernels, weights)
