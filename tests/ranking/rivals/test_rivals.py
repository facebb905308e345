"""What every declared rival holds to, whatever it computes."""

import tracemalloc

import numpy as np
import pytest
import torch
from labelled_clouds import clouds, source_probabilities

from rmtgen.errors import NumericalError, UsageError
from rmtgen.ranking.rivals import RIVALS, neighbours
from rmtgen.ranking.rivals.facts import ModelFacts
from tests.ridge.case_memory import peak

LABELLED = {name: rival for name, rival in RIVALS.items() if rival.needs != "facts"}
FEATURES = {name: rival for name, rival in RIVALS.items() if rival.needs == "features"}
labelled = pytest.mark.parametrize("name", LABELLED)
featured = pytest.mark.parametrize("name", FEATURES)
SHAPES = pytest.mark.parametrize(("n", "p"), [(60, 5), (30, 80)])
COUNTED = ("neighbours", "ridge_probe", "logistic_probe")
"""Rivals that count images that are right: a rounding moves them by nothing or by a whole image."""


def case(name, n=60, p=5, **options):
    """What a rival takes."""
    made = clouds if RIVALS[name].needs == "features" else source_probabilities
    return made(n, p, **options)


def assert_equal(name, found, known, rel=1e-9):
    assert np.isfinite(known)
    assert found == (known if name in COUNTED[1:] else pytest.approx(known, rel=rel, abs=1e-12))


def test_every_declaration_is_whole():
    assert len({rival.title for rival in RIVALS.values()}) == len(RIVALS) == 11
    for name, rival in RIVALS.items():
        assert name.isidentifier()
        assert rival.needs in ("features", "probabilities", "facts")
        assert rival.formula and rival.cost and rival.reference


@labelled
def test_a_larger_score_is_better(name):
    """Classes farther apart, at one noise."""
    scores = [RIVALS[name].score(*case(name, apart=apart)) for apart in (0.0, 0.7, 2.0)]
    assert all(type(score) is float for score in scores)
    assert scores[0] < scores[1] < scores[2]


@pytest.mark.parametrize("name", [name for name in RIVALS if name not in LABELLED])
def test_a_larger_fact_is_better(name):
    models = [ModelFacts("a", 10, 30.0), ModelFacts("b", 20, 40.0), ModelFacts("c", 30, 50.0)]
    scores = RIVALS[name].score(models)
    assert (np.diff(scores) > 0).all()
    np.testing.assert_array_equal(RIVALS[name].score(models[::-1]), scores[::-1])


@labelled
@SHAPES
def test_float32_has_the_answer_of_float64(name, n, p):
    rows, labels = case(name, n, p)
    single = rows.astype(np.float32)
    known = RIVALS[name].score(rows, labels)
    # the same numbers in both types, then those that float32 rounds
    assert RIVALS[name].score(single, labels) == RIVALS[name].score(single.astype(float), labels)
    assert RIVALS[name].score(single, labels) == pytest.approx(known, rel=2e-6)


@labelled
def test_tensors_have_the_answer_of_arrays(name):
    rows, labels = case(name)
    known = RIVALS[name].score(rows, labels)
    tensors = torch.from_numpy(rows).requires_grad_(), torch.from_numpy(labels).to(torch.uint8)
    assert RIVALS[name].score(*tensors) == known
    assert RIVALS[name].score(rows.tolist(), labels.tolist()) == known


@labelled
def test_arguments_stay_as_they_are(name):
    rows, labels = case(name)
    before = rows.copy(), labels.copy()
    RIVALS[name].score(rows, labels)
    np.testing.assert_array_equal(rows, before[0])
    np.testing.assert_array_equal(labels, before[1])


@labelled
@SHAPES
def test_the_order_of_the_images_does_not_matter(name, n, p):
    rows, labels = case(name, n, p)
    known = RIVALS[name].score(rows, labels)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(n)
        assert_equal(name, RIVALS[name].score(rows[order], labels[order]), known)


@labelled
def test_the_numbers_of_the_classes_do_not_matter(name):
    rows, labels = case(name)
    known = RIVALS[name].score(rows, labels)
    assert RIVALS[name].score(rows, 7 * labels - 5) == known
    if name not in COUNTED[1:]:  # their folds are drawn class by class
        assert_equal(name, RIVALS[name].score(rows, -labels), known)


@pytest.mark.parametrize("name", [name for name in FEATURES if name != "transrate"])
@SHAPES
@pytest.mark.parametrize("unit", [1e-140, 1e-6, 1e5, 1e140])
def test_the_unit_of_the_features_does_not_matter(name, n, p, unit):
    rows, labels = case(name, n, p)
    assert_equal(name, RIVALS[name].score(unit * rows, labels), RIVALS[name].score(rows, labels))


@SHAPES
def test_the_distortion_has_the_unit_of_the_features(n, p):
    rows, labels = clouds(n, p)
    score = RIVALS["transrate"].score
    found = score(1e3 * rows, labels, distortion=1e6 * 1e-4)
    assert found == pytest.approx(score(rows, labels), rel=1e-10)
    assert score(1e-3 * rows, labels) < 0.5 * score(rows, labels)


