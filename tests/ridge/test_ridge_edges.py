"""Decoding of classes, degenerate problems, and float32 Gram matrices."""

import warnings
import weakref

import numpy as np
import pytest
import reference
from case_paths import assert_frames_close, path, sources
from cases import (
    REPEATED,
    TALL,
    WIDE,
    plant,
)

from rmtgen.errors import RmtgenWarning
from rmtgen.linalg.modes import gram_modes
from rmtgen.ridge import kernel, ridge_path, ridge_path_features

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
        "loo_high",
        "loo_kurtosis",
        "loo_low",
        "loo_se",
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


def test_one_sample():
    """K = 2, y = 3: every column by hand, regularised and ridgeless."""
    frame = ridge_path(np.array([[2.0]]), np.array([3.0]), ridges=[1.0, 0.0])
    columns = ["n", "ridge", "train_risk", "gcv", "loo", "df", "kappa", "kappa_prime", "norm2"]
    assert frame.loc[0, columns].tolist() == pytest.approx([1, 1, 1, 9, 9, 2 / 3, 3, 1, 2])
    assert frame.loc[1, columns].tolist() == pytest.approx([1, 0, 0, 9, 9, 1, 2, 1, 4.5])


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


@pytest.mark.filterwarnings("ignore::rmtgen.errors.RmtgenWarning")
def test_ridges_above_and_below_the_tolerance_do_not_change_each_other():
    case = plant("tail", n=20, p=30, singular=[*np.geomspace(0.3, 1, 15), *[5e-4] * 5])
    gram, ridges = case.gram.astype(np.float32), [0.0, 5e-7, 1e-3]
    alone = [ridge_path(gram, case.targets, ridges=[ridge]) for ridge in ridges]
    assert alone[0]["df"][0] < 15.001 < alone[1]["df"][0]
    for order in ([0, 1, 2], [2, 1, 0]):
        found = ridge_path(gram, case.targets, ridges=[ridges[place] for place in order])
        for place, (_, row) in zip(order, found.iterrows(), strict=True):
            assert row.tolist() == pytest.approx(alone[place].iloc[0].tolist(), nan_ok=True)


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
    assert len(caught) == 1


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
