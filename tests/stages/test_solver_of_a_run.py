"""The solver of a run by its name: estimates with their errors, and a factor on a disk."""

import shutil

import numpy as np
import pandas as pd
import pytest

from rmtgen.cli.main import main
from rmtgen.ridge import SOLVERS
from rmtgen.ridge.columns import COLUMNS, ERROR_COLUMNS, SOLVER_NAMES
from rmtgen.runs.columns import SIDECAR_SUFFIX

WORDS = ("ridges=0.1,1,10", "sizes=24,96", "loo=false")


def test_the_names_are_those_of_the_solvers():
    assert tuple(SOLVERS) == SOLVER_NAMES


@pytest.fixture
def solved(finished, tmp_path):
    """A function of words: the directory of a run with other settings on finished features."""
    output, words = finished

    def run(name, *more):
        copy = shutil.copytree(output, tmp_path / name, copy_function=shutil.copy2)
        there = set((copy / "runs").iterdir())
        assert main(["run", *words[:-1], *WORDS, *more, f"output={copy}"]) == 0
        (made,) = set((copy / "runs").iterdir()) - there
        return made

    return run


@pytest.mark.parametrize("source", ["gram", "features"])
def test_estimates_have_their_errors_in_both_tables(solved, source):
    made = solved("estimate", f"solve_from={source}", "solver=matrix_free")
    risk = pd.read_csv(made / "risk.csv")
    known = pd.read_csv(solved("exact", f"solve_from={source}", "solver=eigen") / "risk.csv")
    assert list(risk) == [*known, *ERROR_COLUMNS]
    np.testing.assert_allclose(risk["test_risk"], known["test_risk"], rtol=1e-3)
    for column in ("gcv", "df", "kappa", "kappa_prime"):
        allowed = 5 * risk[f"{column}_se"] + 1e-3 * known[column].abs()
        assert ((risk[column] - known[column]).abs() <= allowed).all(), column
    assert risk["residual"].between(0, 1e-3).all()
    curve = pd.read_csv(made / "curve.csv")
    assert set(curve["n"]) == {24, 96}
    assert curve[list(ERROR_COLUMNS)].notna().all(axis=None)
    sidecar = (made / f"risk.csv{SIDECAR_SUFFIX}").read_text()
    assert all(f'"name": "{column}"' in sidecar for column in ERROR_COLUMNS)


def test_a_factor_on_a_disk_gives_the_same_tables(solved, tmp_path):
    words = ("solve_from=features", "loo=true")
    found, known = (
        pd.read_csv(solved(name, *words, *more) / "risk.csv")
        for name, more in (
            ("streamed", ("solver=streamed", f"spill={tmp_path / 'spill'}")),
            ("eigen", ("solver=eigen",)),
        )
    )
    columns = [column for column in COLUMNS if not column.endswith("error")]
    np.testing.assert_allclose(found[columns], known[columns], rtol=1e-6)
    assert not any((tmp_path / "spill").iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("solver=matrix_free",), "got loo=true. Set loo=false and ridges"),
        (("solver=matrix_free", "loo=false"), "got a ridge of 0. Set loo=false and ridges"),
        (("solver=streamed",), "needs a folder for half of an n×n matrix: got none. Set spill=DIR"),
        (("solver=dense",), "solver: expected one of auto, eigen, nested"),
    ],
)
def test_what_a_solver_cannot_do_is_refused_before_the_run(tmp_path, capsys, words, message):
    assert main(["run", *words, f"output={tmp_path}"]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words",
    [("solver=matrix_free", *WORDS), ("solver=streamed", "spill=x", "solve_from=features")],
)
def test_a_plan_counts_the_named_solver(tiny_images, capsys, words):
    assert main(["plan", *tiny_images, *words]) == 0
    assert "risk" in capsys.readouterr().out


def test_a_plan_refuses_what_the_solver_would(tiny_images, capsys):
    words = ("solver=streamed", "spill=x", "solve_from=gram")
    assert main(["plan", *tiny_images, *words]) == 2
    assert "reads features or a store, got a matrix in memory" in capsys.readouterr().err
