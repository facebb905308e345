"""rmtgen.json: what an export is, sealed against changes, and read back with every type checked.

An export may come from anywhere. It holds tensors and JSON alone, so that reading it runs nothing
of it; what is not as it was written is refused by name.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rmtgen.errors import (
    CorruptInputError,
    MissingInputError,
    StaleInputError,
    UsageError,
    did_you_mean,
)
from rmtgen.models.headed import FORMS, Blueprint
from rmtgen.models.inner_layers import POOLINGS
from rmtgen.models.recipes import MOST_SIDE, transform_of
from rmtgen.names import printable
from rmtgen.scalars import path as checked_path
from rmtgen.store import durable, files, sealed

FORMAT = 1
"""Format of rmtgen.json."""
DESCRIPTION = "rmtgen.json"
WEIGHTS = "model.safetensors"
"""The state dict."""
CARD = "README.md"
HUB = "config.json"
"""The configuration by which timm loads the folder, where it can."""
ONNX = "model.onnx"
REMEDY = "Export the run again: `rmtgen export`."
_DIGEST = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Content:
    """What a file of an export was when it was written.

    Attributes:
        size: Size in bytes.
        blake2b: Its BLAKE2b-128 digest.
    """

    size: int
    blake2b: str

    @classmethod
    def of(cls, data: bytes) -> "Content":
        """That of a file with these bytes."""
        return cls(len(data), durable.digest(data))


@dataclass(frozen=True, eq=False)
class Description:
    """What an export is.

    Attributes:
        blueprint: From what its network is built.
        recipe: Settings of its transform (`models.recipes`).
        classes: The name of each output.
        features: Dimension of the features under the head.
        settings: The settings of the run.
        quality: `quality.Quality`, as JSON has it.
        origin: Name of the run, source of the weights, licence, versions and date.
        files: Every file besides this one.
    """

    blueprint: Blueprint
    recipe: Mapping[str, Any]
    classes: tuple[str, ...]
    features: int
    settings: Mapping[str, Any]
    quality: Mapping[str, Any]
    origin: Mapping[str, Any]
    files: Mapping[str, Content]

    def write(self, folder: Path) -> None:
        """Write rmtgen.json.

        Raises:
            StorageError: The disk refuses.
        """
        content = {"format": FORMAT, **dataclasses.asdict(self)}
        durable.write_bytes(folder / DESCRIPTION, sealed.seal(content))

    @classmethod
    def read(cls, folder: Path) -> "Description":
        """That of an export.

        Raises:
            MissingInputError: There is no such folder, or no export in it.
            CorruptInputError: rmtgen.json is not what was written.
            StaleInputError: It is of another version.
        """
        _require_export(folder)
        path = folder / DESCRIPTION
        data = files.read_json_bytes(path)
        try:
            content = files.parse_json(data)
            if (found := content["format"]) != FORMAT:
                raise StaleInputError(
                    f"{path} has format {printable(str(found)[:20])}; this version of rmtgen reads"
                    f" {FORMAT}. Use the version that wrote it, or export the run again."
                )
            return cls._parse(sealed.unseal(data, content))
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            why = printable(f"{type(error).__name__}: {error}"[:300])
            raise CorruptInputError(
                f"{path} does not describe an export ({why}). {REMEDY}"
            ) from error

    @classmethod
    def _parse(cls, content: Mapping[str, Any]) -> "Description":
        """That which JSON holds.

        Raises:
            TypeError, ValueError, LookupError: It is none.
        """
        for group in ("blueprint", "recipe", "settings", "quality", "origin", "files"):
            if not isinstance(content[group], dict):
                raise TypeError(f"{group} must be an object")
        transform_of(content["recipe"])
        classes, features = content["classes"], content["features"]
        if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
            raise TypeError("classes must be a list of names")
        if len(classes) < 2 or len(set(classes)) < len(classes):
            raise ValueError("classes must be two or more different names")
        if type(features) is not int or features < 1:
            raise ValueError(f"features must be a whole number above 0, got {features!r}")
        return cls(
            _blueprint(content["blueprint"]),
            content["recipe"],
            tuple(classes),
            features,
            content["settings"],
            _numbers(content["quality"]),
            content["origin"],
            {files.check_name(name): _content(item) for name, item in content["files"].items()},
        )

    def read_file(self, folder: Path, name: str) -> bytes:
        """The bytes of a file of the export, which are those that were written.

        Raises:
            MissingInputError: It is gone.
            CorruptInputError: It is not listed, no regular file, or has other bytes.
        """
        if name not in self.files:
            raise CorruptInputError(f"{folder / DESCRIPTION} must list {name}. {REMEDY}")
        path = files.member(folder, name)
        return durable.read_verified(path, self.files[name], REMEDY)


def is_export(folder: Path) -> bool:
    """Whether there is an export in a folder, sound or not."""
    return files.is_there(folder / DESCRIPTION)


def looked_up(folder: object) -> Path:
    """The path of an export, there or not.

    Raises:
        UsageError: It is no path, or no file system takes it.
    """
    path = checked_path(folder, "folder")
    try:
        path.exists()
    except (OSError, ValueError) as error:  # a name too long; a null byte
        raise UsageError(
            f"folder must be a path that a file system takes: got {str(path)[:60]!r}"
            f" ({error!s:.80})."
        ) from None
    return path


def _require_export(folder: Path) -> None:
    shown = printable(str(folder))
    if not folder.is_dir():
        near = [path.parent.name for path in folder.parent.glob(f"*/{DESCRIPTION}")]
        cure = did_you_mean(folder.name, near) if near else "Make one: `rmtgen export RUN`."
        raise MissingInputError(f"no export at {shown}: there is no such folder. {cure}")
    if not is_export(folder):
        raise MissingInputError(
            f"no export at {shown}: the folder has no {DESCRIPTION}. Give the folder that `rmtgen"
            " export` has written."
        )


def _blueprint(content: Mapping[str, Any]) -> Blueprint:
    blueprint = Blueprint(**content)
    side = blueprint.img_size
    for holds, what in (
        (isinstance(blueprint.name, str), "name"),
        (side is None or (type(side) is int and 1 <= side <= MOST_SIDE), "img_size"),
        (blueprint.layer is None or isinstance(blueprint.layer, str), "layer"),
        (blueprint.pooling in POOLINGS, "pooling"),
        (blueprint.form in FORMS, "form"),
    ):
        if not holds:
            raise ValueError(f"the network has no {what} of {getattr(blueprint, what)!r:.60}")
    return blueprint


def _content(item: Mapping[str, Any]) -> Content:
    content = Content(**item)
    if type(content.size) is not int or content.size < 0:
        raise ValueError(f"a size must be a whole number, got {content.size!r:.60}")
    if not isinstance(content.blake2b, str) or not _DIGEST.fullmatch(content.blake2b):
        raise ValueError(f"blake2b must be a digest, got {content.blake2b!r:.60}")
    return content


def _numbers(quality: dict[str, Any]) -> dict[str, Any]:
    """What is known of a probe; a number that is not known is NaN again."""
    unknown = {name: math.nan for name, value in quality.items() if value is None}
    return {**quality, **unknown}
