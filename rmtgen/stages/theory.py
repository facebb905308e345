"""Stage `theory`: spectrum, risk, and the pool itself -> theory.csv, theory.h5."""

import sys
from collections.abc import Sequence

from rmtgen.stages.engine import Job, Result, note, run_stage

PREDICTIONS = "predictions"


def work(job: Job) -> Result:
    """Every analysis that is not there yet; one that the run is too small for is noted, with the
    reason, and left out.
    """
    from rmtgen.device import default_device
    from rmtgen.errors import NumericalError, UsageError
    from rmtgen.runs.columns import write_table
    from rmtgen.stages.study import load_study, to_arrays, to_frame
    from rmtgen.store import durable
    from rmtgen.store.shards import hdf5_image
    from rmtgen.theory.registry import PREDICTION_COLUMNS
    from rmtgen.theory.study import ANALYSES

    parts, left_out = job.parts(), {}
    study = load_study(job.folder, job.config, default_device(job.config.device))
    pending = [name for name in ANALYSES if name not in parts]
    for name in job.progress(pending, len(ANALYSES), "analysis", done=len(ANALYSES) - len(pending)):
        try:
            table = ANALYSES[name](study)
        except (UsageError, NumericalError) as error:
            if name == PREDICTIONS:
                raise
            left_out[name] = str(error)
            note(f"{job.config.run_name}: {name} left out: {error}")
            continue
        parts.write(name, to_arrays(table))
    made = [name for name in ANALYSES if name in parts]
    predictions = to_frame(parts.read(PREDICTIONS))[list(PREDICTION_COLUMNS)]
    tables = write_table(
        job.folder / "theory.csv",
        predictions,
        "Theories of the test risk, beside the measured risk",
    )
    arrays = {
        f"{name}/{column}": values for name in made for column, values in parts.read(name).items()
    }
    durable.write_bytes(job.folder / "theory.h5", hdf5_image(arrays))
    warned = to_frame(parts.read("trust"))["tripped"].sum() if "trust" in made else 0
    headline = f"{len(made)} analyses of {len(predictions)} fits, {warned} warnings of trust"
    return Result([*tables, job.folder / "theory.h5"], headline, {"left_out": left_out})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stage for the command line; the exit code."""
    return run_stage("theory", __doc__, work, arguments)


if __name__ == "__main__":
    sys.exit(main())
