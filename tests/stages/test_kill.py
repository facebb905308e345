"""SIGKILL at any instant, then the same command again: the same bytes, and no finished part
computed twice."""

import subprocess
import sys
from pathlib import Path

import pytest

KILLS = 30


@pytest.mark.parametrize("stage", ["extract", "gram"])
def test_killed_at_random_instants_a_stage_resumes_to_the_same_bytes(tmp_path, tiny_images, stage):
    words = [*tiny_images, "batch_size=2", "tile=16"]
    command = [
        sys.executable,
        str(Path(__file__).parents[1] / "killing.py"),
        stage,
        str(tmp_path),
        str(KILLS),
        *words,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = dict(zip(*[iter(done.stdout.splitlines()[-1].split())] * 2, strict=True))
    assert int(figures["killed"]) >= KILLS
    assert int(figures["stopped-at"]) >= 10  # the kills fell at different points of the work
