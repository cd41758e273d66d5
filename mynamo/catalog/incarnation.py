"""Incarnations of a shard: what makes numbers unique though a database may go back in time.

A failover to a replica that lacks the last changes, or a restore of an older backup, takes a
shard's sequence and its outbox ids back. New changes would get numbers that indexers have seen, and
would be dropped. So each incarnation of a shard has numbers of its own, above `base(incarnation)`.
The catalog gives incarnations their numbers, and never one twice.

The first process that connects to another server than the one that the shard was on adopts it:

A1. The catalog counts up the shard's incarnation, and says which epoch its slots have.  A crash
    here: a number is left out.
A2. One transaction on the shard: look whether somebody was faster; give up the lease of the relay;
    take the numbers from changes that are not applied everywhere, so that they get new ones; set
    the sequence, what is applied and AUTO_INCREMENT to the base, and the generation above all that
    the shard may have had: transactions that began before, some of which it may have forgotten, are
    not decided any more; raise the slot guard to the epoch, so that no older map gets in; end the
    stream shards that are open, with children; record the incarnation.  A crash before the commit:
    nothing happened. After it: whoever relays does the next step.
A3. Definitions (`roll_forward_shard`): tables and indexes that the catalog has and the shard lacks
    are made, and its guards are raised to the catalog's versions. Until then writes that know a
    newer definition are refused. A crash in it: the next relay does it again. What was missing is
    empty, so it counts as lost.
A4. Fence (`fence`): on every shard, raise the checkpoints of this shard's streams to the base.
    From then on events of older incarnations are dropped there. A checkpoint that is ahead of
    what this shard had kept says that changes were lost which indexes contain.
A5. Mend (`mynamo.operations.mending`): verify and repair the indexes, then the state is `clean`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from mynamo.catalog import sql
from mynamo.catalog.intents import READ_GENERATION
from mynamo.catalog.migrations import GENERATION_ROW
from mynamo.catalog.stream_rows import carry_over
from mynamo.errors import ShardUnavailable
from mynamo.mysql.pool import Session, Statement

log = logging.getLogger(__name__)

BITS = 36
"""Of a number: 68 thousand million changes for each incarnation, and 131,072 incarnations in
numbers that JSON has exactly."""

_EPOCH = 1_767_225_600
"""2026-01-01, in Unix seconds."""
_LOCK_SECONDS = 20
_ATTEMPTS = 5

FENCING = "fencing"
MENDING = "mending"
CLEAN = "clean"

NOTE_LOST: Statement = ("UPDATE mynamo_incarnation SET lost = 1 WHERE state = %s", (FENCING,))
"""Record that the shard has lost changes, in a new incarnation that is not fenced yet."""


class Allocated(NamedTuple):
    """What the catalog gives a new incarnation of a shard.

    Attributes:
        number: that the shard never had.
        epoch: of its slots; 0: not known, up to format 3 of the catalog.
    """

    number: int
    epoch: int


Allocate = Callable[[int, int], Allocated]
"""From a shard's number and the least incarnation to one that nobody else has."""


@dataclass(frozen=True, slots=True)
class Incarnation:
    """One incarnation of a shard, as the shard's database has it.

    Attributes:
        number: 0 for the first one.
        server: identity of the server that the shard was on; see `identity_of`.
        kept: per partition, the last sequence that the incarnations before it gave, as far as this
            database knows.
        lost: indexes contain changes that this database does not have.
        state: what is done: `FENCING`, `MENDING` or `CLEAN`.
        adopted_at: Unix microseconds, by the server's clock.
    """

    number: int
    server: bytes
    kept: Mapping[int, int]
    lost: bool
    state: str
    adopted_at: int


def base(incarnation: int) -> int:
    """All sequences and outbox ids of an incarnation are above this."""
    return incarnation << BITS


def incarnation_of(number: int) -> int:
    """The incarnation that gave a sequence or an outbox id."""
    return number >> BITS


_IDENTITY: Statement = (
    "SHOW GLOBAL VARIABLES WHERE Variable_name IN"
    " ('server_uuid', 'server_uid', 'hostname', 'port', 'datadir')",
    (),
)
_COLUMNS = "incarnation, server, kept, lost, state, adopted_at"
NEWEST: Statement = (
    f"SELECT {_COLUMNS} FROM mynamo_incarnation ORDER BY incarnation DESC LIMIT 1",
    (),
)


