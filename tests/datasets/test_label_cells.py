"""Cells of any kind: they are read as what the task says, or refused by name."""

import math
import warnings

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rmtgen import Labelling
from rmtgen.datasets.label_columns import LabelColumns, Numbering
from rmtgen.errors import RmtgenError
from rmtgen.tasks import LARGEST

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-2, 3)
    | st.integers()
    | st.floats()
    | st.sampled_from(
        ["", "0", "1", "true", "nan", "x", "y;x", " 2.5 ", "1,5", "9" * 5000, "\u0663"]
    )
    | st.text(max_size=4)
)
CELLS = (
    SCALARS
    | st.lists(SCALARS, max_size=3)
    | st.dictionaries(st.text(max_size=1), SCALARS, max_size=1)
)


@settings(max_examples=400, suppress_health_check=list(HealthCheck))
@given(
    rows=st.integers(1, 2).flatmap(
        lambda width: st.lists(st.tuples(*[CELLS] * width), min_size=1, max_size=5)
    ),
    task=st.sampled_from(["classes", "labels", "values"]),
    numbered=st.booleans(),
    skip=st.booleans(),
)
def test_any_cells_are_read_or_refused_by_name(rows, task, numbered, skip):
    names = ("a", "b")[: 1 if task == "classes" else len(rows[0])]
    numbering = Numbering(("zero", "one", "two"), "names.txt") if numbered else None
    columns = LabelColumns(
        names, [row[: len(names)] for row in rows], lambda row: f"row {row}", "it", numbering
    )
    labelling = Labelling(task)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            kept = columns.labelled(labelling, skip)
            coded = columns.only(kept).read(labelling)
        except RmtgenError as error:
            assert "\n" not in str(error) and ("it" in str(error) or "names.txt" in str(error))
            return
    if task == "classes":
        assert len(coded.classes) == len(kept) and all(coded.classes)
        return
    assert coded.matrix.shape == (len(kept), len(coded.columns))
    if task == "values":
        assert (np.abs(coded.matrix) <= LARGEST).all()
        return
    assert coded.matrix.dtype == bool


@given(values=st.lists(st.floats(-LARGEST, LARGEST), min_size=1, max_size=8))
def test_a_number_is_the_same_as_text(values):
    found = [
        LabelColumns(("a",), [(cell,) for cell in cells], str, "it")
        .read(Labelling("values"))
        .matrix
        for cells in (values, [repr(value) for value in values])
    ]
    assert np.array_equal(found[0][:, 0], values) and np.array_equal(*found)


@given(
    rows=st.lists(
        st.lists(st.sampled_from(["u", "v", "w"]), max_size=3, unique=True), min_size=2, max_size=8
    ).filter(any)
)
def test_a_list_is_the_same_as_a_text_with_separators_and_as_marks(rows):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lists, texts = (
            LabelColumns(("a",), [(cell,) for cell in cells], str, "it").read(Labelling("labels"))
            for cells in (rows, [" ;".join(row) for row in rows])
        )
    present = sorted({name for row in rows for name in row})
    expected = [[name in row for name in present] for row in rows]
    assert lists.columns == texts.columns == tuple(present)
    assert lists.matrix.tolist() == texts.matrix.tolist() == expected
    if len(present) > 1:
        marks = LabelColumns(tuple(present), [tuple(map(int, one)) for one in expected], str, "it")
        assert marks.read(Labelling("labels")).matrix.tolist() == expected
    assert not any(math.isnan(value) for value in np.ravel(lists.matrix))
