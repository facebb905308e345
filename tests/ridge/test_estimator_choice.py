"""`KernelRidgeGCV` chooses the ridge of the smallest GCV, and warns at an edge of the grid."""

import warnings

import numpy as np
import pytest
import reference
from cases import DEFICIENT, WIDE
from estimator_fits import at, blocks, cases, intercepts, kernels, noisy

from rmtgen.errors import RmtgenWarning
from rmtgen.ridge.estimator import KernelRidgeGCV

# --- GCV and the choice
# --------------------------------------------------------------------------------------------------


@cases
@kernels
@intercepts
def test_gcv_is_the_formula(case, kernel, intercept):
    ridges = case.ridges()
    model = KernelRidgeGCV(ridges, kernel=kernel, fit_intercept=intercept)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RmtgenWarning)
        model.fit(blocks(case, kernel)[0], case.targets)
    inverses = [
        reference.resolvent(case.gram, len(case.gram) * ridge, intercept) for ridge in ridges
    ]
    known = [len(case.gram) * ((g @ case.targets) ** 2).sum() / np.trace(g) ** 2 for g in inverses]
    np.testing.assert_allclose(model.gcv_, known, rtol=1e-9)
    best = int(np.argmin(known))
    assert model.ridge_ == ridges[best]
    freedom = len(case.gram) * (1 - ridges[best] * np.trace(inverses[best]))
    assert model.degrees_of_freedom_ == pytest.approx(freedom, rel=1e-9)


@pytest.mark.parametrize("case", [*DEFICIENT, WIDE], ids=lambda case: case.name)
@kernels
def test_gcv_without_a_ridge_is_its_limit(case, kernel):
    model = at(0.0, case, kernel, intercept=False)
    known = reference.ridgeless_gcv(case.gram, case.targets, case.rank, False)
    assert model.gcv_[0] == pytest.approx(known, rel=1e-8)


@kernels
@intercepts
@pytest.mark.parametrize("shape", [(60, 8), (30, 50)], ids=["n > p", "p > n"])
def test_the_default_grid_holds_the_minimum(kernel, intercept, shape):
    features, targets = noisy(*shape)
    data = features if kernel == "linear" else features @ features.T
    model = KernelRidgeGCV(kernel=kernel, fit_intercept=intercept).fit(data, targets)
    centred = features - intercept * features.mean(axis=0)
    relative = model.ridges_ / ((centred**2).sum() / len(features))
    np.testing.assert_allclose(relative, np.logspace(-8, 2, 41), rtol=1e-9)
    assert model.ridge_ == model.ridges_[model.gcv_.argmin()]
    assert model.ridges_[0] < model.ridge_ < model.ridges_[-1]
    for other in model.ridges_[::5]:
        assert KernelRidgeGCV([other], kernel=kernel, fit_intercept=intercept).fit(
            data, targets
        ).gcv_ >= min(model.gcv_)


@pytest.mark.parametrize("solver", ["eigen", "nested", "banded", "primal"])
def test_every_solver_makes_the_same_choice(solver):
    features, targets = noisy(outputs=(2,))
    known, found = (KernelRidgeGCV(solver=name).fit(features, targets) for name in ("auto", solver))
    np.testing.assert_allclose(found.gcv_, known.gcv_, rtol=1e-6)
    np.testing.assert_allclose(found.predict(features), known.predict(features), rtol=1e-9)


def test_ridges_are_tried_once_and_kept_ascending():
    features, targets = noisy()
    model = KernelRidgeGCV([10.0, 1e-9, 0.02, 10.0]).fit(features, targets)
    assert model.ridges_.tolist() == [1e-9, 0.02, 10.0]
    assert model.ridge_ == 0.02
    assert KernelRidgeGCV(0.1).fit(features, targets).ridge_ == 0.1


def test_a_tie_goes_to_the_largest_ridge():
    """Equal eigenvalues: GY is a multiple of Y and tr G of n, so that GCV is the same at every
    ridge."""
    model = KernelRidgeGCV([0.25, 0.5, 1.0], kernel="precomputed", fit_intercept=False).fit(
        np.eye(4), np.ones(4)
    )
    assert model.gcv_.tolist() == [1.0, 1.0, 1.0]
    assert model.ridge_ == 1.0


def test_gcv_estimates_the_risk_on_new_samples():
    rng = np.random.default_rng(3)
    features, slopes = rng.standard_normal((4400, 80)), rng.standard_normal(80) / 9
    targets = features @ slopes + rng.standard_normal(4400)
    model = KernelRidgeGCV().fit(features[:400], targets[:400])
    risk = ((model.predict(features[400:]) - targets[400:]) ** 2).mean()
    assert model.gcv_.min() == pytest.approx(risk, rel=0.1)


def test_outputs_share_the_ridge_of_their_summed_gcv():
    features, targets = noisy(outputs=(3,))
    together = KernelRidgeGCV().fit(features, targets)
    apart = [KernelRidgeGCV(together.ridges_).fit(features, column) for column in targets.T]
    np.testing.assert_allclose(together.gcv_, sum(one.gcv_ for one in apart), rtol=1e-9)


def test_a_minimum_at_the_smallest_ridge_warns():
    features, _ = noisy()
    message = (
        r"minimum at the smallest of 2, λ = 0\.1 \(the other end is 10\)\. Pass smaller ridges, or"
        r" add 0"
    )
    with pytest.warns(RmtgenWarning, match=message):
        KernelRidgeGCV([0.1, 10.0]).fit(features, features[:, 0])


def test_a_minimum_at_the_largest_ridge_warns():
    features, targets = noisy()
    with pytest.warns(
        RmtgenWarning, match=r"minimum at the largest of 2, λ = 1e-06 .* Pass larger ridges, unless"
    ):
        KernelRidgeGCV([1e-8, 1e-6]).fit(features, targets)


def test_there_is_no_warning_where_the_grid_cannot_grow_or_need_not():
    features, targets = noisy()
    assert KernelRidgeGCV([0.0, 10.0]).fit(features, targets).ridge_ == 0
    assert (
        KernelRidgeGCV([1e-20, 1e-18, 1.0]).fit(features, features @ np.arange(8.0)).ridge_ == 1e-20
    )  # GCV is 0
    KernelRidgeGCV([1e-6]).fit(features, targets)
    KernelRidgeGCV([1e-8, 0.02, 1e8]).fit(features, targets)


@kernels
@pytest.mark.parametrize("value", [0.0, 0.1, 0.7, -1e9 / 3])
def test_constant_targets_are_predicted_without_a_warning(kernel, value):
    features, _ = noisy()
    data = features if kernel == "linear" else features @ features.T
    model = KernelRidgeGCV(kernel=kernel).fit(data, np.full(len(data), value))
    np.testing.assert_allclose(model.predict(data), value, rtol=1e-12)
    assert model.intercept_ == pytest.approx(value, rel=1e-12)


@kernels
@pytest.mark.parametrize("value", [0.0, 2.0])
def test_constant_features_predict_the_mean_without_a_warning(kernel, value):
    features, targets = np.full((7, 3), value), np.arange(7.0)
    data = features if kernel == "linear" else features @ features.T
    model = KernelRidgeGCV(kernel=kernel).fit(data, targets)
    np.testing.assert_allclose(model.predict(data), 3.0, rtol=1e-12)
    assert model.degrees_of_freedom_ == pytest.approx(1)
