import sys

import numpy as np
import pytest
import reference
import torch
from cases import CASES, DEFICIENT, POWER_LAW, REPEATED, TALL, WIDE, orthonormal
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from rmtgen.errors import NumericalError, UsageError
from rmtgen.linalg.modes import gram_modes
from rmtgen.linalg.spectrum import Spectrum
from rmtgen.ridge import ridge_path
from rmtgen.theory.effective_ridge import effective_ridge, omniscient_risk
from rmtgen.theory.transport import COLUMNS, at_delta, pool_sums, transport, transported

cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
intercepts = pytest.mark.parametrize("intercept", [False, True], ids=["plain", "intercept"])


def pool_of(case, intercept=False):
    return Spectrum.of(gram_modes(case.gram, intercept=intercept), case.targets)


def centred_rank(case, intercept):
    return np.linalg.matrix_rank(case.features - intercept * case.features.mean(axis=0), tol=1e-9)


def plain_transport(gram, targets, n, ridge, intercept):
    """The three steps at λ > 0, each from its definition: κ̂ and κ̂' of the pool at ℓ, df1, df2 and
    B + noise, and ℓ by brentq."""
    size = len(gram)

    def pool(log_aux):
        inverse = size * reference.resolvent(gram, size * np.exp(log_aux), intercept)
        kappa = size / np.trace(inverse)
        kappa_prime = size * (inverse**2).sum() / np.trace(inverse) ** 2
        floor = kappa**2 * ((inverse @ targets) ** 2).sum() / size / kappa_prime
        return kappa, size * (1 - np.exp(log_aux) / kappa), size * (1 - 1 / kappa_prime), floor

    def excess(log_aux):
        kappa, df1, _, _ = pool(log_aux)
        return np.log(kappa * (1 - df1 / n) / ridge) if df1 < n else -np.inf

    def bounded(log_aux):
        return np.clip(excess(log_aux), -50, 50)

    low, high = np.log(ridge), np.log(size * (ridge + np.trace(gram) / n))
    kappa, df1, df2, floor = pool(
        low if n == size else brentq(bounded, low, high, xtol=1e-14, rtol=1e-14)
    )
    return floor / (1 - df2 / n), kappa, df1 - intercept, df2 - intercept


# --- against plain references
# -------------------------------------------------------------------------------------------


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


@settings(max_examples=80, deadline=None)
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
# ---------------------------------------------------------------------------------------------


@cases
@intercepts
@settings(max_examples=10, deadline=None)
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


# --- invariances ----------------------------------------------------------------------------------
# ----------------------

GRID = {"sizes": [4, 9, 13], "ridges": [0.0, 1e-2, 1.0]}


def grid(case, gram=None, targets=None, scale=1.0, intercept=False):
    gram, targets = (
        case.gram if gram is None else gram,
        case.targets if targets is None else targets,
    )
    ridges = scale * np.array(GRID["ridges"])
    return transport(gram, targets, sizes=GRID["sizes"], ridges=ridges, intercept=intercept)


@cases
@intercepts
def test_scaled_targets_scale_the_risk(case, intercept):
    known, found = (
        grid(case, intercept=intercept),
        grid(case, targets=-3 * case.targets, intercept=intercept),
    )
    np.testing.assert_allclose(found.predicted_risk, 9 * known.predicted_risk, rtol=1e-12)
    np.testing.assert_array_equal(found.kappa, known.kappa)


@cases
@intercepts
@pytest.mark.parametrize("scale", [1e-8, 7.0, 1e8])
def test_a_rescaled_kernel_with_a_rescaled_ridge_has_the_same_risk(case, intercept, scale):
    known, found = (
        grid(case, intercept=intercept),
        grid(case, gram=scale * case.gram, scale=scale, intercept=intercept),
    )
    for column, factor in {"predicted_risk": 1, "df1": 1, "df2": 1, "kappa": scale}.items():
        np.testing.assert_allclose(found[column], factor * known[column], rtol=1e-9, err_msg=column)


@cases
@intercepts
def test_the_order_of_the_samples_does_not_matter(case, intercept):
    order = np.random.default_rng(0).permutation(len(case.features))
    known, found = (
        grid(case, intercept=intercept),
        grid(case, case.gram[np.ix_(order, order)], case.targets[order], intercept=intercept),
    )
    np.testing.assert_allclose(found.predicted_risk, known.predicted_risk, rtol=1e-9)


@cases
def test_with_an_intercept_shifted_targets_have_the_same_risk(case):
    known, found = (
        grid(case, intercept=True),
        grid(case, targets=case.targets + [5.0, -2.0, 1.0], intercept=True),
    )
    np.testing.assert_allclose(found.predicted_risk, known.predicted_risk, rtol=1e-9)
    assert (
        np.abs(grid(case, targets=case.targets + 5).predicted_risk / grid(case).predicted_risk - 1)
        > 0.1
    ).any()


@cases
@intercepts
def test_the_risk_is_a_sum_over_outputs(case, intercept):
    whole = grid(case, intercept=intercept).predicted_risk
    parts = [
        grid(case, targets=column, intercept=intercept).predicted_risk for column in case.targets.T
    ]
    np.testing.assert_allclose(sum(parts), whole, rtol=1e-9)


