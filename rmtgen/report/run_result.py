"""Results of a finished run, as the report reads them.

Risk is squared error summed over outputs. With one-hot-like targets of C classes, predicting zero
costs about (C − 1)/C.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from rmtgen.errors import CorruptInputError
from rmtgen.linalg.spectrum import Spectrum
from rmtgen.report.risk_statistics import KEYS, RISK_COLUMNS


@dataclass(frozen=True, eq=False)
class RunResult:
    """Everything that the report shows of one run.

    Attributes:
        name: Name of the run, such as `resnet50-pretrained-cifar100-n10000-224px-1a2b3c4d`.
        model: Name of the backbone in timm, or of the file of features of one's own.
        init: `pretrained`, `random` or `calibrated`; `own features` without a network.
        dataset: Name of the data set, as `load_dataset` takes it.
        kernel: `features`, or `entk` and its reduction (`slugs.kernel_label`).
        config: The resolved configuration.
        risk: One row per (n, trial, ridge) with at least the columns `RISK_COLUMNS`; NaN where a
            value is unknown.
        spectrum: Eigenvalues and target coefficients at the largest n of the first trial.
        curve: The learning curve dense in n at fixed sum ridges (`pool.CURVE_COLUMNS`). None for a
            run of a version without one.
        theory: Tables of the `theory` stage by analysis (`theory.study`). None for a run without
            that stage.
        provenance: Origin of each stage: date, seconds, versions, hashes.

    Raises:
        CorruptInputError: `risk` lacks columns or rows, a key is not finite, or the sums of the
            spectrum are not finite and positive.
    """

    name: str
    model: str
    init: str
    dataset: str
    kernel: str
    config: Mapping[str, object]
    risk: pd.DataFrame
    spectrum: Spectrum
    curve: pd.DataFrame | None = None
    theory: Mapping[str, pd.DataFrame] | None = None
    provenance: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check_risk()
        self._check_spectrum()

    def _check_risk(self) -> None:
        missing = [
            name
            for name in RISK_COLUMNS
            if name not in self.risk or not is_numeric_dtype(self.risk[name])
        ]
        if missing:
            raise CorruptInputError(
                f"the risk table needs {len(RISK_COLUMNS)} columns of numbers: {', '.join(missing)}"
                f" missing or not numeric (run {self.name}). {_remedy('risk')}"
            )
        broken = int((~np.isfinite(self.risk[list(KEYS)].to_numpy(float))).any(axis=1).sum())
        if self.risk.empty or broken:
            raise CorruptInputError(
                f"the risk table needs rows with finite {', '.join(KEYS)}: got {len(self.risk)}"
                f" rows, {broken} of them broken (run {self.name}). {_remedy('risk')}"
            )

    def _check_spectrum(self) -> None:
        totals = self.spectrum.trace, self.spectrum.energy
        if not (np.isfinite(totals).all() and min(totals) > 0):
            raise CorruptInputError(
                "the spectrum needs eigenvalues and target power of finite, positive sums: got sums"
                f" {totals[0]:g} and {totals[1]:g} (run {self.name}). {_remedy('spectrum')}"
            )


def _remedy(stage: str) -> str:
    return f"Make it again: `rmtgen run --stage {stage}`."
