"""Ways to damage a run, and to name what was damaged."""

import hashlib
import json
import os
import re

from rmtgen.store import sealed


def edit(path, **changes):
    """Replace fields of a manifest, with the digests that the new ones have."""
    content = json.loads(path.read_text())
    reseal(path, {**content, **changes})


def reseal(path, content):
    """Write a manifest with right digests, as someone who means harm would."""
    content = {key: value for key, value in content.items() if key not in ("digests", "blake2b")}
    try:
        path.write_bytes(sealed.seal(content))
    except ValueError:  # NaN
        path.write_text(json.dumps(content))


def record_again(path, name):
    """Let a manifest record a file as it is now."""
    content, file = json.loads(path.read_text()), path.with_name(name)
    status = file.stat()
    digest = hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()
    record = {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "blake2b": digest}
    reseal(path, {**content, "outputs": {**content["outputs"], name: record}})


def silently(path, change):
    """Change the bytes of a file, and give it its time back."""
    status = path.stat()
    path.write_bytes(change(path.read_bytes()))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def flip(path):
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def of(exact):
    """The pattern of a path."""
    return re.escape(str(exact))
