"""Placement: every unit once, in a row, and again where its worker is gone or late."""

import heapq
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmtgen.stages.division import Unit
from rmtgen.stages.placement import LEAST_PATIENCE, Placement


def units(costs):
    return [
        Unit(f"unit-{number:03d}", (f"part-{number}",), cost) for number, cost in enumerate(costs)
    ]


def simulate(placement, speeds, lost=()):
    """Run to the end in simulated time: (when, who made what), the workers `lost` dying once."""
    events, made, now = [], [], 0.0
    lost, idle = dict(lost), set(speeds)
    for worker, when in lost.items():
        heapq.heappush(events, (when, worker, None))
    while placement.left:
        for worker in sorted(idle):
            if unit := placement.next(worker, now):
                idle.discard(worker)
                heapq.heappush(events, (now + unit.cost / speeds[worker], worker, unit))
        if not events:
            raise AssertionError("units are left, and nobody computes")
        now, worker, unit = heapq.heappop(events)
        if unit is None:
            placement.gone(worker)
            idle.discard(worker)
            events = [event for event in events if event[1] != worker]
            heapq.heapify(events)
        elif placement.done(worker, unit, now):
            made.append((worker, unit))
            idle.add(worker)
    return now, made


costs = st.lists(st.floats(0.1, 100.0), min_size=1, max_size=60)


@given(costs, st.integers(1, 9), st.randoms(use_true_random=False))
def test_every_unit_is_made_once_whoever_is_lost(costs, count, rng):
    workers = {f"w{number}": rng.uniform(0.2, 5.0) for number in range(count)}
    dying = rng.sample(sorted(workers), rng.randint(0, count - 1))
    lost = {worker: rng.uniform(0, 100) for worker in dying}
    _, made = simulate(Placement(units(costs), sorted(workers)), workers, lost)
    assert sorted(unit.name for _, unit in made) == [unit.name for unit in units(costs)]


@given(costs, st.integers(1, 9))
def test_equal_workers_end_together(costs, count):
    """Nobody is idle as long as a unit is not begun: at most the longest unit later than ideal."""
    workers = {f"w{number}": 1.0 for number in range(count)}
    taken, _ = simulate(Placement(units(costs), sorted(workers)), workers)
    assert taken <= sum(costs) / count + max(costs) + 1e-6


def test_a_worker_gets_units_that_follow_one_another():
    _, made = simulate(
        Placement(units([1.0] * 40), ["a", "b", "c", "d"]), dict.fromkeys("abcd", 1.0)
    )
    for worker in "abcd":
        names = [int(unit.name[-3:]) for who, unit in made if who == worker]
        assert names == list(range(names[0], names[0] + 10))


def test_one_that_is_through_takes_half_of_the_most_that_is_left():
    placement = Placement(units([1.0] * 20), ["a", "b"])
    _, made = simulate(placement, {"a": 100.0, "b": 0.01})
    assert sum(who == "a" for who, _ in made) >= 18


def test_a_late_unit_is_given_to_one_other_worker_after_patience():
    one, other, third = (Placement(units([1.0, 1.0, 1.0]), ["a", "b", "c"]), "b", "c")
    hanging = one.next("a", 0.0)
    assert one.done("b", one.next("b", 0.0), 10.0)
    assert one.done("c", one.next("c", 0.0), 10.0)
    # 10 s a unit was measured: overdue after max(30, 4 × 10) s
    assert one.next(other, 39.9) is None
    assert one.next(other, 40.1) == hanging
    assert one.next(third, 1000.0) is None  # two have it
    assert one.done(other, hanging, 50.0)
    assert not one.done("a", hanging, 60.0)
    assert one.left == 0
    assert LEAST_PATIENCE < 40


def test_a_unit_that_loses_workers_is_counted():
    placement = Placement(units([1.0]), [])
    for number in range(3):
        unit = placement.next(f"w{number}", 0.0)
        placement.gone(f"w{number}")
    assert placement.losses[unit.name] == 3
    assert placement.next("w9", 0.0) == unit


def test_a_copy_that_is_lost_is_no_reason_to_begin_anew():
    placement = Placement(units([1.0, 1.0]), ["a", "b"])
    hanging = placement.next("a", 0.0)
    placement.done("b", placement.next("b", 0.0), 1.0)
    assert placement.next("b", 500.0) == hanging
    placement.gone("b")
    assert placement.next("c", 501.0) == hanging  # late still, and one worker has it
    assert placement.done("a", hanging, 502.0)


@pytest.mark.parametrize("seed", range(3))
def test_late_comers_take_part(seed):
    rng = random.Random(seed)
    placement = Placement(units([rng.uniform(1, 2) for _ in range(30)]), [])
    _, made = simulate(placement, {f"w{number}": 1.0 for number in range(5)})
    assert {who for who, _ in made} == {f"w{number}" for number in range(5)}


def in_strips(strips, length, load):
    """Units of cost 1, of which those in a strip need one block that costs a worker so much."""
    return [
        Unit(f"unit-{strip}-{number:02d}", (), 1.0, ((strip, load),))
        for strip in range(strips)
        for number in range(length)
    ]


def loads(made):
    """How often a worker has got a block that its last unit had not needed."""
    last, found = {}, 0
    for worker, unit in made:
        found += last.get(worker) != unit.needs
        last[worker] = unit.needs
    return found


def test_a_block_that_is_costly_to_get_stays_on_one_worker():
    """With equal costs alone two of the spans would begin within a strip, and two more be cut."""
    units = in_strips(4, 10, load=20.0)
    _, made = simulate(Placement(units, ["a", "b", "c", "d"]), dict.fromkeys("abcd", 1.0))
    assert loads(made) == 4


def test_nothing_is_taken_where_the_other_ends_earlier_alone():
    placement = Placement(in_strips(1, 6, load=20.0), ["a"])
    first = placement.next("a", 0.0)
    assert placement.done("a", first, 21.0)  # 1 s for 1 of cost
    placement.next("a", 21.0)
    assert placement.next("b", 21.0) is None  # 5 s alone, 20 s for the block
    assert placement.next("b", 24.0) is None
    assert placement.next("b", 51.0) is not None  # it hangs


def test_of_what_is_worth_it_so_much_is_taken_that_both_end_together():
    placement = Placement(in_strips(1, 100, load=20.0), ["a"])
    placement.done("a", placement.next("a", 0.0), 21.0)
    placement.next("a", 21.0)
    taken = [placement.next("b", 21.0)]
    placement.gone("b")  # leaves all it has to the next
    while unit := placement.next("c", 21.0):
        taken.append(unit)
        if unit.name == "unit-0-99":
            break
    assert 38 <= len({unit.name for unit in taken}) <= 41  # 99 s alone; 59 s and 20 + 39 s


@given(costs, st.integers(2, 6), st.floats(0.0, 50.0), st.randoms(use_true_random=False))
def test_every_unit_is_made_whatever_it_needs(costs, count, load, rng):
    units = [
        Unit(f"unit-{number:03d}", (), cost, ((rng.randrange(4), load),))
        for number, cost in enumerate(costs)
    ]
    workers = {f"w{number}": rng.uniform(0.2, 5.0) for number in range(count)}
    _, made = simulate(Placement(units, [*sorted(workers), "never there"]), workers)
    assert sorted({unit.name for _, unit in made}) == [unit.name for unit in units]
