"""The summary as text of a terminal: the table, its notes, numbers and names in words."""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_runs import leveraged

from rmtgen.report import results, wording
from rmtgen.report.results import format_table, summary_notes, summary_table


def test_format_table_shows_the_numbers_in_aligned_columns(runs):
    table = summary_table(runs).assign(
        test_risk=[0.12361, 0.5],
        test_risk_se=[0.002, np.nan],
        relative_ridge=[0.00123, 0.0],
        median_gap=[0.0042, np.nan],
    )
    heading, rule, first, second, note = format_table(table).split("\n")
    assert re.split("  +", heading) == [
        "run",
        "n",
        "ridge",
        "test risk",
        "GCV",
        "acc %",
        "LOO %",
        "gap %",
        "max %",
    ]
    assert first.startswith("tiny_net, pretrained  600  1.2e-3  0.1236 ±0.0020  ")
    assert second.startswith("tiny_net, random      600       0          0.5000  ")
    assert first.split()[-2] == "0.42" and second.split()[-2] == "–"
    assert (
        set(rule) == {"-", " "} and len({len(line) for line in (heading, rule, first, second)}) == 1
    )
    assert "n >= 500" in note


def test_a_wide_gap_is_named_with_its_fit_and_the_warning_of_loo(runs):
    seen = leveraged(runs[0], gcv=0.375, loo=57139.0, test_risk=616584.0, relative_ridge=0.0)
    unseen = leveraged(runs[1], gcv=0.375, loo=0.36, test_risk=0.94)
    table = summary_table([seen, unseen])
    close = list(table["close_fits"])
    assert summary_notes(table) == [
        f"tiny_net, pretrained: {close[0]} of 12 fits within 10 %; worst at n = 600, ridge 0: "
        "GCV 0.375, LOO 5.7e4, test risk 6.2e5. LOO differs there: do not trust GCV.",
        f"tiny_net, random: {close[1]} of 12 fits within 10 %; worst at n = 600, ridge 1.0e-6: "
        "GCV 0.375, LOO 0.36, test risk 0.94.",
    ]
    lines = format_table(table).split("\n")[5:]
    assert " ".join(" ".join(lines).split()) == " ".join(summary_notes(table)) and len(lines) == 4


@pytest.mark.parametrize("worst", [0.2, np.nan])
def test_a_small_or_unknown_gap_needs_no_note(runs, worst):
    assert summary_notes(summary_table(runs).assign(worst_gap=worst)) == []


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), max_size=150),
        min_size=1,
        max_size=4,
        unique=True,
    )
)
def test_format_table_never_passes_100_columns(names):
    rows = [
        {"run": f"{name}-{place}", "model": name, "init": "random", "dataset": "d", "kernel": "k"}
        for place, name in enumerate(names)
    ]
    columns = (
        "relative_ridge",
        "test_risk",
        "test_risk_se",
        "gcv",
        "accuracy_percent",
        "loo_accuracy_percent",
        "median_gap",
        "worst_gap",
        "worst_n",
        "worst_ridge",
        "worst_gcv",
        "worst_loo",
        "worst_test_risk",
    )
    table = pd.DataFrame(rows).assign(
        n=100000, fits=5000, close_fits=4000, **dict.fromkeys(columns, 0.323456)
    )
    assert len(summary_notes(table)) == len(names)
    assert max(len(line) for line in format_table(table).split("\n")) <= 100


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=60), st.integers(3, 50))
def test_shorten_keeps_both_ends(text, width):
    short = wording.shorten(text, width)
    assert len(short) <= width
    assert short == text or (short[0], short[-1], "…" in short) == (text[0], text[-1], True)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (wording.percentage(0.00123), "0.12"),
        (wording.percentage(0.0949), "9.5"),
        (wording.percentage(0.996), "100"),
        (wording.percentage(12.3), "1230"),
        (wording.percentage(np.nan), "–"),
        (wording.scientific(0.0), "0"),
        (wording.scientific(12.34), "1.2e1"),
        (wording.scientific(1e-8), "1.0e-8"),
        (wording.scientific(np.nan), "–"),
        (wording.number(np.inf), "–"),
        (wording.compact(0.37485), "0.375"),
        (wording.compact(616584.1), "6.2e5"),
        (wording.compact(0.00012), "1.2e-4"),
        (wording.compact(0.0), "0"),
        (wording.compact(np.nan), "–"),
        (wording.number(1234.56), "1235"),
        (wording.power_of_ten(0.0), "0"),
        (wording.power_of_ten(1e-8), "10⁻⁸"),
        (wording.power_of_ten(2.1e-5), "2×10⁻⁵"),
        (wording.power_of_ten(300.0), "3×10²"),
        (wording.gapped("Seen.", 0), "Seen."),
        (wording.gapped("Seen.", 1), "Seen. 1 point is a gap, being not finite or not positive."),
        (
            wording.gapped("Seen.", 2000),
            "Seen. 2,000 points are gaps, being not finite or not positive.",
        ),
    ],
)
def test_numbers_in_words(shown, expected):
    assert shown == expected


def test_labels_say_what_differs(runs):
    table = summary_table(runs)
    assert results.run_labels(table) == ["tiny_net, pretrained", "tiny_net, random"]
    assert results.run_labels(table.assign(dataset=["a", "b"])) == [
        "tiny_net, pretrained, a",
        "tiny_net, random, b",
    ]
    assert results.run_labels(table.assign(init="random")) == [
        "tiny-pretrained-1a2b",
        "tiny-random-3c4d",
    ]


def test_data_sets_are_called_by_the_end_of_their_path(runs):
    given = [
        "folder:../shared/data/cifar100.tar",
        "mnist5k",
        "hfds/beans",
        "folder:/data/birds/",
        "folder:one",
    ]
    called = ["cifar100", "mnist5k", "beans", "birds", "one"]
    assert wording.dataset_names(given) == dict(zip(given, called, strict=True))
    twice = ["folder:a/x.tar", "folder:b/x.tar", "mnist5k", "mnist5k"]
    assert wording.dataset_names(twice) == {name: name for name in twice}
    table = summary_table(runs)
    assert results.run_labels(table.assign(dataset=["folder:a/x.tar", "folder:a/y.tar"])) == [
        "tiny_net, pretrained, x",
        "tiny_net, random, y",
    ]
    alike = table.assign(init="random", dataset=["folder:a/x.tar", "folder:b/x.tar"])
    assert results.run_labels(alike) == [
        "tiny_net, random, folder:a/x.tar",
        "tiny_net, random, folder:b/x.tar",
    ]
