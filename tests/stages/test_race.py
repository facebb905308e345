"""A race against a clock that a test turns: who goes on, who is dropped and why, and how long."""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtgen.errors import MissingInputError, StorageError, UsageError
from rmtgen.ranking.ranked import coded, probe_of
from rmtgen.stages.budget import Budget
from rmtgen.stages.race import Race

IMAGES, BATCH = 1024, 32
NOISE = {"clear": 0.2, "fair": 0.9, "poor": 2.0, "vague": 8.0}
"""Noise of the features of each representation: the less, the better it is."""


@lru_cache
def probe(name, n):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, IMAGES)
    centres = rng.standard_normal((3, 5))
    own = np.random.default_rng(list(NOISE).index(name) + 1)
    features = centres[labels] + NOISE[name] * own.standard_normal((IMAGES, 5))
    return probe_of(name, features[:n], coded(labels[:n], 3, "centered"), [1e-3, 1e-1, 10.0])


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self):
        return self.now


@dataclass
class Runner:
    """A representation whose every image takes so many seconds of a clock."""

    name: str
    clock: Clock
    of_image: float
    opening: float = 0.0
    fault: Exception | None = None
    reached: int = 0
    known: bool = False
    asked: list = field(default_factory=list)

    @property
    def config(self):
        return {"model": self.name}

    @property
    def scored(self):
        return self.reached >= IMAGES

    def lacks(self, images):
        return self.reached < images

    def seconds(self, images):
        if not (self.known and self.lacks(images)):
            return 0.0
        return self.opening + (images - self.reached) * self.of_image

    def advance(self, images, limit):
        self.asked.append(images)
        if self.fault:
            raise self.fault
        if self.lacks(images):
            self.clock.now += self.opening
        while self.lacks(images) and self.clock() < limit:
            self.clock.now += BATCH * self.of_image
            self.reached, self.known = self.reached + BATCH, True
        return not self.lacks(images)

    def probe(self, images):
        assert self.reached >= images
        return probe(self.name, images)


def race(seconds, budget, by="risk", **options):
    """The race of runners by name and seconds of an image; it, its end, and the runners."""
    clock = Clock()
    runners = {name: Runner(name, clock, each, **options) for name, each in seconds.items()}
    course = Race(list(runners.values()), IMAGES, Budget(budget, clock, 0.0), by)
    return course, runners, clock


def images_of(finish):
    (n,) = {probe.n for probe in finish.probes.values()}
    return n


def test_where_the_time_suffices_none_is_dropped_and_no_image_is_computed_twice():
    course, runners, clock = race(dict.fromkeys(NOISE, 1.0), 4 * IMAGES + 1)
    finish = course.run()
    assert list(finish.probes) == list(NOISE) and not finish.dropped
    assert images_of(finish) == IMAGES and clock.now == 4 * IMAGES
    assert all(runner.asked == [64, 256, 1024] for runner in runners.values())


def test_a_single_one_sees_all_images():
    course, runners, _ = race({"clear": 1.0}, 2 * IMAGES)
    assert images_of(course.run()) == IMAGES and runners["clear"].asked == [64, 256, 1024]


@pytest.mark.parametrize("by", ["accuracy", "risk"])
def test_the_time_goes_to_those_that_promise_most(by):
    course, runners, clock = race(dict.fromkeys(reversed(NOISE), 1.0), 2600, by)
    finish = course.run()
    assert list(finish.probes) == ["clear", "fair"] and images_of(finish) == IMAGES
    assert clock.now <= 2600
    poor, vague = finish.dropped
    assert (poor.name, vague.name) == ("poor", "vague")
    assert poor.standing.n == 256 and poor.standing.outdone and vague.standing.n == 256
    assert poor.standing.by == by
    assert poor.standing.risk.apart.value == pytest.approx(
        probe("poor", 256).best["loo"] - probe("clear", 256).best["loo"]
    )
    assert poor.standing.error.apart.value == pytest.approx(
        probe("poor", 256).figures["error"] - probe("clear", 256).figures["error"]
    )
    # 4 × 256 of 2600 s are spent, and the first two take 768 s each
    assert poor.reason == "1,024 images would take 12.8 min, of 26.3 min for all that go on"
    assert runners["poor"].reached == runners["vague"].reached == 256
    assert poor.config == {"model": "poor"}


def test_one_that_does_not_fit_is_not_begun_and_a_faster_one_takes_its_place():
    speeds = {"clear": 1.0, "fair": 1.0, "poor": 40.0, "vague": 0.1}
    course, runners, clock = race(speeds, 64 * 42.1 * 2 + 400)
    finish = course.run()
    assert list(finish.probes) == ["clear", "fair", "vague"]
    (poor,) = finish.dropped
    assert poor.standing.n == 64 and runners["poor"].reached == 64
    assert "1,024 images would take" in poor.reason or "256 images would take" in poor.reason


def test_where_the_first_two_cannot_see_all_images_they_see_as_many_as_they_can():
    course, runners, clock = race({"clear": 1.0, "fair": 1.0}, 1000)
    finish = course.run()
    assert set(finish.probes) == {"clear", "fair"} and not finish.dropped
    assert 256 < images_of(finish) <= 500
    assert clock.now <= 1000 + BATCH


