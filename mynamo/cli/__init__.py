"""The command line: `mynamo`.

`main` is the entry point. Each command lies in a module that is loaded only when the
command is used, so that `mynamo --help` answers at once.
"""

from mynamo.cli.app import main

__all__ = ["main"]
