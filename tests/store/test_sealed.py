"""Sealed JSON: every byte is covered, and the field that changed is named."""

import json

import pytest

from rmtgen.store import sealed

CONTENT = {"format": 2, "spec": {"sizes": [1, 2], "ü": 0.1}, "seconds": 1.5, "details": {}}


def unsealed(data):
    return sealed.unseal(data, json.loads(data))


def test_what_was_sealed_comes_back():
    assert unsealed(sealed.seal(CONTENT)) == CONTENT
    assert sealed.seal({"sizes": (1, 2)}) == sealed.seal({"sizes": [1, 2]})


def test_every_byte_is_covered():
    data = sealed.seal(CONTENT)
    for at in range(len(data)):
        for bit in (1, 16):
            changed = bytearray(data)
            changed[at] ^= bit
            with pytest.raises(ValueError, match="."):
                unsealed(bytes(changed))
    for changed in (data + b" ", b" " + data, data[:-1], data.replace(b"\n", b"\r\n")):
        with pytest.raises(ValueError, match="the digests themselves, or the text between"):
            unsealed(changed)


@pytest.mark.parametrize("key", CONTENT)
def test_the_field_that_changed_is_named(key):
    data = json.loads(sealed.seal(CONTENT))
    for change in ({**data, key: "other"}, {k: v for k, v in data.items() if k != key}):
        with pytest.raises(ValueError, match=f"changed since it was written: {key}$"):
            unsealed(json.dumps(change).encode())
    with pytest.raises(ValueError, match="written: extra$"):
        unsealed(json.dumps({**data, "extra": 1}).encode())


@pytest.mark.parametrize("key", ["digests", "blake2b"])
def test_without_its_digests_it_is_refused(key):
    data = {k: v for k, v in json.loads(sealed.seal(CONTENT)).items() if k != key}
    with pytest.raises(ValueError, match="it lacks its digests"):
        unsealed(json.dumps(data, indent=1).encode())


def test_numbers_that_json_has_not_are_refused():
    with pytest.raises(ValueError, match="not JSON compliant"):
        sealed.seal({"a": float("nan")})
