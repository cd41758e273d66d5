"""Generations that last seconds, so that a short run sees decisions and tokens go.

Run as `python -m tests.faults.short_generations MODULE ARGUMENTS...`: runs the module as
`python -m MODULE ARGUMENTS...` would, with generations of `SECONDS`. Tokens are then kept for
seconds only, so the run's clients send nothing again.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable, Sequence

from mynamo.writer.transaction import request_tokens

SECONDS = 3.0


def shortened(launcher: Callable[[str], Sequence[str]]) -> Callable[[str], Sequence[str]]:
    """Arguments of Python that run a module so, and otherwise as `launcher` does."""
    return lambda module: ("-m", "tests.faults.short_generations", *launcher(module)[1:])


def main() -> None:
    """Shorten generations and run a module."""
    request_tokens.GENERATION_LASTS = SECONDS
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
