"""Decoding of picture files: formats, pixel limits, memory, and the conversion to upright RGB.

Only still raster formats are opened, recognised by the first bytes of the file. A format without
such a mark is opened under its own suffix alone. Of a file of several frames the first counts.
"""

import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from io import BytesIO
from numbers import Integral
from pathlib import PurePath

from PIL import Image, ImageOps, UnidentifiedImageError

from rmtgen.errors import CapacityError, DamagedImageError, RmtgenError, StorageError, UsageError
from rmtgen.memory import tightest
from rmtgen.units import readable_bytes

MAX_PIXELS = 250_000_000
"""Default of the largest number of pixels of one picture; as RGB they take 1 GB."""

DECODING = 2
"""Version of what pixels a file has: 1 did not turn pictures by their EXIF orientation."""

_MARKED = ("PNG", "JPEG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM", "QOI")
"""Formats of Pillow that are recognised by their first bytes, whatever the suffix says."""

_BY_SUFFIX = ("DDS", "ICO", "PCX", "SGI", "SUN", "TGA", "XBM", "XPM")
"""Formats whose first bytes say too little: they are opened under their own suffix."""

_OPENED_AS = {"MPO": "JPEG"}
"""Formats that Pillow opens by another one."""

_ORIENTATION = 0x0112
_DECODED_BYTES = 2**30
"""Bytes of decoded pictures that the threads of a process hold together."""
_ALWAYS_FITS = 2**26
"""Bytes below which the free memory of the machine is not asked for."""
_WORST_BYTES_PER_PIXEL = 8
"""Bytes per pixel above which no file of a sound picture is."""

_PNG_MARK = b"\x89PNG\r\n\x1a\n"
_PNG_NOTES = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
"""Chunks of a PNG that hold text and colour profiles, no pixels."""
_PNG_ORIENTED = (b"Raw profile type exif", b"XML:com.adobe.xmp")
"""Keywords of the texts that can say how a picture is turned."""


@cache
def suffixes() -> dict[str, str]:
    """The suffixes of pictures, in lower case, and the format that Pillow opens each with."""
    wanted = (*_MARKED, *_BY_SUFFIX)
    named = {
        suffix: _OPENED_AS.get(kind, kind) for suffix, kind in Image.registered_extensions().items()
    }
    return {
        suffix: kind
        for suffix, kind in sorted(named.items())
        if kind in wanted and kind in Image.OPEN
    }


def check_pixels(max_pixels: int) -> int:
    """`max_pixels`, if it is a whole number ≥ 1.

    Raises:
        UsageError: It is not.
    """
    if isinstance(max_pixels, bool) or not isinstance(max_pixels, Integral) or max_pixels < 1:
        raise UsageError(f"max_pixels must be a whole number ≥ 1, got {max_pixels!r}.")
    return int(max_pixels)


def decode(content: bytes, where: str, max_pixels: int) -> Image.Image:
    """The picture in an encoded file, upright and in RGB.

    Args:
        content: The file.
        where: Its name, for messages; its suffix is respected.
        max_pixels: The largest number of pixels.

    Raises:
        DamagedImageError: The bytes are not a complete picture of up to 8 bits per channel.
        UsageError: The picture has more than `max_pixels` pixels.
        CapacityError: It does not fit into memory.
    """
    with _naming_damage(where):
        image = _open(content, where, max_pixels)
        with _MEMORY.holding(_bytes_of(image) + 4 * image.width * image.height, where):
            image.load()
            return to_rgb(image)


def examine(content: bytes, where: str, max_pixels: int) -> None:
    """Decode a picture to check it, in its own mode, so that it takes the least memory.

    Raises:
        DamagedImageError, UsageError, CapacityError: As `decode`.
    """
    with _naming_damage(where):
        image = _open(content, where, max_pixels)
        with _MEMORY.holding(_bytes_of(image), where):
            image.load()
            del image  # before its room is given to another


def most_bytes(max_pixels: int) -> int:
    """The largest size of a file that can hold a picture of `max_pixels` pixels."""
    return _WORST_BYTES_PER_PIXEL * max_pixels + 2**26


def to_rgb(image: Image.Image) -> Image.Image:
    """An image as people see it: upright by its EXIF orientation, in RGB.

    An alpha channel is dropped; the colours under it stay. An image that is upright RGB is returned
    as it is.

    Args:
        image: A PIL image of at most 8 bits per channel, of any mode.

    Raises:
        UsageError: It is no PIL image, or has 16-bit, 32-bit or float pixels (mode I;16, I, F),
            which a conversion would clip to 0 … 255.
    """
    if not isinstance(image, Image.Image):
        raise UsageError(
            f"an image must be a PIL image, got {type(image).__name__}. Convert it:"
            " PIL.Image.fromarray(array)."
        )
    if problem := _too_deep(image):
        raise UsageError(f"an image must have at most 8 bits per channel: {problem}.")
    image = _upright(image)
    if image.mode == "RGB":
        return image
    if image.mode == "La":  # Pillow has no direct way from premultiplied grey
        image = image.convert("LA")
    # Pillow warns if a palette with an alpha table is converted directly; the colours are the same.
    if isinstance(image.info.get("transparency"), bytes):
        image = image.convert("RGBA")
    return image.convert("RGB")


