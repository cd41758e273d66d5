"""A release to come: what it writes is of formats that no release knows yet.

Run as `python -m tests.faults.newer_format MODULE ARGUMENTS...`: runs the module as
`python -m MODULE ARGUMENTS...` would, with change events of the next format.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence

from mynamo.schemas import events


def launcher(module: str) -> Sequence[str]:
    """Arguments of Python that run a module so."""
    return "-m", "tests.faults.newer_format", module


def main() -> None:
    """Raise the format and run a module."""
    events.FORMAT += 1
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
