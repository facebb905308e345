"""Columns of a fit from three sums: the energy ‖GY‖², tr G and tr G².

Every solver ends here, with exact sums or with estimates. The notation is that of `rmtgen.ridge`.
"""

from sys import float_info

PRECISION = 2.5e-7
"""Largest bound on the relative error of df and norm2 at which they count as known to six
digits."""


def ratio_columns(
    n: int, energy: float, trace: float, trace_square: float, *, scale: float = 1.0
) -> dict[str, float]:
    """Columns gcv = n‖GY‖²/(tr G)², kappa = 1/tr G and kappa_prime = n tr G²/(tr G)².

    Args:
        n: Sample size.
        energy: ‖G̃Y‖², summed over outputs, of G̃ = `scale`·G.
        trace: tr G̃.
        trace_square: tr G̃².
        scale: The factor, which cancels in all but kappa.
    """
    return {
        "gcv": n * energy / trace**2,
        "kappa": scale / trace,
        "kappa_prime": n * trace_square / trace**2,
    }


def dual_columns(
    n: int, sum_ridge: float, energy: float, trace: float, trace_square: float, overlap: float
) -> dict[str, float]:
    """n, df and norm2 beside `ratio_columns`, by differences: for δ at which these keep digits.

    From KG = I − δG follow df = tr KG = n − δ tr G, where an intercept counts as one, and norm2 =
    YᵀGKGY = YᵀGY − δ‖GY‖².

    Args:
        n: Sample size.
        sum_ridge: δ = nλ.
        energy: ‖GY‖², summed over outputs.
        trace: tr G.
        trace_square: tr G².
        overlap: tr YᵀGY.
    """
    return {
        "n": n,
        **ratio_columns(n, energy, trace, trace_square),
        "df": n - sum_ridge * trace,
        "norm2": overlap - sum_ridge * energy,
    }


def digits_kept(columns: dict[str, float], sum_ridge: float, diagonal: float) -> bool:
    """Whether the differences of `dual_columns` leave six digits of df and norm2.

    Rounding perturbs K by about ε·max K_ii an entry, and so YᵀGY by ε·max K_ii·‖GY‖²: much, where
    most of Y lies in a null space and δ is small. Where δ is large, both differences are small
    beside their terms.

    Args:
        columns: What `dual_columns` returns.
        sum_ridge: δ.
        diagonal: max K_ii.
    """
    n, norm2, kept = columns["n"], columns["norm2"], PRECISION / float_info.epsilon
    energy = columns["gcv"] / (n * columns["kappa"] ** 2)  # ‖GY‖²
    lost = (diagonal + 2 * sum_ridge) * energy + norm2
    return lost <= kept * norm2 and 4 * n <= kept * columns["df"]
