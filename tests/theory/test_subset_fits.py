import numpy as np
import pandas as pd
import pytest
import torch
from cases import CASES, POWER_LAW, REPEATED

from rmtgen.errors import UsageError
from rmtgen.linalg.modes import feature_modes, gram_modes
from rmtgen.linalg.spectrum import Spectrum
from rmtgen.ridge import ridge_path
from rmtgen.ridge.targets import coded_targets, encode_targets
from rmtgen.theory import local_law, subset_fits
from rmtgen.theory.local_law import law_tests, quadratic_forms
from rmtgen.theory.transport import transported

intercepts = pytest.mark.parametrize("intercept", [False, True], ids=["plain", "intercept"])
LABELS = np.random.default_rng(5).integers(3, size=len(POWER_LAW.features))


def plain_estimates(gram, targets, subset, others, ridge):
    """GCV, leave-one-out by leaving out, and the losses on the others, from the Gram matrix."""
    n = len(subset)

    def predicted(inside, places):
        square = gram[np.ix_(inside, inside)] + n * ridge * np.eye(len(inside))
        return gram[np.ix_(places, inside)] @ np.linalg.solve(square, targets[inside])

    inside = gram[np.ix_(subset, subset)]
    hat = inside @ np.linalg.inv(inside + n * ridge * np.eye(n))
    residuals = targets[subset] - hat @ targets[subset]
    left_out = [
        np.square(targets[place] - predicted(np.delete(subset, row), [place])).sum()
        for row, place in enumerate(subset)
    ]
    losses = np.square(targets[others] - predicted(subset, others)).sum(axis=1)
    return {
        "kappa": 1 / np.trace(np.linalg.inv(inside + n * ridge * np.eye(n))),
        "gcv": np.square(residuals).sum() / n / (1 - np.trace(hat) / n) ** 2,
        "loo": np.mean(left_out),
        "test_risk": losses.mean(),
        "test_risk_se": losses.std(ddof=1) / len(losses) ** 0.5,
    }


@intercepts
@pytest.mark.parametrize("size", [3, 8, 11])
@pytest.mark.parametrize("block", [1, 2**24])
@pytest.mark.parametrize(
    "case", [case for case in CASES if case is not REPEATED], ids=lambda case: case.name
)
def test_estimates_equal_their_definitions_with_fewer_and_with_more_samples_than_modes(
    case, size, block, intercept, monkeypatch
):
    """With an intercept the pool, kernel and targets, is centred, and the fit has none."""
    monkeypatch.setattr(subset_fits, "BLOCK", block)
    order = np.random.default_rng(1).permutation(len(case.features))
    subset, others = order[:size], order[size:]
    features, targets = case.features, case.targets.reshape(len(order), -1)
    if intercept:
        features, targets = features - features.mean(axis=0), targets - targets.mean(axis=0)
    gram = features @ features.T
    for ridge in case.ridges((1e-3, 1.0)):
        expected = plain_estimates(gram, targets, subset, others, ridge)
        for modes in (
            gram_modes(case.gram, intercept=intercept),
            feature_modes(case.features, intercept=intercept),
        ):
            fits = subset_fits.subset_fits(modes, torch.as_tensor(subset), np.array([size * ridge]))
            given = modes.matched(case.targets)
            found = next(fits).estimates(given, modes.centre(given), torch.as_tensor(others))
            assert found.__dict__ == pytest.approx(expected, rel=1e-7)


def test_the_whole_table_of_a_subset_is_that_of_its_ridge_path():
    """The ridges of one subset share its rows; a path from the Gram matrix is independent."""
    gram, targets = POWER_LAW.gram, encode_targets(LABELS, 3, "centered").values
    n, ridges = 5, POWER_LAW.ridges((1e-2, 1.0))
    table = quadratic_forms(gram_modes(gram), [n], ridges, targets=targets, trials=2, seed=3)
    for trial, rows in table.groupby("trial"):
        subset = np.random.default_rng([3, trial, n]).choice(len(gram), n, replace=False)
        others = np.setdiff1d(np.arange(len(gram)), subset)
        path = ridge_path(
            gram[np.ix_(subset, subset)],
            targets[subset],
            ridges=ridges,
            test_gram=gram[np.ix_(others, subset)],
            test_targets=targets[others],
        )
        for column in ("kappa", "gcv", "loo", "test_risk", "test_risk_se"):
            np.testing.assert_allclose(rows[column], path[column], rtol=1e-8)


