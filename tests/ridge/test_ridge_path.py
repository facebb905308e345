import warnings
import weakref

import numpy as np
import pandas as pd
import pytest
import reference
import torch
from cases import (
    CASES,
    DEFICIENT,
    POWER_LAW,
    REPEATED,
    TALL,
    WIDE,
    lonely_sample,
    orthonormal,
    plant,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import RidgeCV

from rmtgen.errors import NumericalError, RmtgenWarning, UsageError
from rmtgen.linalg.modes import gram_modes
from rmtgen.ridge import COLUMNS, kernel, resolve_ridges, ridge_path, ridge_path_features

cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
intercepts = pytest.mark.parametrize("intercept", [False, True], ids=["plain", "intercept"])
sources = pytest.mark.parametrize("source", ["gram", "features"])


def path(case, source, **options):
    if source == "gram":
        return ridge_path(
            case.gram,
            case.targets,
            test_gram=case.test_gram,
            test_targets=case.test_targets,
            **options,
        )
    tests = {"test_features": case.test_features, "test_targets": case.test_targets}
    return ridge_path_features(case.features, case.targets, **tests, **options)


def assert_frames_close(found, expected, rtol=1e-9, atol=0.0):
    assert list(found.columns) == list(expected.columns)
    for column in expected.columns:
        np.testing.assert_allclose(
            found[column], expected[column], rtol=rtol, atol=atol, err_msg=column
        )


# --- against plain references
# -------------------------------------------------------------------------------------------


@cases
@intercepts
@pytest.mark.parametrize(
    ("source", "solver"),
    [
        (source, solver)
        for source in ("gram", "features")
        for solver in ("auto", "eigen", "nested", "banded")
    ]
    + [("features", "primal")],
)
def test_every_column_equals_plain_linear_algebra(case, intercept, source, solver):
    loo = solver != "banded"
    frame = path(case, source, ridges=case.ridges(), intercept=intercept, solver=solver, loo=loo)
    assert tuple(frame.columns) == COLUMNS
    assert frame.attrs == {"outputs": 3}
    for ridge, (_, found) in zip(case.ridges(), frame.iterrows(), strict=True):
        known = reference.row(
            case.gram, case.targets, ridge, intercept, case.test_gram, case.test_targets
        )
        for column in COLUMNS:
            wanted = known[column] if loo or "loo" not in column else np.nan
            assert found[column] == pytest.approx(wanted, rel=1e-9, abs=1e-300, nan_ok=True), column


@cases
@intercepts
@sources
def test_ridgeless_equals_the_minimum_norm_interpolant(case, intercept, source):
    found = path(case, source, ridges=[0.0], intercept=intercept).iloc[0]
    centred = case.features - intercept * case.features.mean(axis=0)
    rank = np.linalg.matrix_rank(centred, tol=1e-9)
    null_dim = len(centred) - intercept - rank
    fitted, tested = (
        reference.predict(case.gram, case.targets, 0, intercept, rows)
        for rows in (case.gram, case.test_gram)
    )
    left_out = reference.refit_loo(case.gram, case.targets, 0, intercept)
    assert found.gcv == pytest.approx(
        reference.ridgeless_gcv(case.gram, case.targets, rank, intercept), rel=1e-8
    )
    assert found.train_risk == pytest.approx(
        reference.risk(fitted, case.targets), rel=1e-8, abs=1e-20
    )
    assert found.test_risk == pytest.approx(reference.risk(tested, case.test_targets), rel=1e-8)
    assert found.loo == pytest.approx(reference.risk(left_out, case.targets), rel=1e-8)
    assert found.test_error == reference.error(tested, case.test_targets)
    assert found.loo_error == reference.error(left_out, case.targets)
    assert found.df == pytest.approx(rank + intercept, rel=1e-12)
    if null_dim:
        assert (found.kappa, found.kappa_prime) == (
            0,
            pytest.approx(len(centred) / null_dim, rel=1e-12),
        )
    else:
        assert found.train_risk == 0
        assert found.kappa > 0


@cases
@intercepts
def test_gram_and_features_agree_at_every_size(case, intercept):
    options = {
        "ridges": [0.0, *case.ridges((1e-6, 1e-3, 1.0))],
        "sizes": [5, len(case.features), 8],
        "intercept": intercept,
    }
    assert_frames_close(
        path(case, "gram", **options), path(case, "features", **options), rtol=1e-7, atol=1e-20
    )


@pytest.mark.parametrize("case", DEFICIENT, ids=lambda case: case.name)
@intercepts
@sources
def test_ridgeless_is_the_limit_of_small_ridges_when_rank_deficient(case, intercept, source):
    limit, small = (
        path(case, source, ridges=[r], intercept=intercept) for r in (0.0, *case.ridges([1e-10]))
    )
    keep = [column for column in COLUMNS if column not in ("ridge", "kappa")]
    assert_frames_close(small[keep], limit[keep], rtol=1e-7)
    assert small.kappa[0] == pytest.approx(
        small.ridge[0] * limit.kappa_prime[0], rel=1e-7
    )  # κ = λ n/(n − rank) + O(λ²)


@intercepts
@sources
def test_loo_of_a_sample_without_null_leverage(intercept, source):
    features, targets = lonely_sample()
    gram = features @ features.T
    data = {"gram": gram, "features": features}[source]
    solve = {"gram": ridge_path, "features": ridge_path_features}[source]
    frame = solve(data, targets, sum_ridges=[0.0, 1e-12, 1e-3, 1.0], intercept=intercept)
    for sum_ridge, loo in zip([0.0, 0.0, 1e-3, 1.0], frame.loo, strict=True):
        known = reference.risk(reference.refit_loo(gram, targets, sum_ridge, intercept), targets)
        assert loo == pytest.approx(known, rel=1e-8)


@intercepts
@pytest.mark.parametrize("ridge", [0.01, 1.0])
def test_intercept_is_the_projected_inverse(ridge, intercept):
    """Centring against w = G1, P = G − wwᵀ/(1ᵀw): residual nλPY, LOO (PY)_i/P_ii, GCV n‖PY‖²/(tr
    P)²."""
    inverse = reference.resolvent(TALL.gram, 24 * ridge, intercept)
    dual = inverse @ TALL.targets
    found = path(TALL, "gram", ridges=[ridge], intercept=intercept).iloc[0]
    assert found.train_risk == pytest.approx(((24 * ridge * dual) ** 2).sum() / 24, rel=1e-12)
    assert found.loo == pytest.approx(
        ((dual / inverse.diagonal()[:, None]) ** 2).sum() / 24, rel=1e-12
    )
    assert found.gcv == pytest.approx(24 * (dual**2).sum() / inverse.trace() ** 2, rel=1e-12)


def test_a_size_uses_the_first_samples_in_the_order_asked():
    sizes = [10, 6, 10]
    frame = path(WIDE, "gram", ridges=[0.1, 0.01, 0.1], sizes=sizes)
    assert frame.n.tolist() == np.repeat(sizes, 3).tolist()
    assert frame.ridge.tolist() == [0.1, 0.01, 0.1] * 3
    for n, part in frame.groupby("n"):
        known = reference.row(
            WIDE.gram[:n, :n],
            WIDE.targets[:n],
            0.01,
            False,
            WIDE.test_gram[:, :n],
            WIDE.test_targets,
        )
        found = part[part.ridge == 0.01].iloc[0]
        assert found[list(COLUMNS)].tolist() == pytest.approx(
            [known[column] for column in COLUMNS], rel=1e-9
        )


def test_sum_ridges_are_n_times_the_ridge():
    summed = path(WIDE, "gram", sum_ridges=[0.5, 0.0], sizes=[4, 8])
    assert summed.ridge.tolist() == [0.125, 0.0, 0.0625, 0.0]
    alone = [
        path(WIDE, "gram", ridges=[ridge, 0.0], sizes=np.int64(n))
        for n, ridge in ((4, 0.125), (8, 0.0625))
    ]
    assert_frames_close(summed, pd.concat(alone), rtol=0)


@pytest.mark.parametrize(
    "convert",
    [torch.from_numpy, lambda array: array[::-1][::-1], lambda array: array.astype(np.float32)],
)
def test_any_kind_of_array(convert):
    known = path(POWER_LAW, "features", ridges=[0.01])
    arrays = [
        convert(a)
        for a in (
            POWER_LAW.features,
            POWER_LAW.targets,
            POWER_LAW.test_features,
            POWER_LAW.test_targets,
        )
    ]
    found = ridge_path_features(
        arrays[0], arrays[1], ridges=[0.01], test_features=arrays[2], test_targets=arrays[3]
    )
    assert_frames_close(found, known, rtol=1e-5)


# --- against scikit-learn
# -----------------------------------------------------------------------------------------------


@cases
@pytest.mark.parametrize("relative", [1e-3, 1.0])
def test_test_risk_equals_kernel_ridge(case, relative):
    ridge = case.ridges([relative])[0]
    model = KernelRidge(alpha=len(case.features) * ridge, kernel="precomputed").fit(
        case.gram, case.targets
    )
    predictions = model.predict(case.test_gram)
    found = path(case, "gram", ridges=[ridge]).iloc[0]
    assert found.test_risk == pytest.approx(
        reference.risk(predictions, case.test_targets), rel=1e-8
    )
    assert found.test_error == reference.error(predictions, case.test_targets)


@cases
@intercepts
@sources
def test_loo_equals_ridge_cv(case, intercept, source):
    alphas = len(case.features) * case.ridges((1e-3, 1e-1, 10.0))
    model = RidgeCV(alphas=alphas, fit_intercept=intercept, store_cv_results=True).fit(
        case.features, case.targets
    )
    known = model.cv_results_.sum(axis=1).mean(axis=0)
    np.testing.assert_allclose(
        path(case, source, sum_ridges=alphas, intercept=intercept).loo, known, rtol=1e-8
    )


# --- golden numbers and identities
# --------------------------------------------------------------------------------------


def test_golden_two_by_two():
    frame = ridge_path(np.diag([1.0, 3.0]), np.array([1.0, 2.0]), sum_ridges=[1.0, 0.0])
    np.testing.assert_allclose(frame.gcv, [16 / 9, 13 / 8], rtol=1e-15)
    np.testing.assert_allclose(frame.df, [1 / 2 + 3 / 4, 2], rtol=1e-15)
    np.testing.assert_allclose(frame.kappa, [4 / 3, 3 / 4], rtol=1e-15)
    np.testing.assert_allclose(frame.loo, [(1 + 4) / 2] * 2, rtol=1e-15)
    np.testing.assert_allclose(frame.norm2, [1 / 4 + 3 / 4, 1 + 4 / 3], rtol=1e-15)


@cases
@intercepts
@sources
def test_identities_between_the_columns(case, intercept, source):
    ridges = case.ridges((1e-6, 1e-3, 1.0, 1e2))
    frame = path(case, source, ridges=ridges, intercept=intercept)
    n = frame.n
    np.testing.assert_allclose(
        frame.gcv, (frame.kappa / frame.ridge) ** 2 * frame.train_risk, rtol=1e-10
    )
    np.testing.assert_allclose(frame.df, n * (1 - frame.ridge / frame.kappa), rtol=1e-10)
    np.testing.assert_allclose(frame.gcv, frame.train_risk / (1 - frame.df / n) ** 2, rtol=1e-5)
    eigenvalues = gram_modes(case.gram, intercept=intercept).values.numpy()
    learnabilities = eigenvalues / (eigenvalues + (n * frame.ridge).to_numpy()[:, None])
    np.testing.assert_allclose(learnabilities.sum(axis=1) + intercept, frame.df, rtol=1e-12)


@cases
@intercepts
def test_kappa_prime_is_the_derivative_of_kappa(case, intercept):
    ridge, step = case.ridges([0.1])[0], 1e-4
    frame = path(
        case, "gram", ridges=[ridge * (1 - step), ridge, ridge * (1 + step)], intercept=intercept
    )
    slope = (frame.kappa[2] - frame.kappa[0]) / (2 * step * ridge)
    assert frame.kappa_prime[1] == pytest.approx(slope, rel=1e-7)


problems = st.tuples(
    st.integers(2, 10), st.integers(1, 10), st.integers(0, 2**32 - 1), st.booleans()
)
UNSCALED = ["n", "df", "kappa_prime", "train_error", "loo_error", "test_error"]
RISKS = ["train_risk", "gcv", "loo", "test_risk", "test_risk_se"]


def random_problem(n, p, seed):
    """Integer-free features of full rank, one-hot targets of three classes, and as many test
    samples."""
    rng = np.random.default_rng(seed)
    features, labels = rng.standard_normal((2 * n, p)), rng.integers(0, 3, 2 * n)
    return features, np.eye(3)[labels], rng


def solve_features(features, targets, ridges, intercept):
    n = len(features) // 2
    tests = {"test_features": features[n:], "test_targets": targets[n:]}
    return ridge_path_features(
        features[:n], targets[:n], ridges=ridges, intercept=intercept, **tests
    )


@settings(max_examples=25, deadline=None)
@given(problems, st.floats(-6, 6))
def test_scaling_kernel_and_ridge_together_changes_nothing_but_kappa(problem, log_scale):
    n, p, seed, intercept = problem
    features, targets, _ = random_problem(n, p, seed)
    gram, test_gram = features[:n] @ features[:n].T, features[n:] @ features[:n].T
    scale, ridges = 10**log_scale, np.array([1e-2, 1.0])
    known, found = (
        ridge_path(
            k * gram,
            targets[:n],
            ridges=k * ridges,
            test_gram=k * test_gram,
            test_targets=targets[n:],
            intercept=intercept,
        )
        for k in (1.0, scale)
    )
    assert_frames_close(found[UNSCALED + RISKS], known[UNSCALED + RISKS], rtol=1e-8, atol=1e-20)
    np.testing.assert_allclose(found.kappa, scale * known.kappa, rtol=1e-9)
    np.testing.assert_allclose(found.norm2, known.norm2 / scale, rtol=1e-8, atol=1e-20 / scale)


@settings(max_examples=25, deadline=None)
@given(problems, st.floats(-6, 6))
def test_risks_scale_with_the_square_of_the_targets(problem, log_scale):
    n, p, seed, intercept = problem
    features, targets, _ = random_problem(n, p, seed)
    scale, ridges = 10**log_scale, [0.0, 1e-2, 1.0]
    known, found = (solve_features(features, k * targets, ridges, intercept) for k in (1.0, scale))
    assert_frames_close(found[UNSCALED[:3]], known[UNSCALED[:3]])
    assert_frames_close(found[[*RISKS, "norm2"]] / scale**2, known[[*RISKS, "norm2"]], atol=1e-20)


@settings(max_examples=25, deadline=None)
@given(problems)
def test_sample_order_and_feature_rotation_do_not_matter(problem):
    n, p, seed, intercept = problem
    features, targets, rng = random_problem(n, p, seed)
    ridges = [1e-2, 1.0]
    known = solve_features(features, targets, ridges, intercept)
    order = np.concatenate([rng.permutation(n), n + rng.permutation(n)])
    smooth = [
        column for column in COLUMNS if not column.endswith("error")
    ]  # an argmax tie may fall either way
    assert_frames_close(
        solve_features(features[order], targets[order], ridges, intercept)[smooth],
        known[smooth],
        atol=1e-20,
    )
    rotation = orthonormal(p, p, rng)
    assert_frames_close(
        solve_features(features @ rotation, targets, ridges, intercept)[smooth],
        known[smooth],
        atol=1e-20,
    )


# --- ground truth: Gaussian features
# --------------------------------------------------------------------------------------


def gaussian(n, p, m, rng, noise):
    """Isotropic features, ‖β‖² = 1, so that E y² = 1 + noise."""
    features, beta = rng.standard_normal((n + m, p)), rng.standard_normal(p)
    targets = features @ beta / np.linalg.norm(beta) + noise**0.5 * rng.standard_normal(n + m)
    return (features[:n], targets[:n]), {"test_features": features[n:], "test_targets": targets[n:]}


@pytest.mark.parametrize(
    ("gamma", "ridge", "risk"),
    [
        (0.5, 0.0, 0.5),
        (0.5, 0.5, 0.508883),
        (2, 0.0, 1.0),
        (2, 0.5, 0.890388),
        (4, 0.0, 1.083333),
        (4, 0.5, 1.062926),
    ],
)
def test_isotropic_gaussian_limit(gamma, ridge, risk):
    train, tests = gaussian(400, int(400 * gamma), 2000, np.random.default_rng(1), noise=0.25)
    found = ridge_path_features(*train, ridges=[ridge], **tests).iloc[0]
    shifted = ridge + gamma - 1
    assert found.kappa == pytest.approx(
        (shifted + np.sqrt(shifted**2 + 4 * ridge)) / 2, rel=0.02, abs=1e-12
    )
    assert found.gcv == pytest.approx(
        risk, rel=0.15
    )  # relative sd of GCV at n = 400 is about sqrt(2 / 400) = .07
    assert found.loo == pytest.approx(found.gcv, rel=0.05)
    assert found.test_risk == pytest.approx(risk, abs=3 * found.test_risk_se + 0.05)


@pytest.mark.parametrize(
    ("n", "p", "excess"), [(20, 50, 1 - 20 / 50 + 0.5 * 20 / 29), (40, 15, 0.5 * 15 / 24)]
)
def test_exact_finite_sample_gaussian_risk(n, p, excess):
    """Ridgeless excess risk r²(1 − n/p)₊ + noise·min(n, p)/(|n − p| − 1), and E tr K⁻¹ = n/(p − n −
    1), at any n."""
    rng, draws = np.random.default_rng(2), 400
    frames = []
    for _ in range(draws):
        train, tests = gaussian(n, p, 30, rng, noise=0.5)
        frames.append(ridge_path_features(*train, ridges=[0.0], **tests).iloc[0])
    risks = np.array([frame.test_risk for frame in frames])
    assert risks.mean() == pytest.approx(0.5 + excess, abs=3.5 * risks.std() / draws**0.5)
    if p > n:
        traces = np.array([1 / frame.kappa for frame in frames])
        assert traces.mean() == pytest.approx(n / (p - n - 1), abs=3.5 * traces.std() / draws**0.5)


# --- 0-1 errors -----------------------------------------------------------------------------------
# ----------------------


def test_one_output_of_two_values_decodes_to_the_nearest():
    signs, test_signs = (
        np.where(targets[:, 0] > 0, 3.0, -1.0) for targets in (WIDE.targets, WIDE.test_targets)
    )
    found = ridge_path(
        WIDE.gram, signs, ridges=[0.05], test_gram=WIDE.test_gram, test_targets=test_signs
    ).iloc[0]
    predictions = reference.predict(WIDE.gram, signs[:, None], 16 * 0.05, False, WIDE.test_gram)[
        :, 0
    ]
    left_out = reference.refit_loo(WIDE.gram, signs[:, None], 16 * 0.05, False)[:, 0]
    assert found.test_error == ((predictions > 1) != (test_signs > 1)).mean()
    assert found.loo_error == ((left_out > 1) != (signs > 1)).mean()
    assert 0 < found.loo_error < 1


def test_errors_are_nan_where_targets_encode_no_classes():
    tests = {"test_gram": WIDE.test_gram, "test_targets": 2 * WIDE.test_targets}
    found = ridge_path(WIDE.gram, WIDE.targets, ridges=[0.05], **tests).iloc[0]
    assert np.isnan(found.test_error)  # another code
    assert np.isfinite([found.test_risk, found.train_error, found.loo_error]).all()
    regression = ridge_path(WIDE.gram, WIDE.features[:, :2], ridges=[0.05]).iloc[0]
    assert np.isnan([regression.train_error, regression.loo_error]).all()


def test_columns_not_asked_for_are_nan():
    found = ridge_path(WIDE.gram, WIDE.targets, ridges=[0.05], loo=False).iloc[0]
    assert sorted(found.index[found.isna()]) == [
        "loo",
        "loo_error",
        "test_error",
        "test_risk",
        "test_risk_se",
    ]
    one = ridge_path(
        WIDE.gram,
        WIDE.targets,
        ridges=[1.0],
        test_gram=WIDE.test_gram[:1],
        test_targets=WIDE.test_targets[:1],
    )
    assert np.isfinite(one.test_risk[0])
    assert np.isnan(one.test_risk_se[0])


# --- corners --------------------------------------------------------------------------------------
# ----------------------


def test_one_sample():
    """K = 2, y = 3: every column by hand, regularised and ridgeless."""
    frame = ridge_path(np.array([[2.0]]), np.array([3.0]), ridges=[1.0, 0.0])
    assert frame.loc[0, list(COLUMNS[:9])].tolist() == pytest.approx(
        [1, 1, 1, 9, 9, 2 / 3, 3, 1, 2]
    )
    assert frame.loc[1, list(COLUMNS[:9])].tolist() == pytest.approx([1, 0, 0, 9, 9, 1, 2, 1, 4.5])


@sources
@pytest.mark.parametrize("ridge", [0.0, 1.0])
def test_an_all_zero_kernel_predicts_zero(source, ridge):
    solve = {"gram": ridge_path, "features": ridge_path_features}[source]
    found = solve(np.zeros((3, 3)), np.array([1.0, 2.0, 4.0]), ridges=[ridge]).iloc[0]
    assert [found.train_risk, found.gcv, found.loo] == pytest.approx([7, 7, 7])
    assert [found.df, found.kappa, found.kappa_prime, found.norm2] == pytest.approx(
        [0, ridge, 1, 0]
    )


@pytest.mark.parametrize("case", [REPEATED, TALL], ids=lambda case: case.name)
@pytest.mark.parametrize("ridge", [1e-250, 1e250])
def test_extreme_ridges_do_not_overflow(case, ridge):
    found = path(case, "gram", ridges=[ridge]).iloc[0]
    limit = path(case, "gram", ridges=[0.0 if ridge < 1 else 1e12]).iloc[0]
    smooth = ["train_risk", "gcv", "loo", "df", "kappa_prime", "norm2", "test_risk"]
    assert found[smooth].tolist() == pytest.approx(limit[smooth].tolist(), rel=1e-9, abs=1e-9)


def test_a_small_ridge_does_not_blow_up_the_rounding_of_the_null_space():
    """k(test) has no component there; K and k(test) computed by a product have one of rounding
    size, over nλ."""
    frame = path(TALL, "gram", ridges=[1e-12, 0.0])
    assert frame.test_risk[0] == pytest.approx(frame.test_risk[1], rel=1e-9)


def test_an_intercept_survives_features_far_from_the_origin():
    """Centring cancels entries of 1e7 against each other; the test rows are centred both ways for
    that."""
    train, test = TALL.features + 1e3, TALL.test_features + 1e3
    options = {"ridges": [0.01], "test_targets": TALL.test_targets, "intercept": True}
    found = ridge_path(train @ train.T, TALL.targets, test_gram=test @ train.T, **options)
    known = ridge_path_features(train, TALL.targets, test_features=test, **options)
    assert_frames_close(found, known, rtol=1e-7)


def test_modes_below_the_tolerance_still_predict_at_ridges_above_it():
    case = plant("tail", n=20, p=30, singular=[*np.geomspace(0.3, 1, 15), *[5e-4] * 5])
    gram = case.gram.astype(np.float32)
    assert gram_modes(gram).null_dim == 5
    known = reference.row(case.gram, case.targets, 5e-7, False, case.test_gram, case.test_targets)
    found = ridge_path(
        gram,
        case.targets,
        ridges=[5e-7],
        test_gram=case.test_gram,
        test_targets=case.test_targets,
        loo=False,
    )
    assert found.test_risk[0] == pytest.approx(known["test_risk"], rel=1e-3)


# --- float32 Gram matrices
# ----------------------------------------------------------------------------------------------


def test_float32_gram_agrees_above_its_rounding_without_a_warning():
    ridges = WIDE.ridges((1e-1, 1.0))
    gram = WIDE.gram.astype(np.float32)
    assert_frames_close(
        ridge_path(gram, WIDE.targets, ridges=ridges),
        ridge_path(WIDE.gram, WIDE.targets, ridges=ridges),
        rtol=1e-4,
    )


@pytest.mark.parametrize(
    ("ridges", "message"),
    [
        (
            [1.0, 0.0],
            r"resolves nλ > 10·eps32·s_max = 1.07e-05: got nλ = 0 \(λ = 0, n = 16; 1 of 2 rows\)",
        ),
        ([5e-7, 1e-9], r"= 1.07e-05: got nλ = 8e-06 \(λ = 5e-07, n = 16; 2 of 2 rows\)"),
        (
            [2e-6, 1.0],
            r"resolves df/n <= 0.99: got df/n = 0.9999 \(λ = 2e-06, n = 16; 1 of 2 rows\)",
        ),
    ],
)
def test_float32_gram_warns_below_its_rounding(ridges, message):
    with pytest.warns(RmtgenWarning, match=message) as caught:
        ridge_path(WIDE.gram.astype(np.float32), WIDE.targets, ridges=ridges)
    assert [warning.filename for warning in caught] == [__file__]


def test_the_modes_of_one_size_are_gone_before_the_next_are_made(monkeypatch):
    made = []

    def watched(gram, **options):
        assert not any(reference() for reference in made)
        modes = gram_modes(gram, **options)
        made.append(weakref.ref(modes))
        return modes

    monkeypatch.setattr(kernel, "gram_modes", watched)
    path(WIDE, "gram", ridges=[0.0, 1.0], sizes=[5, 10, 15])
    assert len(made) == 3


def test_float64_grams_and_features_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path(WIDE, "gram", ridges=[0.0, 1e-9])
        ridge_path_features(WIDE.features.astype(np.float32), WIDE.targets, ridges=[0.0, 1e-9])


# --- bad input ------------------------------------------------------------------------------------
# ----------------------

GRID = {"ridges": [1.0]}
TEST = {"test_gram": WIDE.test_gram, "test_targets": WIDE.test_targets}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"exactly one grid is needed, ridges \(λ\) or sum_ridges \(nλ\): got none"),
        ({"ridges": [1.0], "sum_ridges": [1.0]}, "got both"),
        ({"ridges": [1.0, -0.5]}, "ridges must be finite and >= 0: got -0.5"),
        ({"sum_ridges": [np.nan]}, "sum_ridges must be finite and >= 0: got nan"),
        ({"ridges": [np.inf]}, "got inf"),
        ({"ridges": []}, r"expected shape \(l,\), l >= 1, got \(0,\)"),
        ({"ridges": [[1.0]]}, r"got \(1, 1\)"),
        ({"ridges": "small"}, "ridges must be numbers: got 'small'"),
        (GRID | {"sizes": [4, 0]}, r"each in \[1, 16\]: got \[0\]"),
        (GRID | {"sizes": [4, 17, 99]}, r"each in \[1, 16\]: got \[17, 99\]"),
        (GRID | {"sizes": [1], "intercept": True}, r"each in \[2, 16\] \(intercept\): got \[1\]"),
        (GRID | {"sizes": []}, "got none"),
        (GRID | {"sizes": [4.5]}, r"sizes must be whole numbers: got \[4.5\]"),
        (GRID | {"sizes": "four"}, "sizes must be whole numbers: got 'four'"),
        (
            GRID | {"solver": "eigne"},
            "solver must be a known one: got 'eigne'. Did you mean eigen?",
        ),
        (GRID | {"test_gram": WIDE.test_gram}, "got test samples without test targets"),
        (GRID | {"test_targets": WIDE.test_targets}, "got test targets without test samples"),
        (
            GRID | TEST | {"test_gram": WIDE.test_gram[:, :14]},
            (
                r"test_gram needs one column per training sample: expected \(m, 16\), got \(15,"
                r" 14\). Build both"
            ),
        ),
        (
            GRID | TEST | {"test_targets": WIDE.test_targets[:9]},
            r"expected \(15, 3\), got \(9, 3\)",
        ),
        (
            GRID | TEST | {"test_targets": WIDE.test_targets[:, 0]},
            r"expected \(15, 3\), got \(15, 1\)",
        ),
        (
            GRID | {"test_gram": WIDE.test_gram[:0], "test_targets": WIDE.test_targets[:0]},
            r"got shape \(0, 16\)",
        ),
    ],
)
def test_bad_arguments_are_refused_with_their_values(options, message):
    with pytest.raises(UsageError, match=message):
        ridge_path(WIDE.gram, WIDE.targets, **options)


