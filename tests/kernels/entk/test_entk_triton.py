"""The Triton kernels of the benchmarks against the rules, in Triton's interpreter."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def test_fused_kernels_equal_the_rules_and_products_float64():
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
    assert len(errors) == 17
    assert max(errors.values()) < 5e-7, errors
