"""A map-style data set in Python, such as one of torchvision, as a source of images and labels."""

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from rmtgen.datasets.decoding import to_rgb
from rmtgen.datasets.images import ImageSource
from rmtgen.errors import DamagedImageError, RmtgenError, UsageError
from rmtgen.names import printable
from rmtgen.tasks import label_array, require_varying

_MOST_CLASSES = 10**6
"""Largest number of classes; more are no class numbers."""
_UNKNOWN = -1
"""What stands for no class, and for no label of several."""
_SIZE = struct.Struct("<II")
_NOT_ITS_PICTURES = (
    "Give the data set without its transform (dataset.transform = None): the backbone has its own."
)


class DatasetImages(ImageSource):
    """The images of a data set of pairs (image, label), read from it on access."""

    def __init__(self, dataset: Any, positions: np.ndarray):
        """Keep the data set; `positions`, int64 (n,), are those of the n images in it."""
        self.dataset, self.positions = dataset, positions

    def __len__(self) -> int:
        return len(self.positions)

    def read(self, position: int) -> bytes:
        """Width and height, then the RGB pixels row by row."""
        image = picture_of(self.pair(position)[0], self.locate(position))
        return _SIZE.pack(*image.size) + image.tobytes()

    def decode(self, content: bytes, where: str) -> Image.Image:
        """The image of these pixels."""
        return Image.frombytes("RGB", _SIZE.unpack_from(content), content[_SIZE.size :])

    def locate(self, position: int) -> str:
        """The number of the image in the data set."""
        return f"image {int(self.positions[position])} of {type(self.dataset).__name__}"

    def select(self, positions: Sequence[int] | np.ndarray) -> "DatasetImages":
        """The images at `positions`."""
        return DatasetImages(self.dataset, self.positions[np.asarray(positions, dtype=np.int64)])

    def pair(self, position: int) -> tuple[Any, Any]:
        """An image and its label, as the data set has them.

        Raises:
            DamagedImageError: The data set raises an exception.
            UsageError: It has something else there.
        """
        where = self.locate(position)
        try:
            found = self.dataset[int(self.positions[position])]
        except (RmtgenError, MemoryError):
            raise
        except Exception as error:  # the errors of other people's data sets have no common class
            reason = printable(f"{type(error).__name__}: {error}")[:200]
            raise DamagedImageError(f"{where} cannot be read: {reason}.") from error
        if not isinstance(found, (tuple, list)) or len(found) != 2:
            raise UsageError(
                f"a data set must hold pairs (image, label): {where} is {_kind(found)}. Wrap it in"
                " a data set that returns such a pair."
            )
        return found[0], found[1]


def picture_of(found: Any, where: str) -> Image.Image:
    """An RGB image from a PIL image, an array or a tensor.

    Args:
        found: A PIL image; an array of uint8, (h, w) or (h, w, 3); or a tensor of uint8, (h, w),
            (1, h, w) or (3, h, w).
        where: Its name, for messages.

    Raises:
        UsageError: It is something else.
    """
    if isinstance(found, Image.Image):
        return to_rgb(found)
    if not hasattr(found, "dtype") or not hasattr(found, "shape"):
        raise UsageError(
            f"an image must be a PIL image, or an array or tensor of uint8: {where} is"
            f" {_kind(found)}."
        )
    is_array = isinstance(found, np.ndarray)
    if str(found.dtype) not in ("uint8", "torch.uint8"):
        raise UsageError(
            f"an image must be of uint8, before any transform: {where} is {_kind(found)}."
            f" {_NOT_ITS_PICTURES}"
        )
    pixels = found if is_array else found.detach().cpu().numpy()
    if not is_array and pixels.ndim == 3:
        pixels = np.moveaxis(pixels, 0, 2)
        pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    if 0 in pixels.shape or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)):
        layout = "(h, w) or (h, w, 3)" if is_array else "(h, w), (1, h, w) or (3, h, w)"
        raise UsageError(f"an image must have the shape {layout}: {where} is {_kind(found)}.")
    return Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB")


