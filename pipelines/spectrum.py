"""Stage `spectrum`: `python -m pipelines.spectrum [CONFIG] [FIELD=VALUE ...]`."""

import sys

from rmtgen.stages.spectrum import main

if __name__ == "__main__":
    sys.exit(main())
