"""The effective ridge and the risk against closed forms, definitions and corner cases."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from spectrum_cases import ISOTROPIC, decades, isotropic, moderate, power_law, ridges, spectra

from rmtgen.theory.effective_ridge import (
    degrees_of_freedom,
    effective_ridge,
    omniscient_risk,
    risk_parts,
    target_bias,
)

# --- closed forms


@pytest.mark.parametrize(("gamma", "ridge", "golden"), ISOTROPIC)
def test_isotropic_features_have_a_closed_form(gamma, ridge, golden):
    n = 100
    shift = ridge + gamma - 1
    kappa = (shift + np.sqrt(shift**2 + 4 * ridge)) / 2
    risk = ((kappa / (1 + kappa)) ** 2 + 0.25) / (1 - gamma / (1 + kappa) ** 2)
    found = risk_parts(*isotropic(int(gamma * n)), ridge, n, 0.25)
    assert found.kappa == pytest.approx(kappa, rel=1e-12, abs=1e-300)
    assert found.kappa_prime == pytest.approx(1 / (1 - gamma / (1 + kappa) ** 2), rel=1e-12)
    assert found.risk == pytest.approx(risk, rel=1e-12)
    assert found.risk == pytest.approx(golden, abs=6e-7)


@pytest.mark.parametrize(("p", "n"), [(30, 100), (99, 100), (101, 100), (200, 100), (1000, 100)])
def test_ridgeless_excess_of_isotropic_features(p, n):
    """Hastie et al.: γ < 1: noise·γ/(1 − γ); γ > 1: r²(1 − 1/γ) + noise/(γ − 1)."""
    gamma, signal, noise = p / n, 1.7, 0.3
    excess = (
        noise * gamma / (1 - gamma) if gamma < 1 else signal * (1 - 1 / gamma) + noise / (gamma - 1)
    )
    found = omniscient_risk(*isotropic(p, signal), 0, n, noise)
    assert found - noise == pytest.approx(excess, rel=1e-11)


def test_one_mode():
    """σ = 2, n = 4, λ = 5/6: κ = 5/6 + (1/4)·2/(2 + 1) = 1."""
    found = risk_parts([2.0], [3.0], 5 / 6, 4, 0.25)
    assert found.kappa == pytest.approx(1, rel=1e-14)
    assert found.kappa_prime == pytest.approx(1 / (1 - (2 / 3) ** 2 / 4), rel=1e-14)
    assert found.bias == pytest.approx(3 / 9, rel=1e-14)
    assert found.risk == pytest.approx((3 / 9 + 0.25) * 9 / 8, rel=1e-14)


def test_two_clusters_thirty_decades_apart():
    """5/(1 + κ) + 10·1e-30/(1e-30 + κ) = 5 without a ridge: κ² = 2e-30·(1 + O(κ)), lost to any sum
    of five ones."""
    sigma = np.array([1.0] * 5 + [1e-30] * 10)
    kappa, kappa_prime = effective_ridge(sigma, 0, 5)
    assert kappa == pytest.approx(np.sqrt(2e-30), rel=1e-12, abs=0)
    # n − df2 = 5(1 − 1/(1 + κ)²) − 10(1e-30/κ)² = 10κ + O(κ²)
    assert kappa_prime == pytest.approx(5 / (10 * kappa), rel=1e-12)


@pytest.mark.parametrize(
    ("sigma", "n", "kappa"), [([1, 1], 1, 1), ([1, 1, 1, 1], 1, 3), ([4, 1], 1, 2), ([1], 0.5, 1)]
)
def test_ridgeless_roots_by_hand(sigma, n, kappa):
    assert effective_ridge(sigma, 0, n)[0] == pytest.approx(kappa, rel=1e-14)


# --- the definition


def exact_excess(sigma, kappa, n):
    """κ(1 − df1(κ)/n) in rational arithmetic."""
    return kappa * (1 - sum(Fraction(s) / (Fraction(s) + kappa) for s in sigma) / Fraction(n))


@settings(max_examples=150)
@given(spectra, ridges, st.integers(1, 40), st.sampled_from([0, 0.25]))
def test_the_root_is_enclosed_to_twelve_digits_by_exact_arithmetic(sigma, ridge, whole, part):
    """κ(1 − df1/n) − λ is convex in κ, so that a change of sign from − to + encloses its largest
    root."""
    n = whole + part
    kappa, kappa_prime = effective_ridge(sigma, ridge, n)
    if ridge == 0 and n >= len(sigma):
        assert kappa == 0
    else:
        low, high = (Fraction(float(kappa)) * Fraction(1 + step) for step in (-1e-12, 1e-12))
        assert exact_excess(sigma, low, n) < Fraction(ridge) < exact_excess(sigma, high, n)
    learnt = [Fraction(s) / (Fraction(s) + Fraction(float(kappa))) for s in sigma]
    free = 1 - sum(u**2 for u in learnt) / Fraction(n)
    assert kappa_prime == (np.inf if free == 0 else pytest.approx(float(1 / free), rel=1e-11))


@settings(max_examples=50)
@given(moderate, decades(-4, 1), st.floats(0.5, 40))
def test_kappa_solves_the_fixed_point_equation(sigma, ridge, n):
    kappa, _ = effective_ridge(sigma, ridge, n)
    bracketed = brentq(
        lambda x: x - ridge - x / n * (sigma / (sigma + x)).sum(),
        ridge / 2,
        2 * (ridge + sigma.sum() / n),
        xtol=1e-18,
        rtol=1e-14,
    )
    assert kappa == pytest.approx(bracketed, rel=1e-9, abs=0)
    assert ridge <= kappa <= (ridge + sigma.sum() / n) * (1 + 1e-14)


@settings(max_examples=50)
@given(moderate, decades(-2, 1), st.floats(0.5, 40))
def test_kappa_prime_is_the_slope_in_the_ridge(sigma, ridge, n):
    step = 1e-5 * ridge
    low, high = effective_ridge(sigma, [ridge - step, ridge + step], n)[0]
    _, kappa_prime = effective_ridge(sigma, ridge, n)
    assert kappa_prime == pytest.approx((high - low) / (2 * step), rel=1e-6)


@settings(max_examples=50)
@given(moderate, decades(-2, 1), st.floats(1, 40))
def test_the_slope_in_the_sample_size(sigma, ridge, n):
    """dκ/dn = −(κ − λ)κ'/n."""
    kappa, kappa_prime = effective_ridge(sigma, ridge, n)
    low, high = effective_ridge(sigma, ridge, np.array([n - 1e-5 * n, n + 1e-5 * n]))[0]
    slope = -(kappa - ridge) * kappa_prime / n
    assert (high - low) / (2e-5 * n) == pytest.approx(slope, rel=1e-5, abs=1e-10 * kappa / n)


