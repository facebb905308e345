"""Which of spectrum and alignment makes a gap: closed forms, shares, the best ridge, refusals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from spectrum_cases import power_pool
from swap_populations import gaussian_pools, true_shares

from rmtgen.errors import NumericalError, UsageError
from rmtgen.linalg.modes import feature_modes
from rmtgen.linalg.spectrum import Spectrum
from rmtgen.theory.swaps import Population, joined, swap
from rmtgen.theory.transport import transported


def test_the_population_of_a_pool_is_its_modes_without_their_noise():
    pool = Spectrum.of_power(np.array([8.0, 4.0]), np.array([5.0, 1.0]), 12.0, 8)
    population = Population.of(pool)
    np.testing.assert_allclose(population.eigenvalues, [1.0, 0.5])
    np.testing.assert_allclose(population.power, [3 / 8, 0])
    assert population.noise == 2
    full = Population.of(Spectrum.of_power(np.array([2.0, 1.0]), np.array([5.0, 1.0]), 0.0, 2))
    np.testing.assert_allclose(full.power, [2.5, 0.5])
    assert full.noise == 0


def test_a_pool_swapped_with_itself_has_no_gap():
    pool = power_pool(1.2, 1.5, null_energy=20.0)
    same = swap(pool, pool, 100)
    assert (same.gap, same.spectrum_share, same.alignment_share) == (0, 0, 0)
    assert (same.risk == same.risk[0, 0]).all()


def test_pools_that_differ_in_power_alone_have_a_gap_of_alignment_alone():
    found = swap(power_pool(1.2, 1.8), power_pool(1.2, 1.3), 100)
    assert found.spectrum_share == 0
    assert found.alignment_share == pytest.approx(found.gap, abs=1e-15)
    assert found.gap < 0


def test_pools_that_differ_in_spectrum_alone_have_a_gap_of_spectrum_alone():
    found = swap(power_pool(1.8, 1.5), power_pool(1.2, 1.5), 100)
    assert found.alignment_share == 0
    assert found.spectrum_share == pytest.approx(found.gap, abs=1e-15)
    assert found.gap != 0


@settings(max_examples=15)
@given(
    decays=st.tuples(st.floats(1.05, 2), st.floats(1.05, 2)),
    alignments=st.tuples(st.floats(1.05, 2), st.floats(1.05, 2)),
    n=st.integers(1, 100),
    modes=st.integers(5, 60),
)
def test_the_shares_add_up_and_change_sign_with_the_order_of_the_pools(
    decays, alignments, n, modes
):
    first = power_pool(decays[0], alignments[0], n=400, modes=modes, null_energy=5.0)
    second = power_pool(decays[1], alignments[1], n=500, modes=40)
    ahead, back = swap(first, second, n), swap(second, first, n)
    assert ahead.spectrum_share + ahead.alignment_share == pytest.approx(ahead.gap, abs=1e-12)
    assert back.spectrum_share == pytest.approx(-ahead.spectrum_share, abs=1e-12)
    assert back.alignment_share == pytest.approx(-ahead.alignment_share, abs=1e-12)
    np.testing.assert_allclose(back.risk, ahead.risk[::-1, ::-1])


def test_the_shares_are_means_over_the_two_orders_of_swapping():
    found = swap(power_pool(1.2, 1.8), power_pool(1.7, 1.3), 100)
    (aa, ab), (ba, bb) = found.risk
    assert found.spectrum_share == pytest.approx((np.log(aa / ba) + np.log(ab / bb)) / 2)
    assert found.alignment_share == pytest.approx((np.log(aa / ab) + np.log(ba / bb)) / 2)
    assert np.log(aa / ba) != pytest.approx(np.log(ab / bb), rel=0.1)  # the order matters here


def directions(pool, size):
    """Eigenvalue, and energy in a pool of another size, of every direction."""
    noise = pool.null_energy / (pool.n - pool.rank)
    values, energies = np.zeros(pool.n), np.full(max(size, pool.n), noise)
    values[: pool.rank] = pool.eigenvalues
    energies[: pool.rank] = size / pool.n * (pool.power - noise) + noise
    return values, energies[:size]


def transported_risk(values, energies, ridge, n):
    """n E/(S1² − (N − n) S2) at the δ where δ (1 − (N − n)/S1) = nλ."""
    missing = len(values) - n

    def sums(delta):
        kept = delta / (values + delta)
        return kept.sum(), (kept**2).sum(), (energies * kept**2).sum()

    delta = brentq(
        lambda delta: delta * (1 - missing / sums(delta)[0]) - n * ridge, 1e-9, 1e9, xtol=1e-14
    )
    s1, s2, energy = sums(delta)
    return n * energy / (s1**2 - missing * s2)


@pytest.mark.parametrize("size", [800, 640])
def test_each_risk_is_the_smallest_over_ridges_of_its_combination(size):
    pools = (
        power_pool(1.2, 1.8, null_energy=30.0),
        power_pool(1.6, 1.4, n=size, modes=80, null_energy=200.0),
    )
    found = swap(*pools, 150)
    for i, spectrum in enumerate(pools):
        values, _ = directions(spectrum, spectrum.n)
        for j, target in enumerate(pools):
            _, energies = directions(target, spectrum.n)
            risks = [
                transported_risk(values, energies, found.ridges[i, j] * factor, 150)
                for factor in (1, 0.5, 0.9, 0.99, 1.01, 1.1, 2)
            ]
            assert found.risk[i, j] == pytest.approx(risks[0], rel=1e-9)
            assert found.risk[i, j] <= min(risks) * (1 + 1e-7)


def test_each_pool_keeps_the_risk_that_it_predicts_for_itself():
    pool = power_pool(1.3, 1.5, null_energy=40.0)
    other = power_pool(1.1, 1.9, n=600, modes=50, null_energy=10.0)
    found = swap(pool, other, 120)
    for place, own in enumerate((pool, other)):
        again = transported(own, found.ridges[place, place], 120).risk
        assert found.risk[place, place] == pytest.approx(again, rel=1e-12)


def test_power_on_modes_that_a_smaller_pool_does_not_have_is_noise():
    target = power_pool(1.2, 1.5, n=800, modes=120, null_energy=68.0)
    pool = joined(Spectrum.of_power(np.arange(50.0, 0, -1), np.ones(50), 10.0, 60), target)
    expected = 60 * (target.power - 0.1) / 800 + 0.1
    tail = (target.power[60:] - 0.1).sum() / 800
    np.testing.assert_allclose(pool.power, expected[:50] + tail, rtol=1e-12)
    assert pool.null_energy == pytest.approx(expected[50:60].sum() + 10 * tail, rel=1e-12)
    np.testing.assert_array_equal(pool.eigenvalues, np.arange(50.0, 0, -1))


def test_the_scale_of_a_representation_makes_no_gap():
    pool = power_pool(1.2, 1.5, null_energy=40.0)
    scaled = Spectrum.of_power(1e6 * pool.eigenvalues, pool.power, pool.null_energy, pool.n)
    found = swap(pool, scaled, 100)
    np.testing.assert_allclose(found.risk, found.risk[0, 0], rtol=1e-9)
    np.testing.assert_allclose(found.ridges[1], 1e6 * found.ridges[0], rtol=1e-9)


def test_a_grid_of_the_caller_holds_the_search():
    pool = power_pool(1.2, 1.5, null_energy=400.0)
    trace = pool.eigenvalues.sum() / pool.n
    free, single = swap(pool, pool, 100), swap(pool, pool, 100, ridges=[1e-6])
    assert single.ridges[0, 0] == pytest.approx(1e-6 * trace)
    assert single.risk[0, 0] == pytest.approx(transported(pool, 1e-6 * trace, 100).risk)
    assert single.risk[0, 0] > free.risk[0, 0]
    assert swap(pool, pool, 100, ridges=[1e-9, 1e-7]).ridges[0, 0] == pytest.approx(1e-7 * trace)


def test_a_gaussian_pool_separates_spectrum_from_alignment():
    """Two representations of the same inputs: the same decay, targets on the leading or on the
    trailing half of the modes."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((1200, 60)) * np.arange(1, 61) ** -0.6
    leading, trailing = np.repeat([1.0, 0.0], 30), np.repeat([0.0, 1.0], 30)
    spread = features.std(axis=0)
    pools = [
        Spectrum.of(feature_modes(features), (features / spread) @ share)
        for share in (leading, trailing)
    ]
    found = swap(*pools, 100)
    assert found.spectrum_share == 0
    assert found.alignment_share < -0.3


