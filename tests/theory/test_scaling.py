"""Scaling laws: known populations, subsets, and the measured risk."""

import numpy as np
import pandas as pd
import pytest
import torch
from scaling_cases import ORDER, SIGMA, SIZE, A, B, drawn, laws_of

from rmtgen.errors import UsageError
from rmtgen.linalg.modes import gram_modes
from rmtgen.linalg.spectrum import Spectrum
from rmtgen.ridge import ridge_path
from rmtgen.theory.effective_ridge import effective_ridge
from rmtgen.theory.forecast import Curves, deltas
from rmtgen.theory.influence import Influence
from rmtgen.theory.line_fit import PowerLaw
from rmtgen.theory.scaling import (
    AGREE,
    agree,
    ample_ridge,
    exponents,
    fit_range,
    measured_slopes,
    scaling_laws,
    subset_decay,
)


@pytest.fixture(scope="module")
def clean():
    return drawn(0.0)


@pytest.fixture(scope="module")
def noiseless(clean):
    return laws_of(*clean)


@pytest.fixture(scope="module")
def noisy():
    return laws_of(*drawn(0.3, seed=1))


# --- laws of a known population


def test_the_table_of_laws(noiseless):
    assert noiseless.index.tolist() == ORDER
    assert (noiseless["first"] == 30).all()
    assert (noiseless["last"] == SIZE / 4).all()
    found = noiseless.dropna(subset=["exponent", "low", "high"])
    assert len(found) == len(ORDER)
    assert (found.low <= found.high).all()
    assert ((found.low <= found.exponent + 1e-9) & (found.exponent <= found.high + 1e-9)).all()


@pytest.mark.parametrize(
    ("quantity", "target", "tolerance"),
    [
        ("decay", A, 0.1),
        ("alignment", 0.8, 0.15),
        ("power", B, 0.15),
        ("kappa", -A, 0.1),
        ("ridgeless", -0.8, 0.15),
        ("best_ridge", -0.8, 0.15),  # without noise the best ridge is none
        ("fixed_sum_ridge", -0.8 / A, 0.15),
        ("fixed_ridge", 0.0, 0.2),  # a plateau, reached from above
    ],
)
def test_without_noise_the_exponents_are_those_of_the_population(
    noiseless, quantity, target, tolerance
):
    row = noiseless.loc[quantity]
    assert row.exponent == pytest.approx(target, abs=tolerance)
    assert row.low - tolerance < target < row.high + tolerance
    assert noiseless.loc["noise", "exponent"] < 0.005


@pytest.mark.parametrize(
    ("quantity", "target", "tolerance"),
    [
        ("decay", A, 0.1),
        ("kappa", -A, 0.1),
        ("best_ridge", -0.8 / 1.8, 0.15),
        ("fixed_sum_ridge", -0.8 / A, 0.15),
        ("fixed_ridge", 0.0, 0.15),
    ],
)
def test_with_noise_the_best_ridge_learns_more_slowly(noisy, quantity, target, tolerance):
    """s/(1 + s) in place of s. Next to noise, s has a wide interval: it need only contain its
    value."""
    row = noisy.loc[quantity]
    assert row.exponent == pytest.approx(target, abs=tolerance)
    assert row.low - tolerance < target < row.high + tolerance
    assert noisy.loc["alignment", "low"] < 0.8 < noisy.loc["alignment", "high"]
    assert noisy.loc["noise", "low"] < 0.3 < noisy.loc["noise", "high"]
    assert noisy.loc["noise", "exponent"] == pytest.approx(0.3, abs=0.06)


def test_the_ridgeless_risk_with_noise_falls_least(noiseless, noisy):
    row = noisy.loc["ridgeless"]
    assert np.isnan(row.exponent) or row.exponent > -0.35
    assert noiseless.loc["ridgeless", "exponent"] < -0.65


def test_predicted_slopes_follow_from_the_two_exponents(noiseless, noisy):
    for laws, is_noisy in ((noiseless, False), (noisy, True)):
        a, s = laws.loc["decay", "exponent"], laws.loc["alignment", "exponent"]
        known = {
            "kappa": -a,
            "ridgeless": 0 if is_noisy else -s,
            "best_ridge": -s / (1 + s) if is_noisy else -s,
            "fixed_sum_ridge": -s / a,
            "fixed_ridge": 0,
        }
        assert laws.predicted[list(known)].tolist() == pytest.approx(
            list(known.values()), rel=1e-12
        )
        assert laws.predicted[["noise", "decay", "alignment", "power"]].isna().all()
        assert laws.loc["power", "exponent"] == pytest.approx(1 + s, rel=1e-12)
    assert noisy.loc["best_ridge", "exponent"] == pytest.approx(
        noisy.loc["best_ridge", "predicted"], abs=0.15
    )
    assert noisy.loc["fixed_sum_ridge", "exponent"] == pytest.approx(
        noisy.loc["fixed_sum_ridge", "predicted"], abs=0.15
    )


