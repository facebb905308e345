"""The summary of a report as data: what the terminal shows at its own width.

The `report` stage keeps it as JSON, so that a finished report is shown again without pandas.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from rmtgen.tables import Table, wrapped

SUMMARY = "summary.json"
"""Name of the file that holds the summary as data."""


@dataclass(frozen=True)
class Summary:
    """Tables, then notes.

    Attributes:
        tables: The best fit of each run, and the scores of the theories where there are any.
        notes: Paragraphs under the tables.
    """

    tables: tuple[Table, ...]
    notes: tuple[str, ...]

    def text(self, width: int | None = None) -> str:
        """Return the summary as lines of at most `width` characters.

        Args:
            width: Characters per line. None: no limit.
        """
        blocks = [table.text(width) for table in self.tables]
        blocks += ["\n".join(wrapped(self.notes, width))] if self.notes else []
        return "\n\n".join(blocks)

    def as_json(self) -> dict[str, object]:
        """Return the summary as JSON knows it."""
        return {"tables": [table.as_json() for table in self.tables], "notes": list(self.notes)}

    @classmethod
    def from_json(cls, stored: Mapping[str, list]) -> "Summary":
        """Return the summary whose `as_json` was stored."""
        tables = tuple(Table.from_json(table) for table in stored["tables"])
        return cls(tables, tuple(stored["notes"]))
