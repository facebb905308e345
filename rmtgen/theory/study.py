"""What theory says of one finished run: each analysis a table, from one eigendecomposition of the
whole pool.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import torch

from rmtgen.errors import UsageError, warn
from rmtgen.linalg.cells import Cell
from rmtgen.linalg.modes import Modes
from rmtgen.linalg.spectrum import Spectra, Spectrum
from rmtgen.ridge.pool import Pool
from rmtgen.runs.config import Config
from rmtgen.stages.pool import load_pool
from rmtgen.theory import baselines
from rmtgen.theory.alignment import (
    Population,
    bias_against_df,
    cumulative_power,
    effective_ranks,
    kernel_target_alignment,
    learnability,
    participation_ratio,
)
from rmtgen.theory.effective_ridge import omniscient_risk
from rmtgen.theory.forecast import curves, deltas, forecast, labels_needed, pool_influence
from rmtgen.theory.influence import Influence
from rmtgen.theory.local_law import gcv_deviation, quadratic_forms, trace_deviation
from rmtgen.theory.scaling import agree, ample_ridge, measured_slopes, scaling_laws, subset_decay
from rmtgen.theory.transport import PoolSpectrum, transported
from rmtgen.theory.trust import trust_report

RIVALS = (
    *("gcv", "loo", "transport", "naive", "train_risk", "fixed_design", "mallows_cp", "akaike"),
    *("isotropic", "norm_proxy", "rademacher", "arora", "benign"),
)
"""The theories, by their columns."""
PREDICTION_COLUMNS = (
    "n",
    "trial",
    "ridge",
    "relative_ridge",
    "test_risk",
    "test_risk_se",
    *RIVALS,
    "transport_se",
)
"""Columns of theory.csv. `transport_se` is the relative standard error of `transport` from the draw
of the pool."""
CURVE_POINTS = 200
FEWEST = 100
"""Samples below which nothing is forecast from."""
MATCHED = (1e-1, 1e-3, 1e-5)
"""Effective ridges, over tr Σ, at which representations are compared."""
FORECAST_FACTORS = 2.0 ** np.arange(-6, 7)
"""Sizes of the forecast, over N."""
WANTED = (0.98, 0.95, 0.9, 0.8, 0.7, 0.5)
"""Risks whose labels are counted, over the best risk of the pool."""
MODES = 300
"""Rows of the table of modes, evenly spread over the logarithm of the index."""
HIDDEN = 10
"""The hindcast sees one sample in so many."""
LAW_SHARES = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4)
"""Sizes at which the local law is tested, over N: nested halvings, far enough below the pool that
stands for the population."""
LAW_RIDGES = (1e-4, 1e-2)
"""Its ridges, relative to tr K/N."""
LAW_LARGEST = 2_048
"""The most samples of such a subset."""
TRUST_SAMPLES = 2_000
"""The first samples of the pool and of the test set that the detectors of `trust` look at: they
need n×n matrices."""


@dataclass(frozen=True, eq=False)
class Study:
    """A finished run as the analyses see it.

    Attributes:
        config: its configuration.
        data: the pool and the test set.
        risk: risk.csv.
        spectra: eigensolve of each (n, trial), as spectrum.h5 holds it.
        curve: curve.csv, dense in n at fixed sum ridges; None for a run without it.
    """

    config: Config
    data: Pool
    risk: pd.DataFrame
    spectra: Mapping[str, PoolSpectrum]
    curve: pd.DataFrame | None = None

    @classmethod
    def load(cls, folder: Path, config: Config, device: torch.device) -> "Study":
        """Read a run whose stages up to `risk` are done."""
        with h5py.File(folder / "spectrum.h5", "r") as file:
            loaded = Spectra.load(file)
        spectra = {cell.name: PoolSpectrum.of(spectrum) for cell, spectrum in loaded.items()}
        dense = folder / "curve.csv"
        curve = pd.read_csv(dense) if dense.exists() else None
        return cls(
            config,
            load_pool(folder, config, device),
            pd.read_csv(folder / "risk.csv"),
            spectra,
            curve,
        )

    @cached_property
    def modes(self) -> Modes:
        """Of the whole pool, in the order it is stored in."""
        return next(self.data.modes([np.arange(self.config.train)], self.config.memory))

    @cached_property
    def influence(self) -> Influence:
        """How each sample of the pool moves what it predicts."""
        return pool_influence(self.modes, self.data.targets.values)

    @property
    def pool(self) -> PoolSpectrum:
        """The pool's eigenvalues with the targets' energy."""
        return self.influence.pool

    def predictions(self) -> pd.DataFrame:
        """Every theory at every (n, trial, ridge) of the run, beside the measured risk:
        `PREDICTION_COLUMNS`.
        """
        largest = self.data.largest_diagonal
        cells = (
            self._cell(Cell(*key), rows, largest)
            for key, rows in self.risk.groupby(["n", "trial"], sort=False)
        )
        table = pd.concat(cells, ignore_index=True)
        grid = table[["n", "ridge"]].drop_duplicates()
        n, ridge = grid["n"].to_numpy(float), grid["ridge"].to_numpy()
        moved = transported(self.pool, ridge, n)
        grid = grid.assign(
            transport=moved.risk,
            transport_se=self.influence.standard_errors(moved, ridge, n),
            naive=self._naive(ridge, n),
            fixed_design=baselines.fixed_design(self.pool, ridge),
            benign=[
                baselines.benign_variance(self.pool.values / self.pool.n, *point)
                for point in zip(ridge, n, strict=True)
            ],
        )
        return table.merge(grid, on=["n", "ridge"])[list(PREDICTION_COLUMNS)]

    def _cell(self, cell: Cell, rows: pd.DataFrame, largest: float) -> pd.DataFrame:
        sample, n = self.spectra[cell.name], cell.n
        train, df, norm2 = (rows[name].to_numpy() for name in ("train_risk", "df", "norm2"))
        trace = sample.values.sum()
        return rows.assign(
            mallows_cp=baselines.mallows_cp(train, df, n),
            akaike=baselines.akaike(train, df, n),
            isotropic=baselines.isotropic_risk(sample, rows["ridge"].to_numpy()),
            norm_proxy=baselines.norm_proxy(norm2, trace, n),
            rademacher=baselines.rademacher(norm2, trace, n),
            arora=baselines.arora(norm2, largest, n),
        )

    def _naive(self, ridge: np.ndarray, n: np.ndarray) -> np.ndarray:
        """The omniscient risk with the pool's own eigenvalues in place of the population's."""
        pool = self.pool
        values, power = np.append(pool.values, 0.0), np.append(pool.power, pool.null_energy)
        return omniscient_risk(values / pool.n, power / pool.n, ridge, n)

    def curves(self) -> pd.DataFrame:
        """κ, df1, df2 and B + noise of the pool (`alignment.bias_against_df`)."""
        grid = deltas(self.pool)
        return bias_against_df(self.pool, grid[:: max(1, len(grid) // CURVE_POINTS)])

    def forecast(self) -> pd.DataFrame:
        """The risk at the best ridge for sizes from N/64 to 64 N (`forecast.forecast`)."""
        sizes = np.unique(np.round(self.pool.n * FORECAST_FACTORS))
        return forecast(self.influence, sizes[sizes >= 2])

    def labels(self) -> pd.DataFrame:
        """The labels that smaller risks than the pool's best will take (`forecast.labels_needed`),
        from 2 % below it to half of it.
        """
        _, best, _ = curves(self.pool).best(self.pool.n)
        return labels_needed(self.influence, best * np.array(WANTED))

    def hindcast(self) -> pd.DataFrame:
        """A forecast with the truth at hand: from N/10 samples alone, the risk at the best ridge of
        the run's larger sizes.

        Returns:
            The columns of `forecast` and `test_risk test_risk_se`, measured at the ridge that is
            best there, and `seen`, the samples.

        Raises:
            UsageError: No size of the run is larger, or so few samples that there is nothing to
                see.
        """
        order = Cell(self.config.train // HIDDEN, 0).order(self.config.seed, self.config.train)
        means = self.risk.groupby(["n", "ridge"], as_index=False)[
            ["test_risk", "test_risk_se"]
        ].mean()
        truth = means.loc[means.groupby("n")["test_risk"].idxmin()]
        truth = truth[truth["n"] > len(order)].drop(columns="ridge")
        if truth.empty or len(order) < FEWEST:
            raise UsageError(
                f"a hindcast sees N/{HIDDEN} samples, at least {FEWEST}, and needs larger sizes to"
                f" foretell: got N = {self.config.train}, sizes up to {max(self.config.sizes)}."
                " Raise train."
            )
        modes = next(self.data.modes([order], self.config.memory))
        told = forecast(pool_influence(modes, self.data.targets.values[order]), truth["n"])
        return told.merge(truth, on="n").assign(seen=len(order))

    def representation(self) -> pd.DataFrame:
        """What one representation is beside another: `quantity value`, each without a unit.

        `participation_ratio` (tr K)²/‖K‖_F², `effective_rank` tr K/‖K‖, `kernel_target_alignment`,
        and at effective ridges κ of 10⁻¹, 10⁻³ and 10⁻⁵ tr Σ the degrees of freedom `df1`, the
        share of the targets' power `unlearnt` there, B + noise over E‖y‖², and the `learnability`
        of what the modes explain.
        """
        spectrum = Spectrum.of(self.modes, self.data.targets.values)
        curve = self.curves().sort_values("relative_kappa")
        energy = (self.pool.power.sum() + self.pool.null_energy) / self.pool.n
        population = Population.of(self.pool)
        rows = {
            "participation_ratio": participation_ratio(self.pool.values),
            "effective_rank": effective_ranks(self.pool.values)[0][0],
            "kernel_target_alignment": kernel_target_alignment(spectrum, self.data.targets.values),
        }
        for level in MATCHED:
            at = {
                name: np.interp(np.log(level), np.log(curve["relative_kappa"]), curve[name])
                for name in ("df1", "floor")
            }
            rows |= {f"df1 at {level:g}": at["df1"], f"unlearnt at {level:g}": at["floor"] / energy}
            learnt = learnability(
                population.eigenvalues, population.power, level * population.eigenvalues.sum()
            )
            rows[f"learnability at {level:g}"] = learnt
        return pd.DataFrame({"quantity": list(rows), "value": list(rows.values())})

    def modes_table(self) -> pd.DataFrame:
        """`MODES` of the pool's modes: `mode eigenvalue power cumulative_power r R learnability`.

        eigenvalue σ_i = s_i/N; power c_i²/N; r and R the effective ranks of what lies beyond the
        modes before; learnability σ_i/(σ_i + κ) at the best ridge of all N samples.
        """
        pool, place = self.pool, np.unique(np.geomspace(1, self.pool.rank, MODES).astype(int)) - 1
        sums, spreads = effective_ranks(pool.values)
        _, _, kappa = curves(pool).best(pool.n)
        sigma = pool.values / pool.n
        columns = {
            "eigenvalue": sigma,
            "power": pool.power / pool.n,
            "cumulative_power": cumulative_power(pool.power, pool.null_energy),
            "r": sums,
            "R": spreads,
            "learnability": sigma / (sigma + kappa),
        }
        return pd.DataFrame(
            {"mode": place + 1} | {name: values[place] for name, values in columns.items()}
        )

    def scaling(self) -> pd.DataFrame:
        """Exponents and slopes (`scaling.scaling_laws`), beside those of the measured risk
        (`scaling.measured_slopes`).

        A last row `subset_decay` has the estimate of a from subsets, if the run has ridge 0.
        """
        grid = np.unique(self.risk.loc[self.risk["ridge"] > 0, "ridge"])
        wanted = ample_ridge(self.influence)
        ridge = grid[np.argmin(np.abs(np.log(grid / wanted)))] if grid.size else wanted
        table = measured_slopes(self.risk, scaling_laws(self.influence, ridge), ridge, self.curve)
        try:
            law = subset_decay(self.risk, self.pool.rank, self.pool.n)
        except UsageError:
            return table
        decay = table.set_index("quantity").loc["decay", ["exponent", "low", "high"]].tolist()
        if not agree(decay, law):
            warn(
                f"two estimates of the decay a must agree: got {decay[0]:.3f} from the pool and"
                f" {law.slope:.3f} from subsets of {law.first:g} to {law.last:g} samples. The"
                " spectrum is no power law there; do not quote one."
            )
        reach = 2 * law.standard_error
        row = {
            "quantity": "subset_decay",
            "exponent": law.slope,
            "low": law.slope - reach,
            "high": law.slope + reach,
        }
        ends = {"predicted": decay[0], "first": law.first, "last": law.last}
        return pd.concat([table, pd.DataFrame([row | ends])], ignore_index=True)

    def local_law(self) -> pd.DataFrame:
        """Tests 1 to 4 of the local law: `test n relative_ridge deviation`, one row a measurement."""
        sizes = [int(share * self.pool.n) for share in LAW_SHARES]
        sizes = [n for n in sizes if 8 <= n <= LAW_LARGEST]
        scale = self.pool.values.sum() / self.pool.n
        forms = quadratic_forms(self.modes, sizes, np.array(LAW_RIDGES) * scale)
        depleted = np.sqrt(
            1 - forms["n"] / self.pool.n
        )  # drawn without replacement from a finite pool
        parts = [
            pd.DataFrame(
                {
                    "test": name,
                    "n": forms["n"],
                    "relative_ridge": forms["ridge"] / scale,
                    "deviation": forms[name] / depleted,
                }
            )
            for name in ("diagonal_rms", "off_diagonal_rms")
        ]
        traces = trace_deviation(self.risk[self.risk["n"] < self.pool.n], self.pool)
        relative = {
            "test": "trace",
            "n": traces["n"],
            "relative_ridge": traces["ridge"] / scale,
            "deviation": traces["deviation"],
        }
        gaps = gcv_deviation(self.risk)
        gap = {
            "test": "gcv",
            "n": gaps["n"],
            "relative_ridge": np.nan,
            "deviation": gaps["net"].where(gaps["net"] > 0),
        }
        return pd.concat([*parts, pd.DataFrame(relative), pd.DataFrame(gap)], ignore_index=True)

    def trust(self) -> pd.DataFrame:
        """The detectors of situations in which GCV must not be trusted (`trust.trust_report`)."""
        gram, tests = self.data.block(TRUST_SAMPLES)
        targets = self.data.targets
        report = trust_report(
            gram, targets.values[: len(gram)], test_gram=tests, intercept=targets.intercept
        )
        return report.frame()


ANALYSES: Mapping[str, Callable[[Study], pd.DataFrame]] = {
    "predictions": Study.predictions,
    "curves": Study.curves,
    "modes": Study.modes_table,
    "representation": Study.representation,
    "forecast": Study.forecast,
    "labels": Study.labels,
    "hindcast": Study.hindcast,
    "scaling": Study.scaling,
    "local_law": Study.local_law,
    "trust": Study.trust,
}
"""The analyses by name, in the order that they run in."""


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
