"""What all solvers owe: the same numbers, the same refusals; and how one of them is chosen."""

import warnings

import numpy as np
import pytest
import reference
import torch
from cases import DEFICIENT_WIDE, TALL, WIDE
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtgen.errors import CapacityError, NumericalError, UsageError
from rmtgen.ridge import COLUMNS, SOLVERS, path_cost, ridge_path, ridge_path_features, solvers
from rmtgen.ridge.kernel import FeatureKernel, GramKernel
from rmtgen.ridge.problem import Grid, Problem

DENSE = ("eigen", "nested", "banded")
intercepts = pytest.mark.parametrize("intercept", [False, True], ids=["plain", "intercept"])


def draw(n, p, outputs, scale, seed, repeat):
    """Features of n train and 6 test samples, and targets of as many outputs; the last sample may
    be the first again."""
    rng = np.random.default_rng(seed)
    features = scale * rng.standard_normal((n + 6, p)) * np.arange(1, p + 1) ** -0.5
    targets = rng.standard_normal((n + 6, outputs))
    if repeat:
        features[n - 1], targets[n - 1] = features[0], targets[0]
    return features[:n], targets[:n], features[n:], targets[n:]


problems = st.fixed_dictionaries(
    {
        "n": st.integers(2, 40),
        "p": st.integers(1, 60),
        "outputs": st.integers(1, 4),
        "scale": st.sampled_from([1e-6, 1e-3, 1.0, 1e3, 1e6]),
        "seed": st.integers(0, 10**6),
        "repeat": st.booleans(),
    }
)


def check(frame, gram, data, sum_ridges, intercept, tolerance):
    """Every row against the reference; norm2 is a difference of larger numbers there, and a mean of
    zeros nothing."""
    _, targets, _, test_targets = data
    for (_, found), sum_ridge in zip(frame.iterrows(), sum_ridges, strict=True):
        known = reference.row(
            gram[0], targets, sum_ridge / len(targets), intercept, gram[1], test_targets
        )
        power = (targets**2).sum() / sum_ridge
        for column in COLUMNS:
            if "error" in column:
                continue  # a tie may fall either way
            floor = {"norm2": tolerance * power, "df": tolerance * len(targets)}.get(column, 1e-14)
            assert found[column] == pytest.approx(
                known[column], rel=tolerance, abs=floor, nan_ok=True
            ), (
                column,
                sum_ridge,
            )


@settings(max_examples=60)
@given(problems, st.floats(-4, 2), st.booleans(), st.sampled_from([*DENSE, "primal"]))
def test_well_posed_eight_digits(problem, relative, intercept, solver):
    data = features, targets, tests, test_targets = draw(**problem)
    gram, test_gram = features @ features.T, tests @ features.T
    sum_ridges = [10**relative * np.trace(gram) / len(gram), 10.0 * np.trace(gram)]
    options = {
        "sum_ridges": sum_ridges,
        "intercept": intercept,
        "solver": solver,
    }
    if solver == "primal":
        frame = ridge_path_features(
            features, targets, test_features=tests, test_targets=test_targets, **options
        )
    else:
        frame = ridge_path(gram, targets, test_gram=test_gram, test_targets=test_targets, **options)
    check(frame, (gram, test_gram), data, sum_ridges, intercept, 1e-8)


