"""`python -m pipelines STAGE ...`."""

import sys

from rmtgen.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
