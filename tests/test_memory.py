"""Limits on memory, from files of the kernel and variables of a job made for the test."""

import resource
import subprocess
import sys
import textwrap

import numpy as np
import psutil
import pytest
import torch

from rmtgen import memory
from rmtgen.device import available
from rmtgen.errors import CapacityError
from rmtgen.memory import shortage_named, tightest
from rmtgen.ridge import ridge_path

MIB = 2**20


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """A process of 100 MiB without limits: a function that writes a file of the kernel."""
    monkeypatch.setattr(memory, "PROCESS", tmp_path / "proc")
    monkeypatch.setattr(memory, "GROUPS", tmp_path / "cgroup")
    for name in ("SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU", "SLURM_CPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)

    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    write("proc/status", "Name:\tpython\nVmSize:\t102400 kB\nVmData:\t51200 kB\nVmRSS:\t81920 kB\n")
    return write


def test_the_machine_bounds_a_process_without_limits(kernel):
    bound = tightest()
    assert bound.name == "the machine"
    assert bound.free == pytest.approx(psutil.virtual_memory().available, rel=0.2)


@pytest.mark.parametrize(
    ("limit", "name", "free"), [("RLIMIT_AS", "ulimit -v", 50), ("RLIMIT_DATA", "ulimit -d", 100)]
)
def test_limits_of_the_process(limit, name, free, kernel, monkeypatch):
    honest, chosen = resource.getrlimit, getattr(resource, limit)
    monkeypatch.setattr(
        resource, "getrlimit", lambda of: (150 * MIB, 200 * MIB) if of == chosen else honest(of)
    )
    assert tightest() == memory.Bound(name, free * MIB)
    assert available(torch.device("cpu")) == free * MIB


@pytest.mark.parametrize(
    ("files", "free"),
    [
        # version 2: the limit of the group, its cache is free; of a parent; of the root alone
        (
            {
                "a/b/memory.max": 90 * MIB,
                "a/b/memory.current": 50 * MIB,
                "a/b/memory.stat": f"anon 7\ninactive_file {20 * MIB}\n",
            },
            60,
        ),
        (
            {
                "a/b/memory.max": "max",
                "a/b/memory.current": 5 * MIB,
                "a/memory.max": 70 * MIB,
                "a/memory.current": 30 * MIB,
            },
            40,
        ),
        ({"memory.max": 80 * MIB, "memory.current": 10 * MIB}, 70),
        (
            {
                "a/b/memory.max": 90 * MIB,
                "a/b/memory.high": 60 * MIB,
                "a/b/memory.current": 50 * MIB,
            },
            10,
        ),
        ({"a/b/memory.max": 40 * MIB, "a/b/memory.current": 50 * MIB}, 0),
    ],
)
def test_limits_of_control_groups(files, free, kernel):
    kernel("proc/cgroup", "0::/a/b\n")
    for name, content in files.items():
        kernel(f"cgroup/{name}", f"{content}\n")
    assert tightest().free == free * MIB
    assert "control group" in tightest().name


def test_limits_of_control_groups_of_version_1(kernel):
    kernel("proc/cgroup", "12:cpuset:/x\n5:cpu,memory:/job/step\n1:name=systemd:/y\n")
    kernel("cgroup/memory/job/step/memory.limit_in_bytes", "9223372036854771712\n")
    kernel("cgroup/memory/job/step/memory.usage_in_bytes", f"{8 * MIB}\n")
    kernel("cgroup/memory/job/memory.limit_in_bytes", f"{64 * MIB}\n")
    kernel("cgroup/memory/job/memory.usage_in_bytes", f"{30 * MIB}\n")
    kernel("cgroup/memory/job/memory.stat", f"cache 1\ntotal_inactive_file {6 * MIB}\n")
    assert tightest().free == 40 * MIB


@pytest.mark.parametrize(
    ("variables", "free"),
    [
        ({"SLURM_MEM_PER_NODE": "200"}, 120),
        ({"SLURM_MEM_PER_CPU": "60", "SLURM_CPUS_ON_NODE": "2"}, 40),
        ({"SLURM_MEM_PER_NODE": "10"}, 0),
    ],
)
def test_limits_of_a_job(variables, free, kernel, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert tightest().free == free * MIB


@pytest.mark.parametrize(
    "variables",
    [{"SLURM_MEM_PER_NODE": "0"}, {"SLURM_MEM_PER_NODE": "all"}, {"SLURM_MEM_PER_CPU": "9"}],
)
def test_a_job_without_a_limit_has_none(variables, kernel, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert tightest().name == "the machine"


def test_auto_takes_what_fits_and_says_what_bounds(kernel, monkeypatch):
    rows = np.random.default_rng(0).standard_normal((400, 5))
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "81")  # 1 MiB beside the 80 that the process holds
    with pytest.raises(CapacityError, match=r"needs .* MiB of memory, got 1\.0 MiB available"):
        ridge_path(rows @ rows.T, rows[:, 0], ridges=[0.1])


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9437184"
                         " bytes. Error code 12 (Cannot allocate memory)"),
            r"9\.0 MiB could not be allocated",
        ),
        (MemoryError(), "an allocation failed"),
        (MemoryError("Unable to allocate 68.7 MiB for an array"), "Unable to allocate 68.7 MiB"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has"),
            r"2\.0 GiB could not be allocated",
        ),
    ],
)  # fmt: skip
def test_a_lack_of_memory_is_named(failure, reason):
    message = f"work must fit into memory: {reason}.* leaves .*B"
    with pytest.raises(CapacityError, match=message), shortage_named("work"):
        raise failure


def test_other_failures_stay_as_they_are():
    with pytest.raises(RuntimeError, match="^no memory of it$"), shortage_named("work"):
        raise RuntimeError("no memory of it")
    with pytest.raises(CapacityError, match="^known$"), shortage_named("work"):
        raise CapacityError("known")


def test_a_limited_process_gets_one_line():
    script = """
        import resource, numpy as np, rmtgen
        from rmtgen.errors import CapacityError
        X = np.random.default_rng(0).standard_normal((3000, 50)); K, y = X @ X.T, X[:, 0]
        rmtgen.ridge_path(K[:50, :50], y[:50], ridges=[0.1])
        status = dict(line.split(":", 1) for line in open("/proc/self/status"))
        used = int(status["VmSize"].split()[0]) * 1024
        for room in (20, 80):
            resource.setrlimit(resource.RLIMIT_AS, (used + room * 2**20, -1))
            try:
                rmtgen.ridge_path(K, y, ridges=[0.1])
            except CapacityError as error:
                print(room, error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["20", "80"]
