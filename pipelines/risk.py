"""Stage `risk`: `python -m pipelines.risk [CONFIG] [FIELD=VALUE ...]`."""

import sys

from rmtgen.stages.risk import main

if __name__ == "__main__":
    sys.exit(main())
