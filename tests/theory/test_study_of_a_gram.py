"""The public `rmtgen.study`: of a Gram matrix, with and without a test set, and of bad input."""

import numpy as np
import pandas as pd
import pytest
import torch
from test_study import CLASSES, M, drawn

import rmtgen
from rmtgen.errors import NumericalError, RmtgenWarning, UsageError
from rmtgen.ridge import ridge_path
from rmtgen.ridge.columns import CURVE_COLUMNS
from rmtgen.theory.registry import PREDICTION_COLUMNS, THEORIES
from rmtgen.theory.study import ANALYSES

TRAIN = 1000
SIZES = (40, 80, 160, 240, TRAIN)
RIDGES = (0.0, 1e-3, 1e-1)


def arrays(coding="centered", train=TRAIN):
    """K, targets, k(test, train), test targets."""
    rows, tests, targets, test_targets = drawn(1500, train, coding)
    return rows @ rows.mT, targets.values, tests @ rows.mT, test_targets.values


def study_of(coding="centered", *, tested=True, **options):
    gram, targets, test_gram, test_targets = arrays(coding)
    test = {"test_gram": test_gram, "test_targets": test_targets} if tested else {}
    settings = {"sizes": SIZES, "ridges": RIDGES, "intercept": coding == "intercept"}
    return rmtgen.study(gram, targets, **test, **settings | options)


@pytest.fixture(scope="module")
def study():
    return study_of()


@pytest.mark.parametrize("coding", ["centered", "intercept"])
def test_every_analysis_is_a_table(coding):
    made = study_of(coding)
    tables = made.tables()
    assert list(tables) == list(ANALYSES)
    assert all(len(table) for table in tables.values())
    scaling = tables["scaling"].set_index("quantity")
    assert scaling.loc["subset_decay", "exponent"] == pytest.approx(
        scaling.loc["decay", "exponent"], abs=0.2
    )
    assert list(made.curve) == list(CURVE_COLUMNS)
    assert (made.curve["n"].min(), made.curve["n"].max()) == (40, TRAIN)


def test_the_fits_are_those_of_the_ridge_path(study):
    gram, targets, test_gram, test_targets = arrays()
    order = np.random.default_rng([0, 0]).permutation(TRAIN)[:80]
    path = ridge_path(
        gram[order][:, order],
        targets[order],
        ridges=RIDGES,
        test_gram=test_gram[:, order],
        test_targets=test_targets,
    )
    fits = study.risk.query("n == 80").reset_index(drop=True)
    assert fits["ridge"].tolist() == list(RIDGES)
    for column in ("gcv", "loo", "test_risk", "df", "norm2"):
        np.testing.assert_array_equal(fits[column], path[column], err_msg=column)


def test_transport_in_the_table_is_the_public_transport(study):
    gram, targets, *_ = arrays()
    known = rmtgen.transport(gram, targets, sizes=SIZES, ridges=RIDGES)
    found = study.predictions()
    np.testing.assert_allclose(found["transport"], known["predicted_risk"], rtol=1e-9)


def test_several_trials_are_nested_subsets_and_the_whole_pool_comes_once():
    made = study_of(sizes=(40, TRAIN), trials=3)
    keys = made.risk[["n", "trial"]].drop_duplicates()
    assert keys.to_numpy().tolist() == [[40, 0], [40, 1], [40, 2], [TRAIN, 0]]
    assert list(made.spectra) == [tuple(key) for key in keys.to_numpy()]


def test_the_default_grid_reaches_from_an_eighth_to_the_whole_pool():
    gram, targets, *_ = arrays(train=200)
    made = rmtgen.study(gram, targets)
    assert made.risk["n"].iloc[0] == 25
    assert made.risk["n"].iloc[-1] == 200
    assert made.risk["n"].nunique() == 8
    assert made.risk["relative_ridge"].unique() == pytest.approx([0, *np.geomspace(1e-6, 10, 8)])


def test_without_a_test_set_only_what_is_measured_is_missing(study):
    alone = study_of(tested=False)
    found, known = alone.predictions(), study.predictions()
    assert list(found) == list(PREDICTION_COLUMNS)
    assert found[["test_risk", "test_risk_se"]].isna().all(axis=None)
    theories = [name for name in THEORIES if name != "norm_proxy"]
    pd.testing.assert_frame_equal(found[theories], known[theories])
    for name in ("curves", "modes", "representation", "forecast", "labels"):
        pd.testing.assert_frame_equal(ANALYSES[name](alone), ANALYSES[name](study))
    hindcast = alone.hindcast()
    assert hindcast["test_risk"].isna().all()
    assert hindcast["predicted_risk"].tolist() == study.hindcast()["predicted_risk"].tolist()
    pd.testing.assert_frame_equal(alone.local_law(), study.local_law())
    assert alone.scaling()["measured"].isna().sum() == len(alone.scaling())
    assert not set(alone.trust()["detector"]) & {"covariate_shift", "mean_shift"}
    assert alone.scores().empty


