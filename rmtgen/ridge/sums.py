"""Columns of a fit at every size from running sums over the rows of an inverse factor.

With L the Cholesky factor of K + δI and R = L⁻¹, the leading blocks of L are the factors of those
of K + δI. With the rows r_i of R, the first n samples have G_n = R_nᵀR_n, that is

    G_n = Σ_{i≤n} r_i r_iᵀ,    GY = Σ_{i≤n} r_i z_iᵀ,    Z = RY,
    tr G = Σ_{i≤n} ‖r_i‖²,    diag G = Σ_{i≤n} r_i²,    tr G² = ‖RRᵀ‖² = Σ_{i,j≤n} (r_i·r_j)².

All that a size needs is a running sum over the rows of R; a size costs what its own columns cost,
n(c + m).

With an intercept P = G − wwᵀ/(1ᵀw), w = G1, takes the place of G; w is one more column of GY, and
‖Rw‖² = ‖RRᵀ(R1)‖² one more running sum.
"""

from collections import defaultdict
from collections.abc import Callable, Collection
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from rmtgen.ridge.columns import COLUMNS
from rmtgen.ridge.interval import pair_covariance_, paired
from rmtgen.ridge.problem import Grid, Problem
from rmtgen.ridge.traces import digits_kept, dual_columns

LEAST_SHARE = 1e-7
"""Share of tr G² that must be left once an intercept has removed the direction 1: below it, more
than seven of sixteen digits are lost."""

Sweep = Callable[[Problem, float, set[int]], dict[int, dict | None]]
"""The columns of a problem at one δ for each of some sizes, without `ridge`; None where too few
digits are left."""


def swept(sweep: Sweep, problem: Problem, sizes: list[int], grid: Grid) -> list[dict | None]:
    """One row of `COLUMNS` per (size, ridge), sizes outer: one sweep per distinct δ."""
    rows: dict[tuple[int, int], dict | None] = {}
    for sum_ridge, cells in shared(sizes, grid).items():
        found = sweep(problem, sum_ridge, {n for _, n, _ in cells})
        rows |= {key: found[n] | {"ridge": ridge} if found[n] else None for key, n, ridge in cells}
    return [rows[key] for key in sorted(rows)]


def shared(sizes: list[int], grid: Grid) -> dict[float, list[tuple[tuple[int, int], int, float]]]:
    """The cells that need each δ: their place in the path, n and λ."""
    cells = defaultdict(list)
    for place, n in enumerate(sizes):
        for number, (ridge, sum_ridge) in enumerate(grid.at(n)):
            cells[sum_ridge].append(((place, number), n, ridge))
    return cells


class Predictions(Protocol):
    """Predictions on the test set at every size."""

    def add(self, rows: Float64[Tensor, "b n"], targets: Float64[Tensor, "b c"]) -> None:
        """Take some rows of R, and those of Z."""

    def at(self, dual: Float64[Tensor, "n c"]) -> Float64[Tensor, "m c"]:
        """k(test)·GY of the first n samples, whose rows were taken."""


