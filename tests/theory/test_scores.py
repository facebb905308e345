from math import asin, log, pi

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtgen.errors import UsageError
from rmtgen.theory.scores import FIGURES, score, score_table


def risks(count, seed=0):
    return np.exp(np.random.default_rng(seed).standard_normal(count))


def width(interval):
    return interval[1] - interval[0]


def test_a_perfect_prediction():
    measured = risks(30)
    found = score(measured, measured, np.arange(30) // 3)
    assert (found.kendall, found.log_error, found.shape_error) == (pytest.approx(1), 0, 0)
    assert found.kendall_interval == pytest.approx((1, 1))
    assert found.log_error_interval == found.shape_error_interval == (0, 0)
    assert (found.relative_error, found.worst_error, found.within) == (0, 0, 1)
    assert (found.fits, found.skipped) == (30, 0)


@pytest.mark.parametrize("factor", [1e-3, 0.5, 40.0])
def test_a_constant_factor_is_an_error_but_not_one_of_shape(factor):
    measured = risks(30)
    found = score(factor * measured, measured, np.arange(30))
    assert found.kendall == pytest.approx(1)
    assert found.log_error == pytest.approx(abs(log(factor)), rel=1e-12)
    assert found.log_error_interval == pytest.approx((abs(log(factor)),) * 2, rel=1e-12)
    assert found.shape_error == pytest.approx(0, abs=1e-12)
    assert found.shape_error_interval == pytest.approx((0, 0), abs=1e-12)


def test_a_reversed_order_is_minus_one():
    measured = risks(20)
    found = score(1 / measured, measured, np.arange(20))
    assert found.kendall == pytest.approx(-1)
    assert found.kendall_interval == pytest.approx((-1, -1))


def test_three_pairs_by_hand():
    """Ratios 2, 1, 1/2 of risks 1, 3, 2: one of three pairs of pairs is ordered as measured. Median
    |log| is log 2 before and after."""
    found = score(np.array([2.0, 3.0, 1.0]), np.array([1.0, 3.0, 2.0]), np.array(["a", "a", "b"]))
    assert found.kendall == pytest.approx(1 / 3)
    assert found.log_error == found.shape_error == pytest.approx(log(2))


def test_the_shape_error_is_about_the_median_ratio():
    """Ratios 1, e, e², e³, e¹⁰: median 2, distances 2, 1, 0, 1, 8."""
    found = score(np.exp([0.0, 1, 2, 3, 10]), np.ones(5) + 1e-9 * np.arange(5), np.arange(5))
    assert found.log_error == pytest.approx(2, rel=1e-6)
    assert found.shape_error == pytest.approx(1, rel=1e-6)


def test_errors_of_the_risk_itself():
    """Ratios 1.05, .91, 1.2, 3, 1/4: off by .05, .09, .2, 2, .75; two of five within a tenth."""
    measured = np.array([1.0, 10.0, 1.0, 2.0, 4.0])
    found = score(measured * [1.05, 0.91, 1.2, 3.0, 0.25], measured, np.arange(5))
    assert found.relative_error == pytest.approx(0.2)
    assert found.worst_error == pytest.approx(2)
    assert found.within == pytest.approx(0.4)
    low, high = found.relative_error_interval
    assert 0.049 < low < 0.2 < high < 2.001


def test_a_table_scores_each_column_against_the_risk_that_is_named():
    fits = pd.DataFrame({"test_risk": risks(9), "test_limit": risks(9, 1)})
    fits = fits.assign(one=fits["test_risk"], two=fits["test_limit"])
    table = score_table(fits, ["one", "two"], np.arange(9), "test_limit").set_index("theory")
    assert table.loc["two", "worst_error"] < 1e-12 < table.loc["one", "relative_error"]
    assert table.loc["two", "within"] == 1
    assert score_table(fits, ["one"], np.arange(9))["worst_error"][0] < 1e-12


def plain_kendall(x, y):
    pairs = [(i, j) for i in range(len(x)) for j in range(i)]
    signs = [(np.sign(x[i] - x[j]), np.sign(y[i] - y[j])) for i, j in pairs]
    first, second = (sum(pair[k] != 0 for pair in signs) for k in (0, 1))
    return sum(a * b for a, b in signs) / (first * second) ** 0.5


@settings(max_examples=15)
@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=4, max_size=12))
def test_the_figures_are_their_definitions(pairs):
    """Kendall's τ_b over pairs of fits, ties taken out of the denominator."""
    predicted, measured = np.array([*pairs, (1, 7), (8, 2)], dtype=float).T
    found = score(predicted, measured, np.arange(len(predicted)))
    ratio = np.log(predicted) - np.log(measured)
    assert found.kendall == pytest.approx(plain_kendall(predicted, measured), abs=1e-12)
    assert found.log_error == pytest.approx(np.median(np.abs(ratio)), abs=1e-12)
    assert found.shape_error == pytest.approx(
        np.median(np.abs(ratio - np.median(ratio))), abs=1e-12
    )


