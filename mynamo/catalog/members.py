"""Adding a shard to a cluster that is at work.

The new shard has an empty database, and all processes have it in their configuration. Each step is
safe to repeat, and `add_shard` called again goes on where it stopped:

G1. Control tables and identity on the new database; its slot guard is 1.  A crash here: nobody
    knows of it.
G2. The catalog: the shard is JOINING, and a member from here on: changes of definitions include it,
    its changes are relayed and applied. It has no slots.  A crash here, or after G3: it stays
    JOINING, which does no harm.
G3. Its definitions, and what the other shards remember of queued writes that belong to no slot.
G4. The catalog: the shard is ACTIVE, if no definition has changed since before G3; else G3 again.
    Slots can be moved to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from mynamo.catalog.catalog import TABLE_NAMES
from mynamo.catalog.cluster import Cluster, refuse_foreign, set_up_shard
from mynamo.catalog.enabling import MOVES, check_enabled
from mynamo.catalog.roll_forward import roll_forward_shard
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.snapshot import Member
from mynamo.errors import ConfigError, InvalidRequest
from mynamo.mysql.failures import MissingRight
from mynamo.mysql.pool import Session, Statement
from mynamo.mysql.server_checks import check_server
from mynamo.runtime.crash_points import crash_point

_COPIED_AT_ONCE = 2000
"""Rows of `mynamo_command`."""


def add_shard(
    cluster: Cluster, shard_id: int, say: Callable[[str], None] = lambda line: None
) -> None:
    """Make a shard of the configuration a member of the cluster, G1 to G4; safe to repeat.

    Every process must have the shard in its configuration by then: one that lacks it leaves
    definitions to others, and cannot reach the slots that are moved to it.

    Args:
        shard_id: its number, which no shard of this cluster ever had.
        say: told of each step that was done.

    Raises:
        InvalidRequest: the cluster does not allow it yet; or the number is that of a shard that was
            removed, or is about to be. Nothing was changed.
        ConfigError: the configuration does not name it, or its database is somebody else's.
        ShardNotConfigured: the configuration lacks another shard; nothing was changed.
        ShardUnavailable: a server does not answer; call again.
    """
    check_enabled(cluster, MOVES)
    known = cluster.refresh().members.get(shard_id)
    cluster.check_complete()
    if known is not None and known.state != "JOINING":
        _refuse_known(known)
        say(f"shard {shard_id} is a member already")
        return
    shard = cluster.configured.get(shard_id)
    if shard is None:
        raise ConfigError(
            f"the configuration names no shard {shard_id}: add a [[shards]] with id = {shard_id}, "
            "for every process"
        )
    _prepare(cluster, shard)  # G1
    say(f"{shard.where}: it has the control tables")
    crash_point("shard.add.1")
    with cluster.catalog.lock():
        cluster.catalog.decide(partial(_join, shard_id))  # G2
    crash_point("shard.add.2")
    while True:
        version = cluster.refresh().version
        roll_forward_shard(cluster, shard)  # G3
        _copy_commands(cluster, shard)
        crash_point("shard.add.3")
        cluster.catalog.decide(partial(_activate, shard_id, version))  # G4
        member = cluster.refresh().members[shard_id]
        if member.state != "JOINING":
            _refuse_known(member)
            break
    crash_point("shard.add.4")
    tables = [table for table in cluster.snapshot.tables.values() if table.status != "DELETING"]
    indexes = sum(len(table.live_indexes) for table in tables)
    say(f"{shard.where}: it is ACTIVE, with {len(tables)} tables and {indexes} indexes; no slots")


def _refuse_known(member: Member) -> None:
    if member.state == "REMOVED":
        raise InvalidRequest(
            f"shard {member.shard_id} was removed, and its number is not given again; give the new "
            "shard another one"
        )
    if member.state != "ACTIVE":
        raise InvalidRequest(f"shard {member.shard_id} is {member.state}, so it is a member still")


def _prepare(cluster: Cluster, shard: DynamoDBShard) -> None:
    """G1."""
    with shard.session() as session:
        check_server(session, shard.config, shard.where)
    names = {name for (name,) in shard.run(TABLE_NAMES)[0].rows}
    found: tuple[tuple[Any, ...], ...] = ()
    if "mynamo_shard" in names:
        found = shard.run(("SELECT cluster_id, shard_id FROM mynamo_shard", ()))[0].rows
    if found not in ((), ((cluster.id, shard.id),)):
        raise ConfigError(
            f"{shard.where}: this database is shard {found[0][1]} of this or another cluster; give "
            "the new shard a database of its own"
        )
    if not found:
        refuse_foreign(shard.where, names)
    try:
        set_up_shard(shard, cluster.id, cluster.partitions, cluster.snapshot.format)
    except MissingRight as failure:
        raise ConfigError(
            f"{shard.where}: this user may not make tables there; run the command as one who may "
            f"({failure})"
        ) from None


def _join(shard_id: int, session: Session, _: int) -> Sequence[Statement]:
    """G2, unless it is done."""
    if state_of(session, shard_id) is not None:
        return ()
    return [("INSERT INTO mynamo_shards VALUES (%s, 'JOINING', 1)", (shard_id,))]


def _activate(shard_id: int, version: int, session: Session, now: int) -> Sequence[Statement]:
    """G4, unless it is done.

    Args:
        version: of the catalog, before G3.
        now: as it is.
    """
    if now != version or state_of(session, shard_id) != "JOINING":
        return ()
    return [("UPDATE mynamo_shards SET state = 'ACTIVE' WHERE shard_id = %s", (shard_id,))]


def state_of(session: Session, shard_id: int) -> str | None:
    """The state of a member, in a transaction of `Catalog.decide`; None: it never was one."""
    rows = session.run(("SELECT state FROM mynamo_shards WHERE shard_id = %s", (shard_id,)))[0].rows
    return str(rows[0][0]) if rows else None


def _copy_commands(cluster: Cluster, target: DynamoDBShard) -> None:
    """Copy what all other shards know of queued writes without a slot."""
    for source in cluster.shards.values():
        after = b""
        while source is not target:
            rows = source.run(read_commands(after, _COPIED_AT_ONCE))[0].rows
            if rows:
                after = rows[-1][0]
                target.run(insert_copies(rows))
            if len(rows) < _COPIED_AT_ONCE:
                break


def read_commands(after: bytes, most: int) -> Statement:
    """What a shard knows of queued writes without a slot: refusals, and ids from before ids had
    slots.

    Args:
        after: this id, in their order.
    """
    return (
        "SELECT command_id, done_at, version, refused FROM mynamo_command FORCE INDEX (PRIMARY)"
        f" WHERE command_id > %s ORDER BY command_id LIMIT {most:d}",
        (after,),
    )


def insert_copies(rows: Sequence[tuple[object, ...]]) -> Statement:
    """Copy what `read_commands` gave. Who applied a write is right, not who refused it."""
    values = ", ".join(["(%s, %s, %s, %s)"] * len(rows))
    return (
        f"INSERT INTO mynamo_command (command_id, done_at, version, refused) VALUES {values}"
        " ON DUPLICATE KEY UPDATE version = COALESCE(version, VALUES(version)),"
        " refused = IF(VALUES(refused) IS NULL, NULL, refused)",
        [value for row in rows for value in row],
    )
