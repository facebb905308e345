"""Same-κ transport against plain references, over sizes and ridges, and bad input."""

import numpy as np
import pytest
import reference
from cases import DEFICIENT, POWER_LAW, WIDE, orthonormal
from hypothesis import given, settings
from hypothesis import strategies as st
from transport_cases import cases, centred_rank, intercepts, plain_transport, pool_of

from rmtgen.errors import NumericalError, UsageError
from rmtgen.linalg.spectrum import Spectrum
from rmtgen.ridge import ridge_path
from rmtgen.theory.transport import COLUMNS, at_delta, transport, transported

# --- against plain references


@cases
@intercepts
def test_every_column_equals_the_three_steps_in_plain_linear_algebra(case, intercept):
    size, ridges = len(case.features), case.ridges((1e-3, 1e-1, 1.0, 30.0))
    sizes = [3, size // 2, size - 1, size]
    frame = transport(case.gram, case.targets, sizes=sizes, ridges=ridges, intercept=intercept)
    assert tuple(frame.columns) == COLUMNS
    assert frame.n.tolist() == np.repeat(sizes, 4).tolist()
    assert frame.ridge.tolist() == ridges.tolist() * 4
    for _, row in frame.iterrows():
        known = plain_transport(case.gram, case.targets, row.n, row.ridge, intercept)
        found = row[["predicted_risk", "kappa", "df1", "df2"]].tolist()
        assert found == pytest.approx(known, rel=1e-8, abs=1e-9)


@st.composite
def problems(draw):
    """Features with planted singular values, tall or wide, of any rank, two targets."""
    n, p = draw(st.integers(3, 14)), draw(st.integers(1, 20))
    rank, rng = draw(st.integers(1, min(n, p))), np.random.default_rng(draw(st.integers(0, 2**32)))
    features = orthonormal(n, rank, rng) * np.geomspace(1, 3, rank) @ orthonormal(p, rank, rng).T
    return features, rng.standard_normal((n, 2))


@settings(max_examples=80)
@given(problems(), st.booleans(), st.floats(-2, 2))
def test_at_the_size_of_the_pool_it_is_gcv(problem, intercept, exponent):
    features, targets = problem
    gram, n = features @ features.T, len(features)
    ridge = 10**exponent * np.trace(gram) / n
    inverse = reference.resolvent(gram, n * ridge, intercept)
    found = transport(gram, targets, sizes=[n], ridges=[ridge], intercept=intercept).iloc[0]
    gcv = n * ((inverse @ targets) ** 2).sum() / np.trace(inverse) ** 2
    assert found.predicted_risk == pytest.approx(gcv, rel=1e-10)
    assert found.kappa == pytest.approx(1 / np.trace(inverse), rel=1e-10)
    assert found.df1 == pytest.approx(
        n * (1 - ridge * np.trace(inverse)) - intercept, rel=1e-9, abs=1e-10
    )


@cases
@intercepts
def test_ridgeless_at_the_size_of_the_pool_it_is_gcv(case, intercept):
    n, rank = len(case.features), centred_rank(case, intercept)
    found = transport(case.gram, case.targets, sizes=[n], ridges=[0.0], intercept=intercept).iloc[0]
    known = reference.ridgeless_gcv(case.gram, case.targets, rank, intercept)
    assert found.predicted_risk == pytest.approx(known, rel=1e-9)
    assert found.df1 == pytest.approx(rank, rel=1e-12)


@intercepts
def test_at_the_size_of_the_pool_it_is_the_gcv_of_the_ridge_path(intercept):
    ridges = [0.0, *WIDE.ridges()]
    known = ridge_path(WIDE.gram, WIDE.targets, ridges=ridges, intercept=intercept)
    found = transport(WIDE.gram, WIDE.targets, sizes=16, ridges=ridges, intercept=intercept)
    np.testing.assert_allclose(found.predicted_risk, known.gcv, rtol=1e-12)
    np.testing.assert_allclose(found.kappa, known.kappa, rtol=1e-12)
    np.testing.assert_allclose(found.df1 + intercept, known.df, rtol=1e-12)


def test_one_sample():
    """K = 2, y = 3: GCV is y² at every ridge."""
    found = transport(np.array([[2.0]]), np.array([3.0]), sizes=[1], ridges=[0.0, 1.0])
    assert found.predicted_risk.tolist() == pytest.approx([9, 9], rel=1e-14)
    assert found.kappa.tolist() == pytest.approx([2, 3], rel=1e-14)
    assert found.df1.tolist() == pytest.approx([1, 2 / 3], rel=1e-14)


def test_two_samples_predict_one():
    """K = diag(1, 1), Y = (1, 2), n = 1, λ = 0: S1 = 1 at δ = 1, and R = E/(S1² − S2) = (5/4)/(1 −
    1/2), df2 = 2 − S1²/S2."""
    found = transport(np.eye(2), np.array([1.0, 2.0]), sizes=[1], ridges=[0.0]).iloc[0]
    assert found[["predicted_risk", "kappa", "df1", "df2"]].tolist() == pytest.approx(
        [2.5, 1, 1, 0], rel=1e-14
    )


# --- the size and the ridge


@cases
@intercepts
@settings(max_examples=10)
@given(st.data())
def test_the_prediction_is_the_omniscient_risk_of_what_the_pool_says(case, intercept, data):
    """κ = λ/(1 − df1/n) and R = (B + noise)/(1 − df2/n), with the direction of an intercept
    counted."""
    n = data.draw(st.integers(2 + intercept, len(case.features)))
    ridge = data.draw(st.sampled_from([0.0, *case.ridges()]))
    found = transported(pool_of(case, intercept), ridge, n)
    df1, df2 = found.df1 + intercept, found.df2 + intercept
    assert found.kappa * (n - df1) == pytest.approx(n * ridge, rel=1e-9, abs=1e-9)
    if abs(df2 - n) > 1e-6:
        assert found.risk * (1 - df2 / n) == pytest.approx(found.floor, rel=1e-8)


@cases
@intercepts
@pytest.mark.parametrize("relative", [0.0, 1e-3, 1.0])
def test_kappa_falls_and_df1_grows_with_the_sample_size(case, intercept, relative):
    sizes = np.arange(2, len(case.features) + 1)
    frame = transport(
        case.gram, case.targets, sizes=sizes, ridges=case.ridges([relative]), intercept=intercept
    )
    below = sizes <= (centred_rank(case, intercept) + intercept if relative == 0 else np.inf)
    assert (np.diff(frame.kappa[below]) < 0).all()
    assert (np.diff(frame.df1[below]) > 0).all()
    assert (np.diff(frame.df2[below]) > 0).all()
    assert (frame.df2[below] <= frame.df1[below] * (1 + 1e-12)).all()
    assert (frame.df1 <= sizes - intercept + 1e-9).all()


@cases
@intercepts
def test_ridgeless_below_the_rank_learns_as_many_degrees_as_samples(case, intercept):
    sizes = np.arange(2, centred_rank(case, intercept) + intercept)
    frame = transport(case.gram, case.targets, sizes=sizes, ridges=[0.0], intercept=intercept)
    np.testing.assert_allclose(frame.df1, sizes - intercept, rtol=1e-9)


@pytest.mark.parametrize("case", DEFICIENT, ids=lambda case: case.name)
@intercepts
def test_ridgeless_at_the_rank_is_the_interpolation_peak(case, intercept):
    """Past it the fit is ordinary least squares: noise·n/(n − rank), an intercept counted in the
    rank."""
    rank, size = case.rank + intercept, len(case.features)
    sizes = [rank - 1, rank, rank + 1, size]
    frame = transport(case.gram, case.targets, sizes=sizes, ridges=[0.0], intercept=intercept)
    assert frame.predicted_risk[1] == np.inf
    assert np.isfinite(frame.predicted_risk[[0, 2, 3]]).all()
    assert frame.kappa[0] > 0
    assert frame.kappa[1:].tolist() == [0, 0, 0]
    columns = np.column_stack([case.features, np.ones(size)]) if intercept else case.features
    left = case.targets - columns @ np.linalg.pinv(columns, rcond=1e-9) @ case.targets
    for n, found in zip(sizes[2:], frame.predicted_risk[2:], strict=True):
        assert found == pytest.approx((left**2).sum() / (size - rank) * n / (n - rank), rel=1e-9)


@cases
@intercepts
def test_ridgeless_is_the_limit_of_small_ridges(case, intercept):
    rank, size = centred_rank(case, intercept) + intercept, len(case.features)
    sizes = [n for n in range(3, size + 1) if n != rank or n == size]
    options = {"sizes": sizes, "intercept": intercept}
    limit, small = (
        transport(case.gram, case.targets, ridges=case.ridges([r]), **options) for r in (0.0, 1e-9)
    )
    for column in ("predicted_risk", "df1", "df2"):
        np.testing.assert_allclose(small[column], limit[column], rtol=1e-5, err_msg=column)


@intercepts
def test_an_infinite_ridge_predicts_nothing(intercept):
    """R = Σ‖Y‖²/N, and the variance about a mean of n samples, n/(n − 1) times that of the pool,
    with an intercept."""
    sizes = np.array([3, 8, 16])
    frame = transport(WIDE.gram, WIDE.targets, sizes=sizes, ridges=[np.inf], intercept=intercept)
    mean = (WIDE.targets**2).sum() / 16
    variance = WIDE.targets.var(axis=0, ddof=1).sum()
    known = variance * sizes / (sizes - 1) if intercept else np.full(3, mean)
    np.testing.assert_allclose(frame.predicted_risk, known, rtol=1e-12)
    assert frame.kappa.tolist() == [np.inf] * 3
    assert frame.df1.tolist() == frame.df2.tolist() == [0] * 3
    large = transport(WIDE.gram, WIDE.targets, sizes=sizes, ridges=[1e9], intercept=intercept)
    np.testing.assert_allclose(large.predicted_risk, known, rtol=1e-6)


@pytest.mark.parametrize("ridge", [1e-16, 1e-24, 1e-32])
@pytest.mark.parametrize(("rank", "n"), [(2, 3), (3, 33), (20, 30)])
def test_a_tiny_ridge_past_the_rank(rank, n, ridge):
    """δ = nλ(N − rank)/(n − rank), the least squares of the ridgeless limit."""
    pool = Spectrum.of_power(np.ones(rank), np.ones(rank), 2.0, 40)
    found = transported(pool, ridge, n)
    assert found.delta == pytest.approx(n * ridge * (40 - rank) / (n - rank), rel=1e-11, abs=0)
    assert found.risk == pytest.approx(2 / (40 - rank) * n / (n - rank), rel=1e-12)


def test_two_clusters_ten_decades_apart():
    """5δ/(1 + δ) + 10δ/(1e-10 + δ) = 10 without a ridge: δ² = 2e-10 up to δ."""
    pool = Spectrum.of_power(np.array([1.0] * 5 + [1e-10] * 10), np.ones(15), 0.0, 15)
    found = transported(pool, 0, 5)
    assert found.delta == pytest.approx(np.sqrt(2e-10), rel=1e-4, abs=0)
    assert 5 - found.df2 == pytest.approx(10 * found.delta, rel=1e-4, abs=0)
    assert found.risk == pytest.approx(
        5 / (10 * found.delta), rel=1e-4
    )  # B = 1: ten unlearnt modes of power 1/15, over df2 of S2


def test_beyond_the_pool_the_floor_is_what_stays():
    pool = pool_of(POWER_LAW)
    found = at_delta(pool, np.full(3, 0.1), np.array([30.0, 1e3, 1e9]), (3,))
    df2 = ((pool.eigenvalues / (pool.eigenvalues + 0.1)) ** 2).sum()
    assert (np.diff(found.risk) < 0).all()
    assert found.risk[2] == pytest.approx(found.floor[2], rel=1e-6)
    weights = 0.1 / (pool.eigenvalues + 0.1)
    assert found.floor[0] == pytest.approx(
        (weights**2 @ pool.power) / (weights**2).sum(), rel=1e-12
    )
    assert df2 != pytest.approx(
        found.df2[0], rel=1e-3
    )  # the pool's own eigenvalues are not the population's
    assert found.df2[0] == pytest.approx(22 - weights.sum() ** 2 / (weights**2).sum(), rel=1e-12)


# --- bad input


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (
            {"sizes": [4, 17]},
            UsageError,
            "needs a pool of at least n samples: got n = 17, a pool of 16. Take a larger",
        ),
        ({"sizes": [0]}, UsageError, "n must be positive and finite: got 0 samples"),
        ({"sizes": [4, -1]}, UsageError, "n must be positive and finite: got -1 samples"),
        ({"sizes": [np.nan]}, UsageError, "sizes must be whole numbers: got nan"),
        ({"sizes": [np.inf]}, UsageError, "n must be positive and finite: got inf samples"),
        ({"sizes": [4, 7.5, 2.25]}, UsageError, r"sizes must be whole numbers: got 7\.5\."),
        (
            {"sizes": [4, 1], "intercept": True},
            UsageError,
            "with an intercept needs n >= 2: got n = 1. One sample is",
        ),
        ({"ridges": [1.0, -0.5]}, UsageError, "ridge must be >= 0: got -0.5"),
        ({"ridges": [np.nan]}, UsageError, "ridge must be >= 0: got nan"),
        ({"gram": WIDE.gram * np.nan}, NumericalError, "gram must be finite: got 256 NaN"),
        (
            {"gram": WIDE.gram + np.triu(np.ones((16, 16)), 1)},
            NumericalError,
            r"gram must be symmetric: .* got 1 \(max",
        ),
        ({"gram": -WIDE.gram}, NumericalError, "gram must be positive semidefinite"),
        (
            {"gram": WIDE.features},
            UsageError,
            r"gram must be square: expected \(16, 16\), got \(16, 40\)",
        ),
        (
            {"gram": np.zeros((16, 16))},
            NumericalError,
            (
                r"a pool needs modes and targets of some power: got 0 modes above the rank"
                r" tolerance, target power 16\. Check"
            ),
        ),
        (
            {"targets": np.zeros(16)},
            NumericalError,
            "got 16 modes above the rank tolerance, target power 0. Check",
        ),
        (
            {"targets": np.ones(16), "intercept": True},
            NumericalError,
            "got 15 modes .*, target power 0. Check",
        ),
        (
            {"targets": WIDE.targets + np.inf},
            NumericalError,
            "targets must be finite: got 48 NaN or infinite",
        ),
        (
            {"targets": WIDE.targets[:15]},
            UsageError,
            "targets must match the modes: expected 16 rows, got 15",
        ),
    ],
)
def test_bad_input_is_refused_with_its_values(wrong, error, message):
    arguments = {"gram": WIDE.gram, "targets": WIDE.targets, "sizes": [4], "ridges": [0.1]} | wrong
    with pytest.raises(error, match=message):
        transport(arguments.pop("gram"), arguments.pop("targets"), **arguments)
