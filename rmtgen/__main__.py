"""`python -m rmtgen ...`: the same as the command `rmtgen`."""

import sys

from rmtgen.cli.main import main

sys.exit(main())
