"""The public functions with several labels and with targets of a regression."""

import numpy as np
import pandas as pd
import pytest
import torch

import rmtgen
from rmtgen.errors import NumericalError, UsageError
from rmtgen.ranking.table import BY_OUTPUT, COLUMNS
from tests.ranking.labelled import P, drawn

FEATURES, VALUES = drawn(40)
MARKS = np.median(VALUES, axis=0) < VALUES
SHOWN = {"whole": FEATURES, "half": FEATURES[:, : P // 2]}


def test_floats_are_ranked_by_what_is_explained_of_them():
    table = rmtgen.rank(SHOWN, VALUES)
    assert list(table) == list(COLUMNS) and len(table) == 2
    assert table["accuracy"].isna().all()
    assert table[["auc", "auc_low", "auc_behind"]].isna().all(axis=None)
    assert (table["r2_low"] < table["r2"]).all() and (table["r2"] < table["r2_high"]).all()
    assert (table["r2_with_more_low"] <= table["r2_with_more"]).all()
    scaled = rmtgen.rank(SHOWN, torch.from_numpy(VALUES * [1e6, -3] + [5, 1e5]))
    pd.testing.assert_frame_equal(table, scaled, rtol=1e-6)
    one = rmtgen.rank(SHOWN, VALUES[:, 0])
    assert one["r2"].notna().all()


def test_0_and_1_are_ranked_as_labels_and_integers_as_classes():
    table = rmtgen.rank(SHOWN, MARKS)
    assert table["accuracy"].isna().all() and table[["r2", "auc"]].notna().all(axis=None)
    first, second = table.to_dict("records")
    assert first["auc_low"] < first["auc"] < first["auc_high"]
    assert [first[f"auc_behind{end}"] for end in ("", "_low", "_high")] == [0, 0, 0]
    assert second["auc_behind"] == pytest.approx(first["auc"] - second["auc"])
    assert second["auc_behind_low"] < second["auc_behind"] < second["auc_behind_high"]
    pd.testing.assert_frame_equal(table, rmtgen.rank(SHOWN, MARKS.astype(int)))
    classes = rmtgen.rank(SHOWN, MARKS[:, 0].astype(int))
    assert classes["accuracy"].notna().all() and classes[["r2", "auc"]].isna().all(axis=None)


def test_each_output_keeps_its_name_and_its_own_order():
    table = rmtgen.rank_outputs(SHOWN, pd.DataFrame(VALUES, columns=["age", "weight"]))
    assert list(table) == list(BY_OUTPUT)
    assert table["output"].tolist() == ["age", "age", "weight", "weight"]
    for _, rows in table.groupby("output"):
        assert set(rows["representation"]) == set(SHOWN) and rows["r2"].is_monotonic_decreasing
    means = table.groupby("representation")["r2"].mean()
    whole = rmtgen.rank(SHOWN, VALUES).set_index("representation")["r2"]
    assert means[whole.index].to_numpy() == pytest.approx(whole.to_numpy())
    marks = rmtgen.rank_outputs(SHOWN, MARKS)
    assert marks["output"].tolist() == ["0", "0", "1", "1"]
    assert marks[["auc", "auc_low", "auc_high"]].notna().all(axis=None)


def test_what_one_adds_to_the_other_is_known_of_values_too():
    parts = {"front": FEATURES[:, :3], "back": FEATURES[:, 3:]}
    for labels in (VALUES, MARKS):
        row = rmtgen.compare_features(parts, labels).iloc[0]
        assert row["gain_over_first_low"] < row["gain_over_first"] < row["gain_over_first_high"]


@pytest.mark.parametrize(
    ("labels", "options", "error", "message"),
    [
        (MARKS[:, 0], {}, UsageError, r"got \(40,\) bool\. Write integers for two classes"),
        (MARKS.astype(int) + 1, {}, UsageError, r"must hold 0 and 1.*: got \d \(row \d+, column"),
        (
            np.where(MARKS, np.nan, 1.0),
            {},
            NumericalError,
            r"labels must be finite, .*: got nan \(row",
        ),
        (np.ones((40, 2)), {}, UsageError, r"2 of 2 of labels are the same in 40 images \(0, 1\)"),
        (np.ones((40, 2), bool), {}, UsageError, "none of the 2 of labels is, among 40 images"),
        (VALUES, {"coding": "onehot"}, UsageError, "targets=onehot for values, whose regression"),
        (MARKS, {"classes": 2}, UsageError, "classes counts classes: got 2 with labels"),
        (VALUES[:0], {}, UsageError, "labels must be one per image: got none"),
        (
            pd.DataFrame({"age": [1, 2] * 20, "weight": [1.5, 2.5] * 20}),
            {},
            UsageError,
            r"columns of one kind, .*: got age int64, weight float64\. Change them",
        ),
        (VALUES[:30], {}, UsageError, "representation 'whole': .*expected 40, got 30"),
    ],
)
def test_labels_that_are_unclear_are_refused(labels, options, error, message):
    with pytest.raises(error, match=message):
        rmtgen.rank(SHOWN, labels, **options)


def test_classes_have_no_outputs():
    with pytest.raises(UsageError, match="got a vector of class indices. Rank it: rmtgen.rank"):
        rmtgen.rank_outputs(SHOWN, MARKS[:, 0].astype(int))
    with pytest.raises(UsageError, match="representations must be features by name"):
        rmtgen.rank_outputs({}, VALUES)
