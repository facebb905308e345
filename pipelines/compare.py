"""`python -m pipelines.compare`."""

import sys

from rmtgen.cli.compare import main

if __name__ == "__main__":
    sys.exit(main())
