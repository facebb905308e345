"""Print the oldest version that setup.cfg allows of each requirement, one constraint per line.

Usage: python tests/oldest.py > constraints.txt; see `make test-oldest`.
"""

import re
from configparser import ConfigParser
from pathlib import Path

BOUND = re.compile(r"^([\w.-]+)(?:\[.*\])?>=([\w.]+)", re.MULTILINE)


def lower_bounds(path):
    """Return `name==version` for every `name>=version` of the requirements and the extras."""
    declared = ConfigParser()
    declared.read(path)
    blocks = (declared["options"]["install_requires"], *declared["options.extras_require"].values())
    return sorted(
        {f"{name}=={version}" for block in blocks for name, version in BOUND.findall(block)}
    )


if __name__ == "__main__":
    print("\n".join(lower_bounds(Path(__file__).parents[1] / "setup.cfg")))
