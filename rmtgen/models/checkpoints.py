"""Files of weights: what a file is by its content, and its objects, read without running code.

The suffix decides nothing: safetensors in a `.bin` and a pickle in a `.safetensors` are read as
what they are. A file of another kind is named for what it is.
"""

import re
import warnings
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors.torch import load_file

from rmtgen.errors import CorruptInputError

_HEAD = 512

_MAGIC = (
    (b"\x1f\x8b", "a gzip archive; Unpack it"),
    (b"BZh", "a bzip2 archive; Unpack it"),
    (b"\xfd7zXZ\x00", "an xz archive; Unpack it"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive; Unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; Unpack it"),
    (b"Rar!", "a RAR archive; Unpack it"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes"),
    (b"\x93NUMPY", "one NumPy array (.npy)"),
    (b"GGUF", "a GGUF file"),
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x7fELF", "a program"),
    (b"\x08\x01\x12", "a TensorFlow SavedModel"),
)
"""First bytes of files that are no weights of torch, with what they are."""

_TEXTS = (
    (
        re.compile("version https://git-lfs"),
        "a pointer of Git LFS, not the file itself; Fetch it with `git lfs pull`",
    ),
    (
        re.compile(r"\s*<(!doctype html|html|head|body)", re.IGNORECASE),
        "a web page (HTML), perhaps an error message in place of the download",
    ),
    (re.compile(r"\s*<"), "an XML document"),
    (re.compile(r"\s*[\[{]"), "a JSON document"),
)
_ONNX = re.compile(rb"\x08[\x02-\x1f][\x12\x1a\x22\x2a\x32\x3a\x42]")
_MSGPACK = re.compile(rb"([\x81-\x8f]|\xde..|\xdf....)[\xa1-\xbf\xd9\xda]", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f]")
_REMEDY = "Download the weights again, or save `model.state_dict()` with torch.save"
_COMPRESSED = "a file of torch whose parts are compressed; Unpack it, and zip it uncompressed"
_TABLE_OF_TENSORFLOW = bytes.fromhex("57fb808b247547db")

_HARMLESS = (
    "argparse.Namespace",
    "datetime.date",
    "datetime.datetime",
    "datetime.timedelta",
    "datetime.timezone",
    "fractions.Fraction",
    "decimal.Decimal",
    "functools.partial",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy.dtype",
    "numpy.ndarray",
    "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata",
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    "omegaconf.nodes.AnyNode",
    "omegaconf.nodes.BooleanNode",
    "omegaconf.nodes.FloatNode",
    "omegaconf.nodes.IntegerNode",
    "omegaconf.nodes.StringNode",
    "pathlib.Path",
    "pathlib.PosixPath",
    "pathlib.PurePath",
    "pathlib.PurePosixPath",
    "pathlib.PureWindowsPath",
    "pathlib.WindowsPath",
    "pathlib._local.PosixPath",
    "pathlib._local.WindowsPath",
    "torch.torch_version.TorchVersion",
    "types.SimpleNamespace",
    "typing.Any",
    "uuid.UUID",
    *(f"builtins.{kind}" for kind in ("bool", "dict", "float", "int", "list", "str", "tuple")),
)
"""Types that training scripts leave beside the weights. None of them is made: each is read as an
`_Unread`, because a crafted NumPy dtype, for one, can damage the memory of the process."""

_MAPPINGS = (
    "collections.defaultdict",
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
)
"""Kinds of dict that are read as a plain one."""


class _Unread:
    """What stands for an object that is not a tensor."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


class _PlainDict:
    """What makes a plain dict in place of another kind."""

    def __new__(cls, *_: Any) -> dict:  # type: ignore[misc]  # the unpickler takes what it gives
        return {}


def read_checkpoint(path: Path) -> Any:
    """The objects in a file of safetensors or in one that `torch.save` wrote, on the CPU.

    No code of the file runs. Settings beside the weights, such as paths, dates and NumPy numbers,
    are passed over; an object of any other class is refused.

    Raises:
        CorruptInputError: The file cannot be read, is of another kind, is damaged, or holds objects
            other than tensors, numbers and text.
    """
    try:
        with path.open("rb") as file:
            other = _other_kind(file)
            safetensors = _is_safetensors(file)
    except OSError as failure:
        raise CorruptInputError(
            f"{path} must be readable: {failure.strerror}. Check its permissions and the disk."
        ) from failure
    if other is not None:
        kind, _, remedy = other.partition("; ")
        raise CorruptInputError(
            f"{path} must be a safetensors file or a state dict that torch.save wrote: it is"
            f" {kind}. {remedy or _REMEDY}."
        )
    return _read_safetensors(path) if safetensors else _read_pickle(path)


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except Exception as failure:  # the parser names its errors in a class of its own
        raise _damaged(path, "a safetensors file", failure) from failure


def _read_pickle(path: Path) -> Any:
    kinds: list[Any] = [(_Unread, name) for name in _HARMLESS]
    kinds += [(_PlainDict, name) for name in _MAPPINGS]
    try:
        # an open file, because torch judges a path by its suffix; its warnings speak of sparse
        # tensors, which are refused later
        with (
            torch.serialization.safe_globals(kinds),
            warnings.catch_warnings(),
            path.open("rb") as file,
        ):
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as failure:  # on a damaged file the unpickler can raise almost anything
        refused = re.search(r"GLOBAL ([\w.]+)", str(failure))
        if b"torch.nn.modules." in _pickle_head(path):
            reason = (
                "it is a whole pickled model, which would run code of the file. Where it was"
                " made, save its numbers: `torch.save(model.state_dict(), PATH)`."
            )
        elif refused:
            reason = (
                f"it holds objects of {refused[1]}, which could run code of the file. Where it was"
                " made, save only `model.state_dict()`."
            )
        elif "Invalid magic number" in str(failure) or "weights_only" in str(failure):
            reason = (
                "it is a pickle with other things than tensors, numbers and text, or one that"
                " torch.save did not write. Save `model.state_dict()` with torch.save."
            )
        else:
            raise _damaged(path, "a file of torch", failure) from failure
        raise CorruptInputError(
            f"{path} must be a state dict that torch.save wrote: {reason}"
        ) from failure


def _damaged(path: Path, kind: str, failure: Exception) -> CorruptInputError:
    reason = (str(failure).strip() or type(failure).__name__).splitlines()[0]
    return CorruptInputError(
        f"{path} must be whole: it is {kind} that is damaged or cut off ({reason})."
        " Download the file again."
    )


def _pickle_head(path: Path) -> bytes:
    """The start of the pickle in a file, with the names of its classes."""
    most = 1 << 22
    try:
        with zipfile.ZipFile(path) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
            with archive.open(name) as member:
                return member.read(most)
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, RuntimeError):
        with path.open("rb") as file:
            return file.read(most)


def _is_safetensors(file: BinaryIO) -> bool:
    """Whether the brace of a JSON header follows eight bytes, its length."""
    file.seek(8)
    return file.read(1) == b"{"


def _other_kind(file: BinaryIO) -> str | None:
    """What a file is, if it is neither safetensors nor a pickle of torch."""
    file.seek(0)
    head = file.read(_HEAD)
    # safetensors before the others: the length of its header can be any bytes
    if _is_safetensors(file) or _begins_a_pickle(head):
        return None
    if head.startswith(b"PK\x03\x04"):
        return _other_zip(file)
    known = (kind for magic, kind in _MAGIC if head.startswith(magic))
    return next(known, None) or _text(head) or _binary(file, head)


def _begins_a_pickle(head: bytes) -> bool:
    return head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")


def _other_zip(file: BinaryIO) -> str | None:
    """What a ZIP archive is, if it is not one that `torch.save` wrote."""
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        return "a file of torch, or another ZIP archive, that is damaged or cut off"
    names = [entry.filename for entry in entries]
    inner = {name.partition("/")[2] for name in names}
    if "data.pkl" in inner and "constants.pkl" in inner:
        return (
            "a TorchScript archive, which is a program; Save the `state_dict()` of the model"
            " that it was made from"
        )
    if "data.pkl" in inner:
        packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
        return _COMPRESSED if packed else None
    if names and all(name.endswith(".npy") for name in names):
        return "a NumPy archive (.npz)"
    if "model.weights.h5" in names:
        return "a model of Keras"
    shown = ", ".join(names[:3])
    return f"a ZIP archive with other content ({shown}{', …' if len(names) > 3 else ''})"


def _text(head: bytes) -> str | None:
    """What a text file is; None if the file is not text."""
    if not head:
        return "empty"
    try:
        # the end of the head can divide a character
        text = head.decode("utf-8-sig", errors="strict" if len(head) < _HEAD else "ignore")
    except UnicodeDecodeError:
        return None
    if len(text.encode()) < len(head) - 6 or _CONTROL.search(text):
        return None
    known = (kind for start, kind in _TEXTS if start.match(text))
    begun = text.lstrip()[:40].partition("\n")[0]
    return next(known, f"a text file that begins with {begun!r}")


def _binary(file: BinaryIO, head: bytes) -> str:
    """What a binary file is, from marks inside it, the last of them less than certain."""
    file.seek(-min(8, file.seek(0, 2)), 2)
    marks = {
        "a tar archive; Unpack it": head[257:262] == b"ustar",
        "a checkpoint of TensorFlow": file.read() == _TABLE_OF_TENSORFLOW,
        "a model of TensorFlow Lite": head[4:8] == b"TFL3",
        "a model of ONNX": _ONNX.match(head),
        "a msgpack file, as Flax writes": _MSGPACK.match(head),
    }
    known = (kind for kind, seen in marks.items() if seen)
    return next(known, f"binary data of no known kind (first bytes {head[:8].hex(' ')})")
