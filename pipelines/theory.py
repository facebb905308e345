"""`python -m pipelines.theory [CONFIG] [FIELD=VALUE ...]`: the same as `rmtgen theory`."""

import sys
from collections.abc import Sequence

from rmtgen.cli.main import main as rmtgen


def main(arguments: Sequence[str] | None = None) -> int:
    """Run for the command line, or for other arguments; the exit code."""
    return rmtgen(["theory", *(sys.argv[1:] if arguments is None else arguments)])


if __name__ == "__main__":
    sys.exit(main())