@settings(max_examples=50)
@given(spectra, ridges, st.integers(1, 40), decades(-6, 6))
def test_a_rescaled_kernel_with_a_rescaled_ridge_has_the_same_risk(sigma, ridge, n, scale):
    power = np.linspace(1, 2, len(sigma))
    found, scaled = (risk_parts(c * sigma, power, c * ridge, n, 0.1) for c in (1.0, scale))
    np.testing.assert_allclose(scaled.kappa, scale * found.kappa, rtol=1e-11)
    np.testing.assert_allclose(scaled.kappa_prime, found.kappa_prime, rtol=1e-10)
    np.testing.assert_allclose(scaled.risk, found.risk, rtol=1e-10)


@settings(max_examples=50)
@given(moderate, ridges, st.integers(1, 40))
def test_learnabilities_sum_to_df1_at_most_the_sample_size(sigma, ridge, n):
    kappa, kappa_prime = effective_ridge(sigma, ridge, n)
    learnt = (sigma / (sigma + kappa)).sum()
    assert degrees_of_freedom(sigma, kappa) == pytest.approx(learnt, rel=1e-12)
    assert learnt <= n * (1 + 1e-12)
    if kappa > 0:
        assert learnt == pytest.approx(n * (1 - ridge / kappa), rel=1e-9, abs=1e-12)
    df2 = degrees_of_freedom(sigma, kappa, order=2)
    assert df2 == pytest.approx(((sigma / (sigma + kappa)) ** 2).sum(), rel=1e-12)
    assume(np.isfinite(kappa_prime))
    assert df2 == pytest.approx(n * (1 - 1 / kappa_prime), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("n", [3, 8, 8.5, 20])
def test_kappa_grows_with_the_ridge_and_falls_with_the_sample_size(n):
    sigma = np.geomspace(1e-3, 1, 8)
    grid = np.concatenate([[0.0], np.geomspace(1e-12, 1e3, 40)])
    kappa = effective_ridge(sigma, grid, n)[0]
    assert (np.diff(kappa) > 0).all()
    assert (np.diff([*effective_ridge(sigma, 1e-3, [n, n + 1, 2 * n])[0]]) < 0).all()


# --- corners


def test_ridgeless_at_below_and_above_the_rank():
    sigma = [1.0, 0.5, 0.25, 0.0]
    kappa, kappa_prime = effective_ridge(sigma, 0, [2, 3, 3.5, 6])
    assert kappa[0] == pytest.approx(
        brentq(lambda x: sum(s / (s + x) for s in sigma[:3]) - 2, 1e-9, 1), rel=1e-10
    )
    assert kappa[1:].tolist() == [0, 0, 0]
    assert kappa_prime[1] == np.inf
    assert kappa_prime[2:].tolist() == pytest.approx([7, 2], rel=1e-12)


@pytest.mark.parametrize("ridge", [1e-18, 1e-23, 1e-28, 1e-32])
@pytest.mark.parametrize(("rank", "n"), [(2, 3), (3, 33), (50, 100), (99, 100)])
def test_a_tiny_ridge_past_the_rank(rank, n, ridge):
    """κ = λ/(1 − rank/n) + O(λ²), however far below the spectrum."""
    kappa, kappa_prime = effective_ridge(np.ones(rank), ridge, n)
    assert kappa == pytest.approx(ridge / (1 - rank / n), rel=1e-12, abs=0)
    assert kappa_prime == pytest.approx(1 / (1 - rank / n), rel=1e-12)


def test_the_interpolation_peak_is_infinite_with_noise_and_zero_without():
    sigma, power = [1.0, 0.5], [1.0, 1.0]
    assert omniscient_risk(sigma, power, 0, 2, noise=0.1) == np.inf
    assert omniscient_risk(sigma, power, 0, 2) == 0
    assert omniscient_risk(sigma, power, 1e-12, 2) < 1e-5
    peak = omniscient_risk(sigma, power, 0, [1.9, 2, 2.1], noise=0.1)
    assert peak.argmax() == 1


def test_an_infinite_ridge_learns_nothing():
    sigma, power = power_law(20)
    found = risk_parts(sigma, power, np.inf, [1, 10, 30], 0.1)
    assert found.kappa.tolist() == [np.inf] * 3
    assert found.kappa_prime.tolist() == [1] * 3
    assert found.risk == pytest.approx(power.sum() + 0.1, rel=1e-14)
    assert omniscient_risk(sigma, power, 1e12, 10, 0.1) == pytest.approx(
        power.sum() + 0.1, rel=1e-9
    )


def test_modes_without_variance_are_never_learnt():
    sigma, power = np.array([1.0, 0.5, 0.0, 0.0]), np.array([1.0, 1.0, 0.3, 0.4])
    ridge, n = np.array([0.0, 1e-3, 1.0]), np.array([[1.0], [2.5], [50.0]])
    found, without = risk_parts(sigma, power, ridge, n), risk_parts(sigma[:2], power[:2], ridge, n)
    np.testing.assert_allclose(found.bias, without.bias + 0.7, rtol=1e-13)
    np.testing.assert_array_equal(found.kappa, without.kappa)
    np.testing.assert_allclose(
        found.risk, omniscient_risk(sigma[:2], power[:2], ridge, n, 0.7), rtol=1e-13
    )


def test_unresolved_modes_act_as_a_ridge():
    """σ_i ≪ κ for i > m: λ → λ + Σ_{i>m} σ_i/n."""
    head, tail = np.array([1.0, 0.5, 0.2]), np.full(10_000, 1e-5)
    whole = effective_ridge(np.concatenate([head, tail]), 0.01, 20)[0]
    assert whole == pytest.approx(effective_ridge(head, 0.01 + tail.sum() / 20, 20)[0], rel=1e-3)
    assert whole > 1.2 * effective_ridge(head, 0.01, 20)[0]


@settings(max_examples=30)
@given(spectra, st.randoms(use_true_random=False))
def test_the_order_of_the_modes_does_not_matter(sigma, random):
    power, order = (
        np.linspace(1, 2, len(sigma)),
        np.array(random.sample(range(len(sigma)), len(sigma))),
    )
    ridge, n = np.array([0.0, 1e-9, 1.0]), max(1, len(sigma) // 2)
    known, found = (
        risk_parts(sigma, power, ridge, n),
        risk_parts(sigma[order], power[order], ridge, n),
    )
    np.testing.assert_array_equal(found.kappa, known.kappa)
    np.testing.assert_array_equal(found.kappa_prime, known.kappa_prime)
    np.testing.assert_allclose(found.risk, known.risk, rtol=1e-12)


@pytest.mark.parametrize("block", [1, 100, 2**22])
def test_a_grid_equals_its_points_one_by_one(block, monkeypatch):
    monkeypatch.setattr("rmtgen.theory.effective_ridge.BLOCK", block)
    sigma, power = power_law(37)
    ridge, n = np.array([0.0, 1e-6, 1e-2, 1.0, np.inf]), np.array([[5.0], [37.0], [80.0]])
    grid = risk_parts(sigma, power, ridge, n, 0.2)
    assert grid.risk.shape == (3, 5)
    for i, j in np.ndindex(3, 5):
        one = risk_parts(sigma, power, ridge[j], n[i, 0], 0.2)
        for name in ("kappa", "kappa_prime", "bias", "variance", "noise_variance", "risk"):
            assert np.ndim(getattr(one, name)) == 0
            assert getattr(grid, name)[i, j] == pytest.approx(getattr(one, name), rel=1e-13), name
    empty = risk_parts(sigma, power, [], n[:, 0, None], 0.2)
    assert empty.risk.shape == empty.kappa.shape == (3, 0)


def test_the_parts_add_up():
    sigma, power = power_law(50)
    ridge, n, noise = np.array([0.0, 1e-3, 0.1]), 20, 0.3
    parts = risk_parts(sigma, power, ridge, n, noise)
    kappa, kappa_prime = effective_ridge(sigma, ridge, n)
    bias = (((kappa[:, None] / (kappa[:, None] + sigma)) ** 2) * power).sum(axis=1)
    np.testing.assert_allclose(parts.bias, bias, rtol=1e-12)
    np.testing.assert_allclose(target_bias(sigma, power, kappa), bias, rtol=1e-12)
    np.testing.assert_allclose(parts.variance, (kappa_prime - 1) * bias, rtol=1e-12)
    np.testing.assert_allclose(parts.noise_variance, (kappa_prime - 1) * noise, rtol=1e-12)
    np.testing.assert_allclose(parts.risk, kappa_prime * (bias + noise), rtol=1e-12)
    np.testing.assert_array_equal(parts.risk, omniscient_risk(sigma, power, ridge, n, noise))


@pytest.mark.parametrize("convert", [list, torch.tensor, lambda array: array[::-1][::-1]])
def test_any_kind_of_array(convert):
    sigma, power = power_law(12)
    assert omniscient_risk(convert(sigma), convert(power), 0.01, 5) == omniscient_risk(
        sigma, power, 0.01, 5
    )