@intercepts
def test_labels_that_are_coded_as_they_are_read_give_the_same_fits(intercept):
    coding = "intercept" if intercept else "centered"
    modes, ridge = gram_modes(POWER_LAW.gram, intercept=intercept), POWER_LAW.ridges((1e-2,))
    tables = [
        quadratic_forms(modes, [4], ridge, targets=targets(LABELS, 3, coding).values)
        for targets in (encode_targets, coded_targets)
    ]
    pd.testing.assert_frame_equal(*tables, rtol=1e-12)


def test_targets_add_columns_and_change_no_form():
    modes, ridge = gram_modes(POWER_LAW.gram), POWER_LAW.ridges((1e-2,))
    alone = quadratic_forms(modes, [4], ridge)
    both = quadratic_forms(modes, [4], ridge, targets=POWER_LAW.targets)
    pd.testing.assert_frame_equal(both[list(alone)], alone)
    assert set(both) - set(alone) == {"kappa", "gcv", "loo", "test_risk", "test_risk_se"}
    with pytest.raises(UsageError, match="expected 22 rows, got 21"):
        quadratic_forms(modes, [4], ridge, targets=POWER_LAW.targets[1:])


def test_the_risk_is_that_of_as_many_others_as_are_allowed(monkeypatch):
    """Other samples of the pool, none of the subset's, drawn anew for each subset."""
    seen = []

    def noted(fit, _targets, _centre, others):
        seen.append((fit.subset.tolist(), others.tolist()))
        return subset_fits.Estimates(1.0, 1.0, 1.0, 1.0, 1.0)

    monkeypatch.setattr(local_law, "MOST_OTHERS", 6)
    monkeypatch.setattr(subset_fits.SubsetFit, "estimates", noted)
    quadratic_forms(gram_modes(POWER_LAW.gram), [4], [0.1], targets=POWER_LAW.targets)
    assert len(seen) == 4 and len({tuple(sorted(others)) for _, others in seen}) > 1
    for subset, others in seen:
        assert len(set(others)) == 6 and not set(others) & set(subset)


def drawn_pool(samples, width, seed):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((samples, width)) * np.arange(1, width + 1) ** -0.6
    targets = features @ rng.standard_normal(width) + rng.standard_normal(samples)
    modes = feature_modes(features)
    return modes, Spectrum.of(modes, targets), targets


def test_the_tests_of_the_law_are_those_of_the_subsets_net_of_what_the_pool_limits():
    modes, pool, targets = drawn_pool(640, 40, seed=2)
    sizes, ridges = local_law.tested_grid(pool)
    assert sizes == [10, 20, 40, 80, 160]
    np.testing.assert_allclose(ridges / (pool.trace / 640), [1e-4, 1e-2])
    table = law_tests(modes, pool, targets, trials=3)
    fits = quadratic_forms(modes, sizes, ridges, targets=targets, trials=3)
    traces = fits["kappa"] / transported(pool, fits["ridge"], fits["n"]).kappa - 1
    for name, values in fits[["diagonal_rms", "off_diagonal_rms"]].assign(trace=traces).items():
        rows = table[table["test"] == name]
        assert len(rows) == 5 * 2 * 3
        np.testing.assert_allclose(rows["deviation"], values / np.sqrt(1 - fits["n"] / 640))
    for name in ("gcv", "loo"):
        gaps = np.log(fits[name] / fits["test_risk"]) ** 2
        noise = (fits["test_risk_se"] / fits["test_risk"]) ** 2
        net = (gaps - noise).groupby(fits["n"]).mean()
        found = table[table["test"] == name].set_index("n")["deviation"]
        np.testing.assert_allclose(found, np.sqrt(net.where(net > 0)))


@pytest.mark.parametrize(
    ("samples", "most", "expected"),
    [(640, 100, [10, 20, 40, 80]), (640, 30, [1, 3, 7, 15, 30]), (320, 2048, [10, 20, 40, 80])],
)
def test_sizes_are_shares_of_the_pool_within_bounds_or_halvings_of_the_largest(
    samples, most, expected, monkeypatch
):
    monkeypatch.setattr(local_law, "TESTED_SIZES", (8, most))
    values = np.ones(4)
    pool = Spectrum.of_power(values, values, 0.0, samples)
    assert local_law.tested_grid(pool)[0] == expected