@pytest.mark.parametrize(
    ("decays", "falls", "noise", "n"),
    [
        ((1.5, 1.1), (1.8, 1.3), 0.1, 25),
        ((1.5, 1.1), (1.8, 1.3), 0.1, 100),
        ((2.5, 1.02), (1.6, 1.6), 0.05, 100),
        ((1.6, 1.2), (2.0, 1.4), 0.0, 100),
    ],
)
def test_shares_are_those_of_the_populations_up_to_a_quarter_of_the_pools(decays, falls, noise, n):
    draws, found = 4, []
    for seed in range(draws):
        populations, pools = gaussian_pools(decays, falls, noise, seed)
        found.append(swap(*pools, n))
    known = true_shares(populations, noise, n)
    shares = np.array([(one.spectrum_share, one.alignment_share) for one in found])
    assert np.sign(shares[:, 0].mean()) == np.sign(known[0])
    assert shares.mean(axis=0) == pytest.approx(known, abs=0.08)
    assert abs(shares[:, 0].mean() - known[0]) < 0.02
    for one in found:
        assert one.spectrum_interval[0] < known[0] < one.spectrum_interval[1]
        assert one.alignment_interval[0] < known[1] < one.alignment_interval[1]


def test_an_interval_is_as_wide_as_the_shares_scatter():
    """No narrower, and a few times as wide where the plug-in share is another."""
    found = [
        swap(*gaussian_pools((1.5, 1.1), (1.8, 1.3), 0.1, seed, n=200, p=400)[1], 12)
        for seed in range(12)
    ]
    for name in ("spectrum", "alignment"):
        shares = np.array([getattr(one, f"{name}_share") for one in found])
        ends = np.array([getattr(one, f"{name}_interval") for one in found])
        np.testing.assert_allclose(ends.mean(axis=1), shares, atol=1e-12)
        half = (ends[:, 1] - ends[:, 0]).mean() / 2
        assert 1.5 * shares.std() < half < 8 * shares.std()


def test_swap_refuses_sizes_at_which_plug_in_is_biased_and_grids_without_meaning():
    large, small = power_pool(1.2, 1.5), power_pool(1.2, 1.5, n=400)
    with pytest.raises(
        UsageError, match=r"1 <= n <= N/4 = 100: got n = 101 with pools of 800 and 400"
    ):
        swap(large, small, 101)
    with pytest.raises(UsageError, match="got n = 0"):
        swap(large, small, 0)
    for ridges in ([], [0.0, 1.0], [np.inf]):
        with pytest.raises(UsageError, match="ridges must be positive and finite"):
            swap(large, small, 10, ridges=ridges)
    noise = Spectrum.of_power(np.array([8.0, 4.0]), np.array([0.0, 1.0]), 12.0, 8)
    with pytest.raises(NumericalError, match="target_power must not all be zero"):
        swap(noise, noise, 2)
