import numpy as np
import pytest
import torch
from cases import CASES, DEFICIENT, DEFICIENT_WIDE, WIDE, orthonormal
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtgen.errors import NumericalError, UsageError
from rmtgen.linalg import verified
from rmtgen.linalg.modes import feature_modes, gram_modes, gram_modes_batch
from rmtgen.linalg.verified import symmetric_eigh

cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
intercepts = pytest.mark.parametrize("intercept", [False, True], ids=["plain", "intercept"])


def centred(features, intercept):
    return features - intercept * features.mean(axis=0)


def rebuilt(modes):
    return (modes.vectors * modes.values) @ modes.vectors.mT


@cases
@intercepts
@pytest.mark.parametrize("source", ["gram", "features"])
def test_modes_rebuild_the_gram_matrix(case, intercept, source):
    solve = {"gram": gram_modes, "features": feature_modes}[source]
    modes = solve(getattr(case, source), intercept=intercept)
    features = centred(case.features, intercept)
    np.testing.assert_allclose(
        rebuilt(modes), features @ features.T, atol=1e-13 * case.singular[0] ** 2
    )
    assert (modes.values.diff() <= 0).all()
    assert modes.residual < 1e-13
    assert modes.orthogonality < 1e-13


@cases
def test_planted_eigenvalues_and_rank(case):
    for modes in (gram_modes(case.gram), feature_modes(case.features)):
        np.testing.assert_allclose(modes.values, case.singular**2, rtol=1e-11)
        assert modes.null_dim == len(case.features) - case.rank


@cases
def test_feature_vectors_are_the_right_singular_vectors(case):
    modes = feature_modes(case.features)
    np.testing.assert_allclose(
        (modes.vectors * modes.values.sqrt()) @ modes.feature_vectors.mT, case.features, atol=1e-13
    )
    np.testing.assert_allclose(
        modes.feature_vectors.mT @ modes.feature_vectors, np.eye(case.rank), atol=1e-13
    )


@intercepts
def test_intercept_takes_one_direction_away(intercept):
    for modes in (
        gram_modes(WIDE.gram, intercept=intercept),
        feature_modes(WIDE.features, intercept=intercept),
    ):
        assert modes.n_eff == len(modes.values) == 16 - intercept
        assert modes.null_dim == 0
        if intercept:
            np.testing.assert_allclose(modes.vectors.sum(dim=0), 0, atol=1e-13)


def test_features_keep_small_modes_that_a_gram_matrix_loses():
    singular = np.array([1.0, 1e-3, 1e-6, 1e-9])
    rng = np.random.default_rng(0)
    features = orthonormal(8, 4, rng) * singular @ orthonormal(6, 4, rng).T
    np.testing.assert_allclose(feature_modes(features).values.sqrt(), singular, rtol=1e-6)
    np.testing.assert_allclose(feature_modes(features.T.copy()).values.sqrt(), singular, rtol=1e-6)
    assert len(gram_modes(features @ features.T).values) == 3


def test_rank_tolerance_of_a_float32_gram_is_that_of_its_rounding():
    modes = gram_modes(DEFICIENT_WIDE.gram.astype(np.float32))
    assert modes.tolerance == pytest.approx(10 * 2.0**-23 * 2.0**2, rel=1e-6)
    assert len(modes.values) == DEFICIENT_WIDE.rank
    assert gram_modes(DEFICIENT_WIDE.gram).tolerance == pytest.approx(
        20 * 2.0**-52 * 2.0**2, rel=1e-6
    )


@pytest.mark.parametrize("case", DEFICIENT, ids=lambda case: case.name)
def test_a_large_mean_does_not_turn_rounding_into_modes(case):
    shifted = case.features + 1e4
    for modes in (
        gram_modes(shifted @ shifted.T, intercept=True),
        feature_modes(shifted, intercept=True),
    ):
        assert len(modes.values) == np.linalg.matrix_rank(centred(case.features, True), tol=1e-9)


