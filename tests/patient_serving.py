"""`mynamo serve` whose reads of GSIs wait for own writes for as long as a busy machine needs."""

from __future__ import annotations

from mynamo.cli import main
from mynamo.gateway import own_writes

if __name__ == "__main__":
    own_writes.PATIENCE = 50.0
    main()
