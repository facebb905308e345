"""The members of an uncompressed tar: their places in the file, each name checked."""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from rmtgen.errors import CorruptInputError, MissingInputError, UsageError
from rmtgen.names import printable

_BLOCK = tarfile.BLOCKSIZE
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
    b"7z\xbc\xaf": "7z",
    b"Rar!": "rar",
}
"""The first bytes of archives that have no random access."""


def read_places(
    path: Path, expected: str, rule: str = "a folder data set must be a folder or"
) -> dict[str, tuple[int, int]]:
    """Offset and size of every plain file in a tar, by its name inside the archive.

    Archives that were joined (`cat a.tar b.tar`) are read one after another. Of members with one
    name the last counts, as on extraction. A hard link stands for the file that it names.

    Args:
        path: The archive.
        expected: What it should hold, for messages.
        rule: What must be an uncompressed .tar, for messages.

    Raises:
        MissingInputError: There is no such file.
        UsageError: It is a compressed archive, or not named `.tar`.
        CorruptInputError: It is damaged, or holds a member that could lead out of it.
    """
    _check_kind(path, expected, rule)
    places: dict[str, tuple[int, int]] = {}
    for member in _members(path):
        name = _safe_name(path, member)
        if member.isreg():
            places[name] = member.offset_data, member.size
        elif member.islnk():
            places[name] = places[_linked(path, member, places)]
        else:  # a folder takes the place of a file of its name
            places.pop(name, None)
    return places


def _check_kind(path: Path, expected: str, rule: str) -> None:
    shown = printable(str(path))
    if not path.exists():
        raise MissingInputError(
            f"{shown} does not exist. Expected a folder or a .tar with {expected}."
        )
    if not path.is_file():
        raise UsageError(f"a data set must be a folder or a .tar, got a pipe or a device: {shown}.")
    with path.open("rb") as file:
        begins = file.read(8)
    kind = next((kind for mark, kind in _COMPRESSED.items() if begins.startswith(mark)), None)
    if kind or path.suffix.lower() != ".tar":
        raise UsageError(
            f"{rule} an uncompressed .tar, got {shown}"
            f"{f' ({kind})' if kind else ''}. A compressed archive has no random access: unpack it,"
            " or decompress it (gunzip)."
        )


def _members(path: Path) -> Iterator[tarfile.TarInfo]:
    """Every member of an archive and of those joined to it; each must end with a block of zeros.

    The end is checked because `tarfile` takes a damaged header for the end of the archive.
    """
    count = 0
    start: int | None = 0
    try:
        with path.open("rb") as file:
            while start is not None:
                file.seek(start)
                with tarfile.open(fileobj=file, mode="r:") as archive:
                    members, end = archive.getmembers(), archive.offset
                yield from members
                count += len(members)
                file.seek(end)
                if file.read(_BLOCK) != bytes(_BLOCK):
                    raise CorruptInputError(
                        f"{printable(str(path))} must end with a block of zeros: after"
                        f" {count} members, got other bytes at byte {end} (truncated, or a damaged"
                        " header). Copy or pack it again."
                    )
                start = _next_archive(file)
    except (tarfile.TarError, OSError, ValueError, OverflowError, RecursionError) as error:
        raise CorruptInputError(
            f"{printable(str(path))} is not a valid tar archive: {error}. Copy or pack it again."
        ) from error


def _next_archive(file: BinaryIO) -> int | None:
    """The place of the first block that is not of zeros, from here on."""
    while block := file.read(_BLOCK):
        if block.strip(b"\0"):
            return file.tell() - len(block)
    return None


def _safe_name(path: Path, member: tarfile.TarInfo) -> str:
    """The name of a member that is a plain file, a hard link or a folder inside the archive.

    Raises:
        CorruptInputError: The name leads, or a link could point, outside the archive.
    """
    if _leads_out(member.name):
        raise _refusal(path, member, "its name leads out of the archive")
    if member.issym() or (member.islnk() and _leads_out(member.linkname)):
        raise _refusal(path, member, f"it is a link to {printable(member.linkname)!r}")
    if not (member.isdir() or member.isreg() or member.islnk()) or member.issparse():
        raise _refusal(path, member, "it is neither a plain file nor a folder")
    return _normal(member.name)


def _linked(path: Path, member: tarfile.TarInfo, places: dict[str, tuple[int, int]]) -> str:
    target = _normal(member.linkname)
    if target not in places:
        shown = repr(printable(member.linkname))
        raise _refusal(path, member, f"it is a link to {shown}, which is not before it")
    return target


def _normal(name: str) -> str:
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _leads_out(name: str) -> bool:
    return name.startswith("/") or ".." in name.split("/")


def _refusal(path: Path, member: tarfile.TarInfo, reason: str) -> CorruptInputError:
    return CorruptInputError(
        f"every member must be a plain file or folder inside the archive: {printable(str(path))}"
        f" holds {printable(member.name)!r}, but {reason}. Pack it again from inside the folder of"
        " the data set, with links replaced by files (tar -ch --hard-dereference)."
    )
