"""Changed files of every kind: an error with a name or a result, within memory and time.

See `__main__.py`, a process of its own; `python -m tests.fuzz FOLDER 100` tries many more.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz.mutations import changed

CHECKOUT = Path(__file__).parents[2]


def test_no_changed_file_ends_in_a_traceback_a_hang_or_a_flood(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", str(tmp_path)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    escaped = [f"{name}: {what}" for name, result in found.items() for what in result["escaped"]]
    assert not escaped, "\n".join(escaped)
    assert len(found) == 12
    for result in found.values():
        assert result["attacks"] >= 100
        assert result["refused"] >= result["attacks"] // 10  # the changes are no trifles


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (("truncate", 1 << 23, 1 << 23, b""), b"0123"),
        (("cut", 1 << 23, 0, b""), b"4567"),
        (("insert", 1 << 23, 1 << 23, b"xy"), b"0123xy4567"),
        (("overwrite", 1 << 23, 1 << 23, b"xy"), b"0123xy67"),
        (("replace", 1 << 22, 1 << 23, b"xy"), b"01xy4567"),
        (("repeat", 1 << 22, 1 << 23, b""), b"0123234567"),
        (("zero", 1 << 22, 1 << 23, b""), b"01\0\x004567"),
        (("flip", 0, 0, b""), b"11234567"),
    ],
)
def test_a_change_is_what_its_name_says(edit, expected):
    assert changed(b"01234567", [edit]) == expected
    assert changed(b"", [edit]) == edit[3]
