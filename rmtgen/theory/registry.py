"""The registry of theories: what predicts the test risk of a fit, or claims to.

A theory is a function of `Fits` and one entry in `THEORIES`. The columns of the table of
predictions, their descriptions and units, the names in the report and their order follow from it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from jaxtyping import Float64

from rmtgen.linalg.spectrum import Spectrum
from rmtgen.theory import baselines
from rmtgen.theory.errors_within import errors_within
from rmtgen.theory.influence import Influence
from rmtgen.theory.transport import Transported, transported

DIMENSIONLESS = "dimensionless"
TARGET = "unit of the targets"
RISK = "squared unit of the targets"
KEYS = ("n", "trial", "ridge", "relative_ridge", "test_risk", "test_risk_se")
"""Columns of the table of predictions that identify a fit, and its measured risk."""


@dataclass(frozen=True, eq=False)
class Fits:
    """The fits of one sample over the ridges, and what a theory may use of them.

    Attributes:
        table: One row per ridge, with the columns of a ridge path.
        sample: Spectrum of the n samples.
        influence: Influence of each sample of the pool, with the spectrum of the pool.
        largest_diagonal: Largest K_ii over the pool.
    """

    table: pd.DataFrame
    sample: Spectrum
    influence: Influence
    largest_diagonal: float

    def __getitem__(self, column: str) -> Float64[np.ndarray, " l"]:
        """One column of the table."""
        return self.table[column].to_numpy(dtype=float)

    @property
    def n(self) -> int:
        """Number of samples of each fit."""
        return self.sample.n

    @property
    def sizes(self) -> Float64[np.ndarray, " l"]:
        """The number of samples, once per ridge."""
        return self["n"]

    @property
    def pool(self) -> Spectrum:
        """Spectrum of the pool."""
        return self.influence.pool

    @cached_property
    def transported(self) -> Transported:
        """Same-κ transport from the pool."""
        return transported(self.pool, self["ridge"], self.sizes)


ERRORS = ("test_error", "predicted_error", "predicted_error_se")
"""Columns of the table of predictions with the 0-1 error of a fit, measured and predicted."""

MOST_PRODUCTS = 5e11
"""Samples × modes × outputs × fits up to which every fit has a predicted error; beyond it those of
the smallest leave-one-out risk of their size have one."""

Prediction = Callable[[Fits], Float64[np.ndarray, " l"]]


@dataclass(frozen=True)
class Theory:
    """One theory of the test risk.

    Attributes:
        name: Column of its predictions.
        label: Name in tables and figures.
        meaning: Description of the column, without a full stop.
        unit: Unit of its predictions.
        predict: Prediction for each fit.
        relative_error: Standard error of each prediction from the draw of the pool, relative to the
            prediction; None for a theory without.
    """

    name: str
    label: str
    meaning: str
    unit: str
    predict: Prediction
    relative_error: Prediction | None = None

    @property
    def error_name(self) -> str:
        """Column of its standard errors."""
        return f"{self.name}_se"


THEORIES = {
    theory.name: theory
    for theory in (
        Theory(
            "gcv",
            "GCV",
            "generalised cross-validation: the test risk as predicted without a test set",
            RISK,
            lambda fits: fits["gcv"],
        ),
        Theory(
            "loo",
            "leave-one-out",
            "mean exact leave-one-out squared error, summed over outputs; empty where not asked"
            " for",
            RISK,
            lambda fits: fits["loo"],
        ),
        Theory(
            "transport",
            "same-κ transport",
            "risk predicted from the whole pool at the same effective ridge (same-κ transport)",
            RISK,
            lambda fits: fits.transported.risk,
            lambda fits: fits.influence.standard_errors(
                fits.transported, fits["ridge"], fits.sizes
            ),
        ),
        Theory(
            "transport_loo",
            "transport, corrected",
            "`transport` times the ratio of leave-one-out to GCV of the pool at the same effective"
            " ridge: nearer to the risk where samples differ in leverage",
            RISK,
            lambda fits: fits.transported.risk * fits.influence.loo_ratios(fits.transported.delta),
        ),
        Theory(
            "naive",
            "naive plug-in",
            "omniscient risk with the pool's own eigenvalues in place of the population's:"
            " eigenlearning with the spectrum of the pool",
            RISK,
            lambda fits: baselines.naive_plug_in(fits.pool, fits["ridge"], fits.sizes),
        ),
        Theory(
            "train_risk",
            "training risk",
            "mean squared error on the training samples, summed over outputs",
            RISK,
            lambda fits: fits["train_risk"],
        ),
        Theory(
            "fixed_design",
            "classical κ = λ",
            "classical limit κ = λ of the omniscient risk, whatever n",
            RISK,
            lambda fits: baselines.fixed_design(fits.pool, fits["ridge"]),
        ),
        Theory(
            "mallows_cp",
            "Mallows' Cp",
            "Mallows' Cp, noise from the fit of the most degrees of freedom ≤ n/2",
            RISK,
            lambda fits: baselines.mallows_cp(fits["train_risk"], fits["df"], fits.n),
        ),
        Theory(
            "akaike",
            "AIC",
            "exp(AIC/n), train_risk · exp(2 df/n)",
            RISK,
            lambda fits: baselines.akaike(fits["train_risk"], fits["df"], fits.n),
        ),
        Theory(
            "isotropic",
            "spectrum only",
            "risk that a prior without direction expects of the spectrum alone",
            RISK,
            lambda fits: baselines.isotropic_risk(fits.sample, fits["ridge"]),
        ),
        Theory(
            "norm_proxy",
            "norm, B² tr K/n²",
            "norm2 · tr K/n², the square of `rademacher`",
            RISK,
            lambda fits: baselines.norm_proxy(fits["norm2"], fits.sample.trace, fits.n),
        ),
        Theory(
            "rademacher",
            "norm, Rademacher",
            "Rademacher complexity sqrt(norm2 · tr K)/n, without its constant",
            TARGET,
            lambda fits: baselines.rademacher(fits["norm2"], fits.sample.trace, fits.n),
        ),
        Theory(
            "arora",
            "norm, Arora",
            "sqrt(2 norm2 · max K_ii/n), the bound of Arora et al. (2019), without its constant",
            TARGET,
            lambda fits: baselines.arora(fits["norm2"], fits.largest_diagonal, fits.n),
        ),
        Theory(
            "benign",
            "benign overfitting",
            "variance k*/n + n/R of a benign overfit in units of the noise, up to a constant",
            DIMENSIONLESS,
            lambda fits: baselines.benign_path(fits.pool, fits["ridge"], fits.n),
        ),
    )
}
"""The theories by name, in the order of tables and figures."""

PREDICTION_COLUMNS = (
    *KEYS,
    *THEORIES,
    *(theory.error_name for theory in THEORIES.values() if theory.relative_error),
    *ERRORS,
)
"""Columns of the table of predictions."""


def predictions(samples: Iterable[Fits]) -> pd.DataFrame:
    """Every theory for every fit of samples of one pool: the columns `PREDICTION_COLUMNS`."""
    tables, influence = [], None
    for fits in samples:
        tables.append(_predicted(fits))
        influence = fits.influence
    table = pd.concat(tables, ignore_index=True)
    return table.assign(**_errors(table, influence))[list(PREDICTION_COLUMNS)]


def _predicted(fits: Fits) -> pd.DataFrame:
    columns = {name: theory.predict(fits) for name, theory in THEORIES.items()}
    for theory in THEORIES.values():
        if theory.relative_error:
            columns[theory.error_name] = theory.relative_error(fits)
    return fits.table[[*KEYS, "test_error"]].assign(**columns)


def errors_made(n: int, rank: int, outputs: int, sizes: int, ridges: int) -> int:
    """The number of fits whose 0-1 error is predicted, from a pool of n samples."""
    fits = sizes * ridges
    return fits if n * rank * outputs * fits <= MOST_PRODUCTS else sizes


def _errors(
    table: pd.DataFrame, influence: Influence | None
) -> dict[str, Float64[np.ndarray, " l"] | float]:
    """The predicted errors of the fits; the trials of a size share them. NaN without classes."""
    if influence is None or influence.scores is None:
        return dict.fromkeys(ERRORS[1:], np.nan)
    fits, pool = table[["n", "ridge", "loo", "gcv"]].astype(float), influence.pool
    known = fits.groupby(["n", "ridge"], as_index=False).mean()
    sizes = known["n"].nunique()
    grid = pool.n, len(pool.eigenvalues), influence.scores.classes, sizes, len(known) // sizes
    if errors_made(*grid) < len(known):
        known = _best(known)
    found = errors_within(influence, known["ridge"].to_numpy(), known["n"].to_numpy())
    known = known[["n", "ridge"]].assign(**dict(zip(ERRORS[1:], found, strict=True)))
    return {name: fits.merge(known, how="left")[name].to_numpy() for name in ERRORS[1:]}


def _best(means: pd.DataFrame) -> pd.DataFrame:
    """The row of each size with the smallest leave-one-out risk, or GCV where there is none."""
    values = means.replace([np.inf, -np.inf], np.nan)
    by = "loo" if values["loo"].notna().any() else "gcv"
    rows = values.dropna(subset=[by]).sort_values(by, kind="stable").drop_duplicates("n")
    return rows.sort_values("n")
