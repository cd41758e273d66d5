"""Marks, placeholders and intents that do not go together: finding them, and freeing items of them.

A row of a main table has a mark, or is a placeholder, exactly as long as there is an intent on it:
every step of a transaction changes both in one local transaction, under the row's lock. So one
consistent view of a shard shows whether they go together, and those of an open transaction do,
however long it is open. They do not where a main row or an intent was written by something else: by
SQL of other programs, or by a restore of one table without the other.

1.  *Look*, in the checksum pass: the rows of a chunk and the intents on them, in one view.
2.  *Look again* (`still_unmatched`), some time later. What is the same is a finding.
3.  *Free* (`free`): take the mark or the placeholder away, for `mynamo repair`. An intent without
    either is left to `mynamo transaction resolve`: its transaction may be committed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from uuid import UUID

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.intents import intents_in, is_free, read_intents, unmarked
from mynamo.catalog.shard import DynamoDBShard, retry
from mynamo.catalog.slot_guard import LOCK_EPOCH, by_newest_slots, check_epoch, epoch_in
from mynamo.catalog.tables import RowKey, Table
from mynamo.mysql.pool import Statement
from mynamo.operations.comparison_statements import SNAPSHOT, whole_row
from mynamo.operations.expected_rows import read_item
from mynamo.operations.findings import Unmatched, UnmatchedKind
from mynamo.operations.visible_slots import is_newest
from mynamo.writer.transaction.statements import delete_rows, unmark

LOOK_AGAIN_AFTER = 1.0
"""Seconds from the first look to the second one, at the least."""
UNMARKED = "took the mark away"
DELETED = "deleted the placeholder"
NOTHING = "nothing: it was right by then"
LEFT_ALONE = "nothing: its row has no version of its own; restore the item from a backup"
RESOLVE = "nothing: `mynamo transaction resolve` finishes its transaction"

_COMMIT: Statement = ("COMMIT", ())


def unmatched_among(
    table: Table,
    shard_id: int,
    occupied: Mapping[RowKey, int],
    intents: Iterable[tuple[bytes, bytes, bytes]],
) -> Iterator[Unmatched]:
    """Step 1: what does not go together in one view of rows.

    Args:
        occupied: versions of marked items and of placeholders.
        intents: hash, sort and transaction id of those on all the rows, and on absent ones.
    """
    wanted = set()
    for hash16, sort, transaction_id in intents:
        row = RowKey(hash16, sort)
        wanted.add(row)
        if row not in occupied:
            yield Unmatched("intent", table.id, row, shard_id, transaction_id=transaction_id)
    for row, version in occupied.items():
        if row not in wanted:
            kind: UnmatchedKind = "mark" if version else "placeholder"
            yield Unmatched(kind, table.id, row, shard_id, version)


def still_unmatched(cluster: Cluster, table: Table, found: Sequence[Unmatched]) -> list[Unmatched]:
    """Step 2: those that are still there, with what a person must know.

    Raises:
        ShardUnavailable: a shard does not answer.
        MissingTable: the table was dropped.
    """
    time.sleep(LOOK_AGAIN_AFTER)
    while True:
        snapshot = cluster.refresh()
        known = cluster.table_by_id(table.id)
        if known is None or known.status == "DELETING":
            return []  # its intents are deleted before its rows
        left = [
            told
            for each in found
            if snapshot.shard_ids[each.row.slot] == each.shard  # else it has moved, as it must be
            and (told := look_again(cluster, table, each)) is not None
        ]
        if not left or is_newest(cluster, snapshot):
            return left


def look_again(cluster: Cluster, table: Table, found: Unmatched) -> Unmatched | None:
    """The same, if it is still there.

    Raises:
        ShardUnavailable, MissingTable: see `still_unmatched`.
    """
    return retry(lambda: _look_again(cluster.shards[found.shard], table, found))


def _look_again(shard: DynamoDBShard, table: Table, found: Unmatched) -> Unmatched | None:
    with shard.session() as session:
        *_, rows, intents, _ = session.run(
            *SNAPSHOT, whole_row(table, found.row), read_intents([(table.id, found.row)]), _COMMIT
        )
    version, data = rows.rows[0] if rows.rows else (None, b"")
    if found.kind != "intent":
        if intents.rows or version != found.version:
            return None
        return found.told(table, read_item(table, found.row, data), _DETAILS[found.kind])
    one = next((i for i in intents_in(intents) if i.transaction_id == found.transaction_id), None)
    if one is None or not (version is None or is_free(version)):
        return None
    detail = (
        f"transaction {UUID(bytes=one.transaction_id)} has an intent on it, but "
        + ("there is no such row" if version is None else "its row has no mark")
        + ", so others may have written it since; `mynamo transaction resolve "
        f"{UUID(bytes=one.transaction_id)}` finishes it, and so does a writer worker"
    )
    known = read_item(table, found.row, data) or read_item(table, found.row, one.item or b"")
    return found.told(table, known, detail)


_DETAILS = {
    "mark": "it is marked as if a transaction had it, but no transaction has an intent on it, so "
    "whoever writes it gets a conflict; `mynamo repair` takes the mark away",
    "placeholder": "there is a placeholder as if a transaction had the absent item, but no "
    "transaction has an intent on it, so whoever writes it gets a conflict; `mynamo repair` "
    "deletes the placeholder",
}


def plan_of(found: Unmatched) -> str:
    """What `free` would do, for a person."""
    return "delete the placeholder" if found.kind == "placeholder" else "take the mark away"


def free(cluster: Cluster, table: Table, found: Unmatched) -> str:
    """Step 3: free an item of a mark or a placeholder that no transaction has an intent for.

    In one local transaction. A crash before its commit: nothing happened; after it: it is done.
    It may be repeated, by any number of processes at once.

    1.  Lock the slot guard shared, and the row. Who prepares, applies or releases a transaction on
        this row locks it before, and commits its intent with its mark. So none of these is under
        way from here on; one that has begun waits for the commit, and finds a free row.
    2.  Read the intents on the row, with a lock, which shows what is committed by now. If there is
        one, or the row is gone or free, somebody was faster: leave it.
    3.  Take the mark from the version, or delete the placeholder, and commit. Neither makes an
        event or a new version: the item is the same for whoever reads it.

    Returns:
        What was done, for a person.

    Raises:
        ShardUnavailable: the shard does not answer; it can be repeated.
        MissingTable: the table was dropped.
    """
    return by_newest_slots(cluster, lambda: retry(lambda: _free(cluster, table, found)))


def _free(cluster: Cluster, table: Table, found: Unmatched) -> str:
    place = (table.id, found.row)
    route = cluster.route(table.id, found.row.hash)
    if route.shard.id != found.shard:
        return NOTHING  # its slots have moved
    with route.shard.session() as session:
        _, guard, rows, intents = session.run(
            ("BEGIN", ()), LOCK_EPOCH, whole_row(table, found.row, lock=True),
            read_intents([place], lock=True),
        )  # fmt: skip
        check_epoch(epoch_in(guard), route)
        version, data = rows.rows[0] if rows.rows else (1, b"")
        if is_free(version) or intents.rows:
            did, statements = NOTHING, []
        elif unmarked(version):
            did, statements = UNMARKED, unmark([place])
        elif not data:
            did, statements = DELETED, delete_rows([place])
        else:
            did, statements = LEFT_ALONE, []
        session.run(*statements, _COMMIT)
    return did
