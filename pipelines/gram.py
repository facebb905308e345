"""Stage `gram`: `python -m pipelines.gram [CONFIG] [FIELD=VALUE ...]`."""

import sys

from rmtgen.stages.gram import main

if __name__ == "__main__":
    sys.exit(main())
