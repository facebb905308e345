"""Every column of the ridge path against plain linear algebra, scikit-learn and identities."""

import numpy as np
import pandas as pd
import pytest
import reference
import torch
from case_paths import assert_frames_close, cases, intercepts, path, sources
from cases import (
    DEFICIENT,
    POWER_LAW,
    TALL,
    WIDE,
    lonely_sample,
)
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import RidgeCV

from rmtgen.linalg.modes import gram_modes
from rmtgen.ridge import COLUMNS, ridge_path, ridge_path_features

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
    frame = path(case, source, ridges=case.ridges(), intercept=intercept, solver=solver)
    assert tuple(frame.columns) == COLUMNS
    assert frame.attrs == {"outputs": 3}
    for ridge, (_, found) in zip(case.ridges(), frame.iterrows(), strict=True):
        known = reference.row(
            case.gram, case.targets, ridge, intercept, case.test_gram, case.test_targets
        )
        for column in COLUMNS:
            assert found[column] == pytest.approx(known[column], rel=1e-9, abs=1e-300), column


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
            [known[column] for column in COLUMNS], rel=1e-9, nan_ok=True
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
