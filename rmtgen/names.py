"""Names of files and classes as text that every format and every terminal takes, and as paths."""

import os
import unicodedata
from pathlib import Path

from rmtgen.errors import UsageError

_JOINERS = "\u200c\u200d"
"""Invisible letters that belong to words and emoji."""


def printable(name: str) -> str:
    r"""A name in which bytes that are not UTF-8, and characters that cannot be seen, are escaped.

    Such characters are line ends, tabs, escape sequences and marks of direction: `caf\xe9`,
    `a\nb`.
    """
    decoded = os.fsencode(name).decode("utf-8", "backslashreplace")
    if decoded.isprintable():
        return decoded
    return "".join(
        character
        if character.isprintable() or character in _JOINERS
        else character.encode("unicode_escape").decode()
        for character in decoded
    )


def class_name(folder: str) -> str:
    """The name of the class in a folder: printable, and composed (NFC).

    Composed and decomposed letters look the same, and archives made on a Mac hold the latter.
    """
    return unicodedata.normalize("NFC", printable(folder))


def expanded(path: str | os.PathLike) -> Path:
    """A path, `~` and `~user` at its beginning replaced by the home folder; no other expansion.

    Raises:
        UsageError: There is no such user, or this one has no home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UsageError(
            f"no home folder is known for {Path(path).parts[0]!r:.60}. Write the path in full, or"
            f" ./{os.fspath(path)[:80]} for a file of that name."
        ) from None
