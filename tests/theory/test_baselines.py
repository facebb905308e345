import numpy as np
import pytest
import reference
from cases import CASES, WIDE
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from rmtgen.errors import NumericalError, UsageError
from rmtgen.linalg.modes import gram_modes
from rmtgen.linalg.spectrum import Spectrum
from rmtgen.ridge import ridge_path
from rmtgen.theory.baselines import (
    akaike,
    arora,
    benign_variance,
    fixed_design,
    isotropic_risk,
    mallows_cp,
    naive_plug_in,
    norm_proxy,
    rademacher,
)
from rmtgen.theory.effective_ridge import effective_ridge, omniscient_risk
from rmtgen.theory.transport import transported

cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
full_rank = pytest.mark.parametrize(
    "case", [case for case in CASES if case.rank == len(case.features)], ids=lambda case: case.name
)
intercepts = pytest.mark.parametrize("intercept", [False, True], ids=["plain", "intercept"])
RELATIVE = (1e-3, 1e-1, 1.0, 10.0)


def pool_of(case, intercept=False, scale=1.0, factor=1.0):
    return Spectrum.of(gram_modes(scale * case.gram, intercept=intercept), factor * case.targets)


def decades(low, high):
    return st.floats(low, high).map(lambda exponent: 10.0**exponent)


spectra = st.lists(decades(-6, 0), min_size=1, max_size=40).map(np.array)


# --- norm-based


def test_two_samples_by_hand():
    """K = diag(1, 3), y = (1, 2), nλ = 1: B² = 1/4 + 4·3/16 = 1, tr K = 4, max K_ii = 3."""
    row = ridge_path(np.diag([1.0, 3.0]), np.array([1.0, 2.0]), ridges=[0.5]).iloc[0]
    assert row.norm2 == pytest.approx(1, rel=1e-14)
    assert rademacher(row.norm2, 4, 2) == pytest.approx(1, rel=1e-14)
    assert arora(row.norm2, 3, 2) == pytest.approx(3**0.5, rel=1e-14)
    assert norm_proxy(row.norm2, 4, 2) == pytest.approx(1, rel=1e-14)
    assert norm_proxy(3.0, 4, 2) == pytest.approx(3, rel=1e-14)


@cases
@intercepts
def test_norm_based_figures_are_plain_linear_algebra(case, intercept):
    """B² = tr YᵀGKGY; with an intercept P takes the place of G."""
    n, ridges = len(case.features), case.ridges(RELATIVE)
    gram, targets = case.gram, case.targets
    path = ridge_path(gram, targets, ridges=ridges, intercept=intercept)
    inverses = [reference.resolvent(gram, n * ridge, intercept) for ridge in ridges]
    norms = np.array(
        [np.trace(targets.T @ inverse @ gram @ inverse @ targets) for inverse in inverses]
    )
    trace, largest = np.trace(gram), np.diag(gram).max()
    np.testing.assert_allclose(
        rademacher(path.norm2, trace, n), norms**0.5 * trace**0.5 / n, rtol=1e-9
    )
    np.testing.assert_allclose(
        arora(path.norm2, largest, n), (2 * norms * largest / n) ** 0.5, rtol=1e-9
    )
    np.testing.assert_allclose(norm_proxy(path.norm2, trace, n), norms * trace / n**2, rtol=1e-9)


@full_rank
def test_ridgeless_the_arora_figure_is_its_theorem(case):
    """sqrt(2YᵀK⁻¹Y/n) of a kernel with K_ii ≤ 1."""
    n, gram = len(case.features), case.gram / np.diag(case.gram).max()
    norm2 = ridge_path(gram, case.targets, ridges=[0.0]).norm2
    known = (2 * np.trace(case.targets.T @ np.linalg.solve(gram, case.targets)) / n) ** 0.5
    assert arora(norm2, 1.0, n).tolist() == pytest.approx([known], rel=1e-9)


