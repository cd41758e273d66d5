"""Checks of the catalog's database and of each shard's.

They only read: no control table is made or brought up to date, and no incarnation begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from mynamo.catalog.catalog import FORMAT, MOVES
from mynamo.catalog.migrations import CATALOG, READ_FORMAT, SHARD, Migrations
from mynamo.errors import MynamoError
from mynamo.mysql.failures import LostConnection, MissingTable
from mynamo.mysql.pool import ConnectionPool, Session, Statement
from mynamo.operations.doctor import servers
from mynamo.operations.doctor.diagnosis import Check, Said, said_of
from mynamo.operations.doctor.rights import (
    ON_CATALOG,
    ON_SHARD,
    Role,
    grant,
    listed,
    rights_of,
)
from mynamo.operations.lag import RELAY_STATE
from mynamo.schemas.config import DatabaseConfig, PoolConfig, ShardConfig

LIMITS = PoolConfig(connect_timeout=3, read_timeout=4, wait_timeout=4)
"""Seconds that a server has for its answers."""
SET_UP = "run `mynamo table list` once, as a user who may create tables"
_START = "start its server, or correct its address in the configuration"
_NEWER = "upgrade mynamo on this machine"


@dataclass(frozen=True, slots=True)
class CatalogState:
    """What the catalog says of its cluster.

    Attributes:
        cluster_id: 16 bytes.
        format: of the catalog.
        partitions: of the topic of changes.
        members: the numbers of the shards.
    """

    cluster_id: bytes
    format: int
    partitions: int
    members: frozenset[int]


@dataclass(frozen=True, slots=True)
class ShardState:
    """What a shard's database says of itself.

    Attributes:
        cluster_id: 16 bytes.
        shard: its number.
        oldest: the format that each process must know.
    """

    cluster_id: bytes
    shard: int
    oldest: int


@dataclass(slots=True)
class Found:
    """What was found in one database. What is not known is None.

    Attributes:
        about: the database, in messages.
        answers: its server has let the user in.
        is_empty: it has no control tables.
        rights: of the user.
    """

    about: str
    checks: list[Check] = field(default_factory=list)
    answers: bool = False
    is_empty: bool = False
    rights: frozenset[str] | None = None
    catalog: CatalogState | None = None
    shard: ShardState | None = None


Look = Callable[[Session, Found], Iterator[Said]]


def look_at_catalog(database: DatabaseConfig, role: Role | None) -> Found:
    """Look at the catalog's database and its server.

    Args:
        role: whose rights the user must have; None: those of a reader at least.
    """
    about = f"catalog ({database.host}:{database.port}/{database.database})"
    rights = _rights(database, ON_CATALOG[role or "reader"])
    return _look(about, database, (rights, _catalog_format))


def look_at_shard(shard: ShardConfig, role: Role | None) -> Found:
    """Look at a shard's database and its server; see `look_at_catalog`."""
    about = f"shard {shard.id} ({shard.host}:{shard.port}/{shard.database})"
    rights = _rights(shard, ON_SHARD[role or "reader"])
    return _look(about, shard, (rights, _shard_format, _relay))


def _look(about: str, database: DatabaseConfig, looks: Sequence[Look]) -> Found:
    found = Found(about)
    server = f"server {database.host}:{database.port}"
    pool = ConnectionPool(database, LIMITS, about)
    try:
        with pool.session() as session:
            found.answers = True
            found.checks.append(Check("ok", about, f"answers to the user {database.user}"))
            for check in (servers.version, servers.settings, servers.clock):
                _add(found, server, partial(check, session))
            for look in looks:
                _add(found, about, partial(look, session, found))
    except MynamoError as failure:
        found.checks.append(Check.of(about, said_of(failure, about, _START)))
    finally:
        pool.close()
    return found


def _add(found: Found, about: str, look: Callable[[], Iterator[Said]]) -> None:
    """Add what a check says. If it fails, the next ones go on, unless the connection is lost."""
    try:
        for said in look():
            found.checks.append(Check.of(about, said))
    except LostConnection:
        raise
    except MynamoError as failure:
        said = said_of(failure, found.about, "see docs/operations.md")
        found.checks.append(Check.of(about, said))


def _rights(database: DatabaseConfig, wanted: frozenset[str]) -> Look:
    def look(session: Session, found: Found) -> Iterator[Said]:
        found.rights = rights_of(session, database.database)
        lacking = wanted - found.rights
        if lacking:
            text = f"the user {database.user} lacks {listed(lacking)}"
            yield "problem", text, f"as an administrator: {grant(session, lacking, database)}"
        else:
            yield "ok", f"the user has {listed(found.rights)}", ""

    return look


def _catalog_format(session: Session, found: Found) -> Iterator[Said]:
    rows = _rows(session, ("SELECT cluster_id, format, partitions FROM mynamo_cluster", ()))
    if not rows:
        yield "problem", "the cluster is not set up in this database", SET_UP
        return
    cluster_id, number, partitions = rows[0]
    members = "SELECT DISTINCT shard_id FROM mynamo_slots"
    if number >= MOVES:
        members = "SELECT shard_id FROM mynamo_shards WHERE state <> 'REMOVED'"
    ids = session.run((members, ()))[0].rows
    found.catalog = CatalogState(cluster_id, number, partitions, frozenset(id_ for (id_,) in ids))
    if number > FORMAT:
        yield "problem", f"it is of format {number}; this release knows {FORMAT} at most", _NEWER
    elif number < FORMAT:
        yield (
            "warning",
            f"it is of format {number}, not {FORMAT}, so what an earlier release does not know is "
            "refused",
            "once all processes are of this release: `mynamo upgrade`",
        )
    yield from _control_tables(session, CATALOG)


def _shard_format(session: Session, found: Found) -> Iterator[Said]:
    rows = _rows(session, ("SELECT cluster_id, shard_id FROM mynamo_shard", ()))
    found.is_empty = not rows  # whether it should be, the catalog says
    if rows:
        cluster_id, number = rows[0]
        found.shard = ShardState(cluster_id, number, _format(session, SHARD)[1])
        yield from _control_tables(session, SHARD)


def _control_tables(session: Session, known: Migrations) -> Iterator[Said]:
    newest = known.steps[-1].number
    number, oldest = _format(session, known)
    what = f"its control tables are of format {number}"
    if oldest > newest:
        yield "problem", f"{what}, and this release knows {newest} at most", _NEWER
    elif number < newest:
        yield "warning", f"{what}, not {newest}", SET_UP
    else:
        yield "ok", what, ""


def _format(session: Session, known: Migrations) -> tuple[int, int]:
    rows = _rows(session, (READ_FORMAT, (known.kind,)))
    number, oldest = rows[0] if rows else (0, 0)
    return number, oldest


def _rows(session: Session, statement: Statement) -> tuple[tuple[Any, ...], ...]:
    """What a statement selects; nothing, where its table is not there."""
    try:
        return session.run(statement)[0].rows
    except MissingTable:
        return ()


def _relay(session: Session, found: Found) -> Iterator[Said]:
    if found.shard is None:
        return
    owner, left, *_ = session.run(RELAY_STATE)[0].rows[0]
    if owner is None or left <= 0:
        yield "warning", "nobody relays its changes, so its indexes stand still", "`mynamo writer`"
    else:
        yield "ok", f"its changes are relayed by {owner.decode('utf-8', 'replace')}", ""
