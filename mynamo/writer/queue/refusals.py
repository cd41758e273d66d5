"""Refusals of queued writes that no write transaction has recorded.

A command that never reached a shard (its table was unknown, its key was not valid) belongs to no
shard. So all shards record that it was refused, and each of them refuses it if it comes again.
Replaying it deletes these records.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.mysql.pool import Statement


def record_refusals(cluster: Cluster, reasons: Mapping[bytes, str]) -> set[bytes]:
    """Let every shard refuse these commands from now on, unless it has applied them.

    Args:
        reasons: by command id.

    Returns:
        The ids of those that a shard has applied.

    Raises:
        ShardUnavailable: some shards may have recorded them; call again.
        ShardNotConfigured: the configuration lacks a shard that must record them.
    """
    cluster.refresh()  # a shard may have come
    cluster.check_complete()
    rows = ", ".join([f"(%s, {sql.NOW}, NULL, %s)"] * len(reasons))
    values = [value for i, why in reasons.items() for value in (i, why.encode()[:2000])]
    applied: set[bytes] = set()
    for shard in cluster.shards.values():
        _, *found = shard.run(
            (f"INSERT INTO mynamo_command (command_id, done_at, version, refused) VALUES {rows}"
             " ON DUPLICATE KEY UPDATE command_id = VALUES(command_id)", values),
            ("SELECT command_id FROM mynamo_command"
             f" WHERE refused IS NULL AND command_id IN ({sql.placeholders(reasons)})",
             list(reasons)),
            *applied_in_any_slot(cluster, shard.id, reasons),
        )  # fmt: skip
        applied.update(command_id for result in found for (command_id,) in result.rows)
    return applied


def applied_in_any_slot(
    cluster: Cluster, shard_id: int, command_ids: Mapping[bytes, str]
) -> Iterator[Statement]:
    """Look for commands of which nobody knows the slot, in all slots of a shard. The lists make
    the servers look each up by its whole key."""
    ranges = [one for one in cluster.snapshot.slots if one.shard_id == shard_id]
    slots = [slot for one in ranges for slot in range(one.first, one.last + 1)]
    for at in range(0, len(slots), _SLOTS_AT_ONCE):
        some = ", ".join(map(str, slots[at : at + _SLOTS_AT_ONCE]))
        for command_id in command_ids:
            yield (
                "SELECT command_id FROM mynamo_applied FORCE INDEX (PRIMARY)"
                f" WHERE slot IN ({some}) AND command_id = %s AND refused IS NULL",
                (command_id,),
            )


_SLOTS_AT_ONCE = 500
"""MariaDB makes a table of a list that is twice as long, and then reads all ids."""


def forget_refusals(cluster: Cluster, slot: int, command_id: bytes) -> None:
    """Let a command be tried again, unless it was applied.

    Args:
        slot: of its item.

    Raises:
        ShardUnavailable: some shards may have forgotten; call again.
        ShardNotConfigured: the configuration lacks a shard that may know it.
    """
    cluster.refresh()
    cluster.check_complete()
    for shard in cluster.shards.values():
        shard.run(
            ("DELETE FROM mynamo_command WHERE refused IS NOT NULL AND command_id = %s",
             (command_id,)),
            ("DELETE FROM mynamo_applied WHERE refused IS NOT NULL AND slot = %s"
             " AND command_id = %s", (slot, command_id)),
        )  # fmt: skip
