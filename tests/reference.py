"""Naive dense versions in plain NumPy, from the definitions; the library never imports them."""

import numpy as np


def resolvent(gram, sum_ridge, intercept):
    """G = (K + δI)⁻¹, and with an intercept P = G − wwᵀ/(1ᵀw), w = G1."""
    inverse = np.linalg.solve(gram + sum_ridge * np.eye(len(gram)), np.eye(len(gram)))
    if not intercept:
        return inverse
    w = inverse.sum(axis=1)
    return inverse - np.outer(w, w) / w.sum()


def fit(gram, targets, sum_ridge, intercept):
    """(α, b) of f(x) = k(x)ᵀα + b, from the bordered linear system; δ = 0 by the pseudo-inverse
    (minimum norm)."""
    n, ones = len(gram), np.ones((len(gram), 1))
    if sum_ridge == 0:
        centre = np.eye(n) - intercept * ones @ ones.T / n
        alpha = (
            np.linalg.pinv(centre @ gram @ centre, rcond=1e-11, hermitian=True) @ centre @ targets
        )
        offset = (targets - gram @ alpha).mean(axis=0) if intercept else np.zeros(targets.shape[1])
        return alpha, offset
    matrix = gram + sum_ridge * np.eye(n)
    if not intercept:
        return np.linalg.solve(matrix, targets), np.zeros(targets.shape[1])
    bordered = np.block([[matrix, ones], [ones.T, np.zeros((1, 1))]])
    solution = np.linalg.solve(bordered, np.vstack([targets, np.zeros((1, targets.shape[1]))]))
    return solution[:-1], solution[-1]


def predict(gram, targets, sum_ridge, intercept, rows):
    alpha, offset = fit(gram, targets, sum_ridge, intercept)
    return rows @ alpha + offset


def refit_loo(gram, targets, sum_ridge, intercept):
    """Leave-one-out predictions by refitting n times on n − 1 samples, δ = nλ kept."""
    n = len(gram)
    predictions = np.empty_like(targets)
    for i in range(n):
        rest = np.arange(n) != i
        predictions[i] = predict(
            gram[np.ix_(rest, rest)], targets[rest], sum_ridge, intercept, gram[i, rest][None]
        )[0]
    return predictions


def leave_two_out(gram, targets, sum_ridge, intercept):
    """ℓ_i^(−j), the loss of sample i of the fit without i and j, NaN on the diagonal."""
    n = len(gram)
    losses = np.full((n, n), np.nan)
    for j in range(n):
        rest = np.flatnonzero(np.arange(n) != j)
        inverse = resolvent(gram[np.ix_(rest, rest)], sum_ridge, intercept)
        residual = inverse @ targets[rest] / np.diag(inverse)[:, None]
        losses[rest, j] = (residual**2).sum(axis=1)
    return losses


def pair_covariance(change):
    """The mean of η_ij η_ji over i ≠ j, η the residual of least squares on row and column effects.

    The symmetric and the antisymmetric part are fitted apart, each with its degrees of freedom.
    """
    n = len(change)
    i, j = np.triu_indices(n, 1)
    eye = np.eye(n)
    parts = ((change + change.T) / 2, eye[i] + eye[j]), ((change - change.T) / 2, eye[i] - eye[j])
    means = []
    for part, design in parts:
        values = part[i, j]
        fitted, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)
        means.append(((values - design @ fitted) ** 2).sum() / (len(values) - rank))
    return means[0] - means[1]


def interval(gram, targets, sum_ridge, intercept, losses):
    """The columns of the interval from the losses left out one at a time, and those of two."""
    n = len(gram)
    if n < 8:
        return dict.fromkeys(("loo_se", "loo_low", "loo_high", "loo_kurtosis"), np.nan)
    covariance = pair_covariance(
        leave_two_out(gram, targets, sum_ridge, intercept) - losses[:, None]
    )
    error = np.sqrt(losses.var(ddof=1) / n + max(covariance, 0) * (n - 1) / n)
    spread = np.exp(1.959963984540054 * error / losses.mean())
    return {
        "loo_se": error,
        "loo_low": losses.mean() / spread,
        "loo_high": losses.mean() * spread,
        "loo_kurtosis": (losses**2).mean() / losses.mean() ** 2,
    }


def risk(predictions, targets):
    return ((predictions - targets) ** 2).sum(axis=1).mean()


def error(predictions, targets):
    return (predictions.argmax(axis=1) != targets.argmax(axis=1)).mean()


def row(gram, targets, ridge, intercept, test_gram, test_targets):
    """Every column of a ridge path at one λ > 0."""
    n = len(gram)
    inverse = resolvent(gram, n * ridge, intercept)
    alpha = inverse @ targets
    fitted, left_out = targets - n * ridge * alpha, refit_loo(gram, targets, n * ridge, intercept)
    predictions = predict(gram, targets, n * ridge, intercept, test_gram)
    losses = ((predictions - test_targets) ** 2).sum(axis=1)
    return {
        "n": n,
        "ridge": ridge,
        "train_risk": risk(predict(gram, targets, n * ridge, intercept, gram), targets),
        "gcv": n * (alpha**2).sum() / np.trace(inverse) ** 2,
        "loo": risk(left_out, targets),
        **interval(gram, targets, n * ridge, intercept, ((left_out - targets) ** 2).sum(axis=1)),
        "df": np.trace(np.eye(n) - n * ridge * inverse),
        "kappa": 1 / np.trace(inverse),
        "kappa_prime": n * np.trace(inverse @ inverse) / np.trace(inverse) ** 2,
        "norm2": np.einsum("ic,ij,jc->", alpha, gram, alpha),
        "train_error": error(fitted, targets),
        "loo_error": error(left_out, targets),
        "test_risk": losses.mean(),
        "test_risk_se": losses.std(ddof=1) / np.sqrt(len(losses)),
        "test_error": error(predictions, test_targets),
    }


def ridgeless_gcv(gram, targets, rank, intercept):
    """n‖P₀Y‖²/(n − rank)² with a null space, else n‖K⁺Y‖²/(tr K⁺)²; the pseudo-inverse is that of
    the centred K."""
    n = len(gram)
    centre = np.eye(n) - intercept * np.ones((n, n)) / n
    inverse = np.linalg.pinv(centre @ gram @ centre, rcond=1e-11, hermitian=True)
    null_dim = n - intercept - rank
    if null_dim:
        null = centre - centre @ gram @ centre @ inverse
        return n * ((null @ targets) ** 2).sum() / null_dim**2
    return n * ((inverse @ targets) ** 2).sum() / np.trace(inverse) ** 2


def tangent_jacobians(model, images, choose=lambda out: out[:, 0]):
    """Autograd's Jacobian of a torch model, (n, p) for every parameter that requires a gradient, in
    turn.

    All samples in one forward pass: torch 2.14 gives wrong gradients to a float64 batch of one in
    some models (levit_128, by finite differences).
    """
    import torch

    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    outputs = choose(model(images))
    rows = [
        torch.autograd.grad(out, parameters, retain_graph=True, materialize_grads=True)
        for out in outputs
    ]
    for gradients in zip(*rows, strict=True):
        yield torch.stack([gradient.flatten() for gradient in gradients])


def tangent_kernel(model, images, choose=lambda out: out[:, 0]):
    """K = JJᵀ, on the device that rmtgen takes: some of torch's CUDA kernels are less exact
    (hardswish has float32 constants)."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        rows = tangent_jacobians(model.to(device), images.to(device), choose)
        return sum(jacobian @ jacobian.T for jacobian in rows).cpu()
    finally:
        model.to("cpu")
