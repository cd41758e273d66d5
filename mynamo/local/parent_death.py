"""Become another program that the kernel kills when our parent ends.

Run as a script: `python parent_death.py PARENT_PID COMMAND...`. It is a program of its own and
not a `preexec_fn`, because code between fork and exec may deadlock in a process with
threads, and newer Pythons warn about it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent and turn into the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the parent ended before the server started")
    os.execv(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main()
