"""Transactions over several shards: what they do on one shard, each in a local transaction.

T3.  `prepare_on`, on every shard but the deciding one: evaluate on the locked rows; mark them, or
     insert placeholders; keep an intent for each. A crash before its commit: nothing happened.
     After it: the intents stay until somebody resolves them.
T4.  `commit_decision`, on the deciding shard: evaluate and write its own items, keep COMMITTED and
     the request token. Its commit is the moment at which the transaction happens.
T5.  `apply_on`: turn the intents of a committed transaction into items, with their events and LSI
     rows, and delete them. A crash before the commit: nothing happened; it may be repeated.
     `release_on`, of one that will never be committed: delete them, and leave the items as they
     are. Likewise.

Each takes two round trips: one begins and locks, the other one writes and commits. In T3 this is
needed for safety. Its second packet counts only in a session that has held the locks since the
first one; a packet that begins and commits could arrive after T5, and place its intents again.

None of them is part of a batch or waits for mutexes of rows: T5 may have to free a row for whom
another thread of this process waits.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar, cast

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.intents import (
    Action,
    Decision,
    Intent,
    Transaction,
    delete_intents,
    insert_committed,
    insert_intents,
    intents_in,
    read_intents,
    read_transaction_intents,
)
from mynamo.catalog.migrations import GENERATION_ROW
from mynamo.catalog.shard import DynamoDBShard, pause, retry
from mynamo.catalog.tables import RowKey, Table
from mynamo.errors import IdempotentParameterMismatch, MynamoError, ShardUnavailable
from mynamo.mysql.failures import LostConnection, MissingTable
from mynamo.mysql.pool import Result, Session, Statement
from mynamo.runtime.local_wakeups import relay_wake_ups, wake_up
from mynamo.runtime.parts import parts_of
from mynamo.runtime.tasks import in_thread
from mynamo.schemas.items import dump_item, load_item
from mynamo.writer.transaction.catching_up import PATIENT_ATTEMPTS, UNFINISHED, catch_up
from mynamo.writer.transaction.commit import (
    MAX_BYTES,
    MENDS,
    StaleDefinition,
    check_guards,
    places_of,
)
from mynamo.writer.transaction.evaluation import (
    Done,
    Outcome,
    Plan,
    Refused,
    Row,
    evaluate,
    is_current,
    rows_of,
    unforeseen,
    with_versions,
)
from mynamo.writer.transaction.large_commit import run_bounded, run_in_packets
from mynamo.writer.transaction.request_tokens import KeptToken, kept_tokens, note_generation
from mynamo.writer.transaction.statements import (
    LockedRow,
    delete_rows,
    insert_placeholders,
    lock_statements,
    mark,
    statements_of,
    unmark,
)
from mynamo.writer.transaction.write_requests import (
    AllOrNothing,
    Current,
    Deciding,
    Operation,
    Write,
    WriteRequest,
)

Answer = TypeVar("Answer")


class AnswerLost(MynamoError):  # noqa: N818
    """The connection was lost during the commit of T3 or T4; it may happen yet.

    Attributes:
        outcomes: of T4: as they are if it was committed, but for versions.
    """

    def __init__(self, message: str, outcomes: Sequence[Outcome] = ()) -> None:
        super().__init__(message)
        self.outcomes = outcomes


class TransactionAborted(MynamoError):  # noqa: N818
    """Somebody else has decided that the transaction is aborted; nothing was written."""


class GenerationOver(MynamoError):  # noqa: N818
    """The transaction began in a generation of its deciding shard that is over, or that the shard
    has not reached, because it went back in time; nothing was written.

    Attributes:
        found: the shard's generation; 0: it has none.
    """

    def __init__(self, found: int) -> None:
        super().__init__(type(self).__doc__)
        self.found = found


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of T4.

    Attributes:
        outcomes: per write of the deciding shard. If one is refused, nothing was written.
        known: the row of the request token, if the same request has happened before. Nothing was
            written then.
    """

    outcomes: list[Outcome]
    known: KeptToken | None = None


@dataclass(frozen=True, slots=True)
class Applied:
    """What T5 has done to one item.

    Attributes:
        partition: of its event.
        version: 0: it was only checked, or was absent before and after.
    """

    table_id: int
    row: RowKey
    partition: int
    version: int


@dataclass(frozen=True, slots=True)
class _Locked:
    """What the first round trip has found.

    Attributes:
        guards: versions by table id; that of 0 is the epoch of the slots.
        rows: hash, sort, version and item, by table id.
        others: results of the statements behind the locks.
    """

    guards: Mapping[int, int]
    rows: Mapping[int, Sequence[tuple[bytes, bytes, int, bytes]]]
    others: Sequence[Result]


