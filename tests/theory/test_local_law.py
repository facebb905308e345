import numpy as np
import pandas as pd
import pytest
import torch
from cases import CASES, POWER_LAW, REPEATED, TALL, orthonormal

from rmtgen.errors import NumericalError, UsageError
from rmtgen.linalg.modes import feature_modes, gram_modes
from rmtgen.linalg.spectrum import Spectrum
from rmtgen.ridge import ridge_path, ridge_path_features
from rmtgen.theory import local_law
from rmtgen.theory.local_law import (
    estimate_deviation,
    quadratic_forms,
    rate,
    spread_modes,
    trace_deviation,
)
from rmtgen.theory.subset_fits import subset_fits
from rmtgen.theory.transport import transported

cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
intercepts = pytest.mark.parametrize("intercept", [False, True], ids=["plain", "intercept"])

SIZES = np.array([40, 80, 160, 320])
POOL = 1280


def power_law_features(n, p, rng, decay=1.2):
    return rng.standard_normal((n, p)) * np.arange(1, p + 1) ** (-decay / 2)


def elliptical(features, rng, freedom=3):
    return features * np.sqrt(freedom / rng.chisquare(freedom, len(features)))[:, None]


def plain_forms(gram, subset, ridge, chosen):
    """M by its definition, from the Gram matrix alone."""
    size, (values, vectors) = len(gram), np.linalg.eigh(gram)
    values, vectors = values[::-1][chosen] / size, vectors[:, ::-1][subset][:, chosen]
    inside = np.linalg.inv(gram[np.ix_(subset, subset)] + len(subset) * ridge * np.eye(len(subset)))
    return np.eye(len(chosen)) - size * np.sqrt(np.outer(values, values)) * (
        vectors.T @ inside @ vectors
    )


def forms(modes, subset, ridge, chosen):
    sum_ridges = np.array([len(subset) * ridge])
    fit = next(subset_fits(modes, torch.as_tensor(subset), sum_ridges))
    return fit.forms(torch.as_tensor(chosen)).numpy()


def shuffled_table(features, targets, sizes, ridges, trials):
    """The risk table of a run: the first n of a seeded shuffle of the pool, for every trial."""
    tables = []
    for trial in range(trials):
        order = np.random.default_rng([0, trial]).permutation(len(features))
        table = ridge_path_features(
            features[order], targets[order], sizes=sizes, ridges=ridges, loo=False
        )
        tables.append(table.assign(trial=trial))
    return pd.concat(tables, ignore_index=True)


@pytest.fixture(scope="module")
def gaussian():
    return power_law_features(POOL, 300, np.random.default_rng(0))


@pytest.fixture(scope="module")
def gaussian_forms(gaussian):
    ridge = 1e-3 * np.square(gaussian).sum() / POOL
    return quadratic_forms(feature_modes(gaussian), SIZES, [ridge], trials=6)


# --- quadratic forms against their definition


@pytest.mark.parametrize("size", [3, 8, 14])
@pytest.mark.parametrize(
    "case", [case for case in CASES if case is not REPEATED], ids=lambda case: case.name
)
def test_forms_equal_their_definition_with_fewer_and_with_more_samples_than_modes(case, size):
    subset = np.random.default_rng(1).choice(len(case.features), size, replace=False)
    chosen, gram = np.array([0, 1, case.rank - 1]), case.gram
    for ridge in case.ridges((1e-3, 1.0)):
        expected = plain_forms(gram, subset, ridge, chosen)
        found = [
            forms(modes, subset, ridge, chosen)
            for modes in (gram_modes(gram), feature_modes(case.features))
        ]
        for form in found:
            np.testing.assert_allclose(
                np.abs(form), np.abs(expected), atol=1e-9
            )  # the sign of a mode is free
            np.testing.assert_allclose(np.diag(form), np.diag(expected), atol=1e-9)


@cases
def test_the_forms_of_all_modes_leave_the_degrees_of_freedom(case):
    modes, ridge, n = feature_modes(case.features), case.ridges((1e-2,))[0], 6
    form = forms(modes, np.arange(n), ridge, np.arange(case.rank))
    inside = case.gram[:n, :n]
    df = np.trace(inside @ np.linalg.inv(inside + n * ridge * np.eye(n)))
    assert (1 - np.diag(form)).sum() == pytest.approx(df, rel=1e-9)