@pytest.mark.parametrize("scale", [1e-6, 50.0])
def test_norm_based_figures_do_not_depend_on_the_unit_of_the_kernel(scale):
    """B² tr K does not change under (K, λ) → (cK, cλ), and grows as the square of the targets."""
    n, trace, ridges = 16, np.trace(WIDE.gram), WIDE.ridges(RELATIVE)
    known = ridge_path(WIDE.gram, WIDE.targets, ridges=ridges).norm2
    found = ridge_path(scale * WIDE.gram, 3 * WIDE.targets, ridges=scale * ridges).norm2
    largest = np.diag(WIDE.gram).max()
    np.testing.assert_allclose(
        rademacher(found, scale * trace, n), 3 * rademacher(known, trace, n), rtol=1e-9
    )
    np.testing.assert_allclose(
        arora(found, scale * largest, n), 3 * arora(known, largest, n), rtol=1e-9
    )
    np.testing.assert_allclose(
        norm_proxy(found, scale * trace, n), 9 * norm_proxy(known, trace, n), rtol=1e-9
    )


# --- spectrum-only


def test_ridgeless_and_at_the_best_ridge_the_omniscient_risk_of_isotropic_targets_is_n_tau2_kappa():
    sigma, n, tau2, noise = np.arange(1, 301) ** -1.5, 40, 2.5, 0.2
    kappa, _ = effective_ridge(sigma, 0, n)
    assert omniscient_risk(sigma, tau2 * sigma, 0, n) == pytest.approx(n * tau2 * kappa, rel=1e-9)
    best = noise / (n * tau2)
    kappa, _ = effective_ridge(sigma, best, n)
    found = omniscient_risk(sigma, tau2 * sigma, best * np.array([0.8, 1, 1.25]), n, noise)
    assert found[1] == pytest.approx(n * tau2 * kappa, rel=1e-9)
    assert found.argmin() == 1


@cases
@intercepts
@pytest.mark.parametrize("share", [0.0, 0.3])
def test_the_isotropic_risk_is_gcv_of_the_expected_targets(case, intercept, share):
    """n·tr G(τ²K + noise·I)G/(tr G)²; with an intercept P, and the centred K and Y."""
    n, ridges = len(case.features), case.ridges(RELATIVE)
    centre = np.eye(n) - intercept / n
    gram, energy = centre @ case.gram @ centre, ((centre @ case.targets) ** 2).sum()
    noise = share * energy / n
    prior = (energy - n * noise) / np.trace(gram) * gram + noise * np.eye(n)
    inverses = [reference.resolvent(case.gram, n * ridge, intercept) for ridge in ridges]
    known = [
        n * np.trace(inverse @ prior @ inverse) / np.trace(inverse) ** 2 for inverse in inverses
    ]
    np.testing.assert_allclose(
        isotropic_risk(pool_of(case, intercept), ridges, noise), known, rtol=1e-9
    )


@full_rank
@intercepts
def test_ridgeless_the_data_form_is_n_tau2_kappa(case, intercept):
    pool, n = pool_of(case, intercept), len(case.features)
    tau2 = pool.power.sum() / pool.eigenvalues.sum()
    known = n * tau2 * transported(pool, 0.0, n).kappa
    assert isotropic_risk(pool, 0.0).tolist() == pytest.approx([known], rel=1e-11)
    assert isotropic_risk(pool, case.ridges([1e-9])).tolist() == pytest.approx([known], rel=1e-5)


@cases
@intercepts
def test_at_the_best_ridge_the_data_form_is_n_tau2_kappa(case, intercept):
    """λ* = noise/(nτ²), whatever the rank."""
    pool, n = pool_of(case, intercept), len(case.features)
    energy = pool.power.sum() + pool.null_energy
    noise = 0.4 * energy / n
    tau2 = 0.6 * energy / pool.eigenvalues.sum()
    best = noise / (n * tau2)
    known = n * tau2 * transported(pool, best, n).kappa
    assert isotropic_risk(pool, best, noise).tolist() == pytest.approx([known], rel=1e-11)


