"""The omniscient risk: identities, scaling laws and Monte-Carlo."""

import numpy as np
import pytest
from spectrum_cases import isotropic, power_law

from rmtgen.theory.effective_ridge import (
    effective_ridge,
    omniscient_risk,
    target_bias,
)

# --- identities and scaling laws of the theory


def test_an_isotropic_prior_has_the_risk_n_tau2_kappa():
    """v_i² = τ²σ_i: R = nτ²κ without ridge and noise, and at λ* = noise/(nτ²), the best ridge."""
    sigma, n, tau2, noise = power_law(300)[0], 40, 2.5, 0.2
    kappa, _ = effective_ridge(sigma, 0, n)
    assert omniscient_risk(sigma, tau2 * sigma, 0, n) == pytest.approx(n * tau2 * kappa, rel=1e-11)
    best = noise / (n * tau2)
    kappa, _ = effective_ridge(sigma, best, n)
    assert omniscient_risk(sigma, tau2 * sigma, best, n, noise) == pytest.approx(
        n * tau2 * kappa, rel=1e-11
    )
    around = omniscient_risk(sigma, tau2 * sigma, best * np.array([0.8, 1.25]), n, noise)
    assert (around > n * tau2 * kappa).all()


SIZES = np.array([200.0, 400.0, 800.0, 1600.0, 3200.0])
MODES = 60_000


def slope(values):
    return np.polyfit(np.log(SIZES), np.log(values), 1)[0]


def test_the_ridgeless_effective_ridge_falls_as_the_spectrum():
    """−a. Slopes steepen where n is not ≪ p."""
    assert slope(effective_ridge(power_law(MODES)[0], 0, SIZES)[0]) == pytest.approx(-1.5, abs=0.1)
    assert slope(effective_ridge(power_law(MODES, a=1.3)[0], 0, SIZES)[0]) == pytest.approx(
        -1.3, abs=0.15
    )


@pytest.mark.parametrize(("b", "exponent"), [(1.8, 0.8), (1.4, 0.4), (5.0, 3.0)])
def test_the_ridgeless_noiseless_risk_falls_as_the_smaller_of_alignment_and_twice_the_spectrum(
    b, exponent
):
    """−min(b − 1, 2a)."""
    assert slope(omniscient_risk(*power_law(MODES, b=b), 0, SIZES)) == pytest.approx(
        -exponent, abs=0.12
    )


def test_the_noisy_excess_at_the_best_ridge():
    """−s/(1 + s), s = .8."""
    excess = (
        omniscient_risk(*power_law(10_000), np.geomspace(1e-3, 1, 25)[:, None], SIZES, noise=1.0)
        - 1.0
    )
    assert (excess.argmin(axis=0) > 0).all()
    assert (excess.argmin(axis=0) < 24).all()
    assert slope(excess.min(axis=0)) == pytest.approx(-0.8 / 1.8, abs=0.1)


def test_a_fixed_sum_ridge():
    """−s/a, nearer the larger nλ is against the tail."""
    assert slope(omniscient_risk(*power_law(MODES), 1 / SIZES, SIZES)) == pytest.approx(
        -0.8 / 1.5, abs=0.1
    )


def test_a_fixed_ridge_ends_in_a_plateau():
    sigma, power = power_law(2000)
    plateau = target_bias(sigma, power, 0.01) + 0.1
    gaps = omniscient_risk(sigma, power, 0.01, np.array([1e3, 1e4, 1e5]), 0.1) - plateau
    assert gaps[-1] < 1e-3 * plateau
    assert gaps[:-1] / gaps[1:] == pytest.approx([10, 10], rel=0.2)


# --- Monte-Carlo


def test_the_exact_gaussian_risk_is_within_a_few_parts_in_n():
    """Ridgeless, p > n + 1: excess r²(1 − n/p) + noise·n/(p − n − 1); p < n − 1: noise·p/(n − p −
    1)."""
    n, signal, noise = 150, 1.3, 0.4
    for p in (75, 300, 600):
        excess = (
            noise * p / (n - p - 1) if p < n else signal * (1 - n / p) + noise * n / (p - n - 1)
        )
        found = omniscient_risk(*isotropic(p, signal), 0, n, noise) - noise
        assert found == pytest.approx(excess, rel=3 / n)
        assert found != pytest.approx(excess, rel=1e-3 / n)


def ridge_regression_risks(sigma, power, ridge, n, noise, draws, rng):
    """The risk of each of `draws` fits to n Gaussian samples, over all test samples, by its
    definition."""
    risks = np.empty(draws)
    for draw in range(draws):
        features = rng.standard_normal((n, len(sigma))) * np.sqrt(sigma)
        signs = rng.choice([-1.0, 1.0], len(sigma))
        weights = signs * np.sqrt(power / sigma)
        targets = features @ weights + np.sqrt(noise) * rng.standard_normal(n)
        found = features.T @ np.linalg.solve(features @ features.T + n * ridge * np.eye(n), targets)
        risks[draw] = ((found - weights) ** 2 * sigma).sum() + noise
    return risks


@pytest.mark.parametrize("ridge", [0.0, 1e-3, 0.1])
@pytest.mark.parametrize("spectrum", ["isotropic", "power-law"])
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_ridge_regression_on_gaussian_features_has_the_omniscient_risk(spectrum, ridge, noise):
    """Within four standard errors and 2/n, the finite-size error of a Gaussian; the classical κ = λ
    is far outside."""
    n, p, draws = 120, 300, 60
    sigma, power = isotropic(p) if spectrum == "isotropic" else power_law(p)
    risks = ridge_regression_risks(sigma, power, ridge, n, noise, draws, np.random.default_rng(7))
    mean, error = risks.mean(), risks.std(ddof=1) / np.sqrt(draws)
    assert error < 0.04 * mean
    allowed = 4 * error + 2 / n * mean
    assert abs(omniscient_risk(sigma, power, ridge, n, noise) - mean) < allowed
    classical = ((ridge / (ridge + sigma)) ** 2 * power).sum() + noise  # κ → λ, κ' → 1
    assert abs(classical - mean) > allowed
