"""Modes from XᵀX against those of a singular value decomposition in float64."""

import numpy as np
import pytest
import torch

from rmtgen.errors import NumericalError
from rmtgen.linalg.modes import feature_modes
from rmtgen.linalg.rows import gathered
from rmtgen.linalg.tall import COLUMNS, CUT, ROWS, tall_modes

intercepts = pytest.mark.parametrize("intercept", [False, True], ids=["plain", "intercept"])


def drawn(n, p, seed=0, mean=0.0):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, p)) * np.arange(1, p + 1) ** -0.7 + mean
    return torch.from_numpy(features.astype(np.float32))


@intercepts
@pytest.mark.parametrize(("n", "p"), [(900, 40), (ROWS + 500, 12), (1200, COLUMNS + 30)])
def test_they_are_those_of_a_decomposition_in_float64(n, p, intercept):
    features = drawn(n, p, mean=0.3)
    found, known = tall_modes(features, intercept), feature_modes(features, intercept=intercept)
    assert found.vectors.dtype == torch.float32 and found.values.dtype == torch.float64
    np.testing.assert_allclose(found.values, known.values, rtol=1e-10)
    signs = (found.vectors.double() * known.vectors).sum(dim=0).sign()
    np.testing.assert_allclose(found.vectors * signs, known.vectors, atol=2e-6)
    np.testing.assert_allclose(found.feature_vectors * signs, known.feature_vectors, atol=1e-8)
    np.testing.assert_allclose(found.null_leverage(), known.null_leverage(), atol=1e-6)
    assert found.null_dim == known.null_dim and found.intercept is intercept


@intercepts
def test_products_with_them_are_those_in_float64_to_six_digits(intercept):
    features = drawn(3 * ROWS // 2, 30, mean=0.3)
    found, known = tall_modes(features, intercept), feature_modes(features, intercept=intercept)
    targets = torch.from_numpy(np.random.default_rng(1).standard_normal((len(features), 4)))
    shrunk = (1 / (found.values + 5.0))[:, None]
    for modes, dtype in ((found, torch.float32), (known, torch.float64)):
        assert modes.onto(targets).dtype == torch.float64
        assert modes.times(modes.onto(targets)).dtype == dtype
    np.testing.assert_allclose(
        found.times(shrunk * found.onto(targets)),
        known.times(shrunk * known.onto(targets)),
        atol=1e-6 * shrunk.max().item() * targets.abs().max().item(),
    )
    for one, other in zip(found.split(targets), known.split(targets), strict=True):
        assert one.norm().item() == pytest.approx(other.norm().item(), rel=1e-6)
    coefficients, parts = found.split_rows(targets)
    np.testing.assert_allclose(coefficients, found.split(targets)[0], atol=1e-4)
    assert torch.cat([part for _, part in parts]).numpy() == pytest.approx(
        found.split(targets)[1].numpy(), abs=1e-5
    )


def test_rows_are_read_from_where_they_lie():
    features = drawn(800, 20)
    order = torch.from_numpy(np.random.default_rng(2).permutation(800))
    found, known = tall_modes(gathered(features, order), False), tall_modes(features[order], False)
    assert torch.equal(found.vectors, known.vectors)


def test_directions_below_the_cut_count_as_null():
    features = drawn(600, 10)
    twice = torch.cat([features, features[:, :3]], dim=1)
    found = tall_modes(twice, False)
    assert len(found.values) == 10 and found.values.min() > CUT * twice.square().sum()
    assert found.tolerance == pytest.approx(CUT * twice.double().square().sum().item())
    kept = tall_modes(torch.cat([features, 1e-4 * features[:, :1] ** 2], dim=1), False)
    assert len(kept.values) == 11


def test_a_decomposition_that_fails_is_named():
    with pytest.raises(NumericalError, match="eigensolve"):
        tall_modes(torch.full((100, 3), torch.nan), False)
