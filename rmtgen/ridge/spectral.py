"""What a spectrum alone says of a fit at one ridge: every training-side column but 0-1 errors and
leave-one-out.

With w_k = 1/(s_k + δ), C = UᵀY and Y₀ = Y − UC every number is a sum of positive terms over the
modes and the null space of K,

    G = U diag(w) Uᵀ + P₀/δ,        GY = U(wC) + Y₀/δ.

The formulas are ratios in G, so they are evaluated for the matrix G̃ = (s_min + δ)G, s_min the
smallest eigenvalue (0 with a null space). Then G̃ = δ·U diag(w) Uᵀ + P₀ has no 0/0 at δ = 0, and
the ridgeless limit is the same line of code: never 1 − df/n by subtraction, never λ divided by λ.
"""

import numpy as np

from rmtgen.linalg.spectrum import Spectrum


def unit(spectrum: Spectrum, sum_ridge: float) -> float:
    """s_min + δ, the factor of G̃ = (s_min + δ)G."""
    return sum_ridge if spectrum.null_dim else float(spectrum.eigenvalues[-1]) + sum_ridge


def spectral_columns(spectrum: Spectrum, sum_ridge: float) -> dict[str, float]:
    """n, train_risk, gcv, df, kappa, kappa_prime and norm2 at one sum ridge δ."""
    n, values, power = spectrum.n, spectrum.eigenvalues, spectrum.power
    null_dim, factor = spectrum.null_dim, unit(spectrum, sum_ridge)
    weights = 1 / (values + sum_ridge)
    scaled = factor * weights  # eigenvalues of G̃ on the modes; 1 in the null space
    energy = float(power @ np.square(scaled)) + spectrum.null_energy  # ‖G̃Y‖²
    trace = float(scaled.sum()) + null_dim
    trace_square = float(scaled @ scaled) + null_dim
    return {
        "n": n,
        "train_risk": energy / n * (1 if null_dim else (sum_ridge / factor) ** 2),
        "gcv": n * energy / trace**2,
        "df": float(values @ weights) + spectrum.intercept,
        "kappa": factor / trace,
        "kappa_prime": n * trace_square / trace**2,
        "norm2": float((values * np.square(weights)) @ power),
    }
