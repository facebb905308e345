"""The memory that this process may still take: the machine's, and what limits leave of it.

Limits are those of the process (`ulimit`), of its control groups (containers, batch systems), and
of a job of Slurm. Each allows more memory up to a limit, of which some is in use.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import psutil

from rmtgen.errors import CapacityError
from rmtgen.units import parse_bytes, readable_bytes

try:
    import resource
except ImportError:  # Windows has no limits of this kind
    resource = None  # type: ignore[assignment]

PROCESS = Path("/proc/self")
"""What the kernel says of this process."""
GROUPS = Path("/sys/fs/cgroup")
"""Where control groups are mounted."""
UNLIMITED = 2**60
"""Number of bytes from which a limit is none: version 1 of control groups writes a huge number."""
_PAGES = re.compile(r"tried to allocate (\d+(?:\.\d+)? ?\w*)", re.IGNORECASE)
_FAILURES = ("can't allocate memory", "cannot allocate memory", "out of memory")


@dataclass(frozen=True)
class Bound:
    """One bound on memory.

    Attributes:
        name: What bounds, for messages.
        free: Number of bytes that it leaves.
    """

    name: str
    free: int


def tightest() -> Bound:
    """The bound that leaves least memory to this process."""
    bounds = [
        Bound("the machine", psutil.virtual_memory().available),
        *_process_limits(),
        *_group_limits(),
        *_job_limits(os.environ),
    ]
    return min(bounds, key=lambda bound: bound.free)


def _process_limits() -> Iterator[Bound]:
    """Limits on the address space and on the data of the process, `ulimit -v` and `ulimit -d`."""
    if resource is None:
        return
    used = _numbers(PROCESS / "status")
    for name, limit, use in (
        ("ulimit -v", resource.RLIMIT_AS, "VmSize"),
        ("ulimit -d", resource.RLIMIT_DATA, "VmData"),
    ):
        soft = resource.getrlimit(limit)[0]
        if soft != resource.RLIM_INFINITY and use in used:
            yield Bound(name, max(0, soft - 1024 * used[use]))


def _group_limits() -> Iterator[Bound]:
    """Limits of the control groups of the process and of all above them, in both versions."""
    for line in _lines(PROCESS / "cgroup"):
        _, controllers, path = line.split(":", 2)
        if not controllers:
            second = ["memory.max", "memory.high"]
            yield from _along(GROUPS, path, second, "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            mount, first = GROUPS / "memory", ["memory.limit_in_bytes"]
            yield from _along(mount, path, first, "memory.usage_in_bytes", "total_inactive_file")


def _along(mount: Path, path: str, limits: Sequence[str], use: str, cached: str) -> Iterator[Bound]:
    """What each group from `path` up to the root leaves; pages of a cache can be freed.

    In a container the root alone may be visible.
    """
    inner = PurePosixPath(path).relative_to("/") if path.startswith("/") else PurePosixPath(path)
    for group in (inner, *inner.parents):
        folder = mount / group
        used = _integer(folder / use)
        if used is None:
            continue
        used -= _numbers(folder / "memory.stat").get(cached, 0)
        for name in limits:
            limit = _integer(folder / name)
            if limit is not None and limit < UNLIMITED:
                yield Bound(f"the control group ({name})", max(0, limit - used))


def _job_limits(environ: Mapping[str, str]) -> Iterator[Bound]:
    """What a job of Slurm was promised on this node, less what this process holds; in MiB."""
    node, each = (_whole(environ.get(f"SLURM_MEM_PER_{unit}")) for unit in ("NODE", "CPU"))
    count = _whole(environ.get("SLURM_CPUS_ON_NODE"))
    held = 1024 * _numbers(PROCESS / "status").get("VmRSS", 0)
    if node:
        yield Bound("SLURM_MEM_PER_NODE", max(0, node * 2**20 - held))
    elif each and count:
        yield Bound("SLURM_MEM_PER_CPU", max(0, each * count * 2**20 - held))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return []


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.strip().isdigit() else None


def _integer(path: Path) -> int | None:
    """The number in a file; None where there is none, or it says `max`."""
    return _whole(next(iter(_lines(path)), None))


def _numbers(path: Path) -> dict[str, int]:
    """The first number of every line `name number` or `name: number unit`."""
    found = {}
    for line in _lines(path):
        words = line.replace(":", " ").split()
        if len(words) > 1 and words[1].isdigit():
            found[words[0]] = int(words[1])
    return found


@contextlib.contextmanager
def shortage_named(what: str) -> Iterator[None]:
    """Turn a lack of memory within a `with` block into a `CapacityError`.

    Args:
        what: What ran out of memory, for the message.

    Raises:
        CapacityError: NumPy, torch or Python got no memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as failure:
        if isinstance(failure, CapacityError) or not is_shortage(failure):
            raise
        bound = tightest()
        raise CapacityError(
            f"{what} must fit into memory: {_reason(failure)}; {bound.name} leaves"
            f" {readable_bytes(bound.free)} in all. Raise that limit, or take fewer samples,"
            " smaller sizes or a smaller memory=."
        ) from failure


def is_shortage(failure: BaseException) -> bool:
    """Whether NumPy, torch or Python got no memory."""
    text = str(failure).lower()
    return isinstance(failure, MemoryError) or any(words in text for words in _FAILURES)


def _reason(failure: Exception) -> str:
    """The allocation that failed."""
    text = str(failure)
    if asked := _PAGES.search(text):
        return f"{_readable(asked[1])} could not be allocated"
    return (text.splitlines() or ["an allocation failed"])[0].rstrip(".")


def _readable(amount: str) -> str:
    return readable_bytes(parse_bytes(amount.replace("bytes", "B")))
