"""Stage `extract`: `python -m pipelines.extract [CONFIG] [FIELD=VALUE ...]`."""

import sys

from rmtgen.stages.extract import main

if __name__ == "__main__":
    sys.exit(main())
