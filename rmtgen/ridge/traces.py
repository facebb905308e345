"""Columns of a fit from three sums: the energy ‖GY‖², tr G and tr G².

Every solver ends here, with exact sums or with estimates. The notation is that of `rmtgen.ridge`.
"""


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
