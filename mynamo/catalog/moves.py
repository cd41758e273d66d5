"""Moves of slots in the catalog: each step is one transaction that compares the move's state.

The steps have the numbers of `docs/design/resharding.md`. All lock the row of `mynamo_cluster`, so
they come one after another, and count up the catalog's version. An answer that is lost does no
harm: each step that is tried again finds what it has done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import orjson

from mynamo.catalog.catalog import MOVES, SLOT_MOVES, Catalog, moves_in
from mynamo.catalog.changes import COUNT_UP
from mynamo.catalog.incarnation import raise_epoch
from mynamo.catalog.shard import DynamoDBShard, retry
from mynamo.catalog.snapshot import MoveState, SlotMove
from mynamo.errors import InvalidRequest, MynamoError
from mynamo.mysql.pool import Session, Statement
from mynamo.schemas.keys import SLOTS

UNDER_WAY: tuple[MoveState, ...] = ("COPYING", "STOPPED", "CLOSED")
"""States of moves whose slots have not moved yet."""
SWITCHING: tuple[MoveState, ...] = ("STOPPED", "CLOSED")

Answer = TypeVar("Answer")


class NoLongerMover(MynamoError):  # noqa: N818
    """Another process goes on with the move, or it was cancelled, or its switch was taken back."""


class SwitchBusy(MynamoError):  # noqa: N818
    """Another move is at its switch; try again in a moment."""


@dataclass(frozen=True, slots=True)
class Definitions:
    """What the copy of a range depends on.

    Attributes:
        tables: id, version and status of each.
        indexes: id and status of each.
    """

    tables: tuple[tuple[Any, ...], ...]
    indexes: tuple[tuple[Any, ...], ...]


def record_move(catalog: Catalog, first: int, last: int, target: int, mover: bytes) -> SlotMove:
    """M1: record that slots are to be moved to a shard.

    Args:
        first, last: the slots, both included, which one shard owns.
        mover: identity of this process, 16 bytes.

    Raises:
        InvalidRequest: they cannot be moved there; nothing was changed.
        ShardUnavailable: the catalog does not answer.
    """
    if not 0 <= first <= last < SLOTS:
        raise InvalidRequest(f"slots are numbered from 0 to {SLOTS - 1}, not {first} to {last}")

    def once(session: Session) -> SlotMove:
        _, cluster, slots, shards = session.run(
            *_BEGIN,
            ("SELECT first_slot, last_slot, shard_id, epoch FROM mynamo_slots ORDER BY 1", ()),
            ("SELECT shard_id, state FROM mynamo_shards", ()),
        )
        moves = _all_moves(session)
        own = next((m for m in moves if (m.first, m.last, m.mover) == (first, last, mover)), None)
        if own is not None and own.state == "COPYING":  # an attempt whose answer was lost
            session.rollback()
            return own
        if cluster.rows[0][0] < MOVES:
            raise InvalidRequest(
                "slots cannot be moved in this cluster yet: once all processes are of this "
                "release, run `mynamo shard enable`"
            )
        states = dict(shards.rows)
        if states.get(target) != "ACTIVE":
            raise InvalidRequest(
                f"slots can be moved to an active shard only: shard {target} "
                + (f"is {states[target]}" if target in states else "is not in the cluster")
            )
        parts = [row for row in slots.rows if row[0] <= last and row[1] >= first]
        sources = {shard_id for *_, shard_id, _ in parts}
        if sources == {target}:
            raise InvalidRequest(f"slots {first}-{last} are on shard {target} already")
        if len(sources) > 1:
            found = ", ".join(f"{a}-{b} on shard {shard_id}" for a, b, shard_id, _ in parts)
            raise InvalidRequest(f"these slots are not all on one shard: {found}")
        source = sources.pop()
        pair = {source, target}
        for move in moves:
            if move.state == "ENDED":
                continue
            if move.first <= last and move.last >= first:
                raise InvalidRequest(
                    f"slots {move.first}-{move.last} are on their way to shard {move.target} "
                    f"already ({move.state}): `mynamo slots resume` goes on with that"
                )
            if {move.source, move.target} == pair and move.state in UNDER_WAY:
                raise InvalidRequest(
                    f"slots {move.first}-{move.last} are on their way between the same shards: "
                    "`mynamo slots resume` goes on with that"
                )
        known = dict(
            session.run(
                ("SELECT shard_id, incarnation FROM mynamo_incarnations"
                 " WHERE shard_id IN (%s, %s)", (source, target))
            )[0].rows
        )  # fmt: skip
        since = max(row[3] for row in parts)
        edges = [(parts[0][0], first - 1), (first, last), (last + 1, parts[-1][1])]
        session.run(
            ("DELETE FROM mynamo_moves WHERE state = 'ENDED'"
             " AND first_slot <= %s AND last_slot >= %s", (last, first)),
            ("DELETE FROM mynamo_slots WHERE first_slot <= %s AND last_slot >= %s", (last, first)),
            *(("INSERT INTO mynamo_slots VALUES (%s, %s, %s, %s)", (a, b, source, since))
              for a, b in edges if a <= b),
            ("INSERT INTO mynamo_moves (first_slot, last_slot, source, target, state, attempt,"
             " mover, term, incarnations) VALUES (%s, %s, %s, %s, 'COPYING', 0, %s, 1, %s)",
             (first, last, source, target, mover,
              orjson.dumps([known.get(source, 0), known.get(target, 0)]))),
            raise_epochs(source),
        )  # fmt: skip
        (made,) = (m for m in _all_moves(session) if m.first == first)
        session.run(COUNT_UP, ("COMMIT", ()))
        return made

    return _transaction(catalog, once)


def take_over(catalog: Catalog, move_id: int, mover: bytes) -> SlotMove | None:
    """Go on with a move in place of whoever did. A switch that is under way is taken back.

    Returns:
        The move as it is now; None: it has ended.
    """

    def once(session: Session) -> SlotMove | None:
        move = _locked(session, move_id)
        if move is None or move.state == "ENDED":
            session.rollback()
            return None
        state: MoveState = "COPYING" if move.state in SWITCHING else move.state
        session.run(_set(move_id, state, mover=mover), COUNT_UP, ("COMMIT", ()))
        return move._replace(state=state, mover=mover, term=move.term + 1)

    return _transaction(catalog, once)


def restart(catalog: Catalog, move: SlotMove) -> SlotMove:
    """Note the present incarnations of both shards, for a copy that begins again.

    Raises:
        NoLongerMover: the move is another mover's.
    """

    def once(session: Session) -> SlotMove:
        now = _locked(session, move.id)
        if now is None or now.term != move.term or now.state != "COPYING":
            _other(session, now)
        known = _incarnations(session, move)
        session.run(
            ("UPDATE mynamo_moves SET incarnations = %s WHERE move_id = %s",
             (orjson.dumps(known), move.id)),
            COUNT_UP,
            ("COMMIT", ()),
        )  # fmt: skip
        return now._replace(incarnations=known)

    return _transaction(catalog, once)


def incarnations_of(catalog: Catalog, move: SlotMove) -> tuple[int, int]:
    """The newest incarnations of source and target that the catalog knows."""

    def once(session: Session) -> tuple[int, int]:
        return _incarnations(session, move)

    return _transaction(catalog, once)


def definitions(catalog: Catalog) -> Definitions:
    """Tables and indexes as they are now."""
    return _transaction(catalog, _definitions)


def stop(catalog: Catalog, move: SlotMove) -> SlotMove:
    """M7: from now on nobody writes an item of the range.

    Raises:
        NoLongerMover: the move is another mover's, or was cancelled.
        SwitchBusy: another move is at its switch.
    """

    def once(session: Session) -> SlotMove:
        known = _locked_moves(session)
        now = next((each for each in known if each.id == move.id), None)
        if now is not None and (now.state, now.term) == ("STOPPED", move.term):
            session.rollback()  # an attempt whose answer was lost: only the mover of a term stops
            return now
        if now is None or now.state != "COPYING" or now.term != move.term:
            _other(session, now)
        if any(other.state in SWITCHING for other in known):
            session.rollback()
            raise SwitchBusy("another move is at its switch; try again in a moment")
        session.run(
            ("UPDATE mynamo_moves SET state = 'STOPPED', attempt = attempt + 1 WHERE move_id = %s",
             (move.id,)),
            raise_epochs(move.source),
            COUNT_UP,
            ("COMMIT", ()),
        )  # fmt: skip
        return now._replace(state="STOPPED", attempt=now.attempt + 1)

    return _transaction(catalog, once)


def close(catalog: Catalog, move: SlotMove) -> SlotMove:
    """M9: from now on nobody reads or writes the range.

    Raises:
        NoLongerMover: the switch was taken back, or the move is another mover's.
    """

    def once(session: Session) -> SlotMove:
        now = _locked(session, move.id)
        if now == move._replace(state="CLOSED"):
            session.rollback()
            return now
        if now is None or now.state != "STOPPED" or now.term != move.term:
            _other(session, now)
        session.run(
            _set(move.id, "CLOSED"),
            raise_epochs(move.source, move.target),
            COUNT_UP,
            ("COMMIT", ()),
        )
        return now._replace(state="CLOSED")

    return _transaction(catalog, once)


def open_on_target(
    catalog: Catalog,
    move: SlotMove,
    known: Definitions,
    generations: tuple[int, int],
    since: int,
) -> SlotMove:
    """M11: the range belongs to the target.

    Args:
        known: what the copy was made by.
        generations: of source and target, read in M8.
        since: the epoch of the target's slots to which its guard was raised in M9.

    Raises:
        NoLongerMover: the switch was taken back; or definitions or incarnations have changed.
    """

    def once(session: Session) -> SlotMove:
        now = _locked(session, move.id)
        if now is not None and (now.state, now.term) == ("DONE", move.term):
            session.rollback()
            return now
        if now is None or now.state != "CLOSED" or now.term != move.term:
            _other(session, now)
        if _definitions(session) != known:
            session.rollback()
            raise NoLongerMover("tables or indexes have changed since the range was copied")
        if _incarnations(session, move) != move.incarnations:
            session.rollback()
            raise NoLongerMover("a shard has begun a new incarnation since the copy began")
        source, target = move.incarnations
        session.run(
            ("UPDATE mynamo_slots SET shard_id = %s, epoch = %s WHERE first_slot = %s",
             (move.target, since, move.first)),
            ("UPDATE mynamo_moves SET state = 'DONE', generations = %s WHERE move_id = %s",
             (orjson.dumps(generations), move.id)),
            *([("INSERT INTO mynamo_incarnations VALUES (%s, %s) ON DUPLICATE KEY UPDATE"
                " incarnation = GREATEST(incarnation, VALUES(incarnation))",
                (move.target, source))] if source > target else []),
            COUNT_UP,
            ("COMMIT", ()),
        )  # fmt: skip
        return now._replace(state="DONE", generations=generations)

    return _transaction(catalog, once)


def take_back(catalog: Catalog, move: SlotMove) -> bool:
    """End a switch that takes too long: the range belongs to the source, as before. By anybody.

    Args:
        move: as it was seen; a later attempt is left alone.

    Returns:
        Whether it was still to do.
    """

    def once(session: Session) -> bool:
        now = _locked(session, move.id)
        if now is None or now.state not in SWITCHING or now.attempt != move.attempt:
            session.rollback()
            return False
        session.run(_set(move.id, "COPYING"), COUNT_UP, ("COMMIT", ()))
        return True

    return _transaction(catalog, once)


def cancel(catalog: Catalog, move_id: int, mover: bytes) -> SlotMove:
    """Give a move up before its switch is done; its copy is yet to be deleted.

    Raises:
        InvalidRequest: the slots have moved already.
    """

    def once(session: Session) -> SlotMove:
        now = _locked(session, move_id)
        if now is None or now.state in ("DONE", "ENDED"):
            session.rollback()
            raise InvalidRequest(
                "these slots have moved already: to have them back, move them back"
            )
        session.run(
            _set(move_id, "CANCELLED", mover=mover),
            raise_epochs(now.source),
            COUNT_UP,
            ("COMMIT", ()),
        )
        return now._replace(state="CANCELLED", mover=mover, term=now.term + 1)

    return _transaction(catalog, once)


def end(catalog: Catalog, move: SlotMove) -> None:
    """M13: nothing is left to do; neighbouring ranges of one shard become one. A move that was
    cancelled is forgotten.

    Raises:
        NoLongerMover: the move is another mover's.
    """

    def once(session: Session) -> None:
        now = _locked(session, move.id)
        if now is None or now.state == "ENDED":
            session.rollback()
            return
        if now.state not in ("DONE", "CANCELLED") or now.term != move.term:
            _other(session, now)
        forget: Statement = ("DELETE FROM mynamo_moves WHERE move_id = %s", (move.id,))
        session.run(_set(move.id, "ENDED") if now.state == "DONE" else forget)
        (slots,) = session.run(
            ("SELECT first_slot, last_slot, shard_id, epoch FROM mynamo_slots ORDER BY 1", ())
        )
        apart = {m.first for m in _all_moves(session) if m.state != "ENDED"}
        session.run(*_joined(slots.rows, apart), COUNT_UP, ("COMMIT", ()))

    return _transaction(catalog, once)


def set_draining(catalog: Catalog, shard_id: int, draining: bool) -> None:
    """D1: no slots are moved to a shard from now on; or they are again.

    Raises:
        InvalidRequest: it is neither active nor draining, or no other shard is active.
    """
    before, after = ("ACTIVE", "DRAINING") if draining else ("DRAINING", "ACTIVE")

    def step(session: Session, _: int) -> Sequence[Statement]:
        states = dict(session.run(("SELECT shard_id, state FROM mynamo_shards", ()))[0].rows)
        state = states.pop(shard_id, None)
        if state == after:
            return ()
        if state is None:
            raise InvalidRequest(f"shard {shard_id} is not in the cluster")
        if state != before:
            raise InvalidRequest(f"shard {shard_id} is {state}, not {before}")
        if draining and "ACTIVE" not in states.values():
            raise InvalidRequest(f"shard {shard_id} is the only one that can have slots")
        return [("UPDATE mynamo_shards SET state = %s WHERE shard_id = %s", (after, shard_id))]

    catalog.decide(step)


def forget_ended(catalog: Catalog, move_ids: Sequence[int]) -> None:
    """Delete moves that ended a while ago."""
    catalog.decide(
        lambda session, _: [
            ("DELETE FROM mynamo_moves WHERE state = 'ENDED' AND move_id = %s", (id_,))
            for id_ in move_ids
        ]
    )


GUARD_SECONDS = 1
"""For which raising a slot guard waits for the transactions that hold it."""


def raise_guard(shard: DynamoDBShard, epoch: int) -> None:
    """Raise a shard's slot guard to the epoch of the catalog, which waits for the transactions
    that hold it shared. To raise it late, or twice, changes nothing.

    Raises:
        Contention: they take longer than `GUARD_SECONDS`.
        ShardUnavailable: the shard does not answer.
    """
    with shard.session() as session:
        session.run_with_lock_wait(GUARD_SECONDS, raise_epoch(epoch))


def raise_epochs(*shards: int) -> Statement:
    """Count up the epochs of shards' slots."""
    return (
        "UPDATE mynamo_shards SET epoch = epoch + 1"
        f" WHERE shard_id IN ({', '.join(['%s'] * len(shards))})",
        shards,
    )


