"""Changes of bytes: what rots, is cut off, is edited, or is made to do harm."""

from collections.abc import Callable, Mapping, Sequence

from hypothesis import strategies as st

_LARGEST = 1 << 24

Edit = tuple[str, int, int, bytes]
"""A kind of change, where it begins and ends in parts of `_LARGEST`, and what it puts there."""

_TELLING = (
    *(b"\x00" * 8, b"\xff" * 8, b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80", b"\xff" * 7 + b"\x7f"),
    *(b"null", b"NaN", b"-1", b"1e999", b"9" * 40, b"true", b"[]", b"{}", b'""', b"../../x"),
    *(b"/etc/passwd", b"\n", b"\t- ", b": ", b"&a [*a, *a]", b"[" * 2000, b"{" * 2000, b"'", b'"'),
    *("\u202e\ud7ff".encode(), b"\xc3\x28", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", b"%!PS-Adobe"),
)

_CHANGES: Mapping[str, Callable[[bytes, int, int, bytes], bytes]] = {
    "overwrite": lambda data, at, _, put: data[:at] + put + data[at + len(put) :],
    "insert": lambda data, at, _, put: data[:at] + put + data[at:],
    "replace": lambda data, at, to, put: data[:at] + put + data[to:],
    "cut": lambda data, at, to, _: data[:at] + data[to:],
    "truncate": lambda data, at, *_: data[:at],
    "repeat": lambda data, at, to, _: data[:to] + data[at:],
    "flip": lambda data, at, *_: data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :],
    "zero": lambda data, at, to, _: data[:at] + bytes(to - at) + data[to:],
}


def edits() -> st.SearchStrategy[list[Edit]]:
    """One to four changes, most of them near the beginning, where headers are."""
    place = st.one_of(st.integers(0, _LARGEST - 1), st.integers(0, _LARGEST // 64))
    put = st.one_of(st.sampled_from(_TELLING), st.binary(min_size=1, max_size=16))
    return st.lists(
        st.tuples(st.sampled_from(sorted(_CHANGES)), place, place, put), min_size=1, max_size=4
    )


def changed(data: bytes, plan: Sequence[Edit]) -> bytes:
    """The bytes after all the changes."""
    for kind, start, stop, put in plan:
        if not data:
            return put
        at, to = sorted((start * len(data) // _LARGEST, stop * len(data) // _LARGEST))
        data = _CHANGES[kind](data, at, to, put)
    return data
