"""The division of a kernel into blocks: complete, within the budget, and the cheapest."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rmtgen.kernels.entk.schedule import (
    Division,
    SampleCost,
    divide,
    least_passes,
    tile_order,
)
from rmtgen.kernels.entk.tiles import BlockCache

costs = st.builds(SampleCost, st.floats(1, 100), st.floats(0, 100))


def passes_and_formed(rows, columns, division, capacity, below=range(0)):
    """What a cache passes and every tile forms, counted one by one."""
    cache, formed = BlockCache(capacity), 0
    for row, column in tile_order(rows, columns, division, below):
        formed += sum(stop - start for start, stop in {row, column})
        for own, other in ((row, column), (column, row)):
            cache.get(own, lambda span: None, partner=other)
            held = sum(stop - start for start, stop in cache.blocks)
            assert held <= capacity
    return cache.computed, formed


def sides(n, m):
    return range(3, 3 + n), range(3, 3 + n) if m is None else range(3 + n, 3 + n + m)


@given(
    st.integers(1, 40),
    st.one_of(st.none(), st.integers(1, 40)),
    st.integers(1, 13),
    st.integers(1, 13),
    st.booleans(),
)
def test_every_entry_is_in_one_tile(n, m, held, streamed, by_columns):
    rows, columns = sides(n, m)
    division = Division(held, streamed, by_columns and m is not None)
    seen = np.zeros((n, len(columns)), dtype=int)
    for (start, stop), (low, high) in tile_order(rows, columns, division):
        seen[start - 3 : stop - 3, low - columns.start : high - columns.start] += 1
    needed = np.tril(seen) if m is None else seen
    assert needed.sum() == (n * (n + 1) // 2 if m is None else seen.size)
    assert seen.max() == 1


@given(st.integers(1, 40), st.integers(0, 40), st.integers(1, 13), st.integers(1, 13))
def test_rows_below_meet_every_column_once(n, m, held, streamed):
    rows, below = range(3, 3 + n), range(3 + n, 3 + n + m)
    seen = np.zeros((n + m, n), dtype=int)
    for (start, stop), (low, high) in tile_order(rows, rows, Division(held, streamed), below):
        assert (start < 3 + n) == (stop <= 3 + n)
        seen[start - 3 : stop - 3, low - 3 : high - 3] += 1
    assert np.tril(seen).sum() == n * (n + 1) // 2 + n * m
    assert seen.max() == 1


@given(
    n=st.integers(1, 120),
    m=st.integers(1, 60),
    capacity=st.integers(2, 200),
    grain=st.integers(1, 40),
    cost=costs,
)
@example(n=100, m=20, capacity=104, grain=4, cost=SampleCost(7, 1))
def test_rows_below_never_cost_more_than_in_equal_blocks(n, m, capacity, grain, cost):
    train, test = range(n), range(n, n + m)
    _, division = divide(train, train, capacity, grain, cost, test)
    passed, formed = passes_and_formed(train, train, division, capacity, test)
    assert passed >= least_passes(n + m, n * (n + 1) // 2 + n * m, capacity)
    whole = min(grain, capacity // 2)
    if division.held == n:
        assert passed == n + m
    equal = max(1, capacity // (2 * whole)) * whole
    other, others = passes_and_formed(train, train, Division(equal, equal), capacity, test)
    spare = 3 * cost.passing * equal * (1 + n // equal)  # blocks that the cache still holds
    found = cost.passing * passed + cost.forming * formed
    assert found <= cost.passing * other + cost.forming * others + spare


def test_training_images_that_are_held_do_not_pass_again_for_the_test_rows():
    """10,000 + 2,000 where 10,416 fit, at the cost of a ResNet-18 of 32 px: every image once."""
    train, test, cost = range(10_000), range(10_000, 12_000), SampleCost(1.5e8, 2.1e7)
    _, division = divide(train, train, 10_416, 64, cost, test)
    assert passes_and_formed(train, train, division, 10_416, test)[0] == 12_000


@given(
    n=st.integers(1, 120),
    m=st.one_of(st.none(), st.integers(1, 120)),
    capacity=st.integers(2, 150),
    grain=st.integers(1, 40),
    cost=costs,
)
@example(n=100, m=None, capacity=20, grain=1, cost=SampleCost(1, 0))
@example(n=30, m=100, capacity=20, grain=5, cost=SampleCost(1, 1))
def test_blocks_fit_begin_at_grains_and_never_cost_more_than_equal_ones(
    n, m, capacity, grain, cost
):
    rows, columns = sides(n, m)
    _, division = divide(rows, columns, capacity, grain, cost)
    whole = min(grain, capacity // 2)
    held, streamed = (columns, rows) if division.by_columns else (rows, columns)
    assert division.held % whole == 0 or division.held >= len(held)
    assert division.streamed % whole == 0 or division.streamed >= len(streamed)
    images = n + (m or 0)
    entries = n * m if m else n * (n + 1) // 2
    passed, formed = passes_and_formed(rows, columns, division, capacity)
    assert passed >= least_passes(images, entries, capacity)
    equal = max(1, capacity // (2 * whole)) * whole
    other, others = passes_and_formed(rows, columns, Division(equal, equal), capacity)
    if m is None and capacity >= n:
        assert (passed, formed) == (n, n)
    spare = 2 * cost.passing * equal * (1 + n // equal)  # blocks that the cache still holds
    found = cost.passing * passed + cost.forming * formed
    assert found <= cost.passing * other + cost.forming * others + spare


@pytest.mark.parametrize(
    ("forming", "within"), [(0.0, 1.15), (0.2, 1.5)], ids=["free forming", "forming"]
)
def test_large_kernels_come_near_the_fewest_passes(forming, within):
    """N = 50,000 in memory for 1,000 samples: equal blocks take twice the fewest passes."""
    rows = range(50_000)
    _, division = divide(rows, rows, 1_000, 10, SampleCost(1, forming))
    entries = len(rows) * (len(rows) + 1) // 2
    least = least_passes(len(rows), entries, 1_000)
    passed, _ = passes_and_formed(rows, rows, division, 1_000)
    equal, _ = passes_and_formed(rows, rows, Division(500, 500), 1_000)
    assert passed <= within * least
    assert equal >= 1.9 * least


def test_the_smaller_side_is_held_whole():
    rows, columns = range(900), range(900, 10_900)
    cost = SampleCost(1, 0.1)
    for sides_ in ((rows, columns), (columns, rows)):
        _, division = divide(*sides_, 1_000, 10, cost)
        assert division.held == 900
        assert division.by_columns == (sides_[1] is rows)
        assert passes_and_formed(*sides_, division, 1_000)[0] == 10_900


def test_dearer_forming_streams_larger_blocks():
    rows = range(10_000)
    streamed = [
        divide(rows, rows, 500, 1, SampleCost(1, cost))[1].streamed for cost in (0, 0.1, 1, 9)
    ]
    assert streamed == sorted(streamed)
    assert streamed[0] < 50
    assert 200 < streamed[-1] <= 250


@given(st.integers(1, 1_000), st.integers(2, 40), st.integers(1, 6))
def test_the_least_passes_are_those_of_samples_that_meet_all_that_are_held(
    entries, capacity, workers
):
    """Samples come one by one, and each meets itself and what the memory holds beside it."""
    passed, left = 0, entries
    while left > 0:
        passed += 1
        left -= min(passed, capacity)
    least = least_passes(1, workers * entries, capacity, workers)
    assert workers * (passed - 1) < least <= workers * passed
