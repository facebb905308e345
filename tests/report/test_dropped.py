"""Representations that were not taken further: their table, and what is said of them."""

import numpy as np
import pytest

from rmtgen.ranking.halving import Dropped, Seen, Standing
from rmtgen.ranking.paired import Difference
from rmtgen.report.dropped import COLUMNS, dropped_frame, dropped_table, undecided
from rmtgen.runs.columns import COLUMNS as DESCRIBED


def standing(name, n, loo, apart, se, outdone, by="risk"):
    """One whose 0-1 error, and all about it, is a quarter of the risk."""
    risk, error = (
        Seen(unit * loo, Difference(unit * apart, unit * se), 0.9 * unit * loo)
        for unit in (1, 0.25)
    )
    return Standing(name, n, by, risk, error, outdone)


BEHIND = Dropped(
    "run-a", {}, "1,000 images would take 2.0 min", standing("a", 500, 0.516, 0.016, 0.00125, True)
)
TIED = Dropped("run-b", {}, "it ended", standing("b", 500, 0.505, 0.005, 0.01, False))
UNSEEN = [Dropped(f"run-{k}", {}, "not begun") for k in range(20)]
FRAME = dropped_frame({"a": BEHIND, "b": TIED, **{f"u{k}": one for k, one in enumerate(UNSEEN)}})


def test_each_has_the_number_of_images_and_the_interval_at_which_it_fell():
    assert list(FRAME) == list(COLUMNS) and set(COLUMNS) <= set(DESCRIBED)
    first = FRAME.iloc[0]
    assert (first["n"], first["loo"], first["foreseen"]) == (500, 0.516, pytest.approx(0.4644))
    assert first["behind_low"] == pytest.approx(0.016 - 1.959964 * 0.00125, rel=1e-6)
    assert not first["tied"] and first["outdone"] and FRAME["tied"][1]
    assert first["accuracy"] == pytest.approx(1 - 0.129)
    assert first["accuracy_foreseen"] == pytest.approx(1 - 0.1161)
    assert first["accuracy_behind"] == pytest.approx(0.004)
    assert first["accuracy_behind_high"] == pytest.approx(0.004 + 1.959964 * 0.0003125, rel=1e-6)
    assert FRAME["n"][2] == 0 and np.isnan(FRAME["behind"][2]) and FRAME["run_name"][2] == "run-0"


def test_the_table_is_as_long_as_it_may_be():
    table = dropped_table(FRAME, 3, "risk")
    assert table.rows == (
        ("a", "500", "3.2 ±0.49", "1,000 images would take 2.0 min"),
        ("b", "500", "= 1 ±3.9", "it ended"),
        ("u0", "–", "–", "not begun"),
    )
    assert table.notes[-1] == "and 19 more: dropped.csv"
    assert len(dropped_table(FRAME.head(2), 3, "risk").notes) == 1


def test_in_the_order_of_accuracy_it_is_points_of_that():
    first = standing("c", 500, 0.5, 0, 0, False, "accuracy")
    others = [standing(name, 500, 0.516, 0.016, se, False, "accuracy") for name, se in NOT_SURE]
    shown = {one.name: Dropped(one.name, {}, "late", one) for one in (first, *others)}
    table = dropped_table(dropped_frame(shown), 5, "accuracy")
    assert table.headings[2] == "behind, points" and "accuracy below that of" in table.notes[0]
    assert [row[2] for row in table.rows] == ["first", "0.4 ±0.061", "= 0.4 ±0.49"]


NOT_SURE = (("d", 0.00125), ("e", 0.01))


def test_what_the_images_did_not_decide_is_said():
    assert undecided(FRAME) == (
        "b may be as good, and the time did not suffice to see; 20 of the representations were not"
        " seen: a larger budget goes on from here."
    )
    assert undecided(FRAME.head(1)) == ""
    assert "1 of the representations was not seen" in undecided(FRAME.tail(1))
    many = dropped_frame({str(k): TIED for k in range(7)})
    assert undecided(many).startswith("0, 1, 2, 3 and 3 more may be as good")
