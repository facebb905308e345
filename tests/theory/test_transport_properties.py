"""Same-κ transport: invariances, and Gaussian pools of a known population."""

import sys

import numpy as np
import pytest
import torch
from cases import REPEATED, TALL, WIDE
from transport_cases import cases, intercepts, pool_of

from rmtgen.linalg.modes import gram_modes
from rmtgen.linalg.spectrum import Spectrum
from rmtgen.theory.effective_ridge import effective_ridge, omniscient_risk
from rmtgen.theory.transport import COLUMNS, pool_sums, transport, transported

# --- invariances

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


# --- Gaussian pools

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