def identity_of(session: Session) -> bytes:
    """Which server this is: MySQL's server_uuid; of MariaDB, which has none, where it runs."""
    found = {str(name): str(value) for name, value in session.run(_IDENTITY)[0].rows}
    uuid = found.pop("server_uuid", None)
    text = uuid if uuid else "/".join(found[name] for name in sorted(found))
    return text.encode()[:255]


def newest(session: Session) -> Incarnation | None:
    """The shard's newest incarnation; None: the shard has not recorded any yet."""
    rows = session.run(NEWEST)[0].rows
    return _read(rows[0]) if rows else None


def history(session: Session) -> list[Incarnation]:
    """All incarnations of a shard, the first one first."""
    found = session.run((f"SELECT {_COLUMNS} FROM mynamo_incarnation ORDER BY incarnation", ()))
    return [_read(row) for row in found[0].rows]


def _read(row: tuple[Any, ...]) -> Incarnation:
    number, server, kept, lost, state, adopted_at = row
    by_part = {int(part): sequence for part, sequence in orjson.loads(kept).items()}
    return Incarnation(number, server, by_part, bool(lost), state, adopted_at)


def record_first(session: Session, server: bytes) -> None:
    """Record the server of a shard that has no incarnation yet."""
    session.run(
        (f"INSERT IGNORE INTO mynamo_incarnation (incarnation, server, adopted_at, kept, state)"
         f" VALUES (0, %s, {sql.NOW}, %s, %s)",
         (server, b"{}", CLEAN))
    )  # fmt: skip


def adopt(
    session: Session,
    shard_id: int,
    server: bytes,
    allocate: Allocate,
    where: str,
    at_least: int = 0,
) -> int | None:
    """Begin a new incarnation of the shard on this server: steps A1 and A2.

    Any number of processes may do so at once: one of them does it.

    Args:
        session: to the shard, outside of a transaction.
        server: its identity.
        allocate: see `Allocate`.
        where: the shard is, for messages.
        at_least: the least incarnation, where somebody has seen numbers that the shard has not: it
            has lost changes then. 0: any, if the newest one is not on this server.

    Returns:
        The number of the new incarnation; None: somebody else was faster.

    Raises:
        ShardUnavailable: the shard or the catalog does not answer.
    """
    held = session.run(("SELECT GET_LOCK(CONCAT(DATABASE(), '.adopt'), %s)", (_LOCK_SECONDS,)))
    if held[0].rows[0][0] != 1:
        raise ShardUnavailable(f"{where}: another process begins its new incarnation; try again")
    try:
        return _adopt(session, shard_id, server, allocate, where, at_least)
    finally:
        if not session.broken:
            session.run(("SELECT RELEASE_LOCK(CONCAT(DATABASE(), '.adopt'))", ()))


def _adopt(
    session: Session, shard_id: int, server: bytes, allocate: Allocate, where: str, at_least: int
) -> int | None:
    for _ in range(_ATTEMPTS):
        before = newest(session)
        if before is not None and before.server == server and before.number >= at_least:
            return None  # somebody was faster
        number, epoch = allocate(shard_id, at_least)  # A1
        needed = _begin(session, number, epoch, server, lost=at_least > 0)  # A2
        if number >= needed:
            old = before.server.decode() if before is not None else ""
            log.warning(
                "%s: incarnation %d begins; its server is %s, and was %s. Changes that the shard "
                "has lost, if any, are mended in its indexes; see `mynamo incarnation list`",
                where, number, server.decode(), old or "not known",
            )  # fmt: skip
            return number
        at_least = max(at_least, needed)
    raise ShardUnavailable(f"{where}: its new incarnation could not be recorded; try again")


