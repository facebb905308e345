"""The images that files, folders and archives hold, by number; none of them is opened here."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from rmtgen.datasets import archive
from rmtgen.datasets.decoding import MAX_PIXELS
from rmtgen.datasets.images import FileImages, ImageSource, TarImages
from rmtgen.datasets.listing import PassedOver, folder_names, sort_out
from rmtgen.errors import MissingInputError, warn
from rmtgen.names import printable
from rmtgen.scalars import path as checked_path

EXPECTED = "images"
"""What a folder or an archive should hold."""


class Pictures(Sequence[Image.Image]):
    """Images of several places, in the order of the places, by name within each."""

    def __init__(self, sources: Sequence[ImageSource]):
        self._sources = tuple(sources)
        self._ends = np.cumsum([len(source) for source in sources])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, position: int) -> Image.Image:  # type: ignore[override]  # no slices
        """Decode one image.

        Raises:
            RmtgenError: It cannot be read, or is damaged.
        """
        source, place = self._found(position)
        return source[place]

    def locate(self, position: int) -> str:
        """The path of an image, of a member of an archive after a colon."""
        source, place = self._found(position)
        return source.locate(place)

    def _found(self, position: int) -> tuple[ImageSource, int]:
        if not 0 <= position < len(self):
            raise IndexError(position)
        number = int(np.searchsorted(self._ends, position, side="right"))
        source = self._sources[number]
        return source, position - int(self._ends[number]) + len(source)


def gather(places: Sequence[str | Path], max_pixels: int = MAX_PIXELS) -> Pictures:
    """The images of files, folders and uncompressed tars.

    A file is taken as an image whatever its name says. In a folder or an archive the suffix
    decides, and what is passed over is said in a warning.

    Args:
        places: Paths.
        max_pixels: Largest number of pixels of an image.

    Raises:
        MissingInputError: There is nothing at a path, or no image in a folder or an archive.
        UsageError: An archive is compressed, or no path is given.
        CorruptInputError: An archive is damaged, or holds a member that could lead out of it.
    """
    if not places:
        raise MissingInputError("no images are named. Give files, folders or .tar archives.")
    return Pictures([_source(checked_path(place, "images"), max_pixels) for place in places])


def _source(path: Path, max_pixels: int) -> ImageSource:
    shown, passed_over = printable(str(path)), PassedOver()
    try:
        is_folder, is_there = path.is_dir(), path.exists()
    except (OSError, ValueError) as error:
        raise MissingInputError(f"{shown[:200]} cannot be looked up: {error}.") from error
    if not is_there:
        raise MissingInputError(f"{shown} does not exist. Give files, folders or .tar archives.")
    if is_folder:
        names = folder_names(path, passed_over)
        source: ImageSource = FileImages([f"{path}/{name}" for name in names], max_pixels)
    elif path.suffix.lower() == ".tar":
        places = archive.read_places(path, EXPECTED, rule="images come from files, folders or")
        names = sort_out(places, passed_over)
        found = np.array([places[name] for name in names], dtype=np.int64).reshape(-1, 2)
        source = TarImages(str(path), names, found[:, 0], found[:, 1], max_pixels)
    else:
        return FileImages([str(path)], max_pixels)
    said = passed_over.sentence()
    if not names:
        raise MissingInputError(f"{shown} must hold images, got none. {said}".strip())
    if said:
        warn(f"{shown}: {said}.")
    return source
