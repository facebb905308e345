"""The summary of a report as data: what the terminal shows at its own width.

The `report` stage keeps it as JSON, so that a finished report is shown again without pandas.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rmtgen.errors import CorruptInputError, MissingInputError
from rmtgen.runs.manifest import Manifest
from rmtgen.store import durable, files
from rmtgen.tables import Table, wrapped

SUMMARY = "summary.json"
"""Name of the file that holds the summary as data."""
_MAKING = {"report": "compare", "rank": "rank", "pairs": "compare-features"}
"""Commands that make what joint stages leave."""


@dataclass(frozen=True)
class Summary:
    """Answers, tables, then notes.

    Attributes:
        answers: One sentence a run, for who reads no further.
        tables: The best fit of each run; the spread over heads, and the scores of the theories and
            of the estimates of ensembles and stopped descent, where there are any.
        notes: Paragraphs under the tables.
    """

    answers: tuple[str, ...]
    tables: tuple[Table, ...]
    notes: tuple[str, ...]

    def text(self, width: int | None = None) -> str:
        """Return the summary as lines of at most `width` characters.

        Args:
            width: Characters per line. None: no limit.
        """
        blocks = ["\n".join(wrapped(self.answers, width))] if self.answers else []
        blocks += [table.text(width) for table in self.tables]
        blocks += ["\n".join(wrapped(self.notes, width))] if self.notes else []
        return "\n\n".join(blocks)

    def as_json(self) -> dict[str, object]:
        """Return the summary as JSON knows it."""
        tables = [table.as_json() for table in self.tables]
        return {"answers": list(self.answers), "tables": tables, "notes": list(self.notes)}

    @classmethod
    def from_json(cls, stored: Mapping[str, list]) -> "Summary":
        """Return the summary whose `as_json` was stored."""
        tables = tuple(Table.from_json(table) for table in stored["tables"])
        return cls(tuple(stored.get("answers", ())), tables, tuple(stored["notes"]))


def load_summary(folder: Path, stage: str = "report") -> Summary:
    """The summary of a finished report, or of what another joint stage has left.

    Raises:
        MissingInputError: There is no such report, or its summary is gone.
        CorruptInputError: The summary is not what was written.
    """
    path, manifest = folder / SUMMARY, Manifest.read(folder, stage)
    if manifest is None or SUMMARY not in manifest.outputs:
        raise MissingInputError(f"no {stage} at {folder}. Make one: `rmtgen {_MAKING[stage]}`.")
    remedy = f"Delete {folder / f'{stage}.json'} and run the command again."
    data = durable.read_verified(path, manifest.outputs[SUMMARY], remedy)
    try:
        return Summary.from_json(files.parse_json(data))
    except (ValueError, TypeError, LookupError) as error:
        raise CorruptInputError(f"{path} is not a summary ({error}). {remedy}") from error
