"""Which of spectrum and alignment makes a gap: closed forms, shares, the best ridge, refusals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spectrum_cases import power_pool

from rmtgen.errors import NumericalError, UsageError
from rmtgen.linalg.modes import feature_modes
from rmtgen.linalg.spectrum import Spectrum
from rmtgen.theory.effective_ridge import omniscient_risk
from rmtgen.theory.swaps import Population, swap


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


def test_each_risk_is_the_smallest_over_ridges_of_its_combination():
    first, second = (
        power_pool(1.2, 1.8, null_energy=30.0),
        power_pool(1.6, 1.4, modes=80, null_energy=200.0),
    )
    found = swap(first, second, 150)
    populations = [Population.of(pool) for pool in (first, second)]
    for i, spectrum in enumerate(populations):
        sigma = np.pad(spectrum.eigenvalues, (0, 120 - len(spectrum.eigenvalues)))
        for j, target in enumerate(populations):
            power = np.pad(target.power, (0, 120 - len(target.power)))
            at_best = omniscient_risk(sigma, power, found.ridges[i, j], 150, target.noise)
            around = omniscient_risk(
                sigma, power, found.ridges[i, j] * np.geomspace(0.1, 10, 401), 150, target.noise
            )
            assert found.risk[i, j] == pytest.approx(at_best)
            assert found.risk[i, j] <= around.min() * (1 + 1e-7)


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
    assert single.risk[0, 0] == pytest.approx(
        omniscient_risk(
            pool.eigenvalues / pool.n,
            Population.of(pool).power,
            1e-6 * trace,
            100,
            Population.of(pool).noise,
        )
    )
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
