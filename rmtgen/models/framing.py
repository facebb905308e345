"""What of a picture an evaluation transform can see: the middle of one that is very long."""

from PIL import Image

LONGEST = 32
"""Ratio of the sides from which on a picture is cut before it is scaled."""


def middle_of_long(image: Image.Image) -> Image.Image:
    """The middle of a picture more than `LONGEST` times as long as wide; any other as it is.

    A transform that scales the short side, and then crops the centre, sees less than twice the
    short side of it. Scaled whole, a picture of 1 × 6,000 pixels would take a gigabyte.

    Args:
        image: Any picture.

    Returns:
        The picture, or its middle of `LONGEST` times the short side; one pixel more where that
        keeps the centre where it is.
    """
    short, long = sorted(image.size)
    if long <= LONGEST * short:
        return image
    kept = LONGEST * short + (long - LONGEST * short) % 2
    start = (long - kept) // 2
    box = (
        (start, 0, start + kept, short) if image.width == long else (0, start, short, start + kept)
    )
    return image.crop(box)