def test_a_frame_holds_the_rms_deviations_of_one_subset():
    features = power_law_features(40, 60, np.random.default_rng(3))
    gram, ridge, n = features @ features.T, 0.02, 9
    frame = quadratic_forms(gram_modes(gram), [n], [ridge], directions=5, trials=2, seed=7)
    assert list(frame.columns) == ["n", "ridge", "trial", "diagonal_rms", "off_diagonal_rms"]
    assert frame["trial"].tolist() == [0, 1]
    chosen = spread_modes(40, 5).numpy()
    subset = np.random.default_rng([7, 1, n]).choice(40, n, replace=False)
    form = plain_forms(gram, subset, ridge, chosen)
    values = np.linalg.eigvalsh(gram)[::-1]
    delta = transported(Spectrum.of_power(values, values, 0.0, 40), ridge, n).delta
    deviation = form - np.diag(delta / (delta + values[chosen]))
    off = deviation[~np.eye(5, dtype=bool)]
    assert frame["diagonal_rms"][1] == pytest.approx(np.sqrt(np.mean(np.diag(deviation) ** 2)))
    assert frame["off_diagonal_rms"][1] == pytest.approx(np.sqrt(np.mean(off**2)))


def test_one_row_a_size_trial_and_ridge_the_same_for_the_same_seed():
    modes = feature_modes(POWER_LAW.features)
    frame = quadratic_forms(modes, [5, 3], [0.1, 1.0], trials=3, seed=4)
    assert frame["n"].tolist() == [5] * 6 + [3] * 6
    assert frame["ridge"].tolist() == [0.1, 1.0] * 6
    pd.testing.assert_frame_equal(
        frame, quadratic_forms(modes, [5, 3], [0.1, 1.0], trials=3, seed=4)
    )
    other = quadratic_forms(modes, [5, 3], [0.1, 1.0], trials=3, seed=5)
    assert not np.allclose(frame["diagonal_rms"], other["diagonal_rms"])


# --- invariance


@pytest.mark.parametrize("scale", [1e-8, 3.7, 1e8])
def test_forms_do_not_see_the_scale(scale):
    gram = POWER_LAW.gram
    ridge = POWER_LAW.ridges((1e-2,))[0]
    plain, scaled = gram_modes(gram), gram_modes(scale * gram)
    frames = [
        quadratic_forms(*pair)
        for pair in ((plain, [3, 5], [ridge]), (scaled, [3, 5], [scale * ridge]))
    ]
    pd.testing.assert_frame_equal(*(frame.drop(columns="ridge") for frame in frames), rtol=1e-7)


def test_forms_do_not_see_the_order_of_the_samples():
    order = np.random.default_rng(0).permutation(len(POWER_LAW.features))
    subset, chosen, ridge = (
        np.array([4, 9, 11, 2]),
        np.array([0, 3, 7]),
        POWER_LAW.ridges((1e-2,))[0],
    )
    plain, moved = gram_modes(POWER_LAW.gram), gram_modes(POWER_LAW.gram[np.ix_(order, order)])
    places = np.argsort(order)[subset]
    np.testing.assert_allclose(
        np.abs(forms(moved, places[::-1].copy(), ridge, chosen)),
        np.abs(forms(plain, subset, ridge, chosen)),
        atol=1e-10,
    )


def test_forms_do_not_see_a_rotation_of_the_features():
    rotated = POWER_LAW.features @ orthonormal(60, 60, np.random.default_rng(0))
    frames = [
        quadratic_forms(feature_modes(x), [3, 5], [0.1]) for x in (POWER_LAW.features, rotated)
    ]
    pd.testing.assert_frame_equal(*frames, rtol=1e-8)


# --- rates on Gaussian features


@pytest.mark.parametrize("column", ["diagonal_rms", "off_diagonal_rms"])
def test_forms_of_gaussian_features_approach_the_law_at_the_rate_of_a_root(gaussian_forms, column):
    """The slope is −1/2 once the finite pool is corrected for; six subsets per size leave about
    ±0.05 of chance (eight seeds)."""
    n = gaussian_forms["n"]
    fall = rate(n, gaussian_forms[column] / np.sqrt(1 - n / POOL))
    assert fall.slope == pytest.approx(-0.55, abs=0.12)
    assert fall.standard_error < 0.12


def test_the_limit_of_a_pool_has_no_bias_where_that_of_the_population_has(gaussian):
    """At n = N/4 the signed mean over modes of M_ii − ℓ/(ℓ + Λ_i) is chance; with κ for ℓ it is
    several times as large."""
    modes, n = feature_modes(gaussian), POOL // 4
    ridge = 1e-3 * np.square(gaussian).sum() / POOL
    chosen = spread_modes(len(modes.values), 32).numpy()
    seen = transported(local_law.bare_pool(modes), ridge, n)
    values = modes.values.numpy()[chosen] / POOL
    draws = [np.random.default_rng(trial).choice(POOL, n, replace=False) for trial in range(10)]
    mean = np.mean([np.diag(forms(modes, subset, ridge, chosen)) for subset in draws], axis=0)
    pool, population = (
        np.mean(mean - scale / (scale + values)) for scale in (seen.delta / POOL, seen.kappa)
    )
    assert abs(pool) < 0.004
    assert population < -0.01