@settings(max_examples=40)
@given(problems, st.booleans(), st.sampled_from(DENSE))
def test_a_float32_gram_matrix_is_taken_at_its_word_above_its_rounding(problem, intercept, solver):
    data = features, targets, tests, test_targets = draw(**problem)
    single = [block.astype(np.float32) for block in (features @ features.T, tests @ features.T)]
    gram = [block.astype(np.float64) for block in single]
    sum_ridges = [3e-5 * np.linalg.norm(gram[0]), np.trace(gram[0])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame = ridge_path(
            single[0],
            targets,
            sum_ridges=sum_ridges,
            test_gram=single[1],
            test_targets=test_targets,
            intercept=intercept,
            solver=solver,
        )
    check(frame, gram, data, sum_ridges, intercept, 1e-8)


@settings(max_examples=40)
@given(
    n=st.integers(5, 40),
    extra=st.integers(10, 60),
    seed=st.integers(0, 10**6),
    intercept=st.booleans(),
    solver=st.sampled_from(DENSE),
)
def test_near_interpolation_six_digits(n, extra, seed, intercept, solver):
    data = features, targets, tests, test_targets = draw(n, n + extra, 2, 1.0, seed, False)
    gram, test_gram = features @ features.T, tests @ features.T
    sum_ridges = [1e-7 * np.trace(gram) / n]
    options = {
        "sum_ridges": sum_ridges,
        "intercept": intercept,
        "solver": solver,
    }
    frame = ridge_path(gram, targets, test_gram=test_gram, test_targets=test_targets, **options)
    check(frame, (gram, test_gram), data, sum_ridges, intercept, 1e-6)


@pytest.mark.parametrize("case", [WIDE, TALL, DEFICIENT_WIDE], ids=lambda case: case.name)
@intercepts
def test_without_a_ridge_all_give_the_exact_limit(case, intercept):
    options = {
        "ridges": [0.0, 1e-300],
        "intercept": intercept,
        "loo": False,
        "sizes": [7, len(case.features)],
    }
    tests = {"test_targets": case.test_targets}
    frames = [
        ridge_path(case.gram, case.targets, test_gram=case.test_gram, **tests, **options, solver=s)
        for s in DENSE
    ]
    frames.append(
        ridge_path_features(
            case.features,
            case.targets,
            test_features=case.test_features,
            **tests,
            **options,
            solver="primal",
        )
    )
    for frame in frames[1:]:
        np.testing.assert_allclose(frame, frames[0], rtol=1e-7, atol=1e-20)


@pytest.mark.parametrize("solver", DENSE)
@intercepts
def test_an_indefinite_gram_matrix_is_refused_even_at_ridges_that_repair_it(solver, intercept):
    """With an intercept, K needs to be definite on the complement of 1 alone."""
    rng = np.random.default_rng(0)
    vectors = np.linalg.qr(np.column_stack([np.ones(20), rng.standard_normal((20, 19))]))[0]
    values = np.concatenate([[1.0], np.linspace(0.5, 4, 18), [-0.25]])
    gram, targets = (vectors * values) @ vectors.T, rng.standard_normal(20)
    options = {"sum_ridges": [0.1, 1.0], "loo": False, "solver": solver, "intercept": intercept}
    message = (
        r"eigenvalues >= -.*, got -0.25 \(the largest is 4, n = 20\).*add 0.25 to its"
        r" diagonal.*ridge of 0.0125"
    )
    for sum_ridges in ([0.1, 1.0], [1.0]):  # the second alone repairs it
        with pytest.raises(NumericalError, match=message):
            ridge_path(gram, targets, **options | {"sum_ridges": sum_ridges})
    assert np.isfinite(ridge_path(gram + 0.25 * np.eye(20), targets, **options).gcv).all()
    negative = (
        gram
        + 0.5 * np.outer(vectors[:, -1], vectors[:, -1])
        - 3 * np.outer(vectors[:, 0], vectors[:, 0])
    )
    if intercept:
        assert np.isfinite(ridge_path(negative, targets, **options).gcv).all()
    else:
        with pytest.raises(NumericalError, match="got -2 "):
            ridge_path(negative, targets, **options)


@pytest.mark.parametrize("solver", DENSE)
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda gram: np.where(np.eye(16) > 0, np.nan, gram), "gram must be finite: got 16 NaN"),
        (lambda gram: gram + np.triu(np.ones((16, 16)), 1), "gram must be symmetric"),
    ],
)
def test_what_is_no_gram_matrix_is_refused(solver, spoil, message):
    with pytest.raises(NumericalError, match=message):
        ridge_path(spoil(WIDE.gram), WIDE.targets, ridges=[1.0], loo=False, solver=solver)


# --- the choice -----------------------------------------------------------------------------------
# ----------------------


