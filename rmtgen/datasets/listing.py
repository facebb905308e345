"""What a folder or an archive holds: candidates for images, and what is passed over and why."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from rmtgen.datasets.decoding import suffixes
from rmtgen.datasets.images import FileImages, TarImages
from rmtgen.errors import CorruptInputError, MissingInputError
from rmtgen.names import printable
from rmtgen.store.tree import entries

MOST_NAMED = 3
"""Number of names of a kind that a message shows."""
_NAMED = (
    "broken link",
    "empty folder",
    "folder met before",
    "missing file",
    "no plain file",
    "no image",
    "no label",
)
"""Reasons that are shown with names, since the name is what has to be mended."""


@dataclass(eq=False)
class PassedOver:
    """The entries that are not read as images, by reason.

    Attributes:
        names: The names of each reason: a suffix, "hidden", "broken link", ….
    """

    names: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, reason: str) -> None:
        """Note an entry; a hidden folder counts once, however much is in it."""
        known = self.names.setdefault(reason, [])
        if not known or known[-1] != name:
            known.append(name)

    def counts(self) -> dict[str, int]:
        """The number of entries by reason, the most frequent first."""
        return dict(
            Counter({reason: len(names) for reason, names in self.names.items()}).most_common()
        )

    def sentence(self) -> str:
        """Such as "3 files passed over: 2 × .txt, 1 × hidden"; empty if there are none."""
        counts = self.counts()
        if not counts:
            return ""
        total = sum(counts.values())
        parts = [f"{count} × {reason}{self._shown(reason)}" for reason, count in counts.items()]
        return f"{total} {'file' if total == 1 else 'files'} passed over: {', '.join(parts)}"

    def _shown(self, reason: str) -> str:
        if reason not in _NAMED:
            return ""
        names = self.names[reason]
        more = ", …" if len(names) > MOST_NAMED else ""
        return f" ({', '.join(map(printable, names[:MOST_NAMED]))}{more})"


@dataclass(eq=False)
class Listing:
    """The images of a folder or an archive, whatever its layout.

    Attributes:
        path: The folder or archive.
        names: Sorted names of the images, with /, below the path.
        images: The images, in that order.
        passed_over: What else is there.
    """

    path: Path
    names: Sequence[str]
    images: FileImages | TarImages
    passed_over: PassedOver

    @property
    def shown(self) -> str:
        """The path, for messages."""
        return printable(str(self.path))


def sort_out(names: Iterable[str], passed_over: PassedOver) -> list[str]:
    """The names of images, sorted; the others are noted."""
    images = []
    for name in names:
        parts = name.split("/")
        hidden = next((place for place, part in enumerate(parts) if part.startswith(".")), None)
        suffix = _suffix(name)
        if hidden is not None:
            passed_over.add("/".join(parts[: hidden + 1]), "hidden")
        elif suffix in suffixes():
            images.append(name)
        else:
            passed_over.add(name, printable(suffix) or "without suffix")
    return sorted(images)


def folder_names(path: Path, passed_over: PassedOver) -> list[str]:
    """The names of the images in a folder, links followed, each folder once.

    Raises:
        MissingInputError: A folder cannot be listed.
        CorruptInputError: A pipe, a socket or a device has the name of an image.
    """
    files = []
    try:
        for entry in entries(path):
            if entry.kind == "file":
                files.append(entry.name)
            elif entry.kind == "special file" and _suffix(entry.name) in suffixes():
                raise CorruptInputError(
                    f"every image must be a plain file: {printable(f'{path}/{entry.name}')} is a"
                    " pipe, a socket or a device. Remove it."
                )
            else:
                passed_over.add(entry.name, entry.kind)
    except OSError as error:
        shown = printable(str(error.filename))
        raise MissingInputError(
            f"{shown} cannot be listed: {error.strerror}. Make it readable."
        ) from error
    return sort_out(files, passed_over)


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()