def test_elliptical_features_stay_far_from_the_law(gaussian, gaussian_forms):
    """t₃ features: eight seeds gave 2.5 to 4.3 times the deviation, and slopes of −0.02 to −0.15,
    ±0.1 each."""
    heavy = elliptical(gaussian, np.random.default_rng(1))
    frame = quadratic_forms(
        feature_modes(heavy), SIZES, [1e-3 * np.square(heavy).sum() / POOL], trials=6
    )
    assert frame["diagonal_rms"].mean() > 2 * gaussian_forms["diagonal_rms"].mean()
    assert rate(frame["n"], frame["diagonal_rms"]).slope > -0.35


def test_the_trace_of_gaussian_features_approaches_transport_faster_than_the_forms(gaussian):
    """Eight seeds gave slopes of −1.1 to −1.8 and at most 0.003 at N/4: the trace fluctuates as
    1/n."""
    ridge = 1e-3 * np.square(gaussian).sum() / POOL
    pool = Spectrum.of(feature_modes(gaussian), gaussian[:, 0])
    table = trace_deviation(
        shuffled_table(gaussian, gaussian[:, 0], SIZES, [ridge], trials=10), pool
    )
    fall = rate(table["n"], table["deviation"])
    assert fall.slope < -0.9
    assert (table.loc[table["n"] == SIZES[-1], "deviation"].abs() < 0.006).all()


# --- trace


@cases
@intercepts
def test_the_trace_of_the_pool_itself_does_not_deviate(case, intercept):
    targets, ridges, size = case.targets, case.ridges(), len(case.features)
    path = ridge_path(
        case.gram, targets, ridges=ridges, sizes=[3, size], intercept=intercept
    ).assign(trial=0)
    pool = Spectrum.of(gram_modes(case.gram, intercept=intercept), targets)
    table = trace_deviation(path, pool)
    np.testing.assert_allclose(table.loc[table["n"] == size, "deviation"], 0, atol=1e-9)
    expected = path["kappa"] / transported(pool, path["ridge"], path["n"]).kappa - 1
    np.testing.assert_allclose(table["deviation"], expected)


def test_sizes_beyond_the_pool_are_left_out_and_a_vanishing_kappa_says_nothing():
    pool = Spectrum.of(gram_modes(TALL.gram), TALL.targets)
    risk = pd.DataFrame(
        {"n": [20, 30, 20], "trial": 0, "ridge": [0.0, 0.1, 0.1], "kappa": [0.0, 1.0, 0.2]}
    )
    table = trace_deviation(risk, pool)
    assert table["n"].tolist() == [20, 20]
    assert np.isnan(table["deviation"][0])
    assert table["deviation"][1] == pytest.approx(0.2 / transported(pool, 0.1, 20).kappa - 1)
    assert trace_deviation(risk[risk["n"] == 30], pool).empty


# --- estimates of the risk


def test_the_deviation_of_an_estimate_takes_the_standard_error_of_the_test_risk_off():
    risk = pd.DataFrame(
        {
            "n": [10, 10, 20, 20, 20],
            "gcv": [2.0, 0.5, 1.1, 1.0, np.inf],
            "test_risk": [1.0, 1.0, 1.0, 1.0, 1.0],
            "test_risk_se": [0.1, 0.3, 0.2, 0.2, 0.1],
        }
    )
    frame = estimate_deviation(risk, "gcv").set_index("n")
    assert frame.loc[10, "rms"] == pytest.approx(np.log(2))
    assert frame.loc[10, "noise"] == pytest.approx(np.sqrt(0.05))
    assert frame.loc[10, "net"] == pytest.approx(np.sqrt(np.log(2) ** 2 - 0.05))
    assert frame.loc[20, "net"] == 0
    assert frame["points"].tolist() == [2, 2]


def fresh_table(trials, seed):
    """The risk table of independent draws of Gaussian features with a power-law signal and noise,
    on one test set."""
    rng = np.random.default_rng(seed)
    signal = np.arange(1, 151) ** -0.7 * rng.standard_normal(150)
    test = power_law_features(4000, 150, rng)
    test_targets = test @ signal + 0.3 * rng.standard_normal(len(test))
    tables = []
    for trial in range(trials):
        train = power_law_features(SIZES[-1], 150, rng)
        targets = train @ signal + 0.3 * rng.standard_normal(len(train))
        grams = {"test_gram": test @ train.T, "test_targets": test_targets}
        path = ridge_path(
            train @ train.T,
            targets,
            sizes=SIZES,
            ridges=[0.05],
            loo=False,
            solver="nested",
            **grams,
        )
        tables.append(path.assign(trial=trial))
    return pd.concat(tables, ignore_index=True)