def test_a_few_more_images_are_worth_no_other_comparison():
    """After 128 s for the first comparison 40 s are left, for 84 images of each."""
    course, runners, clock = race({"clear": 1.0, "fair": 1.0}, 168)
    finish = course.run()
    assert images_of(finish) == 64 and clock.now == 128
    assert list(finish.probes) == ["clear", "fair"] and not finish.dropped


def test_those_that_are_not_seen_are_listed_without_a_standing():
    course, runners, clock = race(dict.fromkeys(NOISE, 10.0), 2 * 64 * 10)
    finish = course.run()
    assert list(finish.probes) == ["clear", "fair"] and clock.now == 1280
    unseen = [one for one in finish.dropped if one.standing is None]
    assert [one.name for one in unseen] == ["poor", "vague"]
    assert all(one.reason == "not begun: the time went to others" for one in unseen)
    assert runners["vague"].reached == 0


def test_what_runs_when_the_time_ends_stops_after_its_batch():
    course, runners, clock = race({"clear": 1.0, "vague": 20.0}, 640)
    finish = course.run()
    assert list(finish.probes) == ["clear"]
    (cut,) = finish.dropped
    assert cut.reason == f"the time ended after {runners['vague'].reached} of 64 images"
    assert runners["vague"].reached == 32 and clock.now <= 640 + 20 * BATCH


def test_a_time_that_suffices_for_nothing_is_refused():
    course, runners, _ = race({"clear": 10.0, "fair": 10.0}, 90)
    with pytest.raises(UsageError, match="the first 64 images of a representation: got"):
        course.run()
    assert runners["clear"].reached == 32
    with pytest.raises(UsageError, match=r"got 1\.5 min, in which none had them"):
        race({"clear": 10.0}, 90)[0].run()


def test_one_that_fails_ends_none_of_the_others(caplog):
    course, runners, _ = race(dict.fromkeys(NOISE, 1.0), 1e9)
    runners["fair"].fault = MissingInputError("no weights")
    finish = course.run()
    assert list(finish.probes) == ["clear", "poor", "vague"] and not finish.dropped
    assert course.attempts.failed == {"fair": "no weights"}
    assert "fair is not ranked: no weights" in caplog.text


def test_one_that_fails_at_more_images_is_not_ranked_at_fewer():
    course, runners, _ = race({"clear": 1.0, "fair": 1.0, "poor": 1.0}, 560)
    advance = runners["clear"].advance
    runners["clear"].advance = lambda images, limit: (
        (_ for _ in ()).throw(MissingInputError("gone")) if images > 64 else advance(images, limit)
    )
    finish = course.run()
    assert "clear" not in finish.probes and course.attempts.failed == {"clear": "gone"}
    assert {*finish.probes, *(one.name for one in finish.dropped)} == {"fair", "poor"}


def test_a_fault_of_all_is_raised_at_the_second_one():
    course, runners, _ = race(dict.fromkeys(NOISE, 1.0), 1e9)
    for runner in runners.values():
        runner.fault = MissingInputError("no images")
    with pytest.raises(MissingInputError, match="no images"):
        course.run()
    assert not runners["poor"].asked


def test_a_disk_that_refuses_ends_the_race():
    course, runners, _ = race(dict.fromkeys(NOISE, 1.0), 1e9)
    runners["vague"].fault = StorageError("the disk is full")
    with pytest.raises(StorageError, match="the disk is full"):
        course.run()


def test_what_is_all_scored_is_compared_at_once():
    course, runners, clock = race(dict.fromkeys(NOISE, 1.0), 1.0)
    for runner in runners.values():
        runner.reached = IMAGES
    finish = course.run()
    assert images_of(finish) == IMAGES and clock.now == 0
    assert all(runner.asked == [IMAGES] for runner in runners.values())


@given(
    st.lists(st.floats(0.01, 20), min_size=4, max_size=4),
    st.floats(0, 50),
    st.floats(100, 20_000),
    st.permutations(list(NOISE)),
)
@settings(max_examples=60, deadline=None)
def test_a_race_keeps_to_its_time_and_accounts_for_all(speeds, opening, budget, order):
    course, runners, clock = race(dict(zip(order, speeds, strict=True)), budget, opening=opening)
    try:
        finish = course.run()
    except UsageError:
        finish = None
    assert clock.now <= budget + opening + BATCH * max(speeds)
    if finish is None:
        assert all(runner.reached < 64 for runner in runners.values())
        return
    n = images_of(finish)
    assert sorted([*finish.probes, *(one.name for one in finish.dropped)]) == sorted(NOISE)
    assert all(runners[name].reached >= n for name in finish.probes)
    assert all(one.standing is None or one.standing.n <= n for one in finish.dropped)
    assert all(one.reason for one in finish.dropped)
    if len(finish.probes) == 1:
        assert sum(runner.reached >= 64 for runner in runners.values()) == 1