def _begin(session: Session, number: int, epoch: int, server: bytes, lost: bool) -> int:
    """A2, which does nothing if the number is too low. Returns the least that it must be."""
    _, _, found, relay, streams, ids = session.run(
        ("BEGIN", ()),
        (f"{READ_GENERATION[0]} FOR UPDATE", READ_GENERATION[1]),
        (NEWEST[0] + " FOR UPDATE", ()),
        ("SELECT last_seq, published_seq FROM mynamo_relay FOR UPDATE", ()),
        ("SELECT part, last_seq, applied_seq FROM mynamo_stream ORDER BY part FOR UPDATE", ()),
        ("SELECT MAX(id) FROM mynamo_outbox", ()),
    )  # fmt: skip
    before = found.rows[0][0] if found.rows else 0
    last_seq, published_seq = relay.rows[0]
    kept = {str(part): last for part, last, _ in streams.rows}
    highest = max([last_seq, ids.rows[0][0] or 0, *(applied for *_, applied in streams.rows)])
    needed = max(incarnation_of(highest), before) + 1
    if number < needed:
        session.rollback()
        return needed
    start = base(number)
    session.run(
        # What indexes have, but is not published, is published as an event that feeds none.
        ("UPDATE mynamo_outbox o FORCE INDEX (by_sequence)"
         " JOIN mynamo_stream s ON s.part = o.part"
         " SET o.feeds = (o.feeds = 1 AND o.seq > s.applied_seq), o.previous = NULL, o.seq = NULL"
         " WHERE o.seq > 0 AND (o.seq > %s OR (o.feeds = 1 AND o.seq > s.applied_seq))",
         (published_seq,)),
        ("UPDATE mynamo_stream SET last_seq = %s, applied_seq = %s", (start, start)),
        ("UPDATE mynamo_relay SET last_seq = %s, published_seq = %s, epoch = epoch + 1,"
         " owner = NULL, expires = 0", (start, start)),
        # AUTO_INCREMENT goes on after the highest id that there ever was.
        ("INSERT INTO mynamo_outbox (id, part, feeds, table_id, write_id, created, payload)"
         f" VALUES (%s, 0, 0, 0, %s, {sql.NOW}, '')", (start, bytes(16))),
        ("DELETE FROM mynamo_outbox WHERE id = %s", (start,)),
        ("INSERT INTO mynamo_fence (id, version) VALUES (%s, %s)"
         " ON DUPLICATE KEY UPDATE version = GREATEST(version + 2, VALUES(version))",
         (GENERATION_ROW, start)),
        raise_epoch(epoch),
    )  # fmt: skip
    carry_over(session, start)
    session.run(
        ("INSERT INTO mynamo_incarnation (incarnation, server, adopted_at, kept, lost, state)"
         f" VALUES (%s, %s, {sql.NOW}, %s, %s, %s)",
         (number, server, orjson.dumps(kept), lost, FENCING)),
        ("COMMIT", ()),
    )  # fmt: skip
    return needed


def raise_epoch(epoch: int) -> Statement:
    """Let a shard's slot guard follow the catalog; an epoch that it has reached changes nothing."""
    return "UPDATE mynamo_fence SET version = GREATEST(version, %s) WHERE id = 0", (epoch,)


def set_state(session: Session, number: int, before: str, state: str) -> None:
    """Record what is done for an incarnation, unless its state is not as before: the shard may have
    gone back in time again."""
    session.run(
        ("UPDATE mynamo_incarnation SET state = %s WHERE incarnation = %s AND state = %s",
         (state, number, before))
    )  # fmt: skip


def give_number(session: Session, shard_id: int, at_least: int) -> Allocated:
    """A1, in the catalog's database.

    It is not below the hours since 2026, so that a catalog that went back in time, too, does not
    give a number twice.
    """
    *_, found, epochs, _ = session.run(
        ("BEGIN", ()),
        ("INSERT INTO mynamo_incarnations VALUES (%s, %s)"
         " ON DUPLICATE KEY UPDATE incarnation = GREATEST(incarnation + 1, VALUES(incarnation))",
         (shard_id, max(1, at_least, _hours()))),
        ("SELECT incarnation FROM mynamo_incarnations WHERE shard_id = %s", (shard_id,)),
        ("SELECT epoch FROM mynamo_shards WHERE shard_id = %s", (shard_id,)),
        ("COMMIT", ()),
    )  # fmt: skip
    return Allocated(int(found.rows[0][0]), int(epochs.rows[0][0]) if epochs.rows else 0)


def _hours() -> int:
    return int((time.time() - _EPOCH) // 3600)