def _lock(
    session: Session,
    places: Sequence[LockedRow],
    *others: Statement,
    tokens: Sequence[bytes] = (),
    decision: bytes | None = None,
) -> _Locked:
    """Begin and lock; see `lock_statements`.

    Args:
        places: in ascending order.
        others: statements behind the locks.

    Raises:
        StaleDefinition: a table is not there.
    """
    table_ids = sorted({table_id for table_id, _ in places})
    statements = lock_statements(table_ids, places, (), tokens, "", decision)
    try:
        results = session.run(*statements, *others)
    except MissingTable:
        raise StaleDefinition(set(table_ids)) from None
    end = 2 + len(table_ids)
    rows = {table_id: found.rows for table_id, found in zip(table_ids, results[2:end], strict=True)}
    return _Locked(dict(results[1].rows), rows, results[end:])


@contextmanager
def _foreseen(what: str) -> Iterator[None]:
    try:
        yield
    except MynamoError:
        raise
    except Exception as error:
        raise unforeseen(what, error) from error


def _tables_of(writes: Sequence[Write]) -> dict[int, Table]:
    return {write.table.id: write.table for write in writes}


def _refused(outcomes: Sequence[Outcome]) -> bool:
    return any(isinstance(outcome, Refused) for outcome in outcomes)


@in_thread
def prepare_on(
    cluster: Cluster, shard: DynamoDBShard, writes: Sequence[Write], transaction: Transaction
) -> list[Outcome]:
    """T3. It is tried again as long as it is certain that nothing was placed.

    Args:
        writes: those of one shard, each of another item.

    Returns:
        One outcome per write. All `Done`, with version 0: their intents are placed. Else nothing
        is, and those that are refused say why: `ItemInTransaction` among others.

    Raises:
        StaleDefinition, ShardUnavailable, InternalError: nothing is placed.
        AnswerLost: intents may be placed, also later.
    """
    return retry(lambda: _prepare(shard, writes, transaction), patience=shard.timeout, mends=MENDS)


def _prepare(
    shard: DynamoDBShard, writes: Sequence[Write], transaction: Transaction
) -> list[Outcome]:
    places = places_of(writes)
    with shard.session() as session:
        locked = _lock(session, places)
        check_guards(writes, locked.guards)
        with _foreseen(f"{shard.where}: a transaction of {len(writes)} items"):
            rows = rows_of(_tables_of(writes), places, locked.rows)
            outcomes = evaluate([AllOrNothing(writes)], rows, {}, {}).outcomes
            if _refused(outcomes):
                session.rollback()
                return outcomes
            done = [outcome for outcome in outcomes if isinstance(outcome, Done)]
            statements = _place(writes, done, rows, transaction)
        try:
            run_bounded(session, statements, MAX_BYTES)
        except LostConnection as failure:
            raise AnswerLost(str(failure)) from None
    return [Done(0, each.old, each.new, partition=each.partition) for each in done]


def _place(
    writes: Sequence[Write],
    done: Sequence[Done],
    rows: Mapping[LockedRow, Row],
    transaction: Transaction,
) -> list[Statement]:
    there = [place for place, row in rows.items() if row.before.item is not None]
    absent = [place for place, row in rows.items() if row.before.item is None]
    intents = [_intent(*each, transaction) for each in zip(writes, done, strict=True)]
    intents.sort(key=lambda intent: (intent.table_id, intent.row))
    parts = parts_of(intents, lambda intent: len(intent.item or b""), MAX_BYTES)
    return [
        *mark(there),
        *insert_placeholders(absent),
        *(insert_intents(part) for part in parts),
        ("COMMIT", ()),
    ]


def _intent(write: Write, done: Done, transaction: Transaction) -> Intent:
    item = None
    if not done.version:  # the number of its event
        action = Action.CHECK
    elif done.new is None:
        action = Action.DELETE
    else:
        action, item = Action.PUT, dump_item(done.new)
    return Intent(
        write.table.id, write.row, transaction.id, transaction.decider, transaction.generation,
        action, item, transaction.token,
    )  # fmt: skip


@in_thread
def commit_decision(cluster: Cluster, shard: DynamoDBShard, writes: AllOrNothing) -> Decided:
    """T4. It is tried again as long as it is certain that nothing was decided.

    Args:
        writes: those of the deciding shard, with their `decision`.

    Raises:
        TransactionAborted, GenerationOver: nothing was written, and never will be.
        StaleDefinition, ShardUnavailable, InternalError: nothing was written.
        AnswerLost: T6 says what became of it.
    """
    return _in_decider(cluster, shard, writes, decide=True)


@in_thread
def evaluate_on_decider(cluster: Cluster, shard: DynamoDBShard, writes: AllOrNothing) -> Decided:
    """As `commit_decision` for a transaction that was refused elsewhere, to name every reason, and
    see whether the request has happened before. Nothing is written, whatever it finds."""
    return _in_decider(cluster, shard, writes, decide=False)


