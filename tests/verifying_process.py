"""Verify in a process of its own, for a test to kill.

Run as `python -m tests.verifying_process CONFIG.toml STATE`: verifies table `orders` slowly, in
small chunks, and keeps the state at every step. Says on stdout how much of it is kept.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mynamo.catalog.cluster import Cluster
from mynamo.operations import journal, verify
from mynamo.operations.journal import Journal
from mynamo.schemas.config import ClusterConfig
from tests.small_chunks import small_chunks


def main() -> None:
    """Do it."""
    path, state = sys.argv[1:]
    small_chunks(setattr, 2)
    setattr(journal, "SAVE_EVERY", 0.0)  # noqa: B010
    save = Journal._save

    def say(self: Journal) -> None:
        save(self)
        sys.stdout.write(f"{self.phase} {len(self.cursors)}\n")
        sys.stdout.flush()

    setattr(Journal, "_save", say)  # noqa: B010
    with Cluster(ClusterConfig.load(path)) as cluster:
        verify(cluster, "orders", resume=Path(state), parallel=2, rate=150)


if __name__ == "__main__":
    main()