class Sums:
    """Running sums over the rows of R, and the columns of a fit from them.

    Attributes:
        tensors: All that changes, by name: enough to go on from.
    """

    def __init__(
        self,
        problem: Problem,
        sum_ridge: float,
        sizes: Collection[int],
        largest: float,
        predictions: Predictions | None,
    ):
        """Sums over no rows.

        Args:
            problem: The problem.
            sum_ridge: δ.
            sizes: The sizes.
            largest: max K_ii.
            predictions: Of the test set; None without one.
        """
        self.problem, self.sum_ridge, self.largest = problem, sum_ridge, largest
        self.predictions = predictions
        n = max(sizes)
        targets = problem.targets[:n]
        looked_at = [paired(size) for size in sizes] if problem.loo else [np.arange(0)]
        self.paired = np.unique(np.concatenate(looked_at))
        ones = targets.new_ones(n, 1)
        self.targets = torch.cat([targets, ones], dim=1) if problem.intercept else targets
        self.tensors = {
            "dual": torch.zeros_like(self.targets),  # GY, and G1
            "diagonal": targets.new_zeros(n),
            "traces": targets.new_zeros(2),  # tr G and tr G²
            "pairs": targets.new_zeros(len(self.paired), len(self.paired)),  # their block of G
            "direction": targets.new_zeros(n * problem.intercept),  # R1
            "image": targets.new_zeros(n * problem.intercept),  # RRᵀ(R1)
        }

    def add(
        self,
        rows: Float64[Tensor, "b high"],
        products: Float64[Tensor, "b high"],
        sizes: list[int],
    ) -> dict[int, dict | None]:
        """Add the rows of R that follow those which were added before.

        Args:
            rows: Rows low … high of R, without the zeros to the right of them all.
            products: Their products with all rows up to `high`; above the diagonal anything.
            sizes: Sizes in (low, high], ascending.

        Returns:
            The columns at the sizes, without `ridge`; None where too few digits are left.
        """
        count, high = rows.shape
        low, found = high - count, {}
        targets = rows @ self.targets[:high]
        traces = torch.stack([rows.square().sum(dim=1), _squares(products)]).cumsum(dim=1)
        before = self.tensors["traces"].clone()
        for start, stop in pairwise([low, *sizes] + [high] * (sizes[-1:] != [high])):
            part = slice(start - low, stop - low)
            here = rows[part, :stop]
            self.tensors["dual"][:stop].addmm_(here.mT, targets[part])
            if self.problem.loo:
                self.tensors["diagonal"][:stop] += here.square().sum(dim=0)
                self._add_pairs(here)
            if self.problem.intercept:
                self._add_image(products[part, :stop], targets[part, -1])
            if self.predictions:
                self.predictions.add(here, targets[part])
            self.tensors["traces"].copy_(before + traces[:, stop - low - 1])
            if stop in sizes:
                found[stop] = self._row(stop)
        return found

    def _add_pairs(self, rows: Float64[Tensor, "b stop"]) -> None:
        """Go on with the block of G of the samples whose pairs are looked at at any size."""
        chosen = self.paired[: np.searchsorted(self.paired, rows.shape[1])]
        columns = rows[:, torch.from_numpy(chosen).to(rows.device)]
        self.tensors["pairs"][: len(chosen), : len(chosen)].addmm_(columns.mT, columns)

    def _add_image(self, products: Tensor, direction: Float64[Tensor, " b"]) -> None:
        """Go on with RRᵀ(R1), whose matrix grows by rows and columns."""
        stop = products.shape[1]
        start = stop - len(products)
        left, corner = products[:, :start], products[:, start:].tril()
        image, known = self.tensors["image"], self.tensors["direction"]
        image[:start] += left.mT @ direction
        image[start:stop] = left @ known[:start] + corner @ direction
        image[start:stop] += corner.tril(-1).mT @ direction
        known[start:stop] = direction

    def _row(self, n: int) -> dict | None:
        """Every column but the ridge at one size; None where too few digits are left.

        With an intercept, w = G1, s = 1ᵀw and b = wᵀY/s, the definition of P gives

            PY = GY − w b,    diag P = diag G − w²/s,    tr P = tr G − ‖w‖²/s,
            tr P² = tr G² − 2 wᵀGw/s + (‖w‖²/s)²,    wᵀGw = ‖Rw‖²,

        and the fit is f(x) = k(x)ᵀG(Y − 1b) + b = k(x)ᵀGY + (1 − k(x)ᵀw) b.
        """
        problem, dual = self.problem, self.tensors["dual"][:n]
        diagonal = self.tensors["diagonal"][:n]
        trace, trace_square = self.tensors["traces"].tolist()
        scores = self.predictions.at(dual) if self.predictions else None
        if problem.intercept:
            ones, dual = dual[:, -1], dual[:, :-1]  # w and GY
            total = ones.sum()  # s
            offset = (ones @ problem.targets[:n]) / total  # b
            share = (ones.square().sum() / total).item()  # ‖w‖²/s
            energy = self.tensors["image"][:n].square().sum()  # wᵀGw
            whole, trace = trace_square, trace - share
            trace_square += share**2 - 2 * (energy / total).item()
            if trace_square < LEAST_SHARE * whole:
                return None
            dual, diagonal = dual - ones[:, None] * offset, diagonal - ones.square() / total
            scores = None if scores is None else scores[:, :-1] + (1 - scores[:, -1:]) * offset
        energy, overlap = dual.square().sum().item(), (dual * problem.targets[:n]).sum().item()
        row = dict.fromkeys(COLUMNS, np.nan) | problem.train_columns(self.sum_ridge * dual)
        row |= dual_columns(n, self.sum_ridge, energy, trace, trace_square, overlap)
        if not digits_kept(row, self.sum_ridge, self.largest):
            return None
        if problem.loo:
            covariance = self._pair_covariance(dual, ones if problem.intercept else None)
            row |= problem.loo_columns(dual / diagonal[:, None], covariance)
        if scores is not None:
            row |= problem.test_columns(scores)
        return row

    def _pair_covariance(self, dual: Float64[Tensor, "n c"], ones: Tensor | None) -> float:
        """That of G, or with an intercept, of which `ones` is w, that of P."""
        chosen = paired(len(dual))
        places = torch.from_numpy(np.searchsorted(self.paired, chosen)).to(dual.device)
        inverse = self.tensors["pairs"][places[:, None], places]
        positions = torch.from_numpy(chosen).to(dual.device)
        if ones is not None:
            own = ones[positions]
            inverse -= torch.outer(own, own / ones.sum())
        return pair_covariance_(inverse, dual[positions])


def _squares(products: Float64[Tensor, "b high"]) -> Float64[Tensor, " b"]:
    """What each row of R adds to tr G²: Σ_{j≤i} (r_i·r_j)², twice where j < i."""
    count, high = products.shape
    below = products.tril(high - count - 1).square().sum(dim=1)
    return 2 * below + products[:, high - count :].diagonal().square()