@pytest.mark.parametrize(
    ("gram", "targets", "error", "message"),
    [
        (
            WIDE.features,
            WIDE.targets,
            UsageError,
            r"gram must be square: expected \(16, 16\), got \(16, 40\)",
        ),
        (
            WIDE.gram,
            WIDE.targets[:15],
            UsageError,
            "one row per training sample: expected 16, got 15",
        ),
        (WIDE.gram * np.nan, WIDE.targets, NumericalError, "gram must be finite: got 256 NaN"),
        (WIDE.gram, WIDE.targets + np.inf, NumericalError, "targets must be finite: got 48 NaN"),
        (-WIDE.gram, WIDE.targets, NumericalError, "gram must be positive semidefinite"),
    ],
)
def test_bad_data_is_refused(gram, targets, error, message):
    with pytest.raises(error, match=message):
        ridge_path(gram, targets, ridges=[1.0])


def test_bad_features_are_refused():
    spoilt = WIDE.features.copy()
    spoilt[3, 5] = np.inf
    with pytest.raises(
        NumericalError,
        match=r"features must be finite: got 1 NaN .* \(the first at row 3, column 5\)",
    ):
        ridge_path_features(spoilt, WIDE.targets, ridges=[1.0])
    with pytest.raises(
        UsageError,
        match=r"test_features need the train features' width: expected \(m, 40\), got \(2, 39\)",
    ):
        ridge_path_features(
            WIDE.features,
            WIDE.targets,
            ridges=[1.0],
            test_features=spoilt[:2, 1:],
            test_targets=WIDE.targets,
        )


def test_relative_ridges_are_of_the_mean_diagonal():
    np.testing.assert_allclose(
        resolve_ridges([0, 1e-8, 100], trace=50.0, n=10), [0, 5e-8, 500], rtol=1e-15
    )
    with pytest.raises(UsageError, match="relative ridges must be finite and >= 0: got -1.0"):
        resolve_ridges([-1], trace=1.0, n=1)
    with pytest.raises(UsageError, match="needs a positive, finite trace: got tr K = 0.0"):
        resolve_ridges([1], trace=0.0, n=1)