def test_the_isotropic_risk_does_not_see_how_the_targets_lie():
    """Only the targets' energy counts, so it mis-ranks aligned against random targets, which GCV
    distinguishes."""
    aligned = Spectrum.of_power(
        np.array([8.0, 4.0, 2.0, 1.0]), np.array([4.0, 3.0, 2.0, 1.0]), 0.0, 4
    )
    reverse = Spectrum.of_power(aligned.eigenvalues, aligned.power[::-1], 0.0, 4)
    assert isotropic_risk(aligned, 0.1, 0.2) == pytest.approx(
        isotropic_risk(reverse, 0.1, 0.2), rel=1e-14
    )
    assert transported(reverse, 0.1, 4).risk > 1.5 * transported(aligned, 0.1, 4).risk


@pytest.mark.parametrize("scale", [1e-6, 50.0])
def test_the_isotropic_risk_has_the_unit_of_the_targets_alone(scale):
    ridges, noise = WIDE.ridges(RELATIVE), 0.1
    known = isotropic_risk(pool_of(WIDE), ridges, noise)
    found = isotropic_risk(pool_of(WIDE, scale=scale, factor=3), scale * ridges, 9 * noise)
    np.testing.assert_allclose(found, 9 * known, rtol=1e-9)


@pytest.mark.parametrize(
    ("ridge", "noise", "message"),
    [
        (-1.0, 0.0, "ridge must be >= 0: got -1"),
        (np.nan, 0.0, "ridge must be >= 0: got nan"),
        (0.1, -0.1, "noise must be finite and >= 0: got -0.1"),
        (0.1, np.nan, "noise must be finite and >= 0: got nan"),
        (0.1, 1.5, "noise must be at most the targets' mean energy 1: got 1.5"),
    ],
)
def test_a_wrong_isotropic_prior_is_refused(ridge, noise, message):
    with pytest.raises(UsageError, match=message):
        isotropic_risk(pool_of(WIDE), ridge, noise)


# --- benign overfitting


def plain_benign(sigma, ridge, n, b):
    sigma = sorted(sigma, reverse=True)
    for k in range(min(n, len(sigma))):
        rest = n * ridge + sum(sigma[k:])
        if rest / sigma[k] >= b * n:
            return k / n + n * sum(s**2 for s in sigma[k:]) / rest**2
    return min(1.0, len(sigma) / n)


@settings(max_examples=150)
@given(
    spectra,
    st.one_of(st.just(0.0), decades(-6, 0)),
    st.integers(1, 30),
    st.sampled_from([0.317, 1.013, 2.071]),
)
def test_the_benign_variance_is_its_definition_in_loops(sigma, ridge, n, b):
    assert benign_variance(sigma, ridge, n, b=b) == pytest.approx(
        plain_benign(sigma, ridge, n, b), rel=1e-9
    )


@pytest.mark.parametrize(
    ("p", "n", "ridge"), [(100, 20, 0.0), (100, 100, 0.0), (100, 20, 2.0), (50, 60, 0.5)]
)
def test_the_benign_variance_of_a_flat_spectrum(p, n, ridge):
    """k* = 0 and R_0 = (nλ + pσ)²/(pσ²), so n/p without a ridge."""
    assert benign_variance(np.full(p, 3.0), 3 * ridge, n) == pytest.approx(
        n * p / (n * ridge + p) ** 2, rel=1e-12
    )


def test_a_spike_on_a_flat_tail_is_learnt_and_the_tail_harmless():
    """k* = 2 spikes, then 1,000 modes: 2/10 + 10/1000."""
    assert benign_variance([100.0, 50.0] + [0.01] * 1000, 0.0, 10) == pytest.approx(0.21, rel=1e-12)


def test_without_a_tail_all_the_noise_is_kept():
    assert benign_variance(np.ones(20), 0.0, 20, b=2.0) == 1
    assert benign_variance(2.0 ** -np.arange(40), 0.0, 20) == 1
    assert benign_variance(np.ones(21), 0.0, 20, b=2.0) == 1
    assert benign_variance(np.ones(40), 0.0, 20, b=2.0) == pytest.approx(0.5, rel=1e-12)


