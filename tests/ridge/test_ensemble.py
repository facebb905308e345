"""Ensembles of ridge fits on subsamples, against members fitted one by one, without samples."""

import numpy as np
import populations
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

import rmtgen
from rmtgen.errors import NumericalError, UsageError

intercepts = pytest.mark.parametrize("intercept", [False, True], ids=["plain", "intercept"])


def draw(n, p, outputs=2, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, p)) * np.arange(1, p + 1) ** -0.5
    return features, rng.standard_normal((n, outputs))


def bags(n, subsample, members, seed=0):
    orders = (np.random.default_rng([seed, m]).permutation(n) for m in range(members))
    return [np.sort(order[:subsample]) for order in orders]


def member_errors(gram, targets, sum_ridge, intercept, chosen):
    """Residuals of each member without each sample, (M, n, c), by refits; δ is kept."""
    errors = np.empty((len(chosen), *targets.shape))
    for place, bag in enumerate(chosen):
        for i in range(len(gram)):
            rest = bag[bag != i]
            block, row = gram[np.ix_(rest, rest)], gram[i, rest][None]
            fitted = reference.predict(block, targets[rest], sum_ridge, intercept, row)
            errors[place, i] = targets[i] - fitted[0]
    return errors


def risk(residual):
    return (residual**2).sum() / len(residual)


@settings(max_examples=15)
@given(
    n=st.integers(4, 12),
    share=st.floats(0.3, 1),
    members=st.integers(2, 4),
    seed=st.integers(0, 10**6),
    intercept=st.booleans(),
    relative=st.one_of(st.just(0.0), st.floats(-4, 1).map(lambda x: 10.0**x)),
)
def test_leave_one_out_is_that_of_refits(n, share, members, seed, intercept, relative):
    features, targets = draw(n, 30, seed=seed)
    gram = features @ features.T
    subsample = max(3, int(share * n))
    ridge = relative * np.trace(gram) / n
    options = {"subsample": subsample, "members": members, "seed": seed, "intercept": intercept}
    row = rmtgen.ensemble_path(gram, targets, ridges=[ridge], **options).iloc[0]
    chosen = bags(n, subsample, members, seed)
    errors = member_errors(gram, targets, subsample * ridge, intercept, chosen)
    pairs = [
        (errors[a] * errors[b]).sum() / n for a in range(members) for b in range(members) if a != b
    ]
    scale = risk(errors[0])
    assert row["loo"] == pytest.approx(risk(errors.mean(axis=0)), rel=1e-8)
    assert row["loo_member"] == pytest.approx(np.mean([risk(one) for one in errors]), rel=1e-8)
    assert row["loo_limit"] == pytest.approx(np.mean(pairs), rel=1e-7, abs=1e-8 * scale)


@intercepts
def test_every_column_is_that_of_members_fitted_one_by_one(intercept):
    n, subsample, members, ridge = 16, 9, 3, 0.02
    features, _ = draw(n, 30)
    targets = np.eye(3)[np.random.default_rng(1).integers(0, 3, n)]
    tests, test_targets = draw(5, 30, seed=4)[0], np.eye(3)[[0, 1, 2, 0, 1]]
    gram, rows = features @ features.T, tests @ features.T
    frame = rmtgen.ensemble_path(
        gram,
        targets,
        ridges=[0.5, ridge],
        subsample=subsample,
        members=members,
        intercept=intercept,
        test_gram=rows,
        test_targets=test_targets,
    )
    chosen, delta = bags(n, subsample, members), subsample * ridge
    residuals, predictions, df = [], [], []
    for bag in chosen:
        fit = gram[np.ix_(bag, bag)], targets[bag], delta, intercept
        residuals.append(targets - reference.predict(*fit, gram[:, bag]))
        predictions.append(reference.predict(*fit, rows[:, bag]))
        inverse = reference.resolvent(fit[0], delta, intercept)
        df.append(subsample - delta * np.trace(inverse))
    residual, predicted = np.mean(residuals, axis=0), np.mean(predictions, axis=0)
    outside = member_errors(gram, targets, delta, intercept, chosen).mean(axis=0)
    # Bellec et al. 2023, their equation of the correction
    share = np.mean(df) / n
    usual = risk(residual) / (1 - share) ** 2
    of_members = [
        risk(one) / (1 - 2 * d / n + d**2 / (subsample * n))
        for one, d in zip(residuals, df, strict=True)
    ]
    correction = share**2 / (1 - share) ** 2 * (n / subsample - 1) * np.mean(of_members) / members
    tested = ((predicted - test_targets) ** 2).sum(axis=1)
    crossed = [
        ((predictions[a] - test_targets) * (predictions[b] - test_targets)).sum() / 5
        for a in range(members)
        for b in range(members)
        if a != b
    ]
    known = {
        "n": n,
        "subsample": subsample,
        "members": members,
        "ridge": ridge,
        "train_risk": risk(residual),
        "gcv": usual,
        "df": np.mean(df),
        "loo": risk(outside),
        "train_error": ((targets - residual).argmax(1) != targets.argmax(1)).mean(),
        "loo_error": ((targets - outside).argmax(1) != targets.argmax(1)).mean(),
        "test_risk": tested.mean(),
        "test_risk_se": tested.std(ddof=1) / 5**0.5,
        "test_error": (predicted.argmax(1) != test_targets.argmax(1)).mean(),
        "test_limit": np.mean(crossed),
    }
    row = frame.iloc[1]
    for name, value in known.items():
        assert row[name] == pytest.approx(value, rel=1e-8), name
    # the members' df differ by a few per cent, which the correction averages
    assert row["gcv_corrected"] == pytest.approx(usual - correction, rel=0.01)
    assert abs(correction) > 0.02 * usual
    assert frame.attrs["outputs"] == 3
    assert not set(frame) - set(known) - {"gcv_corrected", "gcv_limit", "loo_member", "loo_limit"}


