"""Print the oldest version that setup.cfg allows of each requirement, one constraint per line.

Usage: python tests/oldest.py > constraints.txt; see `make test-oldest`.
"""

from configparser import ConfigParser
from pathlib import Path


def lower_bounds(path):
    """Return `name==version` for every `name>=version` in the requirements and the extras."""
    declared = ConfigParser()
    declared.read(path)
    blocks = (declared["options"]["install_requires"], *declared["options.extras_require"].values())
    lines = {line.strip() for block in blocks for line in block.splitlines()}
    return sorted(line.replace(">=", "==") for line in lines if ">=" in line)


if __name__ == "__main__":
    print("\n".join(lower_bounds(Path(__file__).parents[1] / "setup.cfg")))
