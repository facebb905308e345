import numpy as np
import pytest
import torch
from cases import CASES, POWER_LAW, TALL
from hypothesis import given
from hypothesis import strategies as st
from spectrum_cases import power_pool

from rmtgen.errors import NumericalError, UsageError
from rmtgen.linalg.modes import feature_modes, gram_modes
from rmtgen.linalg.spectrum import Spectrum
from rmtgen.theory.alignment import (
    bias_against_df,
    cumulative_power,
    effective_ranks,
    kernel_target_alignment,
    learnability,
    participation_ratio,
)
from rmtgen.theory.effective_ridge import degrees_of_freedom
from rmtgen.theory.transport import transported

cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
intercepts = pytest.mark.parametrize("intercept", [False, True], ids=["plain", "intercept"])
spectra = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=40).map(np.array)
scales = st.floats(1e-12, 1e12)


def spectrum_of(case, intercept=False):
    return Spectrum.of(gram_modes(case.gram, intercept=intercept), case.targets)


# --- decay


def test_a_flat_spectrum_has_all_its_modes():
    assert participation_ratio(np.full(7, 0.3)) == pytest.approx(7)
    r, big_r = effective_ranks(np.full(7, 0.3))
    np.testing.assert_allclose(r, [7, 6, 5, 4, 3, 2, 1])
    np.testing.assert_allclose(big_r, [7, 6, 5, 4, 3, 2, 1])


def test_a_geometric_spectrum_has_ranks_in_closed_form():
    q, p = 0.5, 60
    k = np.arange(p)
    r, big_r = effective_ranks(q ** np.arange(p))
    np.testing.assert_allclose(r, (1 - q ** (p - k)) / (1 - q), rtol=1e-14)
    np.testing.assert_allclose(
        big_r,
        (1 - q ** (p - k)) ** 2 / (1 - q) ** 2 * (1 - q**2) / (1 - q ** (2 * (p - k))),
        rtol=1e-13,
    )


def test_a_power_law_has_the_rank_of_its_tail():
    """r_k → k/(a − 1) and R_k → k(2a − 1)/(a − 1)² for 1 ≪ k ≪ p."""
    r, big_r = effective_ranks(np.arange(1, 200_001) ** -2.0)
    assert r[100] == pytest.approx(100, rel=0.02)
    assert big_r[100] == pytest.approx(300, rel=0.02)
    sigma = np.arange(1, 200_001) ** -2.0
    assert participation_ratio(sigma) == pytest.approx(
        (np.pi**2 / 6) ** 2 / (np.pi**4 / 90), rel=1e-4
    )


def test_ranks_equal_their_definition_and_hold_over_three_hundred_decades():
    sigma = np.geomspace(1, 1e-6, 12)
    r, big_r = effective_ranks(sigma[::-1])
    for k in range(12):
        assert r[k] == pytest.approx(sigma[k:].sum() / sigma[k], rel=1e-14)
        assert big_r[k] == pytest.approx(
            sigma[k:].sum() ** 2 / np.square(sigma[k:]).sum(), rel=1e-14
        )
    r, big_r = effective_ranks(np.concatenate([np.geomspace(1e5, 1e-300, 50), [1e-300] * 9]))
    assert (r[50], big_r[50]) == (9, 9)
    assert np.isfinite(big_r).all()


def test_ranks_are_undefined_where_only_zeros_are_left():
    r, big_r = effective_ranks([0.0, 2.0, 1.0, 0.0])
    np.testing.assert_allclose(r, [1.5, 1, np.nan, np.nan])
    np.testing.assert_allclose(big_r, [1.8, 1, np.nan, np.nan])


@given(spectra, scales)
def test_ranks_lie_between_one_and_the_modes_left_at_every_scale(sigma, scale):
    r, big_r = effective_ranks(sigma)
    ratio = participation_ratio(sigma)
    left = len(sigma) - np.arange(len(sigma))
    assert (r >= 1).all()
    assert (r <= big_r * (1 + 1e-12)).all()
    assert (big_r <= left * (1 + 1e-12)).all()
    assert ratio == pytest.approx(big_r[0], rel=1e-10)
    np.testing.assert_allclose(effective_ranks(scale * sigma)[1], big_r, rtol=1e-10)
    assert participation_ratio(scale * sigma) == pytest.approx(ratio, rel=1e-10)


@cases
def test_participation_ratio_is_that_of_the_gram_matrix(case):
    expected = np.trace(case.gram) ** 2 / np.square(case.gram).sum()
    assert participation_ratio(gram_modes(case.gram).values) == pytest.approx(expected)


# --- alignment


def test_cumulative_power_counts_what_no_mode_explains():
    np.testing.assert_allclose(cumulative_power([3.0, 0.0, 1.0]), [0.75, 0.75, 1])
    np.testing.assert_allclose(
        cumulative_power(torch.tensor([3.0, 0.0, 1.0]), null_energy=4.0), [0.375, 0.375, 0.5]
    )


@given(spectra, scales)
def test_cumulative_power_ascends_to_one_at_every_scale(power, scale):
    running = cumulative_power(power)
    assert (np.diff(running) >= 0).all()
    assert running[-1] == 1
    np.testing.assert_allclose(cumulative_power(scale * power), running, rtol=1e-12)


@cases
@intercepts
def test_kernel_target_alignment_equals_its_definition(case, intercept):
    size = len(case.features)
    centring = np.eye(size) - intercept / size
    gram = centring @ case.gram @ centring
    for targets in (case.targets, case.targets[:, :1], case.features[:, :3]):
        outer = centring @ targets @ targets.T @ centring
        expected = (gram * outer).sum() / np.linalg.norm(gram) / np.linalg.norm(outer)
        spectrum = Spectrum.of(gram_modes(case.gram, intercept=intercept), targets)
        assert kernel_target_alignment(spectrum, targets) == pytest.approx(expected, rel=1e-9)
        if targets.shape[1] == 1 or not spectrum.null_dim:
            assert kernel_target_alignment(spectrum) == pytest.approx(expected, rel=1e-9)


