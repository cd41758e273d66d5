"""How far the backfill of a new index is, and waiting until tables and indexes are ACTIVE."""

from __future__ import annotations

import time
from dataclasses import dataclass

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.tables import Index, Table
from mynamo.errors import IndexNotReady, MynamoError, ShardUnavailable, TableNotFound
from mynamo.runtime.deadlines import check_timeout
from mynamo.schemas.keys import SLOTS, slot_of


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the backfill of an index has come.

    Attributes:
        fraction: of the table's key space, 0 to 1.
        rows: items put into the index.
        skipped: items whose key attributes are not fit for the index.
        finished: every shard's items have been read; a GSI may still be catching up.
    """

    fraction: float
    rows: int
    skipped: int
    finished: bool


def progress(cluster: Cluster, index: Index) -> Progress:
    """How far the backfill of an index has come."""
    slots_done = rows = skipped = 0
    finished = not cluster.lacking
    for shard in cluster.shards.values():
        found = shard_progress(cluster, shard, index)
        slots_done, rows = slots_done + found.slots, rows + found.rows
        skipped, finished = skipped + found.skipped, finished and found.finished
    return Progress(slots_done / SLOTS, rows, skipped, finished)


@dataclass(frozen=True, slots=True)
class ShardProgress:
    """How far it has come on one shard.

    Attributes:
        slots: of the shard, that are done.
        rows, skipped, finished: see `Progress`.
    """

    slots: int = 0
    rows: int = 0
    skipped: int = 0
    finished: bool = False


def shard_progress(cluster: Cluster, shard: DynamoDBShard, index: Index) -> ShardProgress:
    """How far the backfill of an index has come on a shard."""
    found = shard.run(
        ("SELECT after_hash, rows_done, rows_skipped, finished FROM mynamo_backfill"
         " WHERE index_id = %s", (index.id,))
    )[0].rows  # fmt: skip
    if not found:
        return ShardProgress()  # the shard has not heard of the index yet
    after_hash, rows, skipped, finished = found[0]
    reached = SLOTS if finished else slot_of(after_hash) if after_hash else -1
    slots = sum(
        max(0, min(owned.last, reached) - owned.first + 1)
        for owned in cluster.snapshot.slots
        if owned.shard_id == shard.id
    )
    return ShardProgress(slots, rows, skipped, bool(finished))


ACTIVE_TIMEOUT = 300.0
"""Seconds that a table or an index may take to become ACTIVE, unless the caller says otherwise."""
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 0.5


def described(cluster: Cluster, name: str) -> Table:
    """A table as the catalog has it now, whatever its status.

    Raises:
        TableNotFound: there is none of that name.
    """
    found = cluster.refresh().names.get(name)
    if found is None:
        raise TableNotFound(f"Requested resource not found: Table: {name} not found")
    return found


def wait_until_active(cluster: Cluster, table: str, index: str | None, timeout: float) -> Table:
    """Wait until a table and its indexes, or the one that is named, are ACTIVE.

    Args:
        timeout: seconds.

    Raises:
        IndexNotReady: an index is not ACTIVE by then.
        ShardUnavailable: the table is not; or the catalog's server does not answer.
        TableNotFound, IndexNotFound: there is none of that name, perhaps no longer.
        InvalidRequest: the timeout is none.
    """
    check_timeout("timeout", timeout)
    deadline = time.monotonic() + timeout
    pause = _FIRST_PAUSE
    while True:
        found = described(cluster, table)
        parts = [found, *(found.live_indexes if index is None else [found.index(index)])]
        waiting = next((part for part in parts if part.status != "ACTIVE"), None)
        if waiting is None:
            return found
        if time.monotonic() >= deadline:
            raise _still_waiting(found, waiting, timeout)
        time.sleep(pause)
        pause = min(_LONGEST_PAUSE, pause * 1.5)


def _still_waiting(table: Table, part: Table | Index, timeout: float) -> MynamoError:
    if isinstance(part, Table):
        return ShardUnavailable(
            f"table {table.name} is still {part.status} after the timeout of {timeout:g} s; "
            "`mynamo writer` finishes it once all shards answer"
        )
    return IndexNotReady(
        f"index {part.name} of table {table.name} is still {part.status} after the timeout of "
        f"{timeout:g} s; check that `mynamo writer` and `mynamo indexer` run"
    )