def test_noise_that_its_interval_does_not_tell_from_none_predicts_no_plateau():
    """Targets without noise, of which the fit finds a noise of 1.6e-4."""
    k = np.arange(1, 2401.0)
    features = np.random.default_rng(4).standard_normal((600, 2400)) * k**-0.75
    signs = np.random.default_rng(9).choice([-1, 1], 2400)
    laws = laws_of(features @ features.T, (features @ (signs * k**-0.15))[:, None])
    assert 0 < laws.loc["noise", "exponent"] < 1e-3
    assert laws.loc["noise", "low"] == 0
    assert laws.loc["ridgeless", "predicted"] == -laws.loc["alignment", "exponent"]
    assert laws.loc["ridgeless", "predicted"] == pytest.approx(
        laws.loc["ridgeless", "exponent"], abs=0.1
    )
    assert laws.loc["best_ridge", "predicted"] == laws.loc["ridgeless", "predicted"]


def test_the_pool_finds_the_slope_of_the_effective_ridge(noiseless):
    """Against κ(0, n) of the population, whose slope at these n is steeper than −a by itself."""
    sizes = np.geomspace(30, SIZE / 4, 12)
    known = np.polyfit(np.log(sizes), np.log(effective_ridge(SIGMA, 0, sizes)[0]), 1)[0]
    assert noiseless.loc["kappa", "exponent"] == pytest.approx(known, abs=0.02)


# --- subsets


@pytest.fixture(scope="module")
def risk(clean):
    return risk_of(*clean, trials=2)


def risk_of(gram, targets, trials):
    """A risk table of subsets solved on their own, at eight sizes."""
    tables = []
    for trial in range(trials):
        order = np.random.default_rng(trial).permutation(SIZE)[:200]
        path = ridge_path(
            gram[np.ix_(order, order)],
            targets[order],
            sizes=[10, 30, 45, 65, 90, 120, 160, 200],
            ridges=[0.0, 0.01],
        )
        tables.append(path.assign(trial=trial))
    return pd.concat(tables, ignore_index=True)


def test_the_decay_of_subsets_agrees_with_that_of_the_pool(noiseless, risk):
    found = subset_decay(risk, SIZE, SIZE)
    assert (found.points, found.first, found.last) == (6, 30, 160)
    assert found.slope == pytest.approx(A, abs=0.12)
    assert 0 < found.standard_error < 0.1
    pool = tuple(noiseless.loc["decay", ["exponent", "low", "high"]])
    assert agree(pool, found)
    means = risk[risk.ridge == 0].groupby("n").kappa.mean().loc[30:160]
    assert found.slope == pytest.approx(
        -np.polyfit(np.log(means.index), np.log(means), 1)[0], rel=1e-12
    )


def test_a_planted_disagreement_is_noticed(noiseless, risk):
    """Subsets whose κ̂ falls by n^−.4 more."""
    steeper = risk.assign(kappa=risk.kappa * risk.n**-0.4)
    pool = tuple(noiseless.loc["decay", ["exponent", "low", "high"]])
    assert subset_decay(steeper, SIZE, SIZE).slope == pytest.approx(
        subset_decay(risk, SIZE, SIZE).slope + 0.4, abs=1e-9
    )
    assert not agree(pool, subset_decay(steeper, SIZE, SIZE))


def test_how_far_two_estimates_may_differ():
    """AGREE, half of the interval and two standard errors: .1 + .1 + .04 in all."""
    law = PowerLaw(1.5, 0.02, 1.0, 6, 30, 200)
    assert agree((1.5 + AGREE + 0.139, 1.4, 1.6), law)
    assert not agree((1.5 + AGREE + 0.141, 1.4, 1.6), law)
    assert agree((1.5 - AGREE - 0.139, 1.4, 1.6), law)
    assert not agree((1.5 - AGREE - 0.141, 1.4, 1.6), law)
    assert not agree((1.5, np.nan, np.nan), law)


def test_subsets_without_a_ridgeless_fit_are_refused(risk):
    with pytest.raises(
        UsageError,
        match=r"κ̂\(0, n\) of subsets needs at least 3 points over a factor of 4: got 0\. Take",
    ):
        subset_decay(risk[risk.ridge > 0], SIZE, SIZE)
    with pytest.raises(UsageError, match="got 2 from 30 to 45. Take more sizes"):
        subset_decay(risk[risk.n <= 45], SIZE, SIZE)


# --- the measured risk

PLANTED = pd.DataFrame(
    {
        "quantity": ["noise", "decay", "ridgeless", "best_ridge", "fixed_sum_ridge", "fixed_ridge"],
        "exponent": [0.3, *[0.0] * 5],
    }
).assign(first=30.0, last=480.0)


