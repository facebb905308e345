"""The features of a run: its own, or those of other runs beside it, side by side."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rmtgen.errors import CorruptInputError, MissingInputError, StaleInputError
from rmtgen.runs.manifest import FileRecord, Manifest
from rmtgen.store import durable, files
from rmtgen.store.feature_store import FeatureStore
from rmtgen.store.side_by_side import SideBySide

CONCATENATION = "concatenation.json"
"""The file in the directory of a run that names the runs whose features it puts side by side."""
STAGE = "extract"


@dataclass(frozen=True)
class Member:
    """A run whose features a concatenation takes.

    Attributes:
        name: Name of its directory, beside that of the concatenation.
        digest: The digest of what its stage `extract` wrote.
        scale: What its features are divided by.
    """

    name: str
    digest: str
    scale: float


@dataclass(frozen=True)
class Concatenation:
    """What the features of a run are put together from.

    Attributes:
        members: The runs, in the order of the columns.
        labelled: Position of the member whose labels and classes count.
    """

    members: Sequence[Member]
    labelled: int

    def write(self, folder: Path) -> Path:
        """Write the file durably.

        Raises:
            StorageError: The disk refuses.
        """
        path = folder / CONCATENATION
        durable.write_text(path, json.dumps(asdict(self), indent=1) + "\n")
        return path

    @classmethod
    def read(cls, folder: Path, record: FileRecord) -> "Concatenation":
        """What was written.

        Raises:
            MissingInputError, CorruptInputError: It is gone, or not what was written.
        """
        path = folder / CONCATENATION
        data = durable.read_verified(path, record, "Delete it and run `rmtgen rank` again.")
        try:
            content = files.parse_json(data)
            members = [Member(**one) for one in content["members"]]
            labelled = content["labelled"]
            if labelled not in range(len(members)):
                raise ValueError(f"labelled must be a position, got {labelled!r}")
            for one in members:
                known = "/" not in files.check_name(one.name) and isinstance(one.digest, str)
                if not known or not 0 < one.scale < math.inf:
                    raise ValueError(f"no member: {one}")
        except (ValueError, TypeError, LookupError) as error:
            raise CorruptInputError(
                f"{path} must name runs and their scales ({error}). Delete it and run `rmtgen rank`"
                " again."
            ) from error
        return cls(members, labelled)

    def open(self, folder: Path) -> SideBySide:
        """The features of its members.

        Args:
            folder: The directory of the concatenation.

        Raises:
            MissingInputError: A member is gone.
            StaleInputError: It has other features now.
            CorruptInputError: A file of it is not what was written.
        """
        stores = [_opened(folder, member) for member in self.members]
        return SideBySide(stores, [member.scale for member in self.members], self.labelled)


def _opened(folder: Path, member: Member) -> FeatureStore:
    place = folder.parent / member.name
    manifest = Manifest.read(place, STAGE)
    if manifest is None:
        raise MissingInputError(
            f"{folder} puts features of {member.name} side by side with others: expected them in"
            f" {place}, got none. Put it back, or rank the same models again."
        )
    if manifest.outputs_digest != member.digest:
        raise StaleInputError(
            f"{folder} puts features of {member.name} side by side with others: expected those of"
            f" digest {member.digest[:8]}, got {manifest.outputs_digest[:8]}. Move {folder} away"
            " and rank again."
        )
    return FeatureStore.open(place, manifest.outputs)


def open_features(folder: Path) -> FeatureStore | SideBySide:
    """The features in the directory of a run, which may be those of its members.

    Raises:
        MissingInputError, CorruptInputError, StaleInputError: They are not there, or not what was
            written; the message names the file.
    """
    manifest = Manifest.read(folder, STAGE)
    recorded = manifest.outputs if manifest else None
    if recorded and CONCATENATION in recorded:
        return Concatenation.read(folder, recorded[CONCATENATION]).open(folder)
    return FeatureStore.open(folder, recorded)
