"""Split products with emulated tensor cores: errors, biases and the parts themselves."""

import csv
import importlib
import math

import pytest
import torch

from tests.bench import figures
from tests.bench.products import measures
from tests.bench.splits import WAYS, rounded

ROWS = torch.randn(40, 4096, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "least", "most", "bias"),
    [
        ("ieee", 1e-8, 3e-7, 1e-7),
        ("float64", 0, 1e-14, 1e-14),
        ("tf32", 1e-5, 1e-4, 1e-5),
        ("bf16x3", 5e-6, 3e-5, 3e-5),
        ("bf16x6", 5e-6, 3e-5, 3e-5),
        ("fp16x3, chunks of 4096", 5e-6, 3e-5, 3e-5),
        ("fp16x3, chunks of 1024", 1e-6, 6e-6, 6e-6),
        ("fp16x3, chunks of 256", 1e-7, 1.5e-6, 1.5e-6),
        ("split", 1e-8, 2e-7, 2e-7),
    ],
)
def test_error_and_bias_of_each_way(name, least, most, bias):
    way = next(way for way in WAYS if way.name == name)
    exact = ROWS.double() @ ROWS.double().T
    found = measures(way.product(ROWS, ROWS), exact)
    assert least <= found["K, Frobenius"] <= most
    assert abs(found["diagonal, bias"]) <= bias


def test_cut_sums_come_out_too_small_and_shorter_ones_less():
    exact = ROWS.double().square().sum(dim=1)
    biases = []
    for way in WAYS[-4:]:
        biases.append((way.product(ROWS, ROWS).diagonal() / exact - 1).mean().item())
    assert biases == sorted(biases)
    assert biases[-1] < 0


def test_rounding_to_fewer_bits():
    assert rounded(torch.tensor([1 + 2.0**-10, 1 + 2.0**-12, -3.0]), 13).tolist() == [
        1 + 2.0**-10,
        1.0,
        -3.0,
    ]


def test_measures_are_relative():
    exact = torch.diag(torch.arange(1.0, 41.0, dtype=torch.float64))
    found = measures(exact * (1 - 1e-3), exact)
    for figure in ("K, Frobenius", "smallest eigenvalue", "smallest 5 %, median"):
        assert math.isclose(found[figure], 1e-3, rel_tol=1e-9)
    assert math.isclose(found["diagonal, bias"], -1e-3, rel_tol=1e-9)


def test_a_failure_is_a_row_and_the_next_measurement_goes_on(monkeypatch, tmp_path):
    monkeypatch.setenv("FIGURES", str(tmp_path / "figures.csv"))

    def fail():
        raise ValueError("no such shape\nsecond line")

    figures.isolated("bench", "first", fail)
    figures.isolated("bench", "second", figures.record, "bench", "second", "time", 1.5, "s")
    with (tmp_path / "figures.csv").open(newline="") as file:
        head, failed, done = csv.reader(file)
    assert tuple(head) == figures.COLUMNS
    assert failed[:3] == ["bench", "first", "cannot: ValueError: no such shape"]
    assert done[:5] == ["bench", "second", "time", "1.5", "s"]


def test_in_place_cholesky_solves(monkeypatch):
    solves = importlib.import_module("tests.bench.solves")
    rows = {}
    monkeypatch.setattr(solves, "record", lambda *row: rows.update({row[2]: row[3]}))
    solves.cholesky(300)
    assert rows["error of a solve"] < 1e-13