@settings(max_examples=6)
@given(st.integers(0, 1000), st.floats(-3, 3))
def test_units_and_factors(seed, exponent):
    """One unit for both changes nothing; a factor on the prediction keeps its order and shape."""
    predicted, measured, blocks = risks(12, seed), risks(12, seed + 1), np.arange(12) // 2
    known = score(predicted, measured, blocks)
    unit = score(10**exponent * predicted, 10**exponent * measured, blocks)
    factor = score(10**exponent * predicted, measured, blocks)
    for name in ("kendall", "log_error", "shape_error"):
        assert getattr(unit, name) == pytest.approx(getattr(known, name), abs=1e-9)
        found, other = getattr(unit, f"{name}_interval"), getattr(known, f"{name}_interval")
        assert found == pytest.approx(other, abs=1e-9)
    assert factor.kendall == pytest.approx(known.kendall)
    assert factor.shape_error == pytest.approx(known.shape_error, abs=1e-9)
    assert factor.shape_error_interval == pytest.approx(known.shape_error_interval, abs=1e-9)


# --- intervals


def test_noise_has_no_rank_correlation():
    """τ of 200 independent pairs has the standard deviation √(2(2·200 + 5)/(9·200·199)) = .048."""
    found = score(risks(200, 1), risks(200, 2), np.arange(200))
    assert abs(found.kendall) < 4 * 0.048
    low, high = found.kendall_interval
    assert low < 0 < high
    assert 0.5 < width(found.kendall_interval) / (2 * 1.96 * 0.048) < 2


def test_intervals_contain_their_figures_and_shrink_with_the_fits():
    small, large = (
        score(risks(n, 3) * risks(n, 4) ** 0.3, risks(n, 3), np.arange(n)) for n in (20, 320)
    )
    for name in ("kendall", "log_error", "shape_error"):
        for found in (small, large):
            low, high = getattr(found, f"{name}_interval")
            assert low <= getattr(found, name) <= high
        assert width(getattr(large, f"{name}_interval")) < 0.6 * width(
            getattr(small, f"{name}_interval")
        )


def test_blocks_that_share_their_error_make_the_interval_wider():
    """20 blocks of 15 fits, of which only the block counts: as if there were 20 fits and not 300,
    √15 times wider."""
    rng, blocks = np.random.default_rng(5), np.repeat(np.arange(20), 15)
    measured = risks(300)
    predicted = measured * np.exp(
        1 + 0.3 * rng.standard_normal(20)[blocks] + 0.01 * rng.standard_normal(300)
    )
    together, alone = score(predicted, measured, blocks), score(predicted, measured, np.arange(300))
    assert together.log_error == alone.log_error
    assert width(together.log_error_interval) > 2 * width(alone.log_error_interval)


def test_blocks_without_anything_in_common_do_not_matter():
    rng, measured = np.random.default_rng(5), risks(300)
    predicted = measured * np.exp(0.3 * rng.standard_normal(300))
    together = score(predicted, measured, np.repeat(np.arange(60), 5))
    alone = score(predicted, measured, np.arange(300))
    assert 0.6 < width(together.log_error_interval) / width(alone.log_error_interval) < 1.6


def test_the_names_of_the_blocks_do_not_matter():
    predicted, measured, blocks = risks(12, 1), risks(12, 2), np.arange(12) // 4
    assert score(predicted, measured, blocks) == score(
        predicted, measured, np.array(["x", "b", "m"])[blocks]
    )
    assert score(predicted, measured, blocks) != score(predicted, measured, np.arange(12) % 3)


