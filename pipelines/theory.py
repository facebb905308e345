"""Stage `theory`: `python -m pipelines.theory [CONFIG] [FIELD=VALUE ...]`."""

import sys

from rmtgen.stages.theory import main

if __name__ == "__main__":
    sys.exit(main())