@pytest.mark.parametrize("name", ["logme", "h_score", "transrate", "neighbours"])
@SHAPES
def test_a_rotation_of_the_features_does_not_matter(name, n, p):
    rows, labels = case(name, n, p)
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((p, p)))[0]
    assert_equal(name, RIVALS[name].score(rows @ turn, labels), RIVALS[name].score(rows, labels))


@pytest.mark.parametrize("name", ["h_score", "transrate", "ridge_probe", "logistic_probe"])
def test_the_origin_of_the_features_does_not_matter(name):
    rows, labels = case(name)
    assert_equal(name, RIVALS[name].score(rows + 3, labels), RIVALS[name].score(rows, labels))


@labelled
def test_images_that_are_there_twice_are_taken(name):
    rows, labels = case(name, 40)
    twice = RIVALS[name].score(np.r_[rows, rows], np.r_[labels, labels])
    assert np.isfinite(twice)
    if name in ("nce", "leep"):  # functions of shares alone
        assert twice == pytest.approx(RIVALS[name].score(rows, labels), rel=1e-12)


@featured
def test_features_that_are_there_twice_or_constant_are_taken(name):
    rows, labels = case(name, 40)
    wider = np.c_[rows, rows, np.zeros((40, 3)), np.ones(40)]
    assert np.isfinite(RIVALS[name].score(wider, labels))


@pytest.mark.parametrize("name", [name for name in LABELLED if not name.endswith("probe")])
def test_two_images_are_enough(name):
    rows = np.array([[0.75, 0.25], [0.5, 0.5]])
    assert np.isfinite(RIVALS[name].score(rows, np.array([3, 1])))


@labelled
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda x, y: (x, y[:-1]), UsageError, "labels must match {}: expected 60 .* got 59"),
        (lambda x, y: (x[:1], y[:1]), UsageError, "{} must have two rows or more: got 1"),
        (lambda x, y: (x[:0], y[:0]), UsageError, r"{} must be a matrix .* got shape \(0, 5\)"),
        (lambda x, y: (x[0], y), UsageError, r"{} must be a matrix .* got shape \(5,\)"),
        (
            lambda x, y: (x, 0 * y + 4),
            UsageError,
            "two classes or more: got class 4 alone, in all 60",
        ),
        (
            lambda x, y: (0 * x + x[0], y),
            UsageError,
            "{} must differ between .* 60 equal rows of 5",
        ),
        (lambda x, y: (x, y + 0.5), UsageError, r"class indices: .* got \(60,\) torch.float64"),
        (lambda x, y: (x, y[:, None]), UsageError, r"class indices: .* got \(60, 1\) torch.int64"),
        (lambda x, y: (x, y > 0), UsageError, r"class indices: .* got \(60,\) torch.bool"),
        (lambda x, y: (x, ["cat"] * 60), UsageError, "labels must be an array of numbers"),
        (
            lambda x, y: (x.astype(np.float16), y),
            UsageError,
            r"{} must be float32 or .*torch\.float16",
        ),
        (lambda x, y: (x.astype(complex), y), UsageError, r"{} must be float32 or .*complex128"),
        (
            lambda x, y: (_with(x, np.nan), y),
            NumericalError,
            "{} must be finite: got 1 .* row 3, col",
        ),
        (
            lambda x, y: (_with(x, np.inf), y),
            NumericalError,
            "{} must be finite: got 1 .* row 3, col",
        ),
    ],
    ids=[
        *("labels missing", "one image", "no image", "a vector", "one class", "equal rows"),
        *("float labels", "matrix of labels", "bool labels", "names", "half", "complex"),
        *("NaN", "infinity"),
    ],
)
def test_bad_input_is_named(name, change, error, message):
    rows, labels = change(*case(name))
    with pytest.raises(error, match=message.replace("{}", RIVALS[name].needs)):
        RIVALS[name].score(rows, labels)


def _with(rows, value):
    changed = rows.copy()
    changed[3, 1] = value
    return changed


def taken(name, rows, labels):
    """The most bytes of tensors, and of arrays, that a score takes."""
    RIVALS[name].score(rows[:60], labels[:60])  # what is imported once
    tensors = peak(lambda: RIVALS[name].score(rows, labels))
    tracemalloc.start()
    try:
        RIVALS[name].score(rows, labels)
        return tensors + tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@labelled
def test_the_memory_is_far_below_one_matrix_of_pairs_of_images(name, monkeypatch):
    n = 1500
    monkeypatch.setattr(neighbours, "ENTRIES", 2**15)
    assert taken(name, *case(name, n, 3)) < 8 * n**2 / 4


@labelled
def test_the_memory_is_far_below_one_matrix_of_pairs_of_features(name):
    p = 2000
    assert taken(name, *case(name, 30, p)) < 8 * p**2 / 4
