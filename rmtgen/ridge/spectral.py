"""Columns of a fit from a spectrum alone.

These are the training-side columns but 0-1 errors and leave-one-out.

With w_k = 1/(s_k + δ), C = UᵀY, Y₀ = Y − UC and P₀ the projector on the null space of K, every
number is a sum of positive terms over the modes and the null space,

    G = U diag(w) Uᵀ + P₀/δ,        GY = U(wC) + Y₀/δ.

Most are ratios in G, and are evaluated for G̃ = (s_min + δ)G, s_min the smallest eigenvalue (0 with
a null space). Then G̃, with a null space δ·U diag(w) Uᵀ + P₀, has no 0/0 at δ = 0, and the ridgeless
limit is the same line of code: never 1 − df/n by subtraction, never λ/λ.
"""

import numpy as np

from rmtgen.linalg.spectrum import Spectrum
from rmtgen.ridge.traces import ratio_columns


def resolvent_scale(spectrum: Spectrum, sum_ridge: float) -> float:
    """s_min + δ, the factor of G̃ = (s_min + δ)G."""
    return sum_ridge if spectrum.null_dim else float(spectrum.eigenvalues[-1]) + sum_ridge


def spectral_columns(spectrum: Spectrum, sum_ridge: float) -> dict[str, float]:
    """n, train_risk, gcv, df, kappa, kappa_prime and norm2 at one sum ridge δ."""
    n, values, power = spectrum.n, spectrum.eigenvalues, spectrum.power
    null_dim, factor = spectrum.null_dim, resolvent_scale(spectrum, sum_ridge)
    weights = 1 / (values + sum_ridge)
    scaled = factor * weights  # eigenvalues of G̃ on the modes; 1 in the null space
    energy = float(power @ np.square(scaled)) + spectrum.null_energy  # ‖G̃Y‖²
    trace = float(scaled.sum()) + null_dim
    trace_square = float(scaled @ scaled) + null_dim
    return {
        "n": n,
        "train_risk": energy / n * (1 if null_dim else (sum_ridge / factor) ** 2),
        **ratio_columns(n, energy, trace, trace_square, scale=factor),
        "df": float(values @ weights) + spectrum.intercept,
        "norm2": float((values * np.square(weights)) @ power),
    }