def test_slopes_of_a_measured_risk_are_those_that_were_planted():
    """Risks .3 + c·n^slope at three ridges and on a dense curve; sizes beyond the range have
    another slope."""
    sizes = np.array([20, 30, 60, 120, 240, 480, 960])
    inside = (sizes >= 30) & (sizes <= 480)
    slopes = {0.0: -0.7, 0.1: -0.9, 1.0: -0.25}
    rows = [
        {
            "n": n,
            "trial": trial,
            "ridge": ridge,
            "test_risk": (
                0.3 + (1 + 10 * ridge) * n**slope * (1 if ok else 9) + 0.01 * (-1) ** trial
            ),
        }
        for ridge, slope in slopes.items()
        for n, ok in zip(sizes, inside, strict=True)
        for trial in range(2)
    ]
    dense = np.arange(10, 900, 7)
    curve = pd.concat(
        pd.DataFrame(
            {
                "n": dense,
                "relative_sum_ridge": level,
                "ridge": level * 30 / dense,
                "test_risk": 0.3 + dense**slope,
            }
        )
        for level, slope in ((1.1, -0.4), (20.0, -0.6))
    )
    found = measured_slopes(pd.DataFrame(rows), PLANTED, 1.0, curve).set_index("quantity")
    assert found.loc["ridgeless", "measured"] == pytest.approx(-0.7, abs=1e-9)
    assert found.loc["best_ridge", "measured"] < -0.7  # .1 takes over from 0 on the way
    assert found.loc["fixed_sum_ridge", "measured"] == pytest.approx(-0.4, abs=1e-9)
    at_ridge = np.polyfit(np.log(sizes[inside]), np.log(0.3 + 11 * sizes[inside] ** -0.25), 1)[0]
    assert found.loc["fixed_ridge", "measured"] == pytest.approx(at_ridge, rel=1e-9)
    reach = found["measured_high"] - found["measured"]
    np.testing.assert_allclose(
        reach.to_numpy(), (found["measured"] - found["measured_low"]).to_numpy()
    )
    assert reach["best_ridge"] > 0
    assert found.loc[["noise", "decay"], "measured"].isna().all()


def test_measured_slopes_agree_with_those_of_the_pool(clean):
    """Risks of fits on subsets, by their own GCV."""
    gram, targets = clean
    risk = risk_of(gram, targets, trials=30)
    modes = gram_modes(gram)
    pool = Spectrum.of(modes, targets)
    influence = Influence.of(pool, modes, torch.from_numpy(targets), deltas(pool))
    laws = scaling_laws(influence, 0.01)
    found = measured_slopes(risk.assign(test_risk=risk.gcv), laws, 0.01).set_index("quantity")
    assert found.loc["ridgeless", "measured"] == pytest.approx(
        found.loc["ridgeless", "exponent"], abs=0.1
    )
    assert found.loc["fixed_ridge", "measured"] == pytest.approx(
        found.loc["fixed_ridge", "exponent"], abs=0.05
    )
    assert np.isnan(found.loc["fixed_sum_ridge", "measured"])
    assert ample_ridge(influence) > 0


def test_a_risk_that_does_not_fall_has_no_slope():
    rows = pd.DataFrame(
        {"n": [30, 60, 120, 240], "trial": 0, "ridge": 0.0, "test_risk": [1.0, 0.8, 0.9, 0.5]}
    )
    assert measured_slopes(rows, PLANTED, 1.0)["measured"].isna().all()
    assert measured_slopes(rows[:0], PLANTED, 1.0)["measured"].isna().all()


# --- the range of a fit


def test_the_range_of_a_fit_is_a_rule():
    """From 30 to a quarter of min(N, rank), over at least a factor of 4."""
    assert fit_range(1000, 1000) == (30, 250)
    assert fit_range(1000, 600) == (30, 150)
    assert fit_range(600, 1000) == (30, 150)
    assert fit_range(480, 480) == (30, 120)
    with pytest.raises(
        UsageError,
        match=(
            "a quarter of min.N, rank., over at least a factor of 4: got N = 479, rank 900. .* 480"
        ),
    ):
        fit_range(479, 900)
    with pytest.raises(UsageError, match="got N = 5000, rank 100"):
        fit_range(5000, 100)


def test_a_pool_too_small_for_the_rule_is_refused(clean):
    gram, targets = clean
    with pytest.raises(UsageError, match="got N = 100, rank 100. Take a pool of at least 480"):
        laws_of(gram[:100, :100], targets[:100])


def test_an_alignment_outside_of_the_tried_exponents_is_not_quoted():
    """What is left falls as the logarithm of df1: slower than every power that is tried."""
    kappa = np.geomspace(1e-9, 1, 400)
    df1 = kappa ** (-1 / 1.5)
    one = Curves(kappa, df1, df1 / 3, 1 / (1 + np.log1p(df1) / 40), 0.0, 0)
    found = exponents(one, np.geomspace(30, 500, 12), 1e-3)
    assert found["decay"] == pytest.approx(1.5, abs=0.01)
    assert np.isnan([found[name] for name in ("alignment", "power", "noise", "best_ridge")]).all()
