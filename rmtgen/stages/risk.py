"""Stage `risk`: gram or features -> risk.csv, curve.csv, each with a description of its columns."""

import sys
from collections.abc import Sequence

from rmtgen.stages.engine import Job, Result, run_stage

CURVE = "curve"
"""The name of the curve among the parts, beside those of the (n, trial)."""


def work(job: Job) -> Result:
    """The ridge path of every (n, trial) that is not there yet, gathered in one table, and the
    learning curve dense in n.
    """
    import pandas as pd

    from rmtgen.device import default_device
    from rmtgen.ridge.columns import CURVE_COLUMNS, RISK_COLUMNS
    from rmtgen.ridge.pool import CURVE_RIDGES
    from rmtgen.runs.columns import write_table
    from rmtgen.stages.pool import cells, curve_sizes, load_pool

    config, parts, wanted = job.config, job.parts(), cells(job.config)
    pool = load_pool(job.folder, config, default_device(config.device))
    options = {"seed": config.seed, "loo": config.loo}
    pending = [cell for cell in wanted if cell.name not in parts]
    for cell in job.progress(pending, len(wanted), "fit", done=len(wanted) - len(pending)):
        path = pool.risk(cell, config.ridges, **options)
        parts.write(cell.name, {column: path[column].to_numpy() for column in RISK_COLUMNS})
    if CURVE not in parts:
        sizes = curve_sizes(config, pool.is_gram)
        curve = pool.curve(sizes, CURVE_RIDGES, **options)
        parts.write(CURVE, {column: curve[column].to_numpy() for column in CURVE_COLUMNS})
    frames = (pd.DataFrame(parts.read(cell.name)) for cell in wanted)
    table = pd.concat(frames, ignore_index=True)[list(RISK_COLUMNS)]
    curve = pd.DataFrame(parts.read(CURVE))[list(CURVE_COLUMNS)]
    return Result(
        write_table(job.folder / "risk.csv", table, "Risk at every sample size, trial and ridge")
        + write_table(
            job.folder / "curve.csv", curve, "Learning curve dense in n, at fixed sum ridges"
        ),
        f"{len(table)} rows over {len(config.sizes)} sizes",
        {"rows": len(table)},
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stage for the command line; the exit code."""
    return run_stage("risk", __doc__, work, arguments)


if __name__ == "__main__":
    sys.exit(main())