@intercepts
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_batch_equals_its_members(intercept, dtype):
    grams = torch.stack(
        [
            torch.from_numpy(WIDE.features[order] @ WIDE.features[order].T)
            for order in (slice(0, 9), slice(7, 16))
        ]
    )
    grams = grams.to(dtype)
    for modes, gram in zip(gram_modes_batch(grams, intercept), grams, strict=True):
        alone = gram_modes(gram, intercept=intercept)
        torch.testing.assert_close(modes.values, alone.values, rtol=1e-13, atol=0)
        assert modes.tolerance == alone.tolerance


def test_inputs_are_left_as_they_were():
    gram, features = WIDE.gram, WIDE.features.copy()
    gram_modes(gram, intercept=True)
    feature_modes(features, intercept=True)
    np.testing.assert_array_equal(gram, WIDE.gram)
    np.testing.assert_array_equal(features, WIDE.features)


def test_all_zero_data_has_no_modes():
    for modes in (gram_modes(np.zeros((3, 3))), feature_modes(np.zeros((3, 2)))):
        assert (len(modes.values), modes.null_dim) == (0, 3)
        assert modes.null_leverage().tolist() == [1, 1, 1]


@cases
@intercepts
def test_split_and_null_leverage_against_the_projector(case, intercept):
    features = centred(case.features, intercept)
    targets = centred(case.targets, intercept)
    n = len(features)
    centre = np.eye(n) - intercept * np.ones((n, n)) / n
    projector = centre - features @ np.linalg.pinv(features, rcond=1e-10)
    modes = gram_modes(case.gram, intercept=intercept)
    coefficients, null_part = modes.split(torch.from_numpy(case.targets))
    np.testing.assert_allclose(null_part, projector @ targets, atol=1e-12)
    np.testing.assert_allclose(modes.null_leverage(), projector.diagonal(), atol=1e-12)
    np.testing.assert_allclose(modes.vectors @ coefficients + null_part, targets, atol=1e-12)


@settings(max_examples=40)
@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.integers(0, 2**32 - 1),
    st.floats(-9, 9),
    st.booleans(),
)
def test_gram_and_features_agree_for_any_shape_and_scale(n, p, seed, log_scale, intercept):
    rng = np.random.default_rng(seed)
    rank = rng.integers(1, min(n, p) + 1)
    features = 10**log_scale * rng.standard_normal((n, rank)) @ rng.standard_normal((rank, p))
    modes = feature_modes(features, intercept=intercept)
    expected = np.linalg.eigvalsh(centred(features, intercept) @ centred(features, intercept).T)[
        ::-1
    ]
    scale = (features**2).sum()
    np.testing.assert_allclose(
        modes.values, expected[: len(modes.values)], rtol=0, atol=1e-13 * scale
    )
    assert len(modes.values) <= min(rank, n - intercept)
    np.testing.assert_allclose(
        rebuilt(gram_modes(features @ features.T, intercept=intercept)),
        rebuilt(modes),
        rtol=0,
        atol=1e-12 * scale,
    )


@pytest.mark.parametrize(
    ("n", "memory", "device", "most"),
    [
        (16, 2 * 32 * 16**2, "cuda", 2),
        (16, 0, "cuda", 1),
        (256, 2**30, "cuda", 512),
        (257, 2**30, "cuda", 1),
        (16, 2**30, "cpu", 1),
        (1, 2**40, "cuda", 2**31 - 1),
    ],
)
def test_a_call_takes_what_fits_and_one_where_more_do_not_pay(n, memory, device, most):
    assert verified.problems_per_call(n, memory, 4, torch.device(device)) == most


def test_evr_solves_what_divide_and_conquer_cannot_address(monkeypatch):
    batch = torch.from_numpy(np.stack([WIDE.gram, WIDE.gram + np.eye(16)]))
    expected = symmetric_eigh(batch)
    monkeypatch.setattr(verified, "LAPACK_EVD_LIMIT", 16)
    monkeypatch.setattr(torch.linalg, "eigh", None)
    for system, known in zip(symmetric_eigh(batch), expected, strict=True):
        torch.testing.assert_close(system.values, known.values, rtol=1e-12, atol=0)
        assert system.orthogonality < 1e-13


