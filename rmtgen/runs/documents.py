"""The documents of a YAML file, each a mapping from names to text or to lists of text.

No value of a field is deeper than that, so the file is read event by event, without YAML's own
types, and nothing in it can grow: what nests, repeats a key or names a type is refused where it
stands. Every scalar stays text, parsed as flags are; YAML's reading makes 65 of 1:5 and text of
1e-8.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rmtgen.errors import UsageError

LARGEST = 65536
"""Most bytes of a file."""

Value = str | list[str]


def read_documents(path: Path) -> list[dict[str, Value]]:
    """Read a YAML file, in UTF-8 or, with a byte order mark, UTF-16.

    Args:
        path: A regular file, or a link to one.

    Returns:
        The documents, at least one. A value that is left out is the empty text.

    Raises:
        UsageError: The file is no regular file, too large, not valid YAML, or holds what no field
            can take; the message has the line.
    """
    import yaml

    try:
        documents = list(_Reader(path, _read(path)).documents())
    except UsageError:
        raise
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the latter: "\UFFFFFFFF"
        problem = " ".join(str(error).replace('in "<byte string>", ', "in ").split())
        raise UsageError(f"{path} is not valid YAML: {problem}.") from None
    if not documents:
        raise UsageError(f"{path} must map field names to values, but it is empty.")
    return documents


def _read(path: Path) -> bytes:
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a FIFO would wait for its writer
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise UsageError(f"{path} must be a regular file. Give a file in YAML.")
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise UsageError(
            f"{path} must be a configuration of at most {LARGEST} bytes: it is larger."
        )
    return data


class _Reader:
    """Reads the events of one file; `anchors` are the values that an alias of it can repeat."""

    def __init__(self, path: Path, data: bytes):
        import yaml

        self.yaml, self.path = yaml, path
        self.events = yaml.parse(data, Loader=yaml.BaseLoader)
        self.anchors: dict[str, Value] = {}

    def documents(self) -> Iterator[dict[str, Value]]:
        for event in self.events:
            if isinstance(event, self.yaml.DocumentStartEvent):
                self.anchors = {}
                yield self._mapping(next(self.events))

    def _mapping(self, start: Any) -> dict[str, Value]:
        if not isinstance(start, self.yaml.MappingStartEvent):
            kind = "list" if isinstance(start, self.yaml.SequenceStartEvent) else "text"
            raise self._refused(start, f"must map field names to values, got {kind}")
        self._check_tag(start)
        values: dict[str, Value] = {}
        for event in self._until(self.yaml.MappingEndEvent):
            key = self._value(event)
            if not isinstance(key, str):
                raise self._refused(event, "must have text as the name of a field, got a list")
            if key in values:
                raise self._refused(event, f"must give each field once, {key[:80]!r} is repeated")
            values[key] = self._value(next(self.events))
        return values

    def _value(self, event: Any) -> Value:
        """A scalar, a list of scalars, or the alias of one."""
        value: Value
        if isinstance(event, self.yaml.AliasEvent):
            if event.anchor not in self.anchors:
                raise self._refused(event, f"must define {event.anchor!r} before it is used")
            return self.anchors[event.anchor]
        if isinstance(event, self.yaml.MappingStartEvent):
            raise self._refused(event, "must hold no mapping within a mapping or a list")
        self._check_tag(event)
        if isinstance(event, self.yaml.ScalarEvent):
            value = "" if event.value == "~" and event.implicit[0] else event.value
        else:
            value = [self._item(item) for item in self._until(self.yaml.SequenceEndEvent)]
        if event.anchor:
            self.anchors[event.anchor] = value
        return value

    def _item(self, event: Any) -> str:
        nested = isinstance(event, self.yaml.SequenceStartEvent)
        value = None if nested else self._value(event)
        if not isinstance(value, str):
            raise self._refused(event, "must hold no list within a list")
        return value

    def _until(self, end: type) -> Iterator[Any]:
        """The events that begin a child, up to the end of the collection."""
        while not isinstance(event := next(self.events), end):
            yield event

    def _check_tag(self, event: Any) -> None:
        if event.tag not in (None, "!"):
            raise self._refused(event, f"must hold no tag, got {event.tag[:80]!r}: leave it out")

    def _refused(self, event: Any, problem: str) -> UsageError:
        return UsageError(f"{self.path} {problem} (line {event.start_mark.line + 1}).")
