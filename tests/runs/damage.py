"""Ways to damage a run, and to name what was damaged."""

import json
import re


def edit(path, **changes):
    """Replace fields of a manifest."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def flip(path):
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def of(exact):
    """The pattern of a path."""
    return re.escape(str(exact))
