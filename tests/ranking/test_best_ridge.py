"""The best ridge, of a path of which most is ruled out, against the whole path."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtgen.errors import NumericalError
from rmtgen.linalg.modes import feature_modes
from rmtgen.linalg.tall import tall_modes
from rmtgen.ranking.best_ridge import MANY, SLACK, TALL, best_ridge
from rmtgen.ranking.loo_bounds import Bounds
from rmtgen.ranking.ranked import RELATIVE_RIDGES
from rmtgen.ridge.eigen import Fit
from rmtgen.ridge.kernel import FeatureKernel, GramKernel
from rmtgen.ridge.path import ridge_path, ridge_path_features
from rmtgen.ridge.problem import Problem


def drawn(n, p, seed=0, outputs=2, heavy=0.0):
    rng = np.random.default_rng(seed)
    scale = np.exp(heavy * rng.standard_normal(n))[:, None]
    features = scale * rng.standard_normal((n, p)) * np.arange(1, p + 1) ** -0.7
    targets = features[:, :outputs] + 0.5 * rng.standard_normal((n, outputs))
    return features, targets


def problem_of(features, targets, form="features", intercept=False):
    gram = features @ features.T
    kernel = {
        "features": lambda: FeatureKernel.checked(features, None),
        "gram": lambda: GramKernel.checked(gram, None),
        "single": lambda: GramKernel.checked(gram.astype(np.float32), None),
    }[form]()
    return Problem.checked(kernel, targets, None, loo=True, intercept=intercept)


def found_of(problem, ridges):
    n = len(problem.kernel)
    return best_ridge(problem, [(ridge, n * ridge) for ridge in ridges])


def is_single(best):
    return best.fits.modes.vectors.dtype == torch.float32


def grid(features):
    return np.array(RELATIVE_RIDGES) * np.square(features).sum() / len(features)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(9, 40),
    p=st.integers(1, 50),
    seed=st.integers(0, 10**6),
    heavy=st.sampled_from([0.0, 0.5, 1.5]),
    form=st.sampled_from(["features", "gram", "single"]),
    intercept=st.booleans(),
)
@pytest.mark.filterwarnings("ignore::rmtgen.errors.RmtgenWarning")
def test_it_is_that_of_the_whole_path(n, p, seed, heavy, form, intercept):
    features, targets = drawn(n, p, seed, min(p, 2), heavy)
    ridges, problem = grid(features), problem_of(features, targets, form, intercept)
    found = found_of(problem, ridges)
    whole = (
        ridge_path_features(features, targets, ridges=ridges, intercept=intercept, solver="eigen")
        if form == "features"
        else ridge_path(
            problem.kernel.train, targets, ridges=ridges, intercept=intercept, solver="eigen"
        )
    )
    known = found.path["loo"].notna().to_numpy()
    np.testing.assert_allclose(found.path["loo"][known], whole["loo"][known], rtol=1e-9)
    np.testing.assert_allclose(found.path[["gcv", "df"]], whole[["gcv", "df"]], rtol=1e-9)
    assert whole["loo"].iloc[found.place] <= whole["loo"].min() * (1 + 1e-9)
    assert (whole["loo"][~known] > whole["loo"].min()).all()
    assert found.left_out.square().sum().item() / n == pytest.approx(
        whole["loo"].iloc[found.place], rel=1e-9
    )


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(5, 30),
    p=st.integers(1, 40),
    outputs=st.integers(1, 3),
    seed=st.integers(0, 10**6),
    known=st.lists(st.integers(0, len(RELATIVE_RIDGES)), max_size=6),
)
def test_the_bound_is_below_leave_one_out(n, p, outputs, seed, known):
    features, targets = drawn(n, p, seed, min(p, outputs), heavy=1.0)
    bounds = Bounds(Fit.of(problem_of(features, targets), feature_modes(features)))
    deltas = np.append(0.0, n * grid(features))
    diagonals = bounds.fit.diagonals(deltas).split(1, dim=1)
    whole = [bounds.fit.left_out(delta).square().sum().item() / n for delta in deltas]
    for place in (*known, None):
        for delta, diagonal, loo in zip(deltas, diagonals, whole, strict=True):
            assert not bounds.below(delta, diagonal) > loo * (1 + 1e-9)
        if place is not None:
            losses = bounds.losses(deltas[place], diagonals[place])
            assert losses.mean().item() == pytest.approx(whole[place], rel=1e-12, nan_ok=True)


@pytest.mark.parametrize("seed", range(3))
def test_in_float32_it_is_below_but_for_rounding_and_near(seed):
    features, targets = drawn(MANY, 90, seed, 20, heavy=0.3)
    targets += 2 * np.random.default_rng(seed).standard_normal(targets.shape)
    bounds = Bounds(
        Fit.of(problem_of(features, targets), tall_modes(torch.from_numpy(features), False))
    )
    deltas = MANY * grid(features)
    diagonals = bounds.fit.diagonals(deltas).split(1, dim=1)
    whole = [bounds.fit.left_out(delta).square().sum().item() / MANY for delta in deltas]
    for known in (12, 4, 16, 8, 10):
        bounds.losses(deltas[known], diagonals[known])
        left_out = bounds.left_out(deltas[known], diagonals[known])
        assert left_out.dtype == torch.float64
        torch.testing.assert_close(
            left_out, bounds.fit.left_out(deltas[known]), rtol=1e-6, atol=1e-6
        )
    found = np.array([bounds.below(*pair) for pair in zip(deltas, diagonals, strict=True)])
    assert (found <= np.array(whole) * (1 + SLACK)).all()
    assert (found > np.array(whole) * (1 - 1e-3))[4:17].all()


def test_where_samples_are_alike_few_ridges_are_tried():
    features, targets = drawn(1000, 300)
    noisy = targets + 2 * np.random.default_rng(1).standard_normal(targets.shape)
    path = found_of(problem_of(features, noisy), grid(features)).path
    assert 1 <= path["loo"].notna().sum() <= len(path) // 3
    assert not path["loo"].iloc[[0, -1]].notna().any()


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_of_many_samples_it_is_that_path_to_six_digits(dtype, intercept):
    features, targets = drawn(MANY + 300, 40)
    features, ridges = (features + 0.2).astype(dtype), grid(features)
    found = found_of(problem_of(features, targets, intercept=intercept), ridges)
    assert is_single(found) and found.least == ridges[0] * len(features)
    whole = ridge_path_features(features, targets, ridges=ridges, intercept=intercept)
    known = found.path["loo"].notna()
    np.testing.assert_allclose(found.path["gcv"], whole["gcv"], rtol=1e-6)
    np.testing.assert_allclose(found.path["loo"][known], whole["loo"][known], rtol=1e-6)
    assert found.place == whole["loo"].idxmin()


@pytest.mark.parametrize("lone", [1e-6, 3.0])
def test_a_sample_with_a_feature_of_its_own_leaves_the_larger_ridges(lone):
    features, targets = drawn(MANY + 10, 60)
    own = np.zeros((len(features), 1))
    own[5] = lone  # no other sample has this feature
    features, ridges = np.hstack([features, own]), np.append(0.0, grid(features))
    noisy = targets + 3 * np.random.default_rng(1).standard_normal(targets.shape)
    found = found_of(problem_of(features, noisy), ridges)
    whole = ridge_path_features(features, noisy, ridges=ridges)
    assert is_single(found) and 0 < found.least < ridges[found.place] * len(features)
    assert found.place == whole["loo"].idxmin()
    known = found.path["loo"].notna()
    assert known.any() and not known[0]
    np.testing.assert_allclose(found.path["loo"][known], whole["loo"][known], rtol=1e-5)


def test_where_the_smallest_ridge_that_is_resolved_is_best_float64_decides():
    features, _ = drawn(MANY + 10, 6)
    targets, ridges = features[:, :2] @ np.ones((2, 2)), np.append(0.0, grid(features))
    found = found_of(problem_of(features, targets), ridges)
    assert not is_single(found) and found.least == 0 and found.place == 0
    assert found.path["loo"].iloc[0] < 1e-20
    resolved = found_of(problem_of(features, targets), ridges[1:])
    assert is_single(resolved) and resolved.place == 0


def test_few_samples_or_many_features_are_decomposed_in_float64():
    features, targets = drawn(MANY, 6)
    assert is_single(found_of(problem_of(features, targets), [1.0]))
    few = problem_of(features[:-1], targets[:-1])
    wide = problem_of(np.hstack([features, np.zeros((MANY, MANY // TALL))]), targets)
    for problem in (few, wide):
        assert not is_single(found_of(problem, [1.0]))


def test_no_finite_risk_is_an_error(monkeypatch):
    features, targets = drawn(30, 4)
    lost = torch.full((30,), torch.inf, dtype=torch.float64)
    monkeypatch.setattr(Bounds, "losses", lambda *_: lost)
    with pytest.raises(NumericalError, match=r"got none among 2, up to 4\. Add larger ridges"):
        found_of(problem_of(features, targets), (1.0, 4.0))


def test_modes_that_need_not_fit_into_memory_lie_in_a_file_without_a_name(tmp_path, monkeypatch):
    mapped = []
    plain_memmap = np.memmap
    monkeypatch.setattr(
        np,
        "memmap",
        lambda *given, **named: mapped.append(plain_memmap(*given, **named)) or mapped[0],
    )
    features, targets = drawn(MANY + 10, 6)
    kernel = FeatureKernel.checked(features, None, spill=tmp_path / "spill")
    problem = Problem.checked(kernel, targets, None, loo=True, intercept=False)
    found = found_of(problem, grid(features))
    known = found_of(problem_of(features, targets), grid(features))
    assert torch.equal(found.fits.modes.vectors, known.fits.modes.vectors)
    assert np.shares_memory(mapped[0], found.fits.modes.vectors.numpy())
    assert list((tmp_path / "spill").iterdir()) == []
    assert np.array_equal(found.left_out, known.left_out)
