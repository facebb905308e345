"""Paired differences against their formula written plainly, and the ranking that follows."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_probe import drawn, probed

import rmtgen
from rmtgen.errors import UsageError
from rmtgen.ranking.paired import Difference, error_difference, risk_difference
from rmtgen.ranking.table import COLUMNS, pareto_front, ranking


def plain_error(first, second):
    """The standard error by loops: η centred by a regression on effects of rows and columns."""
    apart, n = first.losses - second.losses, first.n
    change = first.changes - second.changes
    places = [(i, j) for i, j in itertools.product(range(n), repeat=2) if i != j]
    design = np.zeros((len(places), 2 * n))
    for row, (i, j) in enumerate(places):
        design[row, i] = design[row, n + j] = 1
    values = np.array([change[place] for place in places])
    effects = np.linalg.lstsq(design, values, rcond=None)[0]
    eta = np.zeros((n, n))
    for place, value in zip(places, values - design @ effects, strict=True):
        eta[place] = value
    symmetric, turned = (eta + eta.T) / 2, (eta - eta.T) / 2
    covariance = (symmetric**2).sum() / (n * (n - 3)) - (turned**2).sum() / ((n - 1) * (n - 2))
    return np.sqrt(apart.var(ddof=1) / n + (n - 1) / n * max(covariance, 0))


@pytest.fixture(scope="module")
def probes():
    features, labels = drawn(12, n=40)
    noise = np.random.default_rng(5).standard_normal((40, 6))
    shown = {"whole": features, "half": features[:, :6], "noise": noise}
    return {name: probed(some, labels)[0] for name, some in shown.items()}


@pytest.mark.parametrize("pair", [("whole", "half"), ("whole", "noise"), ("half", "noise")])
def test_a_difference_has_the_standard_error_of_its_own_pairs(probes, pair):
    first, second = (probes[name] for name in pair)
    apart = risk_difference(first, second)
    assert apart.value == pytest.approx(first.losses.mean() - second.losses.mean())
    assert apart.se == pytest.approx(plain_error(first, second), rel=1e-6)
    low, high = apart.interval
    assert apart.sure == (low > 0 or high < 0)
    back = risk_difference(second, first)
    assert (back.value, back.se) == pytest.approx((-apart.value, apart.se))
    wrong = error_difference(first, second)
    moves = first.moves - second.moves
    jackknife = np.sqrt((40 - 1) / 40 * ((moves - moves.mean()) ** 2).sum())
    assert wrong.se == pytest.approx(jackknife)
    assert wrong.value == pytest.approx(first.figures["error"] - second.figures["error"])


def test_a_representation_does_not_differ_from_itself(probes):
    apart = risk_difference(probes["half"], probes["half"])
    assert (apart.value, apart.se, apart.sure) == (0.0, 0.0, False)


def test_without_an_interval_nothing_is_sure():
    assert not Difference(1.0, np.nan).sure
    features, labels = drawn(4, n=6)
    few = risk_difference(probed(features, labels)[0], probed(features[:, :2], labels)[0])
    assert np.isnan(few.se) and not few.sure


def test_other_numbers_of_samples_are_refused(probes):
    features, labels = drawn(12, n=30)
    other, _ = probed(features, labels)
    for differ in (risk_difference, error_difference):
        with pytest.raises(UsageError, match="the same samples: got 40 and 30"):
            differ(probes["half"], other)


@pytest.mark.parametrize(
    ("by", "differ"), [("risk", risk_difference), ("accuracy", error_difference)]
)
def test_the_order_is_that_of_the_measure_and_places_leave_room_for_doubt(probes, by, differ):
    table = ranking(probes, by)
    assert list(table) == list(COLUMNS)
    risks = [probes[name].best["loo"] for name in table["representation"]]
    wrong = [probes[name].figures["error"] for name in table["representation"]]
    measured = risks if by == "risk" else wrong
    assert measured == sorted(measured) and table["loo"].tolist() == risks
    assert table["place"].tolist() == [1, 2, 3]
    for row in table.itertuples():
        own = probes[row.representation]
        others = [probes[name] for name in probes if name != row.representation]
        apart = [differ(own, other) for other in others]
        assert row.tied != differ(own, probes[table["representation"][0]]).sure
        better = sum(one.sure and one.value > 0 for one in apart)
        worse = sum(one.sure and one.value < 0 for one in apart)
        assert (row.place_low, row.place_high) == (1 + better, 3 - worse)
        assert row.place_low <= row.place <= row.place_high
        assert row.accuracy == pytest.approx(1 - own.best["loo_error"])
        assert row.accuracy_low < row.accuracy < row.accuracy_high
    first = table.iloc[0]
    assert (first["behind"], first["accuracy_behind"], first["tied"]) == (0.0, 0.0, True)
    assert table.iloc[-1]["representation"] == "noise"
    assert table.iloc[-1]["tied"] == (by == "accuracy")  # 40 samples leave the errors in doubt
    later = table["with_more"] if by == "risk" else -table["accuracy_with_more"]
    assert table["place_with_more"].tolist() == later.rank(method="min").tolist()


def test_risk_and_accuracy_may_have_two_orders():
    features, labels = drawn(4, n=60)
    sharp, mild = (probed(features, labels)[0] for _ in range(2))
    risks, wrong = sharp.path.assign(loo=sharp.path["loo"] * 1.2), sharp.figures["error"] - 0.1
    sharp = dataclasses.replace(sharp, path=risks, figures=sharp.figures | {"error": wrong})
    probes = {"mild": mild, "sharp": sharp}
    assert ranking(probes, "risk")["representation"].tolist() == ["mild", "sharp"]
    assert ranking(probes, "accuracy")["representation"].tolist() == ["sharp", "mild"]
    with pytest.raises(UsageError, match="got 'speed'. Known: accuracy, risk"):
        ranking(probes, "speed")


@pytest.mark.parametrize("by", ["risk", "accuracy"])
def test_equal_representations_are_tied_in_the_order_of_their_names(by):
    features, labels = drawn(6, n=40)
    table = ranking({"b": probed(features, labels)[0], "a": probed(features, labels)[0]}, by)
    assert table["representation"].tolist() == ["a", "b"]
    assert table["tied"].all() and table["place_high"].tolist() == [2, 2]


@given(
    st.lists(
        st.tuples(
            st.one_of(st.just(np.nan), st.integers(0, 4)),
            st.one_of(st.just(np.nan), st.integers(0, 4)),
        ),
        max_size=12,
    )
)
def test_no_choice_on_the_front_is_beaten_and_every_other_is(choices):
    gains, costs = ([choice[place] for choice in choices] for place in (0, 1))
    front = pareto_front(gains, costs)

    def beats(one, other):
        return (
            one[0] >= other[0] and one[1] <= other[1] and (one[0] > other[0] or one[1] < other[1])
        )

    for choice, kept in zip(choices, front, strict=True):
        known = np.isfinite(choice).all()
        assert kept == (known and not any(beats(other, choice) for other in choices))


def test_the_public_function_ranks_arrays():
    features, labels = drawn(12, n=40)
    shown = {"whole": features, "half": features[:, :6].astype(np.float32)}
    table = rmtgen.rank(shown, labels)
    assert list(table) == list(COLUMNS) and set(table["representation"]) == set(shown)
    alone = rmtgen.rank({"half": features[:, :6]}, labels, classes=4, coding="onehot")
    assert len(alone) == 1 and alone["place_high"].tolist() == [1]


@pytest.mark.parametrize("empty", [{}, [], None, "features"])
def test_no_representation_is_refused(empty):
    with pytest.raises(UsageError, match="representations must be features by name"):
        rmtgen.rank(empty, [0, 1])


def test_features_that_do_not_fit_are_named():
    features, labels = drawn(4, n=40)
    with pytest.raises(UsageError, match=r"'short'.*expected 30, got 40"):
        rmtgen.rank({"whole": features, "short": features[:30]}, labels)
