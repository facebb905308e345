"""`python -m pipelines.plan`."""

import sys

from rmtgen.cli.plan import main

if __name__ == "__main__":
    sys.exit(main())
