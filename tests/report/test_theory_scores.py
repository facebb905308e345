"""The table of theories and the notes of runs that have the `theory` stage behind them."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from made_runs import studied_run

from rmtgen.report.run_set import RunSet
from rmtgen.report.swaps import swap_pairs
from rmtgen.report.theory_scores import (
    HEADINGS,
    flat_scores,
    scores_table,
    theory_scores,
)
from rmtgen.runs.columns import write_table


def theory_notes(results):
    return RunSet.of(results).theory_notes


def test_scores_are_of_all_runs_of_a_data_set_and_leave_out_those_without_theory():
    runs = [
        studied_run("a", "random"),
        studied_run("b", "pretrained", bend=0.7),
        studied_run("c", "random", theory=False),
        studied_run("d", "random", dataset="other"),
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
    assert theory_scores([studied_run("a", "random", theory=False)]).empty
    assert scores_table(theory_scores([studied_run("a", "random", theory=False)])).rows == ()
    assert theory_notes([studied_run("a", "random", theory=False)]) == []


def test_the_table_is_text_of_a_terminal():
    table = theory_scores([studied_run("a", "random"), studied_run("b", "pretrained", bend=0.7)])
    shown = scores_table(table)
    lines = shown.text(100).splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0].split() == " ".join(HEADINGS).split()
    (row,) = (row for row in shown.rows if row[1] == "spectrum only")
    assert row[3] == "110 [110, 110]"


def test_notes_hold_transport_hindcast_warnings_and_the_swap():
    random, pretrained, warning, swapped = (
        next(
            note
            for note in theory_notes(
                [studied_run("a", "random"), studied_run("b", "pretrained", bend=0.7)]
            )
            if word in note
        )
        for word in ("random, digits", "pretrained, digits", "H is 9", "pretrained against random")
    )
    assert "off by 2 % in the median over (n, ridge), 2 % at worst" in random
    assert (
        "From 40 images alone it predicts 0.5000 [0.4000, 0.6000] at n = 400; measured 0.5500"
        " ±0.0100" in pretrained
    )
    assert warning.startswith("resnet18, random, digits, features")
    assert "at n = 25: log risk falls by" in swapped
    assert (
        "100% of it by alignment and 0% by the spectrum (0.000 [0.000, 0.000])." in swapped
    )  # the spectra are equal


def test_a_warning_lists_the_first_files_that_it_suspects():
    run = studied_run("a", "random")
    files = ["", *(f"pictures/{number}.png" for number in range(5))]
    suspects = pd.DataFrame({"detector": ["outliers"] * 5 + ["risk"], "file": files})
    (note,) = (
        note
        for note in theory_notes([with_theory(run, suspects=suspects)])
        if "H is 9 against 3" in note
    )
    assert note.endswith(
        "H is 9 against 3 Files: pictures/0.png, pictures/1.png, pictures/2.png, and 1 more."
    )
    nameless = with_theory(run, suspects=suspects.assign(file=""))
    assert any(note.endswith("H is 9 against 3") for note in theory_notes([nameless]))


def with_theory(run, **tables):
    return dataclasses.replace(run, theory=run.theory | tables)


def test_data_sets_of_one_short_name_keep_their_own():
    here, there = "folder:../a/digits.tar", "folder:/b/digits.tar"
    runs = [studied_run("a", "random", dataset=here), studied_run("b", "random", dataset=there)]
    rows = scores_table(theory_scores(runs)).rows
    assert {row[0] for row in rows} == {here, there}
    assert {row[0] for row in scores_table(theory_scores(runs[:1])).rows} == {"digits"}
    assert theory_notes(runs[:1])[0].startswith("resnet18, random, digits, features: ")
    assert theory_notes(runs)[0].startswith(f"resnet18, random, {here}, features: ")


def test_scores_in_a_csv_have_a_column_for_each_end_of_an_interval(tmp_path):
    table = theory_scores([studied_run("a", "pretrained"), studied_run("b", "random", bend=1.5)])
    path, sidecar = write_table(tmp_path / "theories.csv", flat_scores(table), "scores")
    found = pd.read_csv(path)
    assert found["kendall_low"].tolist() == pytest.approx(
        [low for low, _ in table["kendall_interval"]]
    )
    assert found["shape_error_high"].tolist() == pytest.approx(
        [high for _, high in table["shape_error_interval"]]
    )
    assert not [name for name in found if name.endswith("interval")]
    described = json.loads(sidecar.read_text())["tableSchema"]
    assert [column["name"] for column in described["columns"]] == list(found)
    assert described["primaryKey"] == ["dataset", "theory"]
    assert list(flat_scores(theory_scores([studied_run("a", "random", theory=False)]))) == list(
        found
    )


def test_only_runs_that_differ_in_nothing_else_are_a_pair():
    first, second = studied_run("a", "random"), studied_run("b", "pretrained")
    (pair,) = swap_pairs([first, second])
    assert pair == (first, second)
    other = dataclasses.replace(second, config={**second.config, "img_size": 32})
    assert swap_pairs([first, other]) == []
    trained = dataclasses.replace(
        second, config={**second.config, "init": "pretrained", "weights": "own.pth"}
    )
    assert len(swap_pairs([first, trained])) == 1


def test_a_calibrated_run_is_in_no_pair():
    random, trained, calibrated = (
        studied_run(init, init) for init in ("random", "pretrained", "calibrated")
    )
    assert swap_pairs([calibrated, random, trained]) == [(random, trained)]
    assert swap_pairs([calibrated, random]) == swap_pairs([calibrated, trained]) == []
    notes = theory_notes([random, trained, calibrated])
    assert sum("resnet18, calibrated, " in note for note in notes) >= 1


def test_a_pair_without_a_gap_and_a_theory_without_finite_values_still_make_a_report():
    twin = dataclasses.replace(studied_run("a", "random"), name="b", init="pretrained")
    assert (
        "0.000, – of it by alignment and – by the spectrum"
        in theory_notes([studied_run("a", "random"), twin])[-1]
    )
    run = studied_run("c", "random")
    table = run.theory["predictions"]
    table.loc[table.index[2:], "arora"] = np.inf
    assert "arora" not in set(theory_scores([run])["theory"])
    table["test_risk"] = np.nan
    assert theory_scores([studied_run("d", "random"), run])["fits"].gt(0).all()


def test_a_run_that_is_older_than_a_theory_is_scored_without_it():
    run = studied_run("a", "random")
    theory = dict(run.theory)
    theory["predictions"] = theory["predictions"].drop(columns="arora")
    scores = theory_scores([dataclasses.replace(run, theory=theory)])
    assert set(theory_scores([run])["theory"]) - set(scores["theory"]) == {"arora"}
