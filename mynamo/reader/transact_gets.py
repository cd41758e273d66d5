"""Reading several items as of one moment: one snapshot of the shard that has them.

In the isolation level that sessions have here (READ COMMITTED), each statement reads from one
snapshot, its own. So items of one table are read as other gets are, in one statement, which may
have others' keys too. Items of several tables take a statement each, in a transaction that has one
snapshot for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from mynamo.catalog.cluster import Cluster, Owner
from mynamo.catalog.slot_guard import check_epoch
from mynamo.errors import InvalidRequest
from mynamo.mysql.pool import Statement
from mynamo.reader.batch_gets import (
    Items,
    Wanted,
    batcher_of,
    by_owner,
    found_in,
    got,
    rows_of,
    statements_for,
)
from mynamo.reader.read_requests import Get, Got
from mynamo.schemas.transaction_limits import SAME_ITEM

_BEGIN: tuple[Statement, ...] = (
    ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", ()),  # of the next transaction only
    ("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY", ()),
)
_END: Statement = ("COMMIT", ())
_SEVERAL_SHARDS = (
    "the items of this request are on several shards, and mynamo does not read those in one "
    "transaction yet; read items of one hash key together, or use BatchGetItem"
)


def transact_get(cluster: Cluster, gets: Sequence[Get]) -> list[Got]:
    """Read items by key, of one table or several, all as of one moment.

    Returns:
        What was there, in the order of `gets`.

    Raises:
        TableNotFound: there is no such table.
        InvalidItem: a key is not one of its table.
        InvalidRequest: an item is named twice, or they are on several shards.
        MissingTable: the catalog's knowledge of a table is outdated.
        SlotsMoved: that of the slots is.
        ShardUnavailable: the shard does not answer.
    """
    rows = rows_of(cluster, gets)
    if len({*rows}) < len(rows):
        raise InvalidRequest(SAME_ITEM)
    owners = by_owner(cluster, rows)
    if len(owners) > 1:
        raise InvalidRequest(_SEVERAL_SHARDS)
    found: Items = {}
    for owner, wanted in owners.items():
        with owner.shard.admission:
            if len(wanted) == 1:
                found = batcher_of(owner.shard).read(owner, wanted)
            else:
                found = _read_snapshot(owner, wanted)
    return got(gets, rows, found)


def _read_snapshot(owner: Owner, wanted: Wanted) -> Items:
    """Read rows of several tables, in one round trip. The slot guard is of the same snapshot."""
    results = owner.shard.ask(*_BEGIN, *statements_for(wanted), _END)
    found = found_in(wanted, results[len(_BEGIN) : -1])
    check_epoch(found.epoch, owner.epoch, owner.shard.where)
    return found.items
