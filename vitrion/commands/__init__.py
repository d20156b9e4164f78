"""One module for each subcommand of `vitrion`.

Each has `HELP` (one line), `EXAMPLE`, `add_arguments(parser)` and `run(args)`; what is slow to
import is imported inside `run`, so that `vitrion --help` answers at once.
"""
