"""The exit statuses of commands; docs/operations.md has the same table.

2 is click's own: the command line was wrong, and nothing was done.
"""

from __future__ import annotations

FAILED = 1
"""What was asked for was refused, or could not be done."""
USAGE = 2
"""The command line is wrong; no server was asked to do anything."""
WRONG = 3
"""The command did its work, and its verdict is that something is wrong."""
UNDECIDED = 4
"""The command did its work, and nothing is wrong as far as it could tell: indexers are behind."""
