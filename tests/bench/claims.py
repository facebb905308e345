"""The claims of Wei, Hu and Steinhardt (2022) on the runs that `RUNS=DIR,…` names, table by table.

`make bench BENCH=claims RUNS=results/runs/A,results/runs/B`: of every run the errors of GCV and of
leave-one-out over all fits, and Kendall's τ of the rivals; of every pair that differs in its
initialisation alone how often a theory puts the better one first, and what the gap is due to; the
rates of the local law; exponents, predicted and measured. Every stage of the runs is finished.
"""

import os
from pathlib import Path

import numpy as np

from rmtgen.errors import UsageError
from rmtgen.report.loading import load_result
from rmtgen.report.swaps import swaps
from rmtgen.tables import Table
from rmtgen.theory.local_law import rate
from rmtgen.theory.scores import CLOSE, score_table

RIVALS = ("gcv", "loo", "transport", "isotropic", "norm_proxy", "rademacher", "arora")
"""Columns of theory.csv whose order is compared."""
CERTAIN = 2
"""Standard errors by which the risks of a pair differ where their order counts."""
LAWS = ("diagonal_rms", "off_diagonal_rms", "trace", "gcv")
"""Tests of the local law whose rates are shown."""


def name_of(result):
    """A run in a few words."""
    data = result.dataset.rpartition("/")[2].removesuffix(".tar")
    return f"{result.model} {result.init} {result.kernel} {data} {result.spectrum.n:,}"


def errors(result):
    """GCV's and leave-one-out's errors, and the order of each rival."""
    fits = result.theory["predictions"]
    blocks = fits["n"].astype(str) + " " + fits["trial"].astype(str)
    scores = score_table(fits, RIVALS, blocks).set_index("theory")
    texts = [f"{len(fits):,}"]
    for theory in ("gcv", "loo"):
        one = scores.loc[theory]
        low, high = (100 * end for end in one["relative_error_interval"])
        texts += [f"{100 * one['relative_error']:.2f} [{low:.2f}, {high:.2f}]"]
        texts += [f"{100 * one['within']:.0f}"]
    texts.append(doubted(result))
    return texts + [f"{scores.loc[theory, 'kendall']:.2f}" for theory in RIVALS]


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


def rates(result):
    """Exponents of the local law with twice their standard error."""
    tests = result.theory.get("local_law")
    for law in LAWS:
        rows = None if tests is None else tests[(tests["test"] == law) & (tests["deviation"] > 0)]
        try:
            found = rate(rows["n"], rows["deviation"])
            yield f"{found.slope:+.2f} ±{2 * found.standard_error:.2f}"
        except (UsageError, TypeError):
            yield "–"


def known(value, low, high):
    """A number with its interval, or a dash where there is none."""
    return "–" if np.isnan(value) else f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


def exponents(result):
    """Exponents of the pool, and slopes of the risk: of its curves, by the exponents, measured."""
    table = result.theory.get("scaling")
    if table is None:
        return ["–"] * 6
    rows = table.set_index("quantity")
    texts = [known(*rows.loc[name, ["exponent", "low", "high"]]) for name in ("decay", "alignment")]
    for name in ("best_ridge", "fixed_sum_ridge"):
        row = rows.loc[name]
        texts.append(known(row["exponent"], row["low"], row["high"]))
        texts.append(known(row["measured"], row["measured_low"], row["measured_high"]))
    return texts


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
    print("of the others of GCV those in which the checks doubt it, %; Kendall's τ")
    headings = (
        "run",
        "fits",
        "GCV",
        "within",
        "LOO",
        "within",
        "doubted",
        *(f"τ {name}" for name in short),
    )
    show(headings, ((names[id(one)], *errors(one)) for one in results))
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
    print("Rates of the local law: exponents in n, ± 2 standard errors")
    show(("run", *LAWS), ((names[id(one)], *rates(one)) for one in results))
    print("Exponents of the pool, and slopes of the risk, of its curves and measured")
    columns = ("decay", "alignment", "best ridge", "measured", "fixed δ", "measured")
    show(("run", *columns), ((names[id(one)], *exponents(one)) for one in results))