def test_gcv_of_gaussian_features_approaches_the_risk():
    """24 draws leave about ±0.1 of chance in the slope."""
    frame = estimate_deviation(fresh_table(24, seed=0), "gcv")
    assert (frame["points"] == 24).all()
    assert (frame["net"] < frame["rms"]).all()
    assert rate(frame["n"], frame["net"]).slope == pytest.approx(-0.5, abs=0.3)


# --- rate


def test_rate_of_a_power_law_is_its_exponent():
    n = np.repeat([100, 200, 400, 800], 2)
    fall = rate(n, 3 * n**-0.5 * np.tile([1, -1], 4))
    assert fall.slope == pytest.approx(-0.5)
    assert fall.constant == pytest.approx(3)
    assert fall.standard_error == pytest.approx(0, abs=1e-12)
    assert (fall.points, fall.first, fall.last) == (4, 100, 800)


def test_rate_has_the_standard_error_of_least_squares():
    n, deviation = np.array([50, 100, 200, 400, 800]), np.array([0.3, 0.2, 0.17, 0.1, 0.09])
    fall = rate(n, deviation)
    (slope, _), covariance = np.polyfit(np.log(n), np.log(deviation), 1, cov=True)
    assert fall.slope == pytest.approx(slope)
    assert fall.standard_error == pytest.approx(np.sqrt(covariance[0, 0]))


def test_trials_of_a_size_count_once_by_their_root_mean_square():
    many = rate([10, 10, 20, 40], [3.0, 1.0, 2.0, 1.0])
    assert many == rate([10, 20, 40], [np.sqrt(5), 2.0, 1.0])


# --- refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([6], [0.1]), r"from 2 to N/4 = 5 of a pool of 22: got 6"),
        (([1], [0.1]), "got 1"),
        (([2.5], [0.1]), "got 2.5"),
        (([], [0.1]), "got none"),
        (([4], [0.0]), "ridges must be positive and finite: got 0"),
        (([4], []), "ridges must be positive and finite: got none"),
    ],
)
def test_forms_refuse_sizes_and_ridges_the_law_does_not_speak_of(arguments, message):
    with pytest.raises(UsageError, match=message):
        quadratic_forms(gram_modes(POWER_LAW.gram), *arguments)


def test_forms_refuse_too_few_directions_or_trials_and_a_ridge_below_rounding():
    modes = gram_modes(POWER_LAW.gram)
    with pytest.raises(UsageError, match="at least 2 directions: got directions=1 of 22 modes"):
        quadratic_forms(modes, [4], [0.1], directions=1)
    with pytest.raises(UsageError, match="trials must be at least 1: got 0"):
        quadratic_forms(modes, [4], [0.1], trials=0)
    twice = np.repeat(POWER_LAW.features, 2, axis=0)
    with pytest.raises(NumericalError, match="K \\+ nλI must be positive definite"):
        forms(feature_modes(twice), np.array([0, 1, 2, 3]), 1e-300, np.array([0, 1]))


def test_tables_refuse_missing_columns_and_empty_rows():
    pool = Spectrum.of(gram_modes(TALL.gram), TALL.targets)
    with pytest.raises(UsageError, match="got none named trial, kappa"):
        trace_deviation(pd.DataFrame({"n": [1], "ridge": [0.1]}), pool)
    with pytest.raises(UsageError, match="got none named test_risk_se"):
        estimate_deviation(pd.DataFrame({"n": [1], "gcv": [0.1], "test_risk": [1.0]}), "gcv")
    with pytest.raises(UsageError, match="got none of 1"):
        estimate_deviation(
            pd.DataFrame({"n": [1], "gcv": [0.1], "test_risk": [np.nan], "test_risk_se": [np.nan]}),
            "gcv",
        )


@pytest.mark.parametrize(
    ("n", "deviation", "message"),
    [
        ([10, 20, 20], [1, 2, 3], r"at least 3 sizes: got 2 \(10, 20\)"),
        ([10, 20], [1, 2, 3], "got 2 sizes and 3 deviations"),
        ([10, 20, 40], [1, np.nan, 3], "finite deviations"),
        ([0, 20, 40], [1, 2, 3], "sizes > 0"),
        ([10, 20, 40], [1, 0, 3], "got 0 at n = 20"),
    ],
)
def test_rate_refuses_what_no_line_fits(n, deviation, message):
    with pytest.raises(UsageError, match=message):
        rate(n, deviation)
