"""Names of files and classes as text that every format and every terminal takes."""

import os
import unicodedata

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
