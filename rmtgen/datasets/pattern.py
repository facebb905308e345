"""Patterns of file names: `train-{000..015}.tar`, `{train,val}-*.tar`, a glob, or one path."""

import glob
import re
from collections.abc import Sequence
from pathlib import Path

from rmtgen.errors import MissingInputError, StorageError, UsageError, did_you_mean
from rmtgen.names import expanded, printable

_MOST = 100_000
"""Largest number of names that the braces of a pattern stand for."""
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"([0-9]{1,9})\.\.([0-9]{1,9})")


def matching(pattern: str) -> list[Path]:
    """The files that a pattern stands for, in its order; those of a glob in the order of names.

    A file of the very name comes before what its braces or marks stand for.

    Args:
        pattern: A path, with `~` for the home folder.

    Raises:
        MissingInputError: It matches nothing, or one of its names does not exist.
        UsageError: It is a folder, or its braces cannot be read.
    """
    path = expanded(pattern)
    try:
        if path.is_file():
            return [path]
        if path.is_dir():
            raise UsageError(
                f"shards must be files, got the folder {printable(str(path))}. Write"
                f" {printable(str(path))}/*.tar."
            )
        found = {name: _glob(name) for name in expand(str(path))}
    except OSError as error:
        raise StorageError(
            f"{printable(pattern)[:200]} cannot be read: {error.strerror}. Give another path."
        ) from error
    missing = [name for name, paths in found.items() if not paths]
    if missing:
        raise MissingInputError(_absence(pattern, missing, len(found)))
    return list(dict.fromkeys(path for paths in found.values() for path in paths))


def expand(pattern: str) -> list[str]:
    """The names that the braces of a pattern stand for, in order, each once.

    Args:
        pattern: Text with `{000..015}`, a range of numbers with leading zeros, and `{a,b}`.

    Raises:
        UsageError: Braces hold something else, or stand for too many names.
    """
    done, waiting = dict[str, None](), [pattern]
    while waiting:
        text = waiting.pop()
        braces = _BRACES.search(text)
        if braces is None:
            done[text] = None
        else:
            head, tail = text[: braces.start()], text[braces.end() :]
            waiting += [f"{head}{choice}{tail}" for choice in reversed(_choices(braces[1]))]
        if len(done) + len(waiting) > _MOST:
            raise UsageError(
                f"a pattern may stand for {_MOST:,} files, got more: {printable(pattern)[:100]}."
                " Give a glob."
            )
    return list(done)


def _choices(body: str) -> Sequence[str]:
    """What one pair of braces stands for."""
    if "," in body:
        return body.split(",")
    bounds = _RANGE.fullmatch(body)
    if bounds is None or int(bounds[1]) > int(bounds[2]):
        raise UsageError(
            "braces must hold a rising range such as 000..015, or names such as train,val: got"
            f" {{{printable(body)[:60]}}}."
        )
    padded = any(bound.startswith("0") and len(bound) > 1 for bound in bounds.groups())
    width = max(map(len, bounds.groups())) if padded else 0
    numbers = range(int(bounds[1]), int(bounds[2]) + 1)
    if len(numbers) > _MOST:
        raise UsageError(
            f"a pattern may stand for {_MOST:,} files, got {{{body}}}. Give a smaller range."
        )
    return [f"{number:0{width}}" for number in numbers]


def _glob(name: str) -> list[Path]:
    if not glob.has_magic(name):
        return [Path(name)] if Path(name).is_file() else []
    return [path for path in map(Path, sorted(glob.glob(name))) if path.is_file()]  # noqa: PTH207


def _absence(pattern: str, missing: Sequence[str], count: int) -> str:
    shown = printable(pattern)[:200]
    named = ", ".join(printable(name) for name in missing[:3]) + (", …" if len(missing) > 3 else "")
    if count == 1:
        return f"{shown} matches no file. {_near(missing[0])}"
    return (
        f"every name that {shown} stands for must be a file: {len(missing)} of {count} are not"
        f" ({named}). {_near(missing[0])}"
    )


def _near(name: str) -> str:
    """The archives in the deepest folder of a name that is there."""
    folder = Path(name).parent
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    try:
        archives = sorted(path.name for path in folder.iterdir() if ".tar" in path.name)
    except OSError:
        archives = []
    where = printable(str(folder))
    if not archives:
        return f"There is no .tar in {where}/. Give the pattern of local shards."
    plain = [printable(name) for name in archives]
    return f"In {where}/: {did_you_mean(printable(Path(name).name), plain)}"
