"""The table of theories and the notes of runs that have the `theory` stage behind them."""

import numpy as np
import pandas as pd
import pytest

from rmtgen.report.results import RunResult
from rmtgen.report.theories import HEADINGS, NAMES, format_theories, theory_cells, theory_notes, theory_scores
from rmtgen.theory.study import RIVALS

RIDGES = (0.0, 0.1, 1.0)


def run(name, init, *, dataset="digits", bend=1.0, theory=True):
    """A made-up run whose GCV is exact and whose training risk is upside down."""
    keys = [(n, trial, ridge) for n in (100, 400) for trial in (0, 1) for ridge in RIDGES]
    fits = pd.DataFrame(keys, columns=["n", "trial", "ridge"])
    truth = bend * (0.5 + 0.1 * fits["ridge"] + 10 / fits["n"])
    predictions = fits.assign(relative_ridge=fits["ridge"], test_risk=truth, test_risk_se=0.01, transport_se=0.01)
    predictions = predictions.assign(**dict.fromkeys(RIVALS, 3 * truth))
    predictions = predictions.assign(gcv=truth, transport=1.02 * truth, train_risk=1 / truth)
    blank = dict.fromkeys(
        ("train_risk", "df", "kappa", "kappa_prime", "norm2", "train_error", "loo_error", "test_error"), 0.5
    )
    risk = predictions.assign(**blank, loo=truth, outputs=2)
    values = np.arange(1, 401.0) ** -1.5
    power = 400 * np.arange(1, 401.0) ** -(1.2 if init == "random" else 2.0)
    tables = {
        "predictions": predictions,
        "hindcast": pd.DataFrame(
            [
                {
                    "n": 400,
                    "predicted_risk": 0.5,
                    "low": 0.4,
                    "high": 0.6,
                    "test_risk": 0.55,
                    "test_risk_se": 0.01,
                    "seen": 40,
                }
            ]
        ),
        "trust": pd.DataFrame({"tripped": [False, True], "message": ["all is well", "H is 9 against 3"]}),
    }
    config = {"targets": "centered"}
    common = (name, "resnet18", init, dataset, "features", config, risk, values, power, 0.0, 400)
    return RunResult(*common, theory=tables if theory else None)


def test_every_theory_has_a_name():
    assert set(NAMES) == set(RIVALS)


def test_scores_are_of_all_runs_of_a_data_set_and_leave_out_those_without_theory():
    runs = [
        run("a", "random"),
        run("b", "pretrained", bend=0.7),
        run("c", "random", theory=False),
        run("d", "random", dataset="other"),
    ]
    table = theory_scores(runs)
    assert list(table["dataset"].unique()) == ["digits", "other"]
    digits = table[table["dataset"] == "digits"].set_index("theory")
    assert digits.loc["gcv", "runs"] == 2
    assert digits.loc["gcv", "fits"] == 24
    assert digits.loc["gcv", "kendall"] == pytest.approx(1)
    assert digits.loc["gcv", "log_error"] == 0
    assert digits.loc["train_risk", "kendall"] == pytest.approx(-1)
    assert digits.loc["isotropic", "log_error"] == pytest.approx(np.log(3))
    assert digits.loc["isotropic", "shape_error"] == pytest.approx(0, abs=1e-12)


def test_no_theory_no_table():
    assert theory_scores([run("a", "random", theory=False)]).empty
    assert format_theories(theory_scores([run("a", "random", theory=False)])) == ""
    assert theory_notes([run("a", "random", theory=False)]) == []


def test_the_table_is_text_of_a_terminal():
    table = theory_scores([run("a", "random"), run("b", "pretrained", bend=0.7)])
    text = format_theories(table)
    assert max(map(len, text.splitlines())) <= 100
    assert text.splitlines()[0].split() == " ".join(HEADINGS).split()
    cell = next(cell for cell in theory_cells(table) if cell["theory"] == "spectrum only")
    assert cell["log-error, %"] == "110 [110, 110]"


def test_notes_tell_transport_hindcast_warnings_and_the_swap():
    random, pretrained, told, swapped = (
        next(note for note in theory_notes([run("a", "random"), run("b", "pretrained", bend=0.7)]) if word in note)
        for word in ("random, digits", "pretrained, digits", "H is 9", "pretrained against random")
    )
    assert "off by 2 % in the median over (n, ridge), 2 % at worst" in random
    assert "From 40 images alone it foretells 0.5000 [0.4000, 0.6000] at n = 400; measured 0.5500 ±0.0100" in pretrained
    assert told.startswith("resnet18, random, digits, features")
    assert "at n = 50: log risk falls by" in swapped
    assert "100% of it by alignment and 0% by the spectrum" in swapped  # the spectra are equal
