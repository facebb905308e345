"""The ridge path: GCV, LOO, train and test risk of kernel ridge regression over sizes × ridges.

Several solvers stand behind one function. Names load on first use, so that the columns of a table
are known without importing torch.
"""

from importlib import import_module

_HOMES = {
    "COLUMNS": "columns",
    "SOLVERS": "solvers",
    "path_cost": "solvers",
    "resolve_ridges": "path",
    "ridge_path": "path",
    "ridge_path_features": "path",
    "ridge_path_stored": "path",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
