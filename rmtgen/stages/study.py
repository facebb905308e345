"""The study of a run: read from the files of its stages, and its tables as arrays for HDF5."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from rmtgen.runs.config import Config
from rmtgen.runs.run import Run, load_run
from rmtgen.runs.rundir import stored_dim
from rmtgen.stages.pool import load_pool
from rmtgen.theory.study import Study


def load_study(folder: Path, config: Config, device: torch.device) -> Study:
    """Read a run whose stages up to `risk` are done.

    Raises:
        MissingInputError, CorruptInputError: A file is gone, or is not what its stage wrote.
        NumericalError: Every feature of the pool is zero.
    """
    run = load_run(folder)
    return Study(
        load_pool(folder, config, device),
        risk=run.risk,
        spectra=run.spectrum,
        curve=run.curve,
        seed=config.seed,
        memory=config.memory,
        features=kernel_features(run, config),
    )


def kernel_features(run: Run, config: Config) -> int | None:
    """Number of features of the kernel of a run; None where its stages do not state it."""
    if not config.tangent:
        return stored_dim(run.manifest("extract"))
    found = run.manifest("gram").details.get("features")
    return found if type(found) is int else None


def to_arrays(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """The columns of a table as arrays that HDF5 takes; text as UTF-8."""
    return {name: _array(frame[name]) for name in frame}


def to_frame(arrays: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """The table that `to_arrays` took apart."""
    return pd.DataFrame(
        {
            name: np.char.decode(a, "utf-8") if a.dtype.kind == "S" else a
            for name, a in arrays.items()
        }
    )


def _array(column: pd.Series) -> np.ndarray:
    return (
        column.to_numpy()
        if column.dtype.kind in "iufb"
        else np.char.encode(column.to_numpy(str), "utf-8")
    )