def chosen(kernel, options):
    """The name of the solver that `auto` is for a problem; nothing is solved."""
    loo = options.get("loo", True)
    problem = Problem.checked(kernel, np.ones(len(kernel)), None, loo=loo, intercept=False)
    grid = Grid.checked(options.get("ridges"), options.get("sum_ridges"))
    solver = solvers.choose_solver(problem, problem.sizes(options["sizes"]), grid, "auto")
    return next(name for name, known in SOLVERS.items() if known is solver)


MANY = {"sum_ridges": [1.0, 10.0], "sizes": range(100, 3001, 100)}
GRID = {"ridges": np.geomspace(1e-3, 1, 20), "sizes": [1000, 3000]}


@pytest.mark.parametrize(
    ("options", "solver"),
    [
        (MANY, "nested"),
        (MANY | {"loo": False}, "nested"),
        (GRID, "banded"),
        (GRID | {"loo": False}, "banded"),
        (GRID | {"ridges": [1.0]}, "nested"),
        (MANY | {"sizes": [300]}, "eigen"),  # no time, and more digits
    ],
)
def test_auto_takes_the_cheapest_for_a_gram_matrix(options, solver):
    assert chosen(GramKernel.checked(np.eye(3000), None), options) == solver


@pytest.mark.parametrize(
    ("shape", "solver"),
    [((50_000, 300), "primal"), ((1000, 4000), "banded"), ((300, 4000), "eigen")],
)
def test_auto_for_features_depends_on_their_number(shape, solver):
    options = {
        "ridges": np.geomspace(1e-3, 1, 20),
        "sizes": [shape[0] // 2, shape[0]],
        "loo": False,
    }
    assert chosen(FeatureKernel.checked(np.ones(shape, np.float32), None), options) == solver


def test_what_does_not_fit_the_memory_is_refused_with_what_does(monkeypatch):
    kernel = GramKernel.checked(np.eye(3000), None)
    assert chosen(kernel, GRID) == "banded"
    monkeypatch.setattr(solvers, "available", lambda device: 2 * 8 * 3000**2)
    assert chosen(kernel, GRID) == "nested"
    targets = np.ones(3000)
    with pytest.raises(
        CapacityError,
        match=r"'eigen' needs 412.0 MiB of memory, got 137.3 MiB available. solver='nested' f",
    ):
        ridge_path(np.eye(3000), targets, **GRID, solver="eigen")
    monkeypatch.setattr(solvers, "available", lambda device: 1000)
    with pytest.raises(
        CapacityError, match=r"got 1000 B available. No solver fits. Or take smaller sizes"
    ):
        ridge_path(np.eye(3000), targets, **GRID)


@pytest.mark.parametrize("options", [MANY, MANY | {"loo": False}, GRID, GRID | {"loo": False}])
def test_the_cost_is_that_of_the_choice_and_takes_shapes_alone(options):
    kernel, shapes = (
        GramKernel(torch.ones(3000, 3000, device=device), None) for device in ("cpu", "meta")
    )
    grid, loo = (
        Grid.checked(options.get("ridges"), options.get("sum_ridges")),
        options.get("loo", True),
    )
    problem = Problem(
        shapes,
        torch.empty(3000, 1, dtype=torch.float64, device="meta"),
        None,
        loo,
        False,
        None,
        None,
    )
    sizes = list(options["sizes"])
    expected = SOLVERS[chosen(kernel, options)].cost(problem, sizes, grid)
    assert path_cost(problem, sizes, grid, 2**40) == expected
    least = min(SOLVERS[name].cost(problem, sizes, grid).bytes for name in ("eigen", "nested"))
    assert path_cost(problem, sizes, grid, 0).bytes <= least


@pytest.mark.parametrize(
    ("solver", "message"),
    [
        (
            "primal",
            (
                "solver='primal' works on features, got a Gram matrix. Call ridge_path_features, or"
                " another"
            ),
        ),
        ("matrix_free", "estimates within a budget, got none. Pass memory='4GiB'"),
        ("cholesky", "solver must be a known one: got 'cholesky'"),
    ],
)
def test_a_solver_that_cannot_is_refused(solver, message):
    with pytest.raises(UsageError, match=message):
        ridge_path(WIDE.gram, WIDE.targets, ridges=[1.0], solver=solver)
