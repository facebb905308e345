"""The spectrum of a Gram matrix with the targets on its eigenvectors, in memory and in spectrum.h5.

It is what remains of an eigensolve once the eigenvectors are gone, and suffices for every formula
of the training side and for every theory. It consists of NumPy arrays, and importing this module
does not import torch: a run is read back without it.

Notation: n samples, c outputs, r modes above the rank tolerance; K = UsUᵀ is not divided by n; with
an intercept K and the targets Y are centred.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from rmtgen.linalg.cells import Cell

if TYPE_CHECKING:
    from torch import Tensor

    import rmtgen.linalg.modes
    from rmtgen.linalg.rows import Rows


_STORED = {
    "eigenvalues": ("f", 1),
    "coefficients": ("f", 2),
    "null_energy": ("f", 0),
    "n": ("iu", 0),
    "residual": ("f", 0),
    "orthogonality": ("f", 0),
    "intercept": ("b", 0),
}
"""Kind of the NumPy type and number of axes of each field of a stored spectrum."""


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Eigenvalues of a Gram matrix K and the coefficients of the targets Y in its eigenvectors U.

    Attributes:
        eigenvalues: s_i of K above the rank tolerance, descending.
        coefficients: UᵀY.
        null_energy: ‖Y − UUᵀY‖², summed over outputs.
        n: Number of samples.
        residual: Relative misfit of the eigensolve; NaN without an eigensolve, as below.
        orthogonality: Relative departure of U from orthonormality.
        intercept: Whether there is an unpenalised intercept.
    """

    eigenvalues: Float64[np.ndarray, " r"]
    coefficients: Float64[np.ndarray, "r c"]
    null_energy: float
    n: int
    residual: float = np.nan
    orthogonality: float = np.nan
    intercept: bool = False

    @classmethod
    def of(
        cls, modes: "rmtgen.linalg.modes.Modes", targets: "np.ndarray | Tensor | Rows"
    ) -> "Spectrum":
        """The spectrum of `modes` with the targets (n,) or (n, c) of their samples.

        Raises:
            UsageError: The number of targets is not that of the samples.
            NumericalError: Targets that are not finite.
        """
        return cls.of_powers(modes, *modes.powers(targets))

    @classmethod
    def of_powers(
        cls,
        modes: "rmtgen.linalg.modes.Modes",
        coefficients: "Float64[Tensor, 'r c']",
        null_energy: float,
    ) -> "Spectrum":
        """The spectrum of `modes` with targets of which `Modes.powers` is known."""
        return cls(
            modes.values.cpu().numpy(),
            coefficients.cpu().numpy(),
            null_energy,
            modes.n,
            modes.residual,
            modes.orthogonality,
            modes.intercept,
        )

    @classmethod
    def of_power(
        cls,
        eigenvalues: Float64[np.ndarray, " r"],
        power: Float64[np.ndarray, " r"],
        null_energy: float,
        n: int,
        *,
        intercept: bool = False,
    ) -> "Spectrum":
        """A spectrum of a single output, from the power c_i² ≥ 0 of each mode."""
        coefficients = np.sqrt(power)[:, None]
        return cls(eigenvalues, coefficients, null_energy, n, intercept=intercept)

    def with_power(self, power: Float64[np.ndarray, " r"], null_energy: float = 0.0) -> "Spectrum":
        """The same eigenvalues with another target of a single output and power c_i² ≥ 0."""
        return replace(self, coefficients=np.sqrt(power)[:, None], null_energy=null_energy)

    @cached_property
    def power(self) -> Float64[np.ndarray, " r"]:
        """Power c_i² of the targets in each mode, summed over outputs."""
        return np.square(self.coefficients).sum(axis=1)

    @property
    def energy(self) -> float:
        """Energy ‖Y‖² of the targets, Σ c_i² + null energy."""
        return float(self.power.sum() + self.null_energy)

    @property
    def trace(self) -> float:
        """Trace of K, Σ s_i."""
        return float(self.eigenvalues.sum())

    @property
    def rank(self) -> int:
        """Number r of modes."""
        return len(self.eigenvalues)

    @property
    def directions(self) -> int:
        """Number of directions that the ridge acts on: n, less one for an intercept."""
        return self.n - self.intercept

    @property
    def null_dim(self) -> int:
        """Dimension of the null space of K among these directions."""
        return self.directions - self.rank

    def save(self) -> dict[str, np.ndarray]:
        """Every field as an array by its name, in the order in which HDF5 lists names."""
        names = sorted(field.name for field in fields(self))
        return {name: np.asarray(getattr(self, name)) for name in names}

    @classmethod
    def load(cls, stored: Mapping[str, np.ndarray]) -> "Spectrum":
        """The spectrum that `save` took apart, from arrays or from a group of an HDF5 file.

        Raises:
            KeyError: A field is not there.
            ValueError: A field is of another kind or shape.
        """
        values: dict[str, Any] = {field.name: stored[field.name][()] for field in fields(cls)}
        for name, (kinds, ndim) in _STORED.items():
            found = values[name]
            if found.dtype.kind not in kinds or found.ndim != ndim:
                raise ValueError(f"{name} of a spectrum is {found.dtype} of shape {found.shape}")
        rank = len(values["eigenvalues"])
        if len(values["coefficients"]) != rank or rank > values["n"]:
            raise ValueError(
                f"a spectrum of n = {values['n']} has {rank} eigenvalues and"
                f" {len(values['coefficients'])} rows of coefficients"
            )
        return cls(**{name: v if v.ndim else v.item() for name, v in values.items()})


class Spectra(dict[Cell, Spectrum]):
    """Every spectrum of a run by (n, trial), in that order."""

    @property
    def largest(self) -> Spectrum:
        """That of the most samples, in the first trial."""
        return self[max(self, key=lambda cell: (cell[0], -cell[1]))]

    def save(self) -> dict[str, np.ndarray]:
        """The arrays of spectrum.h5: a group `nNNNNNNNN-tTTT` per spectrum."""
        return {
            f"{cell.name}/{key}": values
            for cell, spectrum in self.items()
            for key, values in spectrum.save().items()
        }

    @classmethod
    def load(cls, groups: Mapping[str, Mapping[str, np.ndarray]]) -> "Spectra":
        """The spectra of an open spectrum.h5.

        Raises:
            KeyError, ValueError: There is none, or one is not as `Spectrum.save` leaves it.
        """
        if not len(groups):
            raise ValueError("there is no spectrum")
        cells = sorted(Cell.parse(name) for name in groups)
        return cls({cell: Spectrum.load(groups[cell.name]) for cell in cells})
