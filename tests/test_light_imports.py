"""What modules must not import: no torch on the cached path, no timm for a device."""

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "timm", "pandas", "scipy", "sklearn", "matplotlib")
LIGHT = (
    "rmtgen",
    "rmtgen.errors",
    "rmtgen.units",
    "rmtgen.store.durable",
    "rmtgen.store.shards",
    "rmtgen.store.feature_store",
    "rmtgen.store.gram_store",
    "rmtgen.datasets",
    "rmtgen.models.weights",
    "rmtgen.runs.inputs",
)


def imported_by(module):
    """Names of the heavy packages in a fresh interpreter after the import of one module."""
    code = f"import sys, json, {module}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, encoding="utf-8"
    )
    return [name for name in json.loads(done.stdout) if name in HEAVY]


@pytest.mark.parametrize("module", LIGHT)
def test_the_cached_path_imports_nothing_heavy(module):
    assert imported_by(module) == []


def test_a_device_is_named_with_torch_alone():
    assert imported_by("rmtgen.device") == ["torch"]
