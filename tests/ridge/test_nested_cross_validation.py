"""The interval of the leave-one-out risk, against nested cross-validation.

Of n samples a block B of b is left out. The leave-one-out risk CV of the others and the mean loss ē
of their fit on B estimate the same risk, the second without bias and with the variance var_B/b, so
that

    MSE = mean over B of (CV − ē)² − var_B/b

is the mean square error of CV, whatever its reason (Bates, Hastie & Tibshirani 2023, where CV has
folds). It is noisy: means over replicates are compared.
"""

import numpy as np
import pytest
import reference
from populations import populations

from rmtgen.ridge import ridge_path

SAMPLES, BLOCK, BLOCKINGS, REPLICATES = 120, 20, 4, 250
KEPT = SAMPLES - BLOCK


def without(inverse, dual, block):
    """Losses on a block of a fit without it, and leave-one-out losses of that fit.

    With G of all samples, the fit without B has the residuals (G_BB)⁻¹α_B on B, and of the others
    G' = G − G_·B (G_BB)⁻¹ G_B· and α' = α − G_·B (G_BB)⁻¹ α_B.
    """
    rest = np.setdiff1d(np.arange(len(inverse)), block)
    across = inverse[np.ix_(rest, block)]
    solved = np.linalg.solve(
        inverse[np.ix_(block, block)], np.concatenate([across.T, dual[block]], axis=1)
    )
    residuals = solved[:, len(rest) :]
    diagonal = inverse[rest, rest] - (across * solved[:, : len(rest)].T).sum(axis=1)
    left_out = (dual[rest] - across @ residuals) / diagonal[:, None]
    return (residuals**2).sum(axis=1), (left_out**2).sum(axis=1)


def nested_error(inverse, dual, rng):
    """MSE over the blocks of several random divisions."""
    errors = []
    for _ in range(BLOCKINGS):
        for block in rng.permutation(len(inverse)).reshape(-1, BLOCK):
            losses, left_out = without(inverse, dual, block)
            errors.append((left_out.mean() - losses.mean()) ** 2 - losses.var(ddof=1) / BLOCK)
    return np.mean(errors)


@pytest.mark.parametrize("intercept", [False, True], ids=["plain", "intercept"])
def test_fits_without_a_block_are_those_of_the_other_samples(intercept):
    rng = np.random.default_rng(0)
    features, targets = rng.standard_normal((30, 40)), rng.standard_normal((30, 2))
    gram, block = features @ features.T, np.array([3, 11, 12, 29])
    rest = np.setdiff1d(np.arange(30), block)
    inner = gram[np.ix_(rest, rest)]
    inverse = reference.resolvent(gram, 0.7, intercept)
    losses, left_out = without(inverse, inverse @ targets, block)
    dual = reference.resolvent(inner, 0.7, intercept) @ targets[rest]
    fitted = gram[np.ix_(block, rest)] @ dual
    if intercept:
        fitted += (targets[rest] - inner @ dual - 0.7 * dual).mean(axis=0)
    np.testing.assert_allclose(losses, ((fitted - targets[block]) ** 2).sum(axis=1), rtol=1e-9)
    refits = reference.refit_loo(inner, targets[rest], 0.7, intercept) - targets[rest]
    np.testing.assert_allclose(left_out, (refits**2).sum(axis=1), rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "relative"), [("isotropic, p = n/2", 1e-3), ("imbalanced classes", 1e-5)]
)
def test_the_standard_error_is_that_of_nested_cross_validation(name, relative):
    """Both at the size of the fits without a block; losses taken for independent have less."""
    population = populations()[name]
    rng = np.random.default_rng(7)
    sum_ridge = SAMPLES * relative * population.trace
    nested, own, independent = np.empty((3, REPLICATES))
    for place in range(REPLICATES):
        features, targets = population.sample(SAMPLES, rng)
        gram, intercept = features @ features.T, population.intercept
        inverse = reference.resolvent(gram, sum_ridge, intercept)
        nested[place] = nested_error(inverse, inverse @ targets, rng)
        options = {"sum_ridges": [sum_ridge], "intercept": intercept, "solver": "eigen"}
        row = ridge_path(gram[:KEPT, :KEPT], targets[:KEPT], **options)
        own[place] = row["loo_se"][0] ** 2
        _, losses = without(inverse, inverse @ targets, np.arange(KEPT, SAMPLES))
        independent[place] = losses.var(ddof=1) / KEPT
    error = (nested - own).std(ddof=1) / REPLICATES**0.5
    assert error < 0.12 * own.mean()
    assert abs(nested.mean() - own.mean()) < 3 * error
    assert nested.mean() - independent.mean() > 3 * error
