"""Taking part in the backfill of an index, with its progress."""

from __future__ import annotations

import time

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.index_status import progress
from mynamo.catalog.tables import Index
from mynamo.cli.interrupts import INTERRUPTED
from mynamo.cli.output import console, say
from mynamo.errors import IndexNotFound, TableNotFound
from mynamo.writer.backfill.backfiller import Backfiller
from mynamo.writer.backfill.indexes import activate_if_backfilled

POLL_SECONDS = 0.2
PATIENCE = 10.0
"""Seconds without progress until we ask whether anybody works."""
_WORK_SECONDS = 0.2
"""For which each shard is backfilled, one after the other."""


def backfill(cluster: Cluster, made: Index, interrupted: str) -> None:
    """Take part in the backfill, and show its progress, until the index is ACTIVE.

    Args:
        interrupted: what to say after Ctrl-C.

    Raises:
        SystemExit: after Ctrl-C.
    """
    try:
        _backfill(cluster, made)
    except KeyboardInterrupt:
        say(f"\n{interrupted}")
        raise SystemExit(INTERRUPTED) from None


def _backfill(cluster: Cluster, made: Index) -> None:
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[rows]:,} items"), TimeElapsedColumn(),
        console=console(stderr=True), disable=not console(stderr=True).is_terminal,
    )  # fmt: skip
    with bar:
        task = bar.add_task(f"backfilling {made.name}", total=1.0, rows=0)
        backfillers = [Backfiller(cluster, shard, made) for shard in cluster.shards.values()]
        moved_at, last, hinted = time.monotonic(), None, False
        while True:
            more = [backfiller.work(_WORK_SECONDS) for backfiller in backfillers]
            now = progress(cluster, made)
            bar.update(task, completed=now.fraction, rows=now.rows)
            if any(more):
                continue
            if activate_if_backfilled(cluster, made) or _is_active(cluster, made):
                return
            if now != last:
                moved_at, last = time.monotonic(), now
            if time.monotonic() - moved_at > PATIENCE and not hinted:
                hinted = True
                bar.console.print(
                    "still waiting for the indexers: do `mynamo writer` and `mynamo indexer` run?"
                )
            time.sleep(POLL_SECONDS)


def _is_active(cluster: Cluster, made: Index) -> bool:
    """Whether somebody else made it ACTIVE.

    Raises:
        TableNotFound, IndexNotFound: it was dropped in the meantime.
    """
    known = cluster.refresh().tables.get(made.table_id)
    if known is None:
        raise TableNotFound("the table was dropped in the meantime")
    found = [index.status for index in known.live_indexes if index.id == made.id]
    if not found:
        raise IndexNotFound(f"index {made.name} was dropped in the meantime")
    return found == ["ACTIVE"]
