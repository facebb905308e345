"""JSON that carries its own digest: one changed byte is found, and the changed field is named."""

import json
from collections.abc import Mapping
from typing import Any

from rmtgen.store import durable

_FIELDS = "digests"  # key of the digest of each field
_WHOLE = "blake2b"  # key of the digest of all bytes before it, the last key


def seal(content: Mapping[str, Any]) -> bytes:
    """An object as JSON, followed by the digest of each field and of the text itself.

    Raises:
        ValueError: A number is not finite.
    """
    digests = {key: _digest(value) for key, value in content.items()}
    text = json.dumps({**content, _FIELDS: digests}, indent=1, allow_nan=False)
    head = text.removesuffix("\n}").encode()
    return head + _tail(head)


def unseal(data: bytes, content: Mapping[str, Any]) -> dict[str, Any]:
    """The object that was sealed.

    Args:
        data: What `seal` returned.
        content: The object that this is as JSON.

    Raises:
        ValueError: A byte has changed; the message names the fields that have.
    """
    head = data[: -len(_tail(b""))]
    if data != head + _tail(head):
        raise ValueError(f"changed since it was written: {_changed(content)}")
    return {key: value for key, value in content.items() if key not in (_FIELDS, _WHOLE)}


def _tail(head: bytes) -> bytes:
    return f',\n "{_WHOLE}": "{durable.digest(head)}"\n}}\n'.encode()


def _changed(content: Mapping[str, Any]) -> str:
    """The fields whose values are not those that were sealed."""
    if _WHOLE not in content or not isinstance(content.get(_FIELDS), dict):
        return "it lacks its digests"
    digests, fields = content[_FIELDS], content.keys() - {_FIELDS, _WHOLE}
    changed = [
        key
        for key in sorted(fields | digests.keys())
        if key not in content or digests.get(key) != _digest(content[key])
    ]
    return ", ".join(changed) if changed else "the digests themselves, or the text between fields"


def _digest(value: Any) -> str:
    return durable.digest(durable.canonical_json(value).encode())