@intercepts
def test_one_member_of_all_samples_is_ridge_regression(intercept):
    features, targets = draw(15, 40)
    gram, rows = features @ features.T, draw(6, 40, seed=2)[0] @ features.T
    tests = {"test_gram": rows, "test_targets": targets[:6], "intercept": intercept}
    ridges = [0.0, 1e-3, 1.0]
    found = rmtgen.ensemble_path(
        gram, targets, ridges=ridges, subsample=15, members=1, seed=3, **tests
    )
    path = rmtgen.ridge_path(gram, targets, ridges=ridges, **tests)
    for column in ("loo", "df", "test_risk", "test_risk_se"):
        np.testing.assert_allclose(found[column], path[column], rtol=1e-9, err_msg=column)
    for column in ("gcv", "gcv_corrected"):
        np.testing.assert_allclose(found[column][1:], path["gcv"][1:], rtol=1e-8)
    assert found[["gcv_limit", "loo_limit", "test_limit"]].isna().all(axis=None)
    assert np.isnan(found["gcv"][0])


def test_the_estimates_on_average_and_where_usual_gcv_is_wrong():
    population = populations.populations()["isotropic, p = 2n"]
    tests, test_targets = population.tests
    total = 0
    for number in range(8):
        features, targets = population.sample(120, np.random.default_rng([7, number]))
        gram, rows = features @ features.T, tests @ features.T
        options = {"subsample": 80, "members": 4, "test_gram": rows, "test_targets": test_targets}
        frame = rmtgen.ensemble_path(gram, targets, ridges=[0.0], seed=number, **options)
        frame[["test_risk", "test_limit"]] += population.noise
        total = total + frame.iloc[0] / 8
    assert total["loo"] == pytest.approx(total["test_risk"], rel=0.06)
    assert total["gcv_corrected"] == pytest.approx(total["test_risk"], rel=0.06)
    assert total["loo_limit"] == pytest.approx(total["test_limit"], rel=0.08)
    assert total["gcv_limit"] == pytest.approx(total["test_limit"], rel=0.08)
    assert total["gcv"] > 1.3 * total["test_risk"]


def test_more_members_keep_the_first_bags_and_approach_the_limit():
    features, targets = draw(30, 40)
    gram = features @ features.T
    options = {"ridges": [0.01], "subsample": 15}
    few, many = (rmtgen.ensemble_path(gram, targets, members=m, **options).iloc[0] for m in (3, 4))
    added = member_errors(gram, targets, 0.15, False, bags(30, 15, 4)[3:])[0]
    assert 4 * many["loo_member"] - 3 * few["loo_member"] == pytest.approx(risk(added), rel=1e-8)
    whole = many["loo_member"] / 4 + 3 / 4 * many["loo_limit"]
    assert many["loo"] == pytest.approx(whole, rel=1e-12)


def test_huge_and_tiny_units_change_nothing():
    features, targets = draw(12, 20)
    gram = features @ features.T
    options = {"subsample": 7, "members": 2}
    one = rmtgen.ensemble_path(gram, targets, ridges=[0.0, 0.1], **options)
    for unit in (2.0**-400, 2.0**400):
        other = rmtgen.ensemble_path(unit * gram, targets, ridges=[0.0, 0.1 * unit], **options)
        np.testing.assert_allclose(other["loo"], one["loo"], rtol=1e-12)
        np.testing.assert_allclose(other["ridge"], unit * one["ridge"], rtol=0)


def test_refusals():
    features, targets = draw(10, 15)
    gram = features @ features.T
    options = {"ridges": [0.1], "subsample": 5, "members": 2}
    for changed, message in (
        ({"subsample": 11}, r"subsample must be a whole number in \[1, 10\]: got 11"),
        ({"subsample": 1, "intercept": True}, r"in \[2, 10\]: got 1"),
        ({"members": 0}, "members must be a whole number in .*: got 0"),
        ({"ridges": [-1.0]}, "ridges must be finite and >= 0"),
        ({"test_gram": gram}, "a test set is samples and targets"),
    ):
        with pytest.raises(UsageError, match=message):
            rmtgen.ensemble_path(gram, targets, **(options | changed))
    with pytest.raises(NumericalError, match="semidefinite"):
        rmtgen.ensemble_path(gram - 5 * np.eye(10), targets, **options)
