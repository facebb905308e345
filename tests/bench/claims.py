"""The claims of Wei, Hu and Steinhardt (2022) on the runs that `RUNS=DIR,…` names, table by table.

`make bench BENCH=claims RUNS=results/runs/A,results/runs/B`: of every run the errors of GCV and of
leave-one-out over all fits, and Kendall's τ of the rivals; of every pair that differs in its
initialisation alone how often a theory puts the better one first, and what the gap is due to; the
exponents of their spectra and targets; the slope of the risk and the risk of the whole pool, as a
tenth of it predicts them, and measured. Every stage of the runs is finished. `local_law` has the
rates of the local law.
"""

import os
from pathlib import Path

import numpy as np

from rmtgen.report.loading import load_result
from rmtgen.report.swaps import swaps
from rmtgen.tables import Table
from rmtgen.theory.scores import CLOSE, score_table

RIVALS = ("gcv", "loo", "transport", "isotropic", "norm_proxy", "rademacher", "arora")
"""Columns of theory.csv whose order is compared."""
CERTAIN = 2
"""Standard errors by which the risks of a pair differ where their order counts."""


def name_of(result):
    """A run in a few words."""
    data = result.dataset.rpartition("/")[2].removesuffix(".tar")
    kernel = {"features": "", "entk": " eNTK"}.get(result.kernel, f" {result.kernel}")
    return f"{result.model.removeprefix('tf_efficientnet_')} {result.init}{kernel}, {data}"


def scored(result):
    """GCV's and leave-one-out's errors, and the order of each rival, by their names."""
    fits = result.theory["predictions"]
    blocks = fits["n"].astype(str) + " " + fits["trial"].astype(str)
    return score_table(fits, RIVALS, blocks).set_index("theory")


def errors(result):
    """How far GCV and leave-one-out are off, and in how many fits it is little."""
    yield f"{result.spectrum.n:,}"
    yield f"{len(result.theory['predictions']):,}"
    scores = scored(result)
    for theory in ("gcv", "loo"):
        one = scores.loc[theory]
        low, high = (100 * end for end in one["relative_error_interval"])
        yield f"{100 * one['relative_error']:.2f} [{low:.2f}, {high:.2f}]"
        yield f"{100 * one['within']:.0f}"
    yield doubted(result)


def orders(result):
    """Kendall's τ of each rival."""
    return (f"{scored(result).loc[theory, 'kendall']:.2f}" for theory in RIVALS)


def doubted(result):
    """Share of the fits where GCV is more than 10 % off in which the checks doubt it."""
    keys = ["n", "trial", "ridge"]
    fits = result.theory["predictions"].merge(result.theory["checks"], on=keys)
    off = (fits["gcv"] / fits["test_risk"] - 1).abs() > CLOSE
    return f"{100 * fits.loc[off, 'gcv_doubted'].mean():.0f}" if off.any() else "–"


def ordered(pair):
    """Share of fits of which a theory puts the better of a pair first, where that is sure."""
    keys = ["n", "trial", "relative_ridge"]
    tables = [one.theory["predictions"].round({"relative_ridge": 12}) for one in pair]
    both = tables[0].merge(tables[1], on=keys, suffixes=("_0", "_1"))
    gap = both["test_risk_0"] - both["test_risk_1"]
    sure = gap.abs() > CERTAIN * np.hypot(both["test_risk_se_0"], both["test_risk_se_1"])
    both, gap = both[sure], gap[sure]
    right = [
        (np.sign(both[f"{theory}_0"] - both[f"{theory}_1"]) == np.sign(gap)).mean()
        for theory in RIVALS
    ]
    return [f"{len(both):,}", *(f"{100 * share:.0f}" for share in right)]


def known(value, low, high):
    """A number with its interval, or a dash where there is none."""
    return "–" if np.isnan(value) else f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


def exponents(result):
    """Exponents of the pool's spectrum and targets, and of the risk at the best ridge by them."""
    table = result.theory.get("scaling")
    rows = None if table is None else table.set_index("quantity")
    for name in ("decay", "alignment", "best_ridge"):
        yield "–" if rows is None else known(*rows.loc[name, ["exponent", "low", "high"]])


def foreseen(result):
    """Slope of log R over the sizes beyond a tenth of the pool, and R of all of it.

    Both as the tenth predicts them, and measured with two standard errors; the two risks of a
    slope share the test set, so that its error is at most the one stated.
    """
    table = result.theory.get("hindcast")
    if table is None:
        return ["–"] * 6
    first, last = table.iloc[0], table.iloc[-1]
    decades = np.log(last["n"] / first["n"])
    slopes = (
        np.log(last[name] / first[name]) / decades for name in ("predicted_risk", "test_risk")
    )
    error = np.hypot(*(row["test_risk_se"] / row["test_risk"] for row in (first, last))) / decades
    predicted, measured = slopes
    return [
        f"{first['seen']:,.0f}",
        f"{first['n']:,.0f} → {last['n']:,.0f}",
        f"{predicted:+.4f}",
        f"{measured:+.4f} ±{2 * error:.4f}",
        f"{last['predicted_risk']:.4f} [{last['low']:.4f}, {last['high']:.4f}]",
        f"{last['test_risk']:.4f} ±{2 * last['test_risk_se']:.4f}",
    ]


def show(headings, rows):
    """Print a table."""
    print(f"{Table(headings, tuple(rows), '<' + '>' * (len(headings) - 1)).text()}\n", flush=True)


def main() -> None:
    """Print the tables."""
    results = [load_result(Path(run)) for run in os.environ["RUNS"].split(",")]
    results = [result for result in results if result.theory]
    names = {id(one): name_of(one) for one in results}
    short = ("GCV", "LOO", "transport", "spectrum", "norm B²", "Rademacher", "Arora")
    print("Median |predicted/measured − 1|, %, with 95 % intervals; share of fits within 10 %;")
    print("of the others of GCV those in which the checks doubt it, %")
    columns = ("N", "fits", "GCV", "within", "LOO", "within", "doubted")
    show(("run", *columns), ((names[id(one)], *errors(one)) for one in results))
    print("Kendall's τ of prediction and test risk")
    show(("run", *short), ((names[id(one)], *orders(one)) for one in results))
    pairs = swaps(results)
    print("Fits in which a theory puts the better initialisation first, %, of those 2 SE apart")
    show(
        ("pretrained against random", "fits", *short),
        ((names[id(one.pretrained)], *ordered((one.random, one.pretrained))) for one in pairs),
    )
    print("log R_random − log R_pretrained at the best ridge, n = N/16, and what it is due to")
    show(
        ("pretrained against random", "gap", "spectrum", "alignment"),
        (
            (
                names[id(one.pretrained)],
                f"{one.swap.gap:+.3f}",
                known(one.swap.spectrum_share, *one.swap.spectrum_interval),
                known(one.swap.alignment_share, *one.swap.alignment_interval),
            )
            for one in pairs
        ),
    )
    print("Exponents of the pool's spectrum and targets, and of the risk by them")
    columns = ("decay", "alignment", "best ridge")
    show(("run", *columns), ((names[id(one)], *exponents(one)) for one in results))
    print("The risk at the best ridge, as a tenth of the pool predicts it; ± 2 standard errors")
    columns = ("seen", "n", "slope", "measured", "risk", "measured")
    show(("run", *columns), ((names[id(one)], *foreseen(one)) for one in results))