def test_targets_in_the_span_need_not_be_given():
    targets = TALL.features[:, :2]
    spectrum = Spectrum.of(feature_modes(TALL.features), targets)
    assert spectrum.null_dim
    assert kernel_target_alignment(spectrum) == pytest.approx(
        kernel_target_alignment(spectrum, targets)
    )


def test_a_kernel_made_of_the_targets_is_aligned():
    targets = np.random.default_rng(0).standard_normal((10, 3))
    for scale in (1e-9, 1.0, 1e9):
        spectrum = Spectrum.of(gram_modes(scale * targets @ targets.T), targets)
        assert kernel_target_alignment(spectrum) == pytest.approx(1)


def test_learnability_is_the_share_of_the_power_that_is_learnt():
    np.testing.assert_allclose(
        learnability([1.0, 3.0], [1.0, 3.0], [1.0, 3.0]), [(0.5 + 2.25) / 4, (0.25 + 1.5) / 4]
    )
    assert learnability([1.0, 0.0], [1.0, 3.0], 0.0) == pytest.approx(0.25)
    assert learnability([1.0, 1e-300], [1.0, 3.0], 1e300) == pytest.approx(0)
    assert learnability([1.0], [1.0], np.inf) == 0


@given(spectra, scales, st.floats(0, 1e6))
def test_learnability_is_a_share_and_does_not_see_the_scale(sigma, scale, kappa):
    power = np.sqrt(sigma)
    share = learnability(sigma, power, kappa)
    assert 0 <= share <= 1
    assert learnability(scale * sigma, 3 * power, scale * kappa) == pytest.approx(share, rel=1e-9)
    flat = learnability(sigma, np.ones(len(sigma)), kappa)
    assert flat * len(sigma) == pytest.approx(degrees_of_freedom(sigma, kappa), rel=1e-9)


@cases
@intercepts
def test_the_floor_against_df_is_that_of_transport(case, intercept):
    pool = spectrum_of(case, intercept)
    n = np.array([2.0, 5.0, len(case.features)])
    seen = transported(pool, case.ridges((1e-2,))[0], n)
    frame = bias_against_df(pool, seen.delta)
    for column in ("kappa", "df1", "df2", "floor", "delta"):
        np.testing.assert_allclose(frame[column], getattr(seen, column))
    np.testing.assert_allclose(
        frame["relative_kappa"], frame["kappa"] / (pool.eigenvalues.sum() / pool.n)
    )


def test_the_floor_of_a_gaussian_pool_is_that_of_its_population():
    rng = np.random.default_rng(0)
    sigma, beta = np.arange(1, 101) ** -1.3, np.arange(1, 101) ** -0.5
    features = rng.standard_normal((800, 100)) * np.sqrt(sigma)
    pool = Spectrum.of(feature_modes(features), features @ beta + 0.1 * rng.standard_normal(800))
    frame = bias_against_df(pool, 800 * np.geomspace(1e-3, 1e-1, 5))
    for row in frame.itertuples():
        floor = ((row.kappa / (row.kappa + sigma)) ** 2 * sigma * beta**2).sum() + 0.01
        assert row.floor == pytest.approx(floor, rel=0.15)  # one draw of 800 samples
        assert row.df1 == pytest.approx(degrees_of_freedom(sigma, row.kappa), rel=0.02)


def test_no_ridge_of_a_pool_with_a_null_space_leaves_the_noise():
    pool = power_pool(1.2, 1.5, null_energy=68.0)
    row = bias_against_df(pool, 0.0).iloc[0]
    assert row["kappa"] == 0
    assert row["df1"] == pytest.approx(pool.rank)
    assert row["floor"] == pytest.approx(0.1)


def test_kernel_target_alignment_refuses_what_a_spectrum_does_not_say():
    spectrum = spectrum_of(TALL)
    with pytest.raises(UsageError, match="3 outputs with a null space need targets"):
        kernel_target_alignment(spectrum)
    with pytest.raises(UsageError, match=r"expected shape \(24, 3\), got \(24, 1\)"):
        kernel_target_alignment(spectrum, TALL.targets[:, :1])
    with pytest.raises(UsageError, match="expected energy 24, got 96"):
        kernel_target_alignment(spectrum, 2 * TALL.targets)
    with pytest.raises(NumericalError, match="got 22 modes, target power 0"):
        kernel_target_alignment(Spectrum.of(gram_modes(POWER_LAW.gram), np.zeros(22)))


def test_curves_refuse_negative_numbers():
    with pytest.raises(UsageError, match="null_energy must be finite and >= 0: got -1"):
        cumulative_power([1.0], -1)
    with pytest.raises(UsageError, match="power must be >= 0: got -1"):
        cumulative_power([-1.0])
    with pytest.raises(UsageError, match="kappa must be >= 0: got -0.5"):
        learnability([1.0], [1.0], -0.5)
    with pytest.raises(UsageError, match="expected 2, got 1"):
        learnability([1.0, 2.0], [1.0], 0.5)
    with pytest.raises(UsageError, match="deltas must be finite and >= 0: got inf"):
        bias_against_df(power_pool(1.2, 1.5), [1.0, np.inf])
    with pytest.raises(UsageError, match="eigenvalues must be >= 0"):
        participation_ratio([1.0, -1.0])
    with pytest.raises(NumericalError, match="must not all be zero"):
        effective_ranks([0.0])
