"""The kernels of tensor cores against float64, in Triton's interpreter."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rmtgen.kernels.entk.sites import Window
from rmtgen.kernels.entk.splits import HalvedFactor, Terms

ROOT = Path(__file__).parents[3]


def test_kernels_give_the_products_of_float64_and_the_halves_of_torch():
    pytest.importorskip("triton", reason="needs Triton, which comes with torch on Linux")
    done = subprocess.run(
        [sys.executable, "-m", "tests.kernels.entk.interpreted"],
        cwd=ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    errors = json.loads(done.stdout)
    assert len(errors) == 18
    assert all(error < 5e-7 for error in errors.values()), errors


def variant(function, arguments, constants):
    """What Triton compiles a variant by: constants, types, and whether a number is 1 or 16 k."""
    values = dict(zip(function.arg_names, arguments, strict=False)) | constants
    for parameter in function.params:
        value = values[parameter.name]
        if parameter.is_constexpr:
            yield value
        elif isinstance(value, torch.Tensor):
            yield value.dtype
        else:
            yield not parameter.do_not_specialize and (value == 1, value % 16 == 0)


def test_a_variant_serves_all_numbers_of_rows_and_both_triangles(monkeypatch):
    """Each takes a second or so to compile, and the first kernel waits for it."""
    tensor_cores = pytest.importorskip("rmtgen.kernels.entk.tensor_cores")
    variants = {}

    class Launched:
        def __init__(self, function):
            self.function, self.seen = function, variants.setdefault(function.__name__, set())

        def __getitem__(self, grid):
            return self.launch

        def launch(self, *arguments, num_warps=0, num_stages=0, **constants):
            self.seen.add(tuple(variant(self.function, arguments, constants)))

    for name in ("_split", "_multiply", "_contract"):
        monkeypatch.setattr(tensor_cores, name, Launched(getattr(tensor_cores, name)))
    cpu, columns = torch.device("cpu"), torch.zeros(32, 4, 64)
    for side in (1, 2):
        terms = Terms.of(Window((side, side), (3, 3), (1, 1), (1, 1)), cpu)
        for n in (1, 5, 16):
            rows = torch.zeros(n, 4, 64)
            left, right = (tensor_cores.split(part, 64) for part in (rows, columns))
            factors = (HalvedFactor(left, torch.ones(n, dtype=torch.float64)),) * 2
            others = (HalvedFactor(right, torch.ones(32, dtype=torch.float64)),) * 2
            for symmetric in (False, True):
                kernel = torch.zeros(n, 32, dtype=torch.float64)
                tensor_cores.multiply(kernel, left, right, symmetric)
                tensor_cores.contract(kernel, terms, factors, others, symmetric)
    assert {name: len(seen) for name, seen in variants.items()} == dict.fromkeys(variants, 1)
