"""Which representations are worth more images: few features that lead early must not win by it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmtgen.errors import UsageError
from rmtgen.ranking.halving import LEAST, affordable, image_counts, spread, standings
from rmtgen.ranking.paired import error_difference, risk_difference
from rmtgen.ranking.ranked import RELATIVE_RIDGES, coded, probe_of


@pytest.mark.parametrize(
    ("images", "counts"),
    [
        (5000, (313, 1250, 5000)),
        (1024, (64, 256, 1024)),
        (1000, (250, 1000)),
        (256, (64, 256)),
        (252, (252,)),
        (2, (2,)),
    ],
)
def test_images_grow_fourfold_to_all_of_them(images, counts):
    assert image_counts(images) == counts


@given(st.integers(2, 10**6))
def test_no_comparison_is_of_too_few_images(images):
    counts = image_counts(images)
    assert counts[-1] == images and list(counts) == sorted(set(counts))
    assert all(count >= min(LEAST, images) for count in counts)


@given(st.lists(st.floats(0, 10), max_size=8), st.floats(0, 30))
def test_what_is_taken_fits_and_nothing_that_fits_is_passed_over(times, left):
    names = [str(place) for place in range(len(times))]
    seconds = dict(zip(names, times, strict=True))
    taken = affordable(names, seconds, left)
    for name in names:
        before = sum(seconds[one] for one in taken[: sum(int(one) < int(name) for one in taken)])
        assert (name in taken) == (seconds[name] <= left - before) or seconds[
            name
        ] == pytest.approx(left - before, abs=1e-9)


def test_the_first_places_are_spread_over_all():
    assert spread(8) == [0, 4, 2, 6, 1, 5, 3, 7]
    assert spread(3) == [0, 2, 1] and spread(1) == [0]


@given(st.integers(1, 700))
def test_every_place_comes_once_and_no_gap_stays_wide(count):
    order = spread(count)
    assert sorted(order) == list(range(count))
    for seen in (2, 4, 16, 64):
        places = [*sorted(order[:seen]), count]
        width = 2 ** (count - 1).bit_length()
        assert seen > count or max(np.diff(places)) <= 2 * width / seen


SEED, ALL = 3, 2048
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


@pytest.fixture(scope="module")
def crossing():
    """One feature that leads early, 300 that win in the end, and noise: a probe by images."""
    rng = np.random.default_rng(SEED)
    many = rng.standard_normal((ALL, 300))
    weights = rng.standard_normal(300) / np.sqrt(1 + np.arange(300))
    weights[:4] = 2, 0, 0, 0
    labels = (many @ weights + 0.3 * rng.standard_normal(ALL) > 0).astype(int)
    shown = {"few": many[:, :1], "many": many, "noise": rng.standard_normal((ALL, 20))}

    def probed(n):
        targets = coded(labels[:n], 2, "centered")
        return {
            name: probe_of(name, features[:n], targets, RELATIVE_RIDGES)
            for name, features in shown.items()
        }

    return probed


def test_the_best_at_all_images_is_kept_though_it_is_surely_behind_at_few(crossing):
    early, late = crossing(128), crossing(ALL)
    assert risk_difference(early["many"], early["few"]).interval[0] > 0
    assert risk_difference(late["many"], late["few"]).interval[1] < 0
    found = standings(early, ALL, "risk")
    assert [one.name for one in found] == ["many", "few", "noise"]
    many, few, noise = found
    assert many.risk.apart.sure and many.risk.apart.value > 0 and not many.outdone
    assert many.risk.foreseen == pytest.approx(late["many"].best["loo"], rel=0.15)
    assert few.risk.apart.value == 0 and few.n == 128
    assert noise.outdone and noise.risk.apart.interval[0] > 0
    assert noise.risk.value - noise.risk.apart.value == pytest.approx(few.risk.value)


def test_with_all_images_the_order_is_that_of_the_risk(crossing):
    late = crossing(ALL)
    found = standings(late, ALL, "risk")
    assert [one.name for one in found] == sorted(late, key=lambda name: late[name].best["loo"])
    assert all(one.risk.foreseen == pytest.approx(one.risk.value, rel=0.02) for one in found)


def test_a_probe_that_foresees_nothing_stands_by_its_risk():
    rng = np.random.default_rng(0)
    targets = coded(np.arange(6) % 2, 2, "centered")
    probes = {
        name: probe_of(name, rng.standard_normal((6, 2)), targets, [1e-2, 1.0]) for name in "ab"
    }
    for by in ("accuracy", "risk"):
        found = standings(probes, 60, by)
        assert all(np.isfinite(one.judged.foreseen) and not one.outdone for one in found)


def test_other_numbers_of_images_are_not_compared(crossing):
    with pytest.raises(UsageError, match="the same samples: got 128 and 256"):
        standings({"a": crossing(128)["many"], "b": crossing(256)["few"]}, ALL, "accuracy")


def test_another_order_is_refused(crossing):
    with pytest.raises(UsageError, match="got 'speed'"):
        standings(crossing(128), ALL, "speed")


@pytest.fixture(scope="module")
def unlike():
    """Probes of two representations: one first in risk, the other in accuracy.

    Images of `loud` are scaled each by a number of its own, which costs risk and hardly accuracy.
    """
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 4, 256)
    centres = rng.standard_normal((4, 12))
    clear = centres[labels] + 0.9 * rng.standard_normal((256, 12))
    shown = {
        "loud": clear * np.exp(0.9 * rng.standard_normal(256))[:, None],
        "quiet": clear + 0.35 * rng.standard_normal((256, 12)),
    }

    targets = coded(labels, 4, "centered")
    return {name: probe_of(name, one, targets, RIDGES) for name, one in shown.items()}


def test_what_the_order_is_by_decides(unlike):
    orders = {by: standings(unlike, 1024, by) for by in ("accuracy", "risk")}
    assert [one.name for one in orders["accuracy"]] == ["loud", "quiet"]
    assert [one.name for one in orders["risk"]] == ["quiet", "loud"]
    behind = {by: found[1] for by, found in orders.items()}
    assert behind["risk"].outdone and behind["risk"].risk.apart.sure
    for by, found in orders.items():
        first = found[0]
        assert (first.by, first.outdone, first.judged.apart.value) == (by, False, 0)
        for one in found:
            probe = unlike[one.name]
            assert one.risk.value == probe.best["loo"]
            assert one.error.value == probe.figures["error"]
            last = probe.outlook[probe.outlook["n"] == 1024].iloc[0]
            assert one.error.foreseen == last["predicted_error"]
            assert one.risk.foreseen == last["predicted_risk"]
            assert one.error.apart == error_difference(probe, unlike[first.name]) or one is first
