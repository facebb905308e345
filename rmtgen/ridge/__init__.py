"""The ridge path: GCV, LOO, train and test risk of kernel ridge regression over sizes × ridges, by
solvers behind one function.
"""

from rmtgen.ridge.path import (
    SOLVERS,
    path_cost,
    resolve_ridges,
    ridge_path,
    ridge_path_features,
    ridge_path_stored,
)
from rmtgen.ridge.problem import COLUMNS

__all__ = [
    "COLUMNS",
    "SOLVERS",
    "path_cost",
    "resolve_ridges",
    "ridge_path",
    "ridge_path_features",
    "ridge_path_stored",
]
