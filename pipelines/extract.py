"""`python -m pipelines.extract [CONFIG] [FIELD=VALUE ...]`: the same as `rmtgen extract`."""

import sys
from collections.abc import Sequence

from rmtgen.cli.main import main as rmtgen


def main(arguments: Sequence[str] | None = None) -> int:
    """Run for the command line, or for other arguments; the exit code."""
    return rmtgen(["extract", *(sys.argv[1:] if arguments is None else arguments)])


if __name__ == "__main__":
    sys.exit(main())