_BEGIN: tuple[Statement, ...] = (
    ("BEGIN", ()),
    ("SELECT format FROM mynamo_cluster FOR UPDATE", ()),
)


def _transaction(catalog: Catalog, once: Callable[[Session], Answer]) -> Answer:
    def attempt() -> Answer:
        with catalog.session() as session:
            return once(session)

    return retry(attempt, catalog.timeout)


def _locked(session: Session, move_id: int) -> SlotMove | None:
    """Begin, and read a move; nobody else changes one until the transaction ends."""
    return next((move for move in _locked_moves(session) if move.id == move_id), None)


def _locked_moves(session: Session) -> list[SlotMove]:
    """Begin, and read all moves, likewise."""
    return list(moves_in(session.run(*_BEGIN, SLOT_MOVES)[-1]))


def _all_moves(session: Session) -> list[SlotMove]:
    return list(moves_in(session.run(SLOT_MOVES)[0]))


def _other(session: Session, now: SlotMove | None) -> NoReturn:
    session.rollback()
    if now is None or now.state in ("ENDED", "CANCELLED"):
        raise NoLongerMover("the move was cancelled or has ended")
    raise NoLongerMover(
        f"slots {now.first}-{now.last}: the switch was taken back, or another process goes on "
        f"with the move ({now.state})"
    )


