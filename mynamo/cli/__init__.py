"""The command line: `mynamo`.

`main` is the entry point. Each command lies in a module that is loaded only when the
command is used, so that `mynamo --help` answers at once.
"""

from mynamo.cli.interrupts import end_at_once

__all__ = ["main"]


def main() -> None:
    """The entry point: run the command line and end the process with its status."""
    with end_at_once():  # what is imported from here on takes a while
        from mynamo.cli.app import run

        run()
