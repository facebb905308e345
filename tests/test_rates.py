"""Rates measured beside other work, on a machine with a clock of its own."""

import itertools

import pytest
import torch

from rmtgen import rates
from rmtgen.rates import Rates


class Machine:
    """A machine with a clock of its own, whose threads get a share of the processors.

    A piece of work takes `seconds` of processor time. On `threads` threads of a quiet machine it
    takes that divided by `threads`, and `load` times as long where others compute too.
    """

    def __init__(self, monkeypatch, *, load, threads=4):
        self.wall = self.processor = 0.0
        self.load, self.threads, self.most = load, threads, threads
        monkeypatch.setattr(rates.time, "perf_counter", lambda: self.wall)
        monkeypatch.setattr(rates.time, "thread_time", lambda: self.processor)
        monkeypatch.setattr(rates.torch, "get_num_threads", lambda: self.threads)
        monkeypatch.setattr(rates.torch, "set_num_threads", self.use)

    def use(self, threads):
        self.threads = threads

    def work(self, seconds):
        def run():
            self.wall += seconds / self.threads * self.load
            self.processor += seconds / self.threads

        return run


@pytest.fixture
def meter():
    return Rates(torch.device("cpu"))


def test_on_a_quiet_machine_the_wall_time_of_all_threads_counts(monkeypatch, meter):
    machine = Machine(monkeypatch, load=1.0)
    assert meter.seconds(machine.work(2.0)) == pytest.approx(0.5)
    assert meter.load == 1
    assert machine.threads == machine.most  # put back after the measurement in one thread


@pytest.mark.parametrize("load", [1.3, 2.0, 15.0, 400.0])
def test_on_a_busy_machine_the_processor_time_counts(monkeypatch, meter, load):
    """The estimate is the quiet one within the share that threads are assumed to reach."""
    machine = Machine(monkeypatch, load=load)
    quiet = 2.0 / machine.most
    assert quiet <= meter.seconds(machine.work(2.0)) <= quiet / rates.THREADED * (1 + 1e-9)
    assert meter.load == pytest.approx(load)


@pytest.mark.parametrize("load", [1.0, 30.0])
def test_one_thread_shares_its_work_with_none(monkeypatch, meter, load):
    machine = Machine(monkeypatch, load=load, threads=1)
    assert meter.seconds(machine.work(2.0)) == pytest.approx(2.0)


def test_work_too_short_to_be_timed_is_repeated(monkeypatch, meter):
    machine, calls = Machine(monkeypatch, load=3.0), itertools.count()
    work = machine.work(0.001)
    assert meter.seconds(lambda: (next(calls), work())) == pytest.approx(
        0.001 / (machine.most * rates.THREADED)
    )
    assert next(calls) >= rates.SHORTEST / 0.001


def test_a_failing_work_leaves_the_number_of_threads(monkeypatch, meter):
    machine, calls = Machine(monkeypatch, load=1.0), itertools.count()

    def fail():
        if next(calls) == 3:  # the first in one thread
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        meter.seconds(fail)
    assert machine.threads == machine.most


def test_a_product_is_measured_once_per_type(monkeypatch, meter):
    measured = []
    monkeypatch.setattr(meter, "seconds", lambda work: measured.append(work().dtype) or 0.5)
    for _ in range(2):
        for dtype in (torch.float64, torch.float32):
            assert meter.product(dtype) == pytest.approx(4 * rates.PROBE**3)
    assert measured == [torch.float64, torch.float32]


def test_a_machine_found_busy_stays_busy_where_one_thread_is_alone_by_chance(monkeypatch, meter):
    machine = Machine(monkeypatch, load=10.0)
    meter.seconds(machine.work(2.0))
    assert meter.stretch == pytest.approx(10 * rates.THREADED)
    monkeypatch.setattr(meter, "_single", lambda _: (2.0, 2.0))
    assert meter.seconds(machine.work(2.0)) == pytest.approx(0.5 / rates.THREADED)


def test_threads_that_wait_for_each_other_take_no_longer_than_one(monkeypatch, meter):
    machine = Machine(monkeypatch, load=1.0)
    monkeypatch.setattr(meter, "_timed", lambda _: 30.0)
    assert meter.seconds(machine.work(2.0)) == pytest.approx(2.0)


def test_long_work_runs_once_each_way(monkeypatch, meter):
    """After the first, which warms up: on all threads, and on one."""
    machine, calls = Machine(monkeypatch, load=1.0), itertools.count()
    work = machine.work(4 * rates.LONG)
    assert meter.seconds(lambda: (next(calls), work())) == pytest.approx(rates.LONG)
    assert next(calls) == 3


def test_nothing_measured_is_no_load(meter):
    assert meter.load == 1