def _set(move_id: int, state: MoveState, mover: bytes | None = None) -> Statement:
    if mover is None:
        return "UPDATE mynamo_moves SET state = %s WHERE move_id = %s", (state, move_id)
    return (
        "UPDATE mynamo_moves SET state = %s, mover = %s, term = term + 1 WHERE move_id = %s",
        (state, mover, move_id),
    )


def _incarnations(session: Session, move: SlotMove) -> tuple[int, int]:
    found = dict(session.run(("SELECT shard_id, incarnation FROM mynamo_incarnations", ()))[0].rows)
    return found.get(move.source, 0), found.get(move.target, 0)


def _definitions(session: Session) -> Definitions:
    tables, indexes = session.run(
        ("SELECT table_id, version, status FROM mynamo_tables ORDER BY 1", ()),
        ("SELECT index_id, status FROM mynamo_indexes ORDER BY 1", ()),
    )
    return Definitions(tables.rows, indexes.rows)


def _joined(slots: tuple[tuple[int, int, int, int], ...], apart: set[int]) -> list[Statement]:
    """Join neighbouring ranges of one shard, but those with these first slots."""
    statements: list[Statement] = []
    ranges: list[list[int]] = []
    for first, last, shard_id, since in slots:
        before = ranges[-1] if ranges else None
        if (
            before is not None
            and before[2] == shard_id
            and first not in apart
            and before[0] not in apart
        ):
            before[1], before[3] = last, max(before[3], since)
            statements.append(("DELETE FROM mynamo_slots WHERE first_slot = %s", (first,)))
        else:
            ranges.append([first, last, shard_id, since])
    changed = [
        ("UPDATE mynamo_slots SET last_slot = %s, epoch = %s WHERE first_slot = %s",
         (last, since, first))
        for first, last, _, since in ranges
    ]  # fmt: skip
    return [*statements, *changed] if statements else []