@pytest.mark.parametrize("block", [1, 40])
@pytest.mark.parametrize("case", [TALL, WIDE], ids=lambda case: case.name)
def test_blocks_of_the_grid_equal_the_whole(case, block, monkeypatch):
    known = grid(case)
    monkeypatch.setattr(sys.modules[pool_sums.__module__], "BLOCK", block)
    for column in COLUMNS:
        np.testing.assert_allclose(grid(case)[column], known[column], rtol=1e-12, err_msg=column)


def test_a_grid_broadcasts_and_may_be_empty():
    pool = pool_of(REPEATED)
    whole = transported(pool, np.array([[0.0], [0.1]]), np.array([3, 12, 18]))
    assert whole.risk.shape == whole.delta.shape == (2, 3)
    assert whole.risk[1, 2] == pytest.approx(transported(pool, 0.1, 18).risk, rel=1e-14)
    assert np.ndim(transported(pool, 0.1, 18).risk) == 0
    empty = transport(REPEATED.gram, REPEATED.targets, sizes=[4], ridges=[])
    assert tuple(empty.columns) == COLUMNS
    assert empty.empty


@pytest.mark.parametrize("convert", [torch.from_numpy, lambda array: array[::-1][::-1]])
def test_any_kind_of_array(convert):
    found = grid(WIDE, convert(WIDE.gram), convert(WIDE.targets))
    np.testing.assert_allclose(found.predicted_risk, grid(WIDE).predicted_risk, rtol=1e-12)


@intercepts
def test_a_float32_gram_agrees_above_its_rounding(intercept):
    options = {"sizes": [4, 10, 16], "ridges": WIDE.ridges((1e-2, 1.0)), "intercept": intercept}
    known = transport(WIDE.gram, WIDE.targets, **options)
    found = transport(WIDE.gram.astype(np.float32), WIDE.targets.astype(np.float32), **options)
    for column in COLUMNS:
        np.testing.assert_allclose(found[column], known[column], rtol=1e-4, err_msg=column)


# --- Gaussian pools -------------------------------------------------------------------------------
# ----------------------

POOL, POOLS, NOISE = 800, 24, 0.044
SIGMA = np.arange(1, 2001) ** -1.5
POWER = 1.5 * np.arange(1, 2001) ** -1.6 / (np.arange(1, 2001) ** -1.6).sum()
SIZES = np.arange(100, 701, 100)


@pytest.fixture(scope="module")
def pools():
    """Pools of 800 samples of one Gaussian population, at n = 100, 400, 700 of the risks .191,
    .122, .117 without a ridge."""
    rng, made = np.random.default_rng(3), []
    for _ in range(POOLS):
        features = rng.standard_normal((POOL, len(SIGMA))) * np.sqrt(SIGMA)
        weights = rng.choice([-1.0, 1.0], len(SIGMA)) * np.sqrt(POWER / SIGMA)
        targets = features @ weights + np.sqrt(NOISE) * rng.standard_normal(POOL)
        made.append(Spectrum.of(gram_modes(features @ features.T), targets))
    return made


@pytest.mark.parametrize("ridge", [0.0, 1e-4, 1e-2])
def test_a_pool_predicts_the_risk_at_smaller_sizes_without_bias(pools, ridge):
    """Within four standard errors of the mean over pools and 2 %, a finite-size error of a few
    parts in n."""
    known = omniscient_risk(SIGMA, POWER, ridge, SIZES, NOISE)
    found = np.array([transported(pool, ridge, SIZES).risk for pool in pools])
    error = found.std(axis=0, ddof=1) / np.sqrt(POOLS)
    assert (error < 0.02 * known).all()
    assert (np.abs(found.mean(axis=0) - known) < 4 * error + 0.02 * known).all()


def test_the_setting_has_the_known_risks():
    assert omniscient_risk(SIGMA, POWER, 0, [100, 400, 700], NOISE).tolist() == pytest.approx(
        [0.191, 0.122, 0.117], abs=5e-4
    )


def test_the_naive_plug_in_is_biased(pools):
    """Eigenvalues of the pool over N with v̂² = (uᵀy)²/N in place of the population's: .167, .063,
    .015."""
    naive = np.array(
        [
            omniscient_risk(pool.eigenvalues / POOL, pool.power / POOL, 0, [100, 400, 700])
            for pool in pools
        ]
    ).mean(axis=0)
    assert naive.tolist() == pytest.approx([0.167, 0.062, 0.015], abs=0.003)
    known = omniscient_risk(SIGMA, POWER, 0, [100, 400, 700], NOISE)
    assert (naive / known < [0.9, 0.6, 0.2]).all()


def test_the_pool_finds_kappa_and_the_degrees_of_freedom(pools):
    kappa, kappa_prime = effective_ridge(SIGMA, 1e-3, SIZES)
    found = [transported(pool, 1e-3, SIZES) for pool in pools]
    for name, known in {
        "kappa": kappa,
        "df1": SIZES * (1 - 1e-3 / kappa),
        "df2": SIZES * (1 - 1 / kappa_prime),
    }.items():
        np.testing.assert_allclose(
            np.mean([getattr(t, name) for t in found], axis=0), known, rtol=0.01, err_msg=name
        )


# --- bad input ------------------------------------------------------------------------------------
# ----------------------


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
