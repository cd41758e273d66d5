"""Refusals of queued writes that no write transaction has recorded.

A command that never reached a shard (its table was unknown, its key was not valid) belongs to no
shard. So all shards record that it was refused, and each of them refuses it if it comes again.
Replaying it deletes these records.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster


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
        _, found = shard.run(
            (f"INSERT INTO mynamo_command (command_id, done_at, version, refused) VALUES {rows}"
             " ON DUPLICATE KEY UPDATE command_id = VALUES(command_id)", values),
            ("SELECT command_id FROM mynamo_command"
             f" WHERE refused IS NULL AND command_id IN ({sql.placeholders(reasons)})",
             list(reasons)),
        )  # fmt: skip
        applied.update(command_id for (command_id,) in found.rows)
    return applied


def forget_refusals(cluster: Cluster, command_ids: Collection[bytes]) -> None:
    """Let these commands be tried again, those that were applied excepted.

    Raises:
        ShardUnavailable: some shards may have forgotten; call again.
        ShardNotConfigured: the configuration lacks a shard that may know them.
    """
    cluster.refresh()
    cluster.check_complete()
    for shard in cluster.shards.values():
        shard.run(
            ("DELETE FROM mynamo_command WHERE refused IS NOT NULL"
             f" AND command_id IN ({sql.placeholders(command_ids)})", list(command_ids)),
        )  # fmt: skip
