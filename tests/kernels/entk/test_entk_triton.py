"""The kernels of tensor cores against float64, in Triton's interpreter."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