def test_fewer_modes_than_samples_keep_the_share_of_least_squares():
    """All p modes are learnt, at a variance of p/n; modes of no variance change nothing."""
    assert benign_variance(np.ones(10), 0.0, 20) == 0.5
    assert benign_variance(np.append(np.ones(10), 0.0), 0.0, 20) == 0.5
    assert benign_variance(np.ones(5), 1e-3, 100) == 0.05


@settings(max_examples=30)
@given(spectra, st.integers(1, 30), decades(-6, 6), st.randoms(use_true_random=False))
def test_the_benign_variance_does_not_depend_on_the_unit_or_the_order(sigma, n, scale, random):
    known = benign_variance(sigma, 0.1, n, b=1.013)
    shuffled = np.array(random.sample(sigma.tolist(), len(sigma)))
    assert benign_variance(scale * shuffled, scale * 0.1, n, b=1.013) == pytest.approx(
        known, rel=1e-9
    )


@pytest.mark.parametrize(
    ("sigma", "ridge", "n", "error", "message"),
    [
        ([1.0, -0.5], 0.0, 4, UsageError, "eigenvalues must be >= 0: got -0.5 at 1"),
        ([0.0, 0.0], 0.0, 4, NumericalError, "eigenvalues must not all be zero: got 2 zeros"),
        (
            [1.0, np.nan],
            0.0,
            4,
            NumericalError,
            "eigenvalues must be finite: got 1 NaN or infinite of 2",
        ),
        ([1.0], -1.0, 4, UsageError, "ridge must be >= 0: got -1"),
        ([1.0], 0.0, 0, UsageError, "n must be positive and finite: got 0 samples"),
    ],
)
def test_a_wrong_spectrum_is_refused(sigma, ridge, n, error, message):
    with pytest.raises(error, match=message):
        benign_variance(sigma, ridge, n)


# --- eigenlearning


@cases
@intercepts
@pytest.mark.parametrize("n", [3, 10, 200])
def test_the_naive_plug_in_is_eigenlearning_with_the_spectrum_of_the_pool(case, intercept, n):
    """Simon et al. 2023: Σ L_i + nλ/κ = n, then n/(n − Σ L_i²) · Σ (1 − L_i)² v_i²."""
    pool_size = len(case.features)
    centre = np.eye(pool_size) - intercept / pool_size
    values, vectors = np.linalg.eigh(centre @ case.gram @ centre)
    values = values.clip(min=0) / pool_size
    powers = ((vectors.T @ centre @ case.targets) ** 2).sum(axis=1) / pool_size
    for ridge in case.ridges(RELATIVE):

        def surplus(kappa, ridge=ridge):
            return (values / (values + kappa)).sum() + n * ridge / kappa - n

        kappa = brentq(surplus, ridge / 2, ridge + 2 * values.sum(), xtol=1e-300, rtol=1e-14)
        learnt = values / (values + kappa)
        known = n / (n - (learnt**2).sum()) * ((1 - learnt) ** 2 @ powers)
        found = naive_plug_in(pool_of(case, intercept), ridge, n)
        assert found == pytest.approx(known, rel=1e-8)


# --- classical


@cases
@intercepts
def test_the_fixed_design_risk_is_the_train_risk_of_the_pool(case, intercept):
    ridges = [0.0, *case.ridges(RELATIVE)]
    path = ridge_path(case.gram, case.targets, ridges=ridges, intercept=intercept)
    found = fixed_design(pool_of(case, intercept), ridges)
    np.testing.assert_allclose(found, path.train_risk, rtol=1e-9, atol=1e-12)
    n, centre = len(case.features), np.eye(len(case.features)) - intercept / len(case.features)
    whole, power = np.linalg.eigh(centre @ case.gram @ centre)
    coefficients = ((power.T @ centre @ case.targets) ** 2).sum(axis=1) / n
    for ridge, risk in zip(ridges[1:], found[1:], strict=True):
        assert risk == pytest.approx((ridge / (ridge + whole / n)) ** 2 @ coefficients, rel=1e-8)


