"""The ridge problems of a run: nested random subsets of one pool of N samples."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int64


class Cell(NamedTuple):
    """One ridge problem of a run: the sample size n and the number of the trial."""

    n: int
    trial: int

    @property
    def name(self) -> str:
        """Name of its files and HDF5 groups, `nNNNNNNNN-tTTT`; sorts by n, then trial."""
        return f"n{self.n:08d}-t{self.trial:03d}"

    @classmethod
    def parse(cls, name: str) -> "Cell":
        """The cell that `name` names."""
        n, _, trial = name[1:].partition("-t")
        return cls(int(n), int(trial))

    def order(self, seed: int, pool: int) -> Int64[np.ndarray, " n"]:
        """Positions of the n samples in a pool of N: the first n of the trial's seeded shuffle.

        Sizes of one trial are nested.
        """
        return np.random.default_rng([seed, self.trial]).permutation(pool)[: self.n]
