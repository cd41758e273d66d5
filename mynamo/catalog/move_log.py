"""The move log: keys of moving slots whose rows have changed.

While slots move, whoever changes one of their rows on the source adds its key here, in the same
transaction. The mover reads the keys, and copies these rows again.
"""

from __future__ import annotations

ITEM = 1
"""An item: hash and sort of its key."""
GSI_ROW = 2
"""A GSI row: hash and sort of the index, and the item's."""
TOKEN = 3
"""A request token, as hash."""
COMMAND = 4
"""The id of a queued write, as hash."""