def _in_decider(
    cluster: Cluster, shard: DynamoDBShard, writes: AllOrNothing, decide: bool
) -> Decided:
    return retry(
        lambda: _decide(cluster, shard, writes, decide), patience=shard.timeout, mends=MENDS
    )


def _decide(cluster: Cluster, shard: DynamoDBShard, writes: AllOrNothing, decide: bool) -> Decided:
    decision, token, places = cast(Deciding, writes.decision), writes.token, places_of(writes)
    tokens = [] if token is None else [token.token]
    with shard.session() as session:
        locked = _lock(session, places, tokens=tokens, decision=decision.transaction_id)
        check_guards(writes, locked.guards)
        decisions, *found_tokens = locked.others
        if decisions.rows:
            if decisions.rows[0][0] == Decision.ABORTED:
                raise TransactionAborted
            raise AnswerLost(f"{shard.where}: the transaction is committed already")
        if token is not None and (known := kept_tokens(found_tokens[0]).get(token.token)):
            session.rollback()
            if known.request != token.request:
                return Decided([Refused(IdempotentParameterMismatch()) for _ in writes])
            return Decided([Done(0, repeated=True) for _ in writes], known)
        generation = locked.guards.get(GENERATION_ROW, 0)
        if generation:
            note_generation(shard, generation)
        if not is_current(decision.generation, generation):
            raise GenerationOver(generation)
        with _foreseen(f"{shard.where}: the decision of a transaction"):
            rows = rows_of(_tables_of(writes), places, locked.rows)
            plan = evaluate([writes], rows, {}, {}, generation)
        if _refused(plan.outcomes) or not decide:
            session.rollback()
            return Decided(plan.outcomes)
        committed = insert_committed(decision.transaction_id, decision.generation)
        try:
            first_id = _send(cluster, shard, session, rows, plan, generation, [committed])
        except LostConnection as failure:
            raise AnswerLost(str(failure), plan.outcomes) from None
    return Decided(with_versions(plan.outcomes, first_id))


def _send(
    cluster: Cluster,
    shard: DynamoDBShard,
    session: Session,
    rows: Mapping[LockedRow, Row],
    plan: Plan,
    generation: int,
    besides: Sequence[Statement],
) -> int:
    """Write what a plan came to, and commit. Returns the id of the first outbox row, or 0."""
    changed, write_id = list(rows.values()), os.urandom(16)
    if plan.size > MAX_BYTES and len(rows) > 1:
        first_id = run_in_packets(session, changed, plan, write_id, generation, besides, MAX_BYTES)
    else:
        with _foreseen(f"{shard.where}: a transaction of {len(rows)} items"):
            statements, outbox_at = statements_of(changed, plan, write_id, generation, besides)
        results = session.run(*statements)
        first_id = results[outbox_at].insert_id if plan.events else 0
    wake_up(cluster.id, relay_wake_ups(shard.id))
    if first_id:
        session.note_id(first_id)
    return first_id


@in_thread
def apply_on(
    cluster: Cluster,
    shard: DynamoDBShard,
    transaction_id: bytes,
    places: Sequence[LockedRow] | None = None,
) -> list[Applied]:
    """T5, of all intents that a committed transaction has on a shard. It may be repeated.

    Intents of tables that are being dropped are left alone; they go with their tables.

    Args:
        places: of all of them, which saves a round trip; None: they are looked up.

    Returns:
        What was done here. What somebody else has applied is missing, and also what an attempt of
        this call has applied whose answer was lost.

    Raises:
        ShardUnavailable: some of it may have to be applied yet.
        CorruptData: a stored item is not what mynamo wrote; nothing was applied.
    """
    return _by_newest_definitions(
        cluster, shard, lambda: _apply(cluster, shard, transaction_id, places)
    )


@in_thread
def release_on(cluster: Cluster, shard: DynamoDBShard, transaction_id: bytes) -> None:
    """Take away all intents that a transaction has on a shard, which will never be committed.

    It may be repeated. Intents of tables that are being dropped are left alone.

    Raises:
        ShardUnavailable: some of them may be there yet.
    """
    _by_newest_definitions(cluster, shard, lambda: _release(cluster, shard, transaction_id))


def _by_newest_definitions(
    cluster: Cluster, shard: DynamoDBShard, work: Callable[[], Answer]
) -> Answer:
    since = time.monotonic()
    for attempt in range(PATIENT_ATTEMPTS):
        try:
            return retry(work, patience=shard.timeout, mends=MENDS, since=since)
        except StaleDefinition as failure:
            catch_up(cluster, failure.table_ids, attempt)
            pause(attempt)
    raise ShardUnavailable(UNFINISHED)


