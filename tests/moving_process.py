"""A mover in a process of its own, for tests that kill or freeze it.

Run as `python -m tests.moving_process CONFIG.toml FIRST LAST TARGET`; ends with status 3 if another
process has gone on with the move.
"""

from __future__ import annotations

import sys

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.moves import NoLongerMover
from mynamo.errors import InvalidRequest
from mynamo.operations.resharding import mover
from mynamo.schemas.config import ClusterConfig


def main() -> None:
    """Move, and delete the source's rows at once."""
    mover.CLEAN_AFTER = 0.1
    with Cluster(ClusterConfig.load(sys.argv[1])) as cluster:
        try:
            mover.Mover(cluster).move(*map(int, sys.argv[2:5]))
        except (NoLongerMover, InvalidRequest):
            raise SystemExit(3) from None


if __name__ == "__main__":
    main()