def test_draws_are_seeded():
    predicted, measured, blocks = risks(30, 1), risks(30, 2), np.arange(30) // 3
    assert score(predicted, measured, blocks) == score(predicted, measured, blocks)
    other = score(predicted, measured, blocks, seed=1)
    assert other.kendall == score(predicted, measured, blocks).kendall
    assert other.kendall_interval != score(predicted, measured, blocks).kendall_interval


def test_one_block_has_no_interval():
    found = score(risks(10, 1), risks(10, 2), np.zeros(10))
    for name in FIGURES:
        assert np.isfinite(getattr(found, name))
        assert np.isnan(getattr(found, f"{name}_interval")).all()


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    """40 samples of 40 pairs: 95 %, less the percentile bootstrap's small-sample error; below 31 of
    40 has a chance of 1e-6 at 95 %.

    τ = (2/π) asin ρ for Gaussian logarithms of correlation ρ; log(predicted/measured) ~ N(m, v),
    whose median |·| is near m.
    """
    rng, rho, shift = np.random.default_rng(0), 0.6, 2.0
    hits = np.zeros(2, dtype=int)
    for _ in range(40):
        x = rng.standard_normal(40)
        y = rho * x + (1 - rho**2) ** 0.5 * rng.standard_normal(40)
        found = score(np.exp(0.3 * y + shift), np.exp(0.3 * x), np.arange(40))
        truths = (2 / pi * asin(rho), found.kendall_interval), (shift, found.log_error_interval)
        hits += [low <= truth <= high for truth, (low, high) in truths]
    assert (hits >= 31).all()


# --- what is left out, and what is refused


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 0.0, -1.0])
@pytest.mark.parametrize("side", [0, 1], ids=["predicted", "measured"])
def test_pairs_that_are_not_finite_and_positive_are_left_out_and_counted(bad, side):
    pairs, blocks = np.array([risks(12, 1), risks(12, 2)]), np.arange(12) // 2
    keep = np.delete(np.arange(12), [3, 4, 5])
    known = score(*pairs[:, keep], blocks[keep])
    pairs[side, [3, 4, 5]] = bad  # the whole of a block, and one of another
    found = score(*pairs, blocks)
    assert (found.fits, found.skipped) == (9, 3)
    assert (known.fits, known.skipped) == (9, 0)
    for name in FIGURES:
        assert getattr(found, name) == getattr(known, name)
        assert getattr(found, f"{name}_interval") == getattr(known, f"{name}_interval")


def test_a_pair_that_is_wrong_on_both_sides_counts_once():
    predicted, measured = risks(6, 1), risks(6, 2)
    predicted[0] = measured[0] = np.nan
    assert score(predicted, measured, np.arange(6)).skipped == 1


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ((5, 4, 5), "a score needs one block per pair: got 5 predicted, 4 measured, 5 blocks"),
        ((5, 5, 6), "got 5 predicted, 5 measured, 6 blocks"),
        ((2, 2, 2), "at least 3 finite, positive pairs: got 2 of 2"),
        ((0, 0, 0), "at least 3 finite, positive pairs: got 0 of 0"),
    ],
)
def test_bad_input_is_refused_with_its_values(lengths, message):
    with pytest.raises(UsageError, match=message):
        score(*(np.ones(length) for length in lengths))


def test_too_few_usable_pairs_are_refused():
    with pytest.raises(UsageError, match="at least 3 finite, positive pairs: got 2 of 4"):
        score(np.array([1.0, np.nan, 2.0, 3.0]), np.array([1.0, 1.0, 2.0, -3.0]), np.arange(4))


def test_a_theory_that_says_the_same_of_all_fits_has_no_rank_correlation():
    measured = np.array([1.0, 2.0, 3.0, 4.0])
    found = score(np.full(4, 2.0), measured, np.array([0, 0, 1, 1]))
    assert np.isnan([found.kendall, *found.kendall_interval]).all()
    assert found.log_error == pytest.approx(np.log(2) / 2 + np.log(1.5) / 2)