def labelled(
    dataset: Any, classes: Sequence[str] | None
) -> tuple[DatasetImages, np.ndarray, tuple[str, ...]]:
    """The images, the labels and the classes of a data set.

    A few images are read, and read again, to see that they are pictures without a random transform.

    Args:
        dataset: Pairs (image, label) by number, with a length.
        classes: The name of each label; None: those of the data set, else the numbers.

    Raises:
        UsageError: It is another object, or its images or labels are of another kind.
        DamagedImageError: An image that is read here cannot be.
    """
    images = DatasetImages(dataset, np.arange(_length(dataset)))
    probed = sorted({0, len(images) // 2, len(images) - 1})
    for position in probed:
        if images.read(position) != images.read(position):
            raise UsageError(
                f"an image must be the same each time: {images.locate(position)} is not, as with a"
                f" random transform. {_NOT_ITS_PICTURES}"
            )
    stated = _stated_labels(dataset, len(images))
    if stated is None or any(
        not np.array_equal(stated[position], _label(images, position)) for position in probed
    ):
        found = [_label(images, position) for position in range(len(images))]
        _refuse_unlabelled(images, [_is_absent(one) for one in found], found)
        stated = _alike(images, found)
    _refuse_unlabelled(images, _absent(stated), stated)
    if stated.dtype.kind == "f" or stated.ndim > 1:
        coded = label_array(stated, f"labels of {type(dataset).__name__}")
        columns = _columns(dataset, classes, coded.shape[1])
        require_varying(coded, columns, type(dataset).__name__)
        return images, coded, columns
    stated = stated.astype(np.int64)
    lowest = int(stated.argmin())
    if stated[lowest] < 0:
        raise UsageError(
            f"a label must be a class number ≥ 0: {images.locate(lowest)} has {stated[lowest]}."
            " Leave out images without a class: torch.utils.data.Subset."
        )
    return images, stated, _classes(dataset, classes, stated)


def _refuse_unlabelled(
    images: DatasetImages,
    absent: Sequence[bool] | np.ndarray,
    labels: Sequence[np.ndarray] | np.ndarray,
) -> None:
    """Refuse images without a label.

    Raises:
        UsageError: There are some; they are counted, and the first are named.
    """
    missing = np.flatnonzero(absent).tolist()
    if missing:
        named = [f"{images.locate(row)} ({labels[row].tolist()!r:.40})" for row in missing[:3]]
        more = ", …" if len(missing) > len(named) else ""
        raise UsageError(
            f"every image must have a label: {len(missing):,} of {len(labels):,} have none"
            f" ({', '.join(named)}{more}). Leave them out: torch.utils.data.Subset(dataset,"
            " positions)."
        )


def _is_absent(label: np.ndarray) -> bool:
    """Whether an image has no label: None, NaN among values, or -1 among classes or labels."""
    return label.dtype.kind == "O" or bool(_absent(label[None])[0])


def _absent(labels: np.ndarray) -> np.ndarray:
    """`_is_absent` of each of n images, (n,)."""
    absent = np.isnan(labels) if labels.dtype.kind == "f" else labels == _UNKNOWN
    return absent.reshape(len(labels), -1).any(axis=1)


def _length(dataset: Any) -> int:
    """The number of images.

    Raises:
        UsageError: The data set is not read by number, or is empty.
    """
    kind = type(dataset).__name__
    try:
        count = len(dataset)
    except (TypeError, NotImplementedError):
        count = None
    readable = hasattr(dataset, "__getitem__") and not isinstance(dataset, (str, bytes, dict))
    if count is None or not readable:
        raise UsageError(
            f"a data set must have a length and be read by number, got {kind}. Of a stream give"
            " list(stream); of a loader its data set."
        )
    if count < 1:
        raise UsageError(f"a data set must hold an image, got a {kind} of length 0.")
    return count


def _stated_labels(dataset: Any, count: int) -> np.ndarray | None:
    """The labels that a data set has as a whole; None if it has none, or others than it returns."""
    if type(dataset).__module__ == "torch.utils.data.dataset" and hasattr(dataset, "indices"):
        inner, indices = dataset.dataset, np.asarray(dataset.indices, dtype=np.int64)
        found = _stated_labels(inner, len(inner))
        return None if found is None else found[indices]
    if getattr(dataset, "target_transform", None) is not None:
        return None
    for name in ("targets", "labels"):
        try:
            found = np.asarray(getattr(dataset, name, None))
        except (ValueError, TypeError, RuntimeError):  # ragged, or a tensor that is elsewhere
            continue
        if found.shape[:1] == (count,) and found.ndim < 3 and found.dtype.kind in "biuf":
            return None if found.ndim == 1 and found.dtype.kind == "b" else found
    return None


def _label(images: DatasetImages, position: int) -> np.ndarray:
    """A class number, a value, or a vector of values or of 0 and 1; None is an object."""
    found = images.pair(position)[1]
    if found is None:
        return np.array(None)
    try:
        value = np.asarray(found)
    except (ValueError, TypeError, RuntimeError):  # ragged, or a tensor that is elsewhere
        value = np.asarray(None)
    number = value.shape == () and value.dtype.kind in "iuf"
    vector = value.ndim == 1 and value.size > 0 and value.dtype.kind in "biuf"
    if not (number or vector) or (value.dtype.kind == "u" and int(value.max()) >= 2**63):
        raise UsageError(
            f"a label must be one class number, 0 and 1 for each of several labels, or floats for"
            f" a regression: {images.locate(position)} has {found!r:.60}. Number the classes from"
            " 0."
        )
    return value


def _alike(images: DatasetImages, found: Sequence[np.ndarray]) -> np.ndarray:
    """Labels of one shape and of one kind as one array.

    Raises:
        UsageError: They are not.
    """
    first = found[0]
    for position, one in enumerate(found):
        same_kind = (one.dtype.kind == "f") == (first.dtype.kind == "f")
        if one.shape != first.shape or not same_kind:
            raise UsageError(
                f"labels must be alike: {images.locate(position)} has {one.tolist()!r:.60}, and"
                f" {images.locate(0)} {first.tolist()!r:.60}. Make all of them class numbers, all"
                " floats, or all of 0 and 1 for the same labels."
            )
    return np.array(found)


def _columns(dataset: Any, names: Sequence[str] | None, count: int) -> tuple[str, ...]:
    """The name of every label or value: those given, those of the data set, or numbers.

    Raises:
        UsageError: Those given are of another number, or no texts.
    """
    if names is None:
        own: Any = getattr(dataset, "classes", None)
        fitting = isinstance(own, (list, tuple)) and len(own) == count
        return tuple(map(str, own if fitting else range(count)))
    if not _are_texts(names) or len(names) != count:
        raise UsageError(f"classes must be {count} names of labels or values, got {names!r:.60}.")
    return tuple(names)


def _classes(dataset: Any, classes: Sequence[str] | None, labels: np.ndarray) -> tuple[str, ...]:
    """The name of every label.

    Raises:
        UsageError: The names are too few or no texts, or there is a single class.
    """
    needed = int(labels.max()) + 1
    if needed > _MOST_CLASSES:
        raise UsageError(
            f"labels must number the classes from 0, got {needed - 1} among {len(labels)} images."
        )
    names: Any = classes
    if names is None:
        own = getattr(dataset, "classes", None)
        names = own if isinstance(own, (list, tuple)) and len(own) >= needed else range(needed)
    elif not _are_texts(names):
        raise UsageError(f"classes must be a list of names, got {names!r:.60}.")
    if len(names) < needed:
        raise UsageError(
            f"every label needs a name: the highest is {needed - 1}, got {len(names)} classes. Give"
            f" {needed}."
        )
    if len(np.unique(labels)) < 2:
        raise UsageError(
            f"a data set needs at least 2 classes: {type(dataset).__name__} has images of"
            f" {names[needed - 1]} alone."
        )
    return tuple(map(str, names))


def _are_texts(names: Any) -> bool:
    is_list = isinstance(names, Sequence) and not isinstance(names, str)
    return is_list and all(isinstance(name, str) for name in names)


def _kind(found: Any) -> str:
    """What something is, for messages."""
    shape, dtype = getattr(found, "shape", None), getattr(found, "dtype", None)
    kind = type(found).__name__
    if shape is not None and dtype is not None:
        return f"a {kind} {tuple(shape)} of {dtype}"
    if isinstance(found, dict):
        return f"a {kind} with the keys {', '.join(map(str, list(found)[:5]))}"
    if isinstance(found, (tuple, list)):
        return f"a {kind} of length {len(found)}"
    return f"a {kind}"