def test_the_fixed_design_refuses_a_negative_ridge():
    with pytest.raises(UsageError, match="ridge must be >= 0: got -2"):
        fixed_design(pool_of(WIDE), [1.0, -2.0])


TRAIN, DF = np.array([0.1, 0.2, 0.5, 0.9]), np.array([80.0, 40.0, 10.0, 1.0])


def test_mallows_takes_its_noise_from_the_largest_fit_that_leaves_half():
    """n = 100: df = 40 is the largest up to 50, noise = .2/(1 − .4) = 1/3."""
    known = [0.1 + 1.6 / 3, 0.2 + 0.8 / 3, 0.5 + 0.2 / 3, 0.9 + 0.02 / 3]
    assert mallows_cp(TRAIN, DF, 100).tolist() == pytest.approx(known, rel=1e-13)
    assert mallows_cp(TRAIN[::-1], DF[::-1], 100).tolist() == pytest.approx(known[::-1], rel=1e-13)


def test_half_of_the_samples_is_still_left():
    """n = 80: df = 40 is allowed."""
    noise = 0.2 / (1 - 40 / 80)
    np.testing.assert_allclose(mallows_cp(TRAIN, DF, 80), TRAIN + 2 * noise * DF / 80, rtol=1e-13)


def test_mallows_where_every_fit_is_larger_takes_the_smallest():
    """n = 100, df = 80 and 60: noise = .3/.4."""
    train, df = np.array([0.1, 0.3]), np.array([80.0, 60.0])
    assert mallows_cp(train, df, 100).tolist() == pytest.approx([0.1 + 1.2, 0.3 + 0.9], rel=1e-13)


def test_mallows_is_the_in_sample_risk_of_least_squares_on_average():
    """At fixed design E Cp = (1/n)E‖f − X(β − β̂)‖² + noise, whatever the ridge; 400 draws of the
    noise, 4 standard errors."""
    rng, n, p, noise = np.random.default_rng(0), 60, 12, 0.5
    features = rng.standard_normal((n, p))
    truth, ridges = features @ rng.standard_normal(p) / 4, np.array([1e-9, 0.1, 1.0])
    hats = [
        features @ np.linalg.solve(features.T @ features + n * r * np.eye(p), features.T)
        for r in ridges
    ]
    df = np.array([np.trace(hat) for hat in hats])
    gaps = []
    for _ in range(400):
        y = truth + noise**0.5 * rng.standard_normal(n)
        train = np.array([((y - hat @ y) ** 2).mean() for hat in hats])
        risk = np.array([((truth - hat @ y) ** 2).mean() for hat in hats]) + noise
        gaps.append(mallows_cp(train, df, n) - risk)
    gaps = np.array(gaps)
    assert (np.abs(gaps.mean(axis=0)) < 4 * gaps.std(axis=0) / 20).all()
    assert (gaps.std(axis=0) / 20 < 0.02).all()


def test_akaike_orders_fits_as_aic_does():
    aic = 100 * np.log(TRAIN) + 2 * DF
    found = akaike(TRAIN, DF, 100)
    np.testing.assert_allclose(found, np.exp(aic / 100), rtol=1e-13)
    assert found.argsort().tolist() == aic.argsort().tolist()
    np.testing.assert_allclose(akaike(9 * TRAIN, DF, 100), 9 * found, rtol=1e-13)


def test_at_the_peak_an_isotropic_problem_without_noise_has_no_risk():
    assert omniscient_risk([1.0], [1.0], 0.0, 1) == 0


def test_a_single_fit_that_interpolates_has_no_noise_estimate():
    assert np.isnan(mallows_cp(np.zeros(1), np.array([10.0]), 10)).all()