def test_scores_rank_transport_above_the_training_risk(study):
    scores = study.scores().set_index("theory")
    assert list(scores.index) == [name for name in THEORIES if name in scores.index]
    assert scores.loc["transport", "log_error"] < 0.1 < scores.loc["train_risk", "log_error"]
    assert scores.loc["transport", "kendall"] > scores.loc["train_risk", "kendall"]


def test_a_study_forecasts_within_its_features():
    gram, targets, *_ = arrays(train=200)
    made = rmtgen.study(gram, targets, sizes=[50, 200], features=1500)
    modes = rmtgen.gram_modes(gram)
    pool = rmtgen.pool_influence(modes, targets, features=1500)
    sizes = made.forecast()["n"]
    pd.testing.assert_frame_equal(made.forecast(), rmtgen.forecast(pool, sizes))
    with pytest.raises(UsageError, match="features must be a whole number >= 1: got 0"):
        rmtgen.study(gram, targets, features=0)


def test_a_study_says_what_it_is_of(study):
    said = repr(study)
    assert said.startswith(f"Study(1,000 samples, {M} test samples, {CLASSES} outputs; 15 fits")
    assert "n = 40, 80, 160, 240, 1,000" in said
    assert "no test set" in repr(study_of(tested=False, sizes=(40,)))
    assert all(name in said for name in ANALYSES)


def test_an_analysis_that_the_data_is_too_small_for_is_left_out_with_the_reason():
    gram, targets, *_ = arrays(train=200)
    made = rmtgen.study(gram, targets, sizes=[50, 200])
    with pytest.warns(RmtgenWarning) as warned:
        tables = made.tables()
    assert set(ANALYSES) - set(tables) == {"hindcast", "scaling"}
    said = " ".join(str(one.message) for one in warned)
    assert "analysis hindcast is left out: a hindcast sees N/10 samples" in said
    assert "analysis scaling is left out: exponents are fitted from n = 30" in said


def test_numpy_and_torch_give_one_study():
    gram, targets, *_ = arrays(train=200)
    tensors = rmtgen.study(gram, targets, sizes=[50, 200], ridges=[0.1])
    numpy = rmtgen.study(gram.numpy(), targets.numpy(), sizes=[50, 200], ridges=[0.1])
    pd.testing.assert_frame_equal(tensors.predictions(), numpy.predictions())


GOOD = 3 * np.eye(40) + 1


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((GOOD[:30], np.ones(30)), {}, UsageError, r"gram must be square: .*got \(30, 40\)"),
        (
            (GOOD, np.ones(39)),
            {},
            UsageError,
            "targets need one row per training sample: expected 40, got 39",
        ),
        ((GOOD, np.arange(40.0)), {"sizes": [41]}, UsageError, r"each in \[1, 40\]: got \[41\]"),
        ((GOOD, np.arange(40.0)), {"sizes": [1], "intercept": True}, UsageError, r"\[2, 40\]"),
        ((GOOD, np.arange(40.0)), {"ridges": [-1.0]}, UsageError, "ridges must be .*got -1"),
        (
            (GOOD, np.arange(40.0)),
            {"trials": 0},
            UsageError,
            "trials must be a whole number >= 1: got 0",
        ),
        (
            (GOOD, np.arange(40.0)),
            {"test_gram": GOOD[:5]},
            UsageError,
            "test samples without test targets",
        ),
        (
            (GOOD, np.arange(40.0)),
            {"test_gram": GOOD[:5, :9], "test_targets": np.ones(5)},
            UsageError,
            r"test_gram .*expected \(m, 40\), got \(5, 9\)",
        ),
        ((0 * GOOD, np.arange(40.0)), {}, NumericalError, "positive trace: got tr K = 0"),
        ((np.nan * GOOD, np.ones(40)), {}, NumericalError, "gram must be finite: got 1600 NaN"),
        (
            (GOOD + np.triu(GOOD, 1), np.arange(40.0)),
            {},
            NumericalError,
            "gram must be symmetric",
        ),
    ],
)
def test_bad_input_is_refused_by_name(arguments, options, error, message):
    with pytest.raises(error, match=message):
        rmtgen.study(*arguments, **options)


def test_a_float32_gram_matrix_warns_as_the_ridge_path_does():
    gram, targets, *_ = arrays(train=200)
    with pytest.warns(RmtgenWarning, match="float32"):
        rmtgen.study(gram.to(torch.float32), targets, sizes=[100], ridges=[0.0])