def _too_deep(image: Image.Image) -> str:
    """Why a conversion to RGB would lose values; empty if it would not."""
    if not image.mode.startswith(("I", "F")):
        return ""
    return (
        f"mode {image.mode} would be clipped to 8 bits. Scale it to 0 … 255 and store it with 8"
        " bits (mode L) first"
    )


def _upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF orientation says; unreadable EXIF says nothing."""
    orientation = 1
    with suppress(Exception):  # Pillow's reader of EXIF has no error class of its own
        orientation = image.getexif().get(_ORIENTATION, 1)
    return ImageOps.exif_transpose(image) if orientation in range(2, 9) else image


def _open(content: bytes, where: str, max_pixels: int) -> Image.Image:
    """The picture of allowed size and depth, its pixels not yet decoded."""
    image = _identified(content, where)
    if image.width * image.height > max_pixels:
        raise UsageError(
            f"a picture must have at most max_pixels={max_pixels:,} pixels: {where} has"
            f" {image.width:,} × {image.height:,} = {image.width * image.height:,}. Set max_pixels"
            " higher if the file can be trusted, or store it smaller."
        )
    if problem := _too_deep(image):
        raise DamagedImageError(f"{where} cannot be used: {problem}.")
    return image


def _identified(content: bytes, where: str) -> Image.Image:
    """What the first format that knows the bytes makes of them.

    `Image.open` is not used: its limits are those of the process, not the ones asked for.
    """
    if not content:
        raise UnidentifiedImageError("the file is empty")
    own = suffixes().get(PurePath(where).suffix.lower())
    content, failures = _without_notes(content), []
    for kind in dict.fromkeys((*_MARKED, own)):
        if kind not in Image.OPEN:
            continue
        factory, accept = Image.OPEN[kind]
        try:
            accepted = accept is None or accept(content[:16])
            if accepted and not isinstance(accepted, str):  # text: it is known, but not installed
                return factory(BytesIO(content), "")
        except (SyntaxError, IndexError, TypeError, struct.error) as error:
            failures.append(f"{kind}: {error}")
    if failures:
        raise UnidentifiedImageError("; ".join(failures))
    begins = f"it begins with {content[:12]!r}"
    raise UnidentifiedImageError(f"no picture of a known format, {begins}")


def _without_notes(content: bytes) -> bytes:
    """A PNG without text and colour profile, whose size Pillow limits; other bytes as they are.

    Text with the orientation stays: that of EXIF or XMP.
    """
    if not content.startswith(_PNG_MARK):
        return content
    kept, place, start = [], len(_PNG_MARK), 0
    while place + 12 <= len(content):
        end = place + 12 + int.from_bytes(content[place : place + 4], "big")
        head = content[place + 4 : place + 40]
        if head.startswith(_PNG_NOTES) and not head[4:].startswith(_PNG_ORIENTED):
            kept.append(content[start:place])
            start = end
        place = end
    return b"".join([*kept, content[start:]]) if kept else content


def _bytes_of(image: Image.Image) -> int:
    """Bytes that the decoded pixels take in Pillow, in their own mode."""
    return image.width * image.height * (1 if image.mode in ("1", "L", "P") else 4)


class _Memory:
    """Bounds the decoded pictures that the threads of this process hold at a time.

    A picture above the bound is decoded alone.
    """

    def __init__(self) -> None:
        self._changed, self._held = threading.Condition(), 0

    @contextmanager
    def holding(self, size: int, where: str) -> Iterator[None]:
        """Wait for room for `size` bytes, and keep it.

        Raises:
            CapacityError: The machine has less free memory than that.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._held or self._held + size <= _DECODED_BYTES)
            self._held += size
        try:
            if size > _ALWAYS_FITS and size > (bound := tightest()).free:
                raise CapacityError(
                    f"{where} takes {readable_bytes(size)} of memory to decode, got"
                    f" {readable_bytes(bound.free)} ({bound.name}). Store it smaller, or leave it"
                    " out."
                )
            yield
        finally:
            with self._changed:
                self._held -= size
                self._changed.notify_all()


_MEMORY = _Memory()


def _reset_memory() -> None:
    """Give a forked process, in which the other threads are gone, a bound of its own."""
    global _MEMORY  # noqa: PLW0603
    _MEMORY = _Memory()


os.register_at_fork(after_in_child=_reset_memory)


@contextmanager
def _naming_damage(where: str) -> Iterator[None]:
    """Turn a failure of a decoder into a `DamagedImageError` that names the image.

    Decoders have no common error class: on damaged bytes they fail in many ways. What the machine
    refuses (memory, a file) is no damage.
    """
    try:
        yield
    except RmtgenError:
        raise
    except MemoryError as error:
        raise CapacityError(
            f"{where} cannot be decoded: there is not enough memory. Free some, or lower workers."
        ) from error
    except Image.DecompressionBombError as error:
        raise UsageError(
            f"{where} is beyond a limit of Pillow ({error}). Set PIL.Image.MAX_IMAGE_PIXELS = None"
            " if the file can be trusted, or store it in another format."
        ) from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise StorageError(f"{where} cannot be decoded: {error.strerror}.") from error
        raise DamagedImageError(
            f"{where} cannot be decoded: {type(error).__name__}: {error}."
        ) from error