@dataclass(frozen=True, slots=True)
class _Held:
    """Intents of one transaction, whose rows are locked.

    Attributes:
        intents: in the order of their places.
        tables: of them, by id.
        places: of them.
        found: see `_Locked`.
    """

    intents: Sequence[Intent]
    tables: Mapping[int, Table]
    places: Sequence[LockedRow]
    found: _Locked

    def rows(self) -> dict[LockedRow, Row]:
        """The rows as a write of this transaction finds them."""
        rows = rows_of(self.tables, self.places, self.found.rows)
        for row in rows.values():
            row.placeholder = row.before.in_transaction and row.before.item is None
            row.before = row.now = Current(row.before.item, row.before.version)
        return rows

    def free(self, written: Collection[LockedRow] = ()) -> list[Statement]:
        """Take marks and placeholders from rows that are not written, and delete the intents."""
        is_item = {
            (table_id, RowKey(*key)): bool(data)
            for table_id, rows in self.found.rows.items()
            for *key, _, data in rows
        }
        left = [place for place in self.places if place in is_item and place not in written]
        return [
            *unmark(place for place in left if is_item[place]),
            *delete_rows(place for place in left if not is_item[place]),
            delete_intents(self.intents),
        ]


def _hold(
    cluster: Cluster,
    shard: DynamoDBShard,
    session: Session,
    transaction_id: bytes,
    places: Sequence[LockedRow] | None = None,
) -> _Held | None:
    """Lock the rows of a transaction's intents, and then the intents; None: there are none.

    Raises:
        StaleDefinition: this process's slot map, or what it knows of a table, is outdated.
    """
    if places is None:
        found = intents_in(session.run(read_transaction_intents(transaction_id))[0])
        places = [(intent.table_id, intent.row) for intent in found]
    tables = {}
    for table_id in {table_id for table_id, _ in places}:
        table = cluster.table_by_id(table_id)
        if table is not None and table.status != "DELETING":
            tables[table_id] = table
    places = sorted(place for place in places if place[0] in tables)
    if not places:
        return None
    locked = _lock(session, places, read_intents(places, transaction_id, lock=True))
    if locked.guards.get(0) != cluster.snapshot.epochs.get(shard.id):
        raise StaleDefinition(set())
    intents = sorted(intents_in(locked.others[0]), key=lambda i: (i.table_id, i.row))
    if not intents:  # somebody was faster
        session.rollback()
        return None
    return _Held(intents, tables, [(i.table_id, i.row) for i in intents], locked)


def _apply(
    cluster: Cluster,
    shard: DynamoDBShard,
    transaction_id: bytes,
    places: Sequence[LockedRow] | None,
) -> list[Applied]:
    with shard.session() as session:
        held = _hold(cluster, shard, session, transaction_id, places)
        if held is None:
            return []
        with _foreseen(f"{shard.where}: a transaction of {len(held.intents)} items"):
            rows = held.rows()
            writes = [_write_of(cluster, held.tables, rows, intent) for intent in held.intents]
            check_guards(writes, held.found.guards)
            plan = evaluate([writes], rows, {}, {})
        for outcome in plan.outcomes:
            if isinstance(outcome, Refused):
                raise outcome.error
        besides = held.free(written={place for place, row in rows.items() if row.events})
        first_id = _send(cluster, shard, session, rows, plan, 0, besides)
    outcomes = with_versions(plan.outcomes, first_id)
    return [
        Applied(write.table.id, write.row, write.route.partition, outcome.version)
        for write, outcome in zip(writes, outcomes, strict=True)
        if isinstance(outcome, Done)
    ]


def _write_of(
    cluster: Cluster,
    tables: Mapping[int, Table],
    rows: Mapping[LockedRow, Row],
    intent: Intent,
) -> Write:
    """What an intent does, as an ordinary write without a condition.

    The item was checked in T3. An index that was added since may not be able to take it, and then
    leaves it out.
    """
    table = tables[intent.table_id]
    operation: Operation
    if intent.action is Action.PUT:
        item = load_item(intent.item or b"")
        request = WriteRequest(table.name, "PUT", item)
        key = table.key_attributes(item)
    else:
        old = rows[intent.table_id, intent.row].before.item
        key = {} if old is None else table.key_attributes(old)
        operation = "DELETE" if intent.action is Action.DELETE else "CHECK"
        request = WriteRequest(table.name, operation, key)
    route = cluster.route(table.id, intent.row.hash)
    return Write(request, table, intent.row, route, key, 0)


def _release(cluster: Cluster, shard: DynamoDBShard, transaction_id: bytes) -> None:
    with shard.session() as session:
        held = _hold(cluster, shard, session, transaction_id)
        if held is not None:
            session.run(*held.free(), ("COMMIT", ()))
