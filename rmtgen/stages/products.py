"""The products that an eNTK's tiles are made by, which all processes of a run have in common.

A run that names no precision takes that of its device. Its processes, at one time or one after
another, may have different devices; their tiles must not be mixed. The first one notes its products
beside the tiles, and those that follow use them.
"""

import json
from pathlib import Path

from rmtgen.errors import CorruptInputError
from rmtgen.kernels.entk.precision import IEEE, PRECISIONS
from rmtgen.store import durable, files
from rmtgen.store.gram_view import TILES

NOTE = f"{TILES}/products{durable.JOURNAL_SUFFIX}"
"""The file that names the products, in the directory of a run."""


def agreed(run: Path, own: str, *, named: bool) -> str:
    """The products of the tiles of a run, by the name of a precision.

    Args:
        run: The directory of the run.
        own: The products of this process, which become those of a run that has none yet.
        named: Whether the configuration names a precision. If not, tiles without a note are IEEE,
            as they were before there was a choice.

    Raises:
        CorruptInputError: What is there is no note of products.
        StorageError: The disk refuses.
    """
    path = run / NOTE
    before = not named and not files.is_there(path) and files.is_there(path.parent)
    line = json.dumps({"products": IEEE.name if before else own}) + "\n"
    durable.make_folder(files.require_folder(path.parent))
    found = durable.write_first(path, line.encode())
    try:
        products = files.parse_json(found)["products"]
    except (ValueError, TypeError, LookupError):
        products = None
    if products not in PRECISIONS:
        raise CorruptInputError(
            f"{path} must name the products of the tiles beside it: expected one of"
            f" {', '.join(PRECISIONS)}, got {found[:60]!r}. Delete {path.parent} and run the stage"
            " again."
        )
    return products
