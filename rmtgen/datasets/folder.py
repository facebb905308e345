"""`folder:PATH`: train/CLASS/IMAGE and test/CLASS/IMAGE in a folder or an uncompressed tar.

A tar is read in place. Only files with an image suffix inside a class folder count; hidden files
and folders, other files, and everything beside train/ and test/ are ignored. The images of a split
are sorted by name, so that their order depends on neither the file system nor the archive.
"""

import os
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rmtgen.datasets.images import FileImages, ImageSource, LabelledImages, TarImages
from rmtgen.datasets.source import DataSource
from rmtgen.datasets.subsets import SPLITS
from rmtgen.errors import CorruptInputError, MissingInputError, UsageError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""File name suffixes of images, in lower case."""

_LAYOUT = "train/CLASS/IMAGE and test/CLASS/IMAGE"


class FolderSource(DataSource):
    """A folder or a `.tar` with one folder per class; labels number the sorted class folders."""

    argument = "PATH"

    def open(
        self, name: str, splits: Sequence[str], *, root: Path, download: bool
    ) -> dict[str, LabelledImages]:
        """The requested splits, each in the order of its sorted file names.

        Raises:
            MissingInputError: The path, a split, or its images do not exist.
            CorruptInputError: The archive is damaged or holds an unsafe member; or train/ and test/
                have different classes.
            UsageError: The path is a file but not a `.tar`.
        """
        return _open(_path(name), name, splits)

    def files(self, name: str, root: Path) -> list[Path]:
        """The folder or archive."""
        return [_path(name)]


def _path(name: str) -> Path:
    return Path(name.partition(":")[2]).expanduser()


def _open(path: Path, name: str, splits: Sequence[str]) -> dict[str, LabelledImages]:
    names, images = _list_folder(path) if path.is_dir() else _list_tar(path)
    found = {
        split: [row for row, listed in enumerate(names) if listed.startswith(f"{split}/")]
        for split in SPLITS
    }
    for split in splits:
        if not found[split]:
            raise MissingInputError(
                f"{path} must hold {_LAYOUT}, got no image under {split}/. Image files end in"
                f" {' '.join(SUFFIXES)}."
            )
    folders = {
        split: np.array([names[row].split("/")[1] for row in rows]) for split, rows in found.items()
    }
    _check_same_classes(path, folders)
    return {
        split: _labelled(name, split, images.select(found[split]), folders[split])
        for split in splits
    }


def _labelled(name: str, split: str, images: ImageSource, folders: np.ndarray) -> LabelledImages:
    classes, labels = np.unique(folders, return_inverse=True)
    return LabelledImages(
        name,
        split,
        images,
        labels.astype(np.int64),
        tuple(classes.tolist()),
        np.arange(len(labels)),
    )


def _check_same_classes(path: Path, folders: dict[str, np.ndarray]) -> None:
    if not all(map(len, folders.values())):
        return
    train, test = (set(folders[split].tolist()) for split in SPLITS)
    if train != test:
        raise CorruptInputError(
            f"train/ and test/ must hold images of the same classes: {path} has {len(train)} and"
            f" {len(test)} (only in train/: {_few(train - test)}; only in test/:"
            f" {_few(test - train)}). Rename, fill or remove those folders."
        )


def _few(classes: set[str]) -> str:
    return (
        ", ".join(sorted(classes)[:5]) + (", …" if len(classes) > 5 else "") if classes else "none"
    )


def _is_hidden(part: str) -> bool:
    return part.startswith(".")


def _is_image(parts: Sequence[str]) -> bool:
    return (
        len(parts) > 2
        and parts[0] in SPLITS
        and not any(map(_is_hidden, parts))
        and parts[-1].lower().endswith(SUFFIXES)
    )


def _list_folder(path: Path) -> tuple[list[str], FileImages]:
    names = []
    for split in SPLITS:
        if not (path / split).is_dir():
            continue
        for parent, folders, files in os.walk(
            path / split, onerror=_refuse_listing, followlinks=True
        ):
            folders[:] = [folder for folder in folders if not _is_hidden(folder)]
            parts = Path(parent).relative_to(path).parts
            names += ["/".join([*parts, file]) for file in files if _is_image([*parts, file])]
    names.sort()
    return names, FileImages([f"{path}/{name}" for name in names])


def _refuse_listing(error: OSError) -> None:
    raise MissingInputError(
        f"{error.filename} cannot be listed: {error.strerror}. Make it readable."
    ) from error


def _list_tar(path: Path) -> tuple[list[str], TarImages]:
    if not path.exists():
        raise MissingInputError(
            f"{path} does not exist. Expected a folder or a .tar with {_LAYOUT}."
        )
    if path.suffix != ".tar":
        raise UsageError(
            f"a folder data set must be a folder or an uncompressed .tar, got {path}. A compressed"
            " archive has no random access: unpack it, or decompress it (gunzip)."
        )
    regular = {}  # of members with one name the last counts, as it would on extraction
    for member in _read_members(path):
        parts = _safe_parts(path, member)
        if member.isreg() and _is_image(parts):
            regular["/".join(parts)] = (member.offset_data, member.size)
    names = sorted(regular)
    places = np.array([regular[name] for name in names], dtype=np.int64).reshape(-1, 2)
    return names, TarImages(str(path), names, places[:, 0], places[:, 1])


def _read_members(path: Path) -> list[tarfile.TarInfo]:
    """Every member of an archive, which must end with a block of zeros.

    The end is checked because `tarfile` takes a damaged header for the end of the archive.
    """
    try:
        with tarfile.open(path, "r:") as archive:
            members, end = archive.getmembers(), archive.offset
        with path.open("rb") as archive:
            archive.seek(end)
            closing = archive.read(tarfile.BLOCKSIZE)
    except (tarfile.TarError, OSError, ValueError) as error:
        raise CorruptInputError(
            f"{path} is not a valid tar archive: {error}. Copy or pack it again."
        ) from error
    if closing != bytes(tarfile.BLOCKSIZE):
        raise CorruptInputError(
            f"{path} must end with a block of zeros: after {len(members)} members, got other bytes"
            f" at byte {end} (truncated, or a damaged header). Copy or pack it again."
        )
    return members


def _safe_parts(path: Path, member: tarfile.TarInfo) -> list[str]:
    """The parts of the name of a member that is a plain file or folder inside the archive.

    Raises:
        CorruptInputError: The name leads, or a link could point, outside the archive.
    """
    parts = [part for part in member.name.split("/") if part not in ("", ".")]
    if member.name.startswith("/") or ".." in parts:
        reason = "its name leads out of the archive"
    elif member.issym() or member.islnk():
        reason = f"it is a link to {member.linkname!r}"
    elif not (member.isdir() or member.isreg()) or member.issparse():
        reason = "it is neither a plain file nor a folder"
    else:
        return parts
    raise CorruptInputError(
        f"every member must be a plain file or folder inside the archive: {path} holds"
        f" {member.name!r}, but {reason}. Pack it again from inside the folder that holds train/"
        " and test/, with links replaced by files (tar -ch --hard-dereference)."
    )
