"""The local law on the pools of runs: rates of the forms, and of what GCV and leave-one-out err by.

`make bench BENCH=local_law RUNS=DIR,… TRIALS=32`: exponents in n with twice their standard errors,
and deviations at the largest size, N/4 or 2,048; the bias is the mean of log(estimate/risk) over
its subsets, with twice its standard error. Then the rank correlation over runs, sizes and ridges of
the deviations of the forms and the errors of the estimates. Every stage of the runs is finished.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from rmtgen.report.loading import load_result
from rmtgen.report.wording import percentage
from rmtgen.tables import Table
from rmtgen.theory.local_law import (
    ESTIMATES,
    estimate_deviation,
    quadratic_forms,
    rate,
    tested_grid,
    trace_deviation,
)
from tests.bench.beyond_runs import studied
from tests.bench.claims import name_of

FORMS = ("diagonal_rms", "off_diagonal_rms", "trace")
GRID = ["run", "n", "ridge"]


def fits_of(folder, trials):
    """The forms and fits of subsets of a run's pool; the forms corrected for a finite pool."""
    study = studied(folder)
    grid, targets = tested_grid(study.spectrum), study.pool.targets.values
    fits = quadratic_forms(study.eigenmodes, *grid, targets=targets, trials=trials)
    fits["trace"] = trace_deviation(fits, study.spectrum)["deviation"]
    fits[[*FORMS]] = fits[[*FORMS]].div(np.sqrt(1 - fits["n"] / len(study.pool)), axis=0)
    return fits.assign(run=name_of(load_result(folder)), ridge=fits["ridge"] / grid[1][0])


def deviations(fits):
    """The root mean square of each deviation at each size, net of the error of the risk."""
    table = (fits[[*FORMS]] ** 2).groupby(fits["n"]).mean() ** 0.5
    errors = {name: estimate_deviation(fits, name).set_index("n")["net"] for name in ESTIMATES}
    return table.assign(**errors)


def slope(column):
    """The exponent of a deviation, ± 2 standard errors."""
    shown = column[column > 0]
    found = rate(shown.index, shown)
    return f"{found.slope:+.2f} ±{2 * found.standard_error:.2f}"


def bias(fits, name):
    """The mean of log(estimate/risk) at the largest size, ± 2 standard errors, over subsets."""
    last = fits[fits["n"] == fits["n"].max()]
    gaps = np.log(last[name] / last["test_risk"]).groupby(last["trial"]).mean()
    return f"{100 * gaps.mean():+.2f} ±{200 * gaps.sem():.2f}"


def show(headings, rows):
    """Print a table."""
    print(f"{Table(headings, tuple(rows), '<' + '>' * (len(headings) - 1)).text()}\n", flush=True)


def main() -> None:
    """Print the tables."""
    trials = int(os.environ.get("TRIALS", "32"))
    tables = {}
    for folder in map(Path, os.environ["RUNS"].split(",")):
        fits = fits_of(folder, trials)
        tables[fits["run"].iloc[0]] = fits
    names = (*FORMS, *ESTIMATES)
    known = {name: deviations(fits) for name, fits in tables.items()}
    print("\nExponents in n, ± 2 standard errors")
    show(
        ("run", *names),
        ((run, *(slope(one[name]) for name in names)) for run, one in known.items()),
    )
    print("Deviations at the largest size, and mean of log(estimate/risk) there, %")
    show(
        ("run", "n", *names, *(f"bias {name}" for name in ESTIMATES)),
        (
            (
                run,
                f"{one.index[-1]:,}",
                *(percentage(one[name].iloc[-1]) for name in names),
                *(bias(tables[run], name) for name in ESTIMATES),
            )
            for run, one in known.items()
        ),
    )
    every = pd.concat(tables.values())
    squares = every.assign(**{name: np.log(every[name] / every["test_risk"]) for name in ESTIMATES})
    cells = (squares[[*names]] ** 2).groupby([squares[key] for key in GRID]).mean() ** 0.5
    print(f"Kendall's τ over {len(cells)} runs × sizes × ridges")
    rows = (
        (form, *(f"{kendalltau(cells[form], cells[name]).statistic:+.2f}" for name in ESTIMATES))
        for form in FORMS
    )
    show(("deviation", *ESTIMATES), rows)


if __name__ == "__main__":
    main()