@pytest.mark.parametrize(
    ("gram", "error", "message"),
    [
        (np.ones((3, 2)), UsageError, r"gram must be square: expected \(3, 3\), got \(3, 2\)"),
        (
            np.full((2, 2), np.nan),
            NumericalError,
            "gram must be finite: got 4 NaN or infinite entries of 4",
        ),
        (
            np.array([[1.0, 0.5], [0.25, 1.0]]),
            NumericalError,
            (
                r"gram must be symmetric: expected max \|K - Kᵀ\| <= 2.22e-13, got 0.25 \(max \|K\|"
                r" = 1, torch.float64\)"
            ),
        ),
        (
            np.diag([-0.5, 1.0, 2.0, 4.0]),
            NumericalError,
            (
                r"eigenvalues >= -8.88e-15, got -0.5 \(the largest is 4, n = 4\). .* add 0.5 to its"
                r" diagonal: .*ridge of 0.125"
            ),
        ),
        (-np.eye(2), NumericalError, "got -1 "),
    ],
)
def test_impossible_gram_matrices_are_refused_by_name(gram, error, message):
    with pytest.raises(error, match=message):
        gram_modes(gram)


def test_the_ridge_an_indefinite_gram_is_offered_repairs_it():
    assert gram_modes(np.diag([-0.5, 1.0, 2.0, 4.0]) + 4 * 0.125 * np.eye(4)).null_dim == 1


def test_asymmetry_of_rounding_size_is_averaged():
    gram = WIDE.gram.astype(np.float32)
    gram[0, 1] *= 1 + 1e-6
    assert gram_modes(gram).null_dim == 0
    with pytest.raises(NumericalError, match="gram must be symmetric"):
        gram_modes(gram.astype(np.float64))


@pytest.mark.parametrize("spoil", ["float32", "swapped", "nan", "scaled"])
def test_wrong_vectors_are_refused(monkeypatch, spoil):
    """Some solver builds return wrong vectors without an error."""
    eigh = torch.linalg.eigh

    def spoilt(matrix):
        values, vectors = eigh(matrix)
        vectors = vectors.clone()
        if spoil == "float32":
            vectors = vectors.float().double()
        elif spoil == "swapped":
            vectors[..., [-1, -2]] = vectors[..., [-2, -1]]
        elif spoil == "nan":
            vectors[..., 0, 0] = torch.nan
        else:
            vectors[..., 0] *= 1 + 1e-6
        return values, vectors

    monkeypatch.setattr(torch.linalg, "eigh", spoilt)
    with pytest.raises(
        NumericalError,
        match=r"expected residual and orthogonality <= 1e-10, got .* \(n = 16, cpu\)",
    ):
        gram_modes(WIDE.gram)


@pytest.mark.parametrize("spoil", ["float32", "values"])
def test_wrong_singular_vectors_are_refused(monkeypatch, spoil):
    svd = torch.linalg.svd

    def spoilt(matrix):
        if spoil == "float32":
            return [part.double() for part in svd(matrix.float())]
        left, singular, right = svd(matrix)
        return left, singular * (1 + 1e-6), right

    monkeypatch.setattr(torch.linalg, "svd", spoilt)
    with pytest.raises(
        NumericalError,
        match=r"expected residual and orthogonality <= 1e-10, got .* \(n = 16, cpu\)",
    ):
        feature_modes(WIDE.features)


@pytest.mark.parametrize(
    ("solver", "solve"),
    [("eigh", lambda: gram_modes(WIDE.gram)), ("svd", lambda: feature_modes(WIDE.features))],
)
def test_a_solver_that_does_not_converge_is_named(monkeypatch, solver, solve):
    def failing(matrix):
        raise torch.linalg.LinAlgError("the algorithm failed to converge")

    monkeypatch.setattr(torch.linalg, solver, failing)
    with pytest.raises(
        NumericalError,
        match=r"must converge: it failed at shape \(.*16.*\) on cpu \(the algorithm failed",
    ):
        solve()
