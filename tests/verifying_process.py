"""Verify in a process of its own, for a test to kill.

Run as `python -m tests.verifying_process CONFIG.toml STATE`: verifies table `orders` slowly, in
small chunks, and keeps the state at every step. Says on stdout how much of it is kept.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mynamo.catalog.cluster import Cluster
from mynamo.operations import journal, verify
from mynamo.operations.journal import Journal
from mynamo.schemas.config import ClusterConfig
from tests.small_chunks import small_chunks


def saying(change: Callable[..., None]) -> Callable[..., None]:
    """A change of the journal that says how far the comparison has come."""

    def say(self: Journal, *arguments: Any) -> None:
        change(self, *arguments)
        sys.stdout.write(f"{self.phase} {len(self.cursors)}\n")
        sys.stdout.flush()

    return say


def main() -> None:
    """Do it."""
    path, state = sys.argv[1:]
    small_chunks(setattr, 2)
    setattr(journal, "SAVE_EVERY", 0.0)  # noqa: B010
    for name in ("save", "note", "next_phase"):  # each saves the state
        setattr(Journal, name, saying(getattr(Journal, name)))
    with Cluster(ClusterConfig.load(path)) as cluster:
        verify(cluster, "orders", resume=Path(state), parallel=2, rate=150)


if __name__ == "__main__":
    main()
