"""`python -m vitrion`, for where the console script is not on the path."""

import sys

from vitrion.cli import main

sys.exit(main())
