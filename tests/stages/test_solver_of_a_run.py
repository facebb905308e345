"""The solver of a run by its name: estimates with their errors, and a factor on a disk."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

import rmtgen
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
    words = (f"solve_from={source}", "loo=true")
    made = solved("estimate", *words, "solver=matrix_free")
    risk = pd.read_csv(made / "risk.csv")
    known = pd.read_csv(solved("exact", *words, "solver=eigen") / "risk.csv")
    assert list(risk) == [*known, *ERROR_COLUMNS]
    np.testing.assert_allclose(risk["test_risk"], known["test_risk"], rtol=1e-3)
    for column in ("gcv", "df", "kappa", "kappa_prime"):
        allowed = 5 * risk[f"{column}_se"] + 1e-3 * known[column].abs()
        assert ((risk[column] - known[column]).abs() <= allowed).all(), column
    allowed = 5 * risk["loo_sampled_se"] + 0.01 * known["loo"]
    assert ((risk["loo"] - known["loo"]).abs() <= allowed).all()
    assert risk["residual"].between(0, 1e-3).all()
    curve = pd.read_csv(made / "curve.csv")
    assert set(curve["n"]) == {24, 96}
    assert curve[list(ERROR_COLUMNS)].notna().all(axis=None)
    sidecar = (made / f"risk.csv{SIDECAR_SUFFIX}").read_text()
    assert all(f'"name": "{column}"' in sidecar for column in ERROR_COLUMNS)


@pytest.mark.parametrize("source", ["gram", "features"])
def test_a_factor_on_a_disk_gives_the_same_tables(solved, tmp_path, source):
    words = (f"solve_from={source}", "loo=true")
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
        (("solver=matrix_free",), "estimates at ridges > 0: got a ridge of 0. Set ridges=1e-4:1e2"),
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


def test_a_plan_states_that_a_stored_matrix_is_not_held(capsys):
    words = ("model=test_resnet", "init=random", "img_size=32", "train=60000", "test=2000")
    risk = {}
    for solver in ("nested", "streamed"):
        more = ("solve_from=gram", f"solver={solver}", "spill=x", "--json")
        assert main(["plan", "dataset=folder:none", *words, *more]) == 0
        (run,) = json.loads(capsys.readouterr().out)["runs"]
        risk[solver] = {stage["stage"]: stage["ram"] for stage in run["details"]["stages"]}["risk"]
    assert risk["streamed"] <= 4 << 30 < 3 * 8 * 60_000**2 < risk["nested"]


def test_eigensolves_beyond_the_budget_are_left_out_and_said(solved, finished, capsys):
    """A matrix that stays in its store is solved for the risk at every size."""
    words = ("solve_from=gram", "solver=matrix_free", "memory=300KiB")
    made = solved("small", *words, "--stage", "risk")
    said = " ".join("".join(capsys.readouterr()).split())
    assert "an eigensolve of n = 96 takes 432.0 KiB, more than memory=300.0 KiB" in said
    assert {cell.n for cell in rmtgen.load_run(made).spectrum} == {24}
    assert set(pd.read_csv(made / "risk.csv")["n"]) == {24, 96}
    assert main(["theory", *finished[1][:-1], *WORDS, *words, f"output={made.parents[1]}"]) == 3
    said = " ".join(capsys.readouterr().err.split())
    assert "theory solves the whole pool: an eigensolve of n = 96 takes" in said


def test_a_budget_for_no_eigensolve_is_refused(solved, finished, tmp_path, capsys):
    made = solved("made", "solve_from=gram", "solver=matrix_free", "--stage", "gram")
    words = ("solve_from=gram", "solver=matrix_free", "memory=20KiB", f"output={made.parents[1]}")
    assert main(["spectrum", *finished[1][:-1], *WORDS, *words]) == 3
    assert "Raise memory, or add a smaller size to sizes" in capsys.readouterr().err
