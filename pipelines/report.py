"""Stage `report`: `python -m pipelines.report [CONFIG] [FIELD=VALUE ...]`."""

import sys

from rmtgen.stages.report import main

if __name__ == "__main__":
    sys.exit(main())
