"""One local transaction of steps T3 to T5, of any number of transactions over several shards.

Two round trips, whatever the number of steps:

1.  BEGIN; lock the definition guards shared; lock the rows of all steps, in key order; lock the
    intents that T5 takes away; look up decisions and tokens. A crash here: nothing happened.
2.  Evaluate each step on the rows as those before it left them: first T5, which frees rows, then
    T4, then T3, the oldest transaction first. A step that is refused leaves the others alone.
3.  Write what they came to, in the same order, and commit. A crash before the commit: nothing
    happened. If the answer is lost, each step is told so.

In T3 two round trips are needed for safety. The second packet counts only in a session that has
held the locks since the first one; a packet that begins and commits could arrive after T5, and
place its intents again.

See `shard_steps` for what each step does.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Generic, TypeVar, cast

from mynamo.catalog.cluster import Cluster, Route
from mynamo.catalog.intents import (
    Action,
    Decision,
    Intent,
    Transaction,
    delete_intents,
    insert_committed,
    insert_intents,
    intents_in,
    lock_intents,
)
from mynamo.catalog.migrations import GENERATION_ROW
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.tables import RowKey, Table
from mynamo.errors import IdempotentParameterMismatch, MynamoError
from mynamo.mysql.failures import LostConnection, MissingTable
from mynamo.mysql.pool import Session, Statement
from mynamo.runtime.local_wakeups import relay_wake_ups, wake_up
from mynamo.runtime.parts import parts_of
from mynamo.runtime.tasks import in_thread
from mynamo.schemas.items import dump_item, load_item
from mynamo.writer.transaction.commit import (
    LARGE,
    MAX_BYTES,
    StaleDefinition,
    TooMuch,
    check_guards,
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
    log_of,
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
        shard: its number.
        partition: of its event.
        version: 0: it was only checked, or was absent before and after.
    """

    table_id: int
    row: RowKey
    shard: int
    partition: int
    version: int


@dataclass(slots=True, eq=False, kw_only=True)
class Step(Generic[Answer]):
    """What one transaction does on a shard.

    Attributes:
        places: its rows, in ascending order.
        size: bytes of the items that it writes.
        answer: what it came to, or why nothing was written; None: nothing was written yet, and it
            must be done by itself.
    """

    places: Sequence[LockedRow]
    size: int = 0
    answer: Answer | MynamoError | None = None


@dataclass(slots=True, eq=False, kw_only=True)
class Prepare(Step[list[Outcome]]):
    """T3; see `shard_steps.prepare_on`."""

    writes: Sequence[Write]
    transaction: Transaction


@dataclass(slots=True, eq=False, kw_only=True)
class Decide(Step[Decided]):
    """T4; see `shard_steps.commit_decision`.

    Attributes:
        writes: with their decision.
        is_trial: nothing is written.
    """

    writes: AllOrNothing
    is_trial: bool

    @property
    def decision(self) -> Deciding:
        """The transaction's."""
        return cast(Deciding, self.writes.decision)


@dataclass(slots=True, eq=False, kw_only=True)
class Finish(Step[list[Applied]]):
    """T5 of a committed transaction, or the release of one that never will be.

    Attributes:
        routes: of its places, all to this shard.
        tables: of them, by id.
        traceparent: of the transaction's request, if its coordinator is at work and it is traced.
    """

    transaction_id: bytes
    routes: Mapping[LockedRow, Route]
    tables: Mapping[int, Table]
    applies: bool
    traceparent: str | None = None


AnyStep = Prepare | Decide | Finish


def run_steps(cluster: Cluster, shard: DynamoDBShard, steps: Sequence[AnyStep]) -> None:
    """Give each step its answer. One that is alone has one afterwards.

    Raises:
        StaleDefinition: a table is not there; nothing was written.
        TooMuch: nothing was written; the steps must be done each by itself.
        Contention, DuplicateKey, LostConnection, ShardUnavailable: nothing was written that may not
            be written again.
        InternalError, CorruptData: nothing was written.
    """
    with shard.session() as session:
        locked = _lock(session, steps)
        write = in_thread(_write) if locked.size > LARGE else _write
        write(cluster, shard, session, steps, locked)


@dataclass(frozen=True, slots=True)
class _Locked:
    """What the first round trip has found.

    Attributes:
        guards: versions by table id; that of 0 is the epoch of the slots.
        rows: hash, sort, version and item, by table id.
        decisions: by transaction id.
        tokens: of requests that have happened.
        intents: of each `Finish`, by transaction id, in the order of their places.
        size: bytes of the rows' items, of the intents', and of the items to write.
    """

    guards: Mapping[int, int]
    rows: Mapping[int, Sequence[tuple[bytes, bytes, int, bytes]]]
    decisions: Mapping[bytes, Decision]
    tokens: Mapping[bytes, KeptToken]
    intents: Mapping[bytes, Sequence[Intent]]
    size: int

    def of(self, step: Finish) -> Sequence[Intent]:
        """The intents of a transaction that is to be finished."""
        return self.intents.get(step.transaction_id, ())


def _lock(session: Session, steps: Sequence[AnyStep]) -> _Locked:
    places = sorted({place for step in steps for place in step.places})
    table_ids = sorted({table_id for table_id, _ in places})
    decides = [step for step in steps if isinstance(step, Decide)]
    tokens = [step.writes.token.token for step in decides if step.writes.token is not None]
    ids = [step.decision.transaction_id for step in decides]
    theirs = [
        (*place, step.transaction_id)
        for step in steps
        if isinstance(step, Finish)
        for place in step.places
    ]
    statements = lock_statements(table_ids, places, (), tokens, "", ids)
    if theirs:
        statements.append(lock_intents(sorted(theirs)))
    try:
        results = session.run(*statements)
    except MissingTable:
        raise StaleDefinition(set(table_ids)) from None
    others = iter(results[2 + len(table_ids) :])
    rows = {table_id: found.rows for table_id, found in zip(table_ids, results[2:], strict=False)}
    decisions = {id_: Decision(found) for id_, found in next(others).rows} if ids else {}
    kept = kept_tokens(next(others)) if tokens else {}
    intents: dict[bytes, list[Intent]] = {}
    for intent in intents_in(next(others)) if theirs else ():
        intents.setdefault(intent.transaction_id, []).append(intent)
    for each in intents.values():
        each.sort(key=lambda intent: (intent.table_id, intent.row))
    size = sum([len(row[-1]) for found in rows.values() for row in found])
    size += sum([len(intent.item or b"") for each in intents.values() for intent in each])
    size += sum([step.size for step in steps])
    return _Locked(dict(results[1].rows), rows, decisions, kept, intents, size)


@dataclass(slots=True)
class _Work:
    """What step 2 found out.

    Attributes:
        rows: of the steps that know the newest definitions.
        plan: of T5 and T4.
        applied: per T5 its writes, and what they came to.
        decided: per T4 that commits, what its writes came to.
        placed: per T3 that places intents, what its writes came to.
        otherwise: answers of steps that write nothing. They rest on what the others write, so they
            are given once that is committed.
        freed: intents to delete.
        intents: those to place.
    """

    rows: dict[LockedRow, Row]
    generation: int
    plan: Plan = field(default_factory=Plan)
    applied: list[tuple[Finish, Sequence[Write], list[Outcome]]] = field(default_factory=list)
    decided: list[tuple[Decide, list[Outcome]]] = field(default_factory=list)
    placed: list[tuple[Prepare, list[Outcome]]] = field(default_factory=list)
    otherwise: list[tuple[AnyStep, Any]] = field(default_factory=list)
    freed: list[Intent] = field(default_factory=list)
    intents: list[Intent] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes of events and of intents."""
        return self.plan.size + sum(len(intent.item or b"") for intent in self.intents)


def _write(
    cluster: Cluster,
    shard: DynamoDBShard,
    session: Session,
    steps: Sequence[AnyStep],
    locked: _Locked,
) -> None:
    """Steps 2 and 3."""
    with _foreseen(f"{shard.where}: {len(steps)} steps of transactions"):
        work = _evaluate(shard, steps, locked)
        fits = work.size <= MAX_BYTES or len(work.rows) == 1
        if not fits and len(steps) > 1:
            raise TooMuch
        last = [*_besides(work, locked), *_placing(work)]
        changed, write_id = list(work.rows.values()), os.urandom(16)
        written = [writes for _, writes, _ in work.applied]
        log = log_of([*written, *(step.writes for step, _ in work.decided)], work.rows)
        statements, outbox_at = statements_of(
            changed, work.plan, write_id, work.generation, last, log
        )
    first_id = 0
    if not last:
        session.rollback()
    else:
        try:
            if fits:
                results = session.run(*statements)
                first_id = results[outbox_at].insert_id if work.plan.events else 0
            elif work.intents:  # of one T3, which writes nothing else
                run_bounded(session, statements, MAX_BYTES)
            else:
                first_id = run_in_packets(
                    session, changed, work.plan, write_id, work.generation, last, log, MAX_BYTES
                )
        except LostConnection as failure:
            _answer_lost(work, failure)
            if all(step.answer is None for step in steps):
                raise
            return
        if first_id:
            wake_up(cluster.id, relay_wake_ups(shard.id))
            session.note_id(first_id)
    _answer(work, first_id)


@contextmanager
def _foreseen(what: str) -> Iterator[None]:
    try:
        yield
    except MynamoError:
        raise
    except Exception as error:
        raise unforeseen(what, error) from error


# -- Step 2 ----------------------------------------------------------------------------------------


def _evaluate(shard: DynamoDBShard, steps: Sequence[AnyStep], locked: _Locked) -> _Work:
    generation = locked.guards.get(GENERATION_ROW, 0)
    if generation:
        note_generation(shard, generation)
    steps = [step for step in steps if _is_by_newest(step, locked.guards)]
    places = sorted({place for step in steps for place in step.places})
    work = _Work(rows_of(_tables(steps), places, locked.rows), generation)
    finishes = [step for step in steps if isinstance(step, Finish)]
    decides = _of_other_tokens(
        [step for step in steps if isinstance(step, Decide) and _is_open(step, shard, locked)]
    )
    _free_rows(work, [intent for step in finishes for intent in locked.of(step)])
    _evaluate_writes(work, finishes, decides, locked)
    for step in decides:
        if step.is_trial:
            work.otherwise.append((step, Decided(_evaluate_apart(step.writes, work))))
    prepares = [step for step in steps if isinstance(step, Prepare)]
    for prepare in sorted(prepares, key=lambda each: each.transaction.id):
        _evaluate_prepare(prepare, work)
    return work


def _is_by_newest(step: AnyStep, guards: Mapping[int, int]) -> bool:
    """Whether a step knows the slots and its tables as they are; if not, its answer says so."""
    try:
        if isinstance(step, Finish):
            _check_finish(step, guards)
        else:
            check_guards(step.writes, guards)
    except StaleDefinition as failure:
        step.answer = failure
        return False
    return True


def _check_finish(step: Finish, guards: Mapping[int, int]) -> None:
    outdated = {id_ for id_, table in step.tables.items() if guards.get(id_) != table.version}
    epoch = guards.get(0, -1)
    moved = any(not by.since <= epoch <= by.epoch for by in step.routes.values())
    # To release intents changes no index.
    if moved or (outdated and step.applies):
        raise StaleDefinition(outdated)


def _tables(steps: Sequence[AnyStep]) -> dict[int, Table]:
    """The steps' tables, by id: as the guards have them, if a step needs that."""
    found: dict[int, Table] = {}
    for step in sorted(steps, key=lambda each: not isinstance(each, Finish) or each.applies):
        if isinstance(step, Finish):
            found |= step.tables
        else:
            found |= {write.table.id: write.table for write in step.writes}
    return found


def _is_open(step: Decide, shard: DynamoDBShard, locked: _Locked) -> bool:
    """Whether a transaction may be decided here and now; if not, its answer says why."""
    decision, token = step.decision, step.writes.token
    decided = locked.decisions.get(decision.transaction_id)
    known = locked.tokens.get(token.token) if token is not None else None
    generation = locked.guards.get(GENERATION_ROW, 0)
    if decided is Decision.ABORTED:
        step.answer = TransactionAborted()
    elif decided is Decision.COMMITTED:
        found: list[Outcome] = [
            Done(0, new=each.key, partition=each.route.partition) for each in step.writes
        ]
        step.answer = AnswerLost(f"{shard.where}: the transaction is committed already", found)
    elif token is not None and known is not None:
        if known.request == token.request:
            step.answer = Decided([Done(0, repeated=True) for _ in step.writes], known)
        else:
            step.answer = Decided([Refused(IdempotentParameterMismatch()) for _ in step.writes])
    elif not is_current(decision.generation, generation):
        step.answer = GenerationOver(generation)
    return step.answer is None


def _of_other_tokens(steps: Sequence[Decide]) -> list[Decide]:
    """Without those whose request another one of them repeats: they go by themselves."""
    found: dict[object, Decide] = {}
    for step in steps:
        found.setdefault(step if step.writes.token is None else step.writes.token.token, step)
    return list(found.values())


def _free_rows(work: _Work, intents: Iterable[Intent]) -> None:
    """Let rows be found as by the transactions whose intents are on them."""
    for intent in intents:
        row = work.rows[intent.table_id, intent.row]
        row.placeholder = row.before.in_transaction and row.before.item is None
        before = row.before
        row.before = row.now = Current(before.item, before.version, data=before.data)


def _evaluate_writes(
    work: _Work,
    finishes: Sequence[Finish],
    decides: Sequence[Decide],
    locked: _Locked,
) -> None:
    """T5, and then T4."""
    committing = [step for step in decides if not step.is_trial]
    applies = {
        step: AllOrNothing(
            [_write_of(step, work.rows, each) for each in locked.of(step)]
        )
        for step in finishes if step.applies
    }  # fmt: skip
    for writes in applies.values():
        check_guards(writes, locked.guards)
    callers = [*applies.values(), *(step.writes for step in committing)]
    work.plan = evaluate(callers, work.rows, {}, {}, work.generation)
    outcomes = iter(work.plan.outcomes)
    for step, writes in applies.items():
        found = list(islice(outcomes, len(writes)))
        for outcome in found:
            if isinstance(outcome, Refused):
                raise outcome.error  # of all steps: what it frees was free to those behind it
        work.applied.append((step, writes, found))
    work.otherwise += [(step, []) for step in finishes if not step.applies]
    work.freed = [intent for step in finishes for intent in locked.of(step)]
    for decide in committing:
        found = list(islice(outcomes, len(decide.writes)))
        if is_refused(found):
            work.otherwise.append((decide, Decided(found)))
        else:
            work.decided.append((decide, found))


def _evaluate_apart(writes: Sequence[Write], work: _Work) -> list[Outcome]:
    """Evaluate writes, and leave the rows as they are."""
    rows = {(w.table.id, w.row): replace(work.rows[w.table.id, w.row]) for w in writes}
    return evaluate([AllOrNothing(writes)], rows, {}, {}).outcomes


def _evaluate_prepare(step: Prepare, work: _Work) -> None:
    """T3."""
    outcomes = _evaluate_apart(step.writes, work)
    if is_refused(outcomes):
        work.otherwise.append((step, outcomes))
        return
    work.placed.append((step, outcomes))
    for write, outcome in zip(step.writes, outcomes, strict=True):
        work.intents.append(_intent(write, cast(Done, outcome), step.transaction))
        row = work.rows[write.table.id, write.row]
        row.now = replace(row.now, in_transaction=True)


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


def _write_of(step: Finish, rows: Mapping[LockedRow, Row], intent: Intent) -> Write:
    """What an intent does, as an ordinary write without a condition.

    The item was checked in T3. An index that was added since may not be able to take it, and then
    leaves it out.
    """
    table = step.tables[intent.table_id]
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
    route = step.routes[intent.table_id, intent.row]
    return Write(request, table, intent.row, route, key, 0, step.traceparent)


def is_refused(outcomes: Sequence[Outcome]) -> bool:
    """Whether one of them is a refusal."""
    return any(isinstance(outcome, Refused) for outcome in outcomes)


# -- Step 3 ----------------------------------------------------------------------------------------


def _besides(work: _Work, locked: _Locked) -> list[Statement]:
    """What T4 and T5 write beside their items: decisions, and rows that are free again."""
    statements: list[Statement] = []
    if work.freed:
        places = sorted({(intent.table_id, intent.row) for intent in work.freed})
        is_item = {
            (table_id, RowKey(*key)): bool(data)
            for table_id, rows in locked.rows.items()
            for *key, _, data in rows
        }
        left = [p for p in places if p in is_item and not work.rows[p].events]
        statements += unmark(place for place in left if is_item[place])
        statements += delete_rows(place for place in left if not is_item[place])
        statements.append(delete_intents(work.freed))
    if work.decided:
        ids = sorted(step.decision.transaction_id for step, _ in work.decided)
        statements.append(insert_committed(ids, work.generation))
    return statements


def _placing(work: _Work) -> list[Statement]:
    """What T3 writes, behind the others."""
    if not work.intents:
        return []
    intents = sorted(work.intents, key=lambda intent: (intent.table_id, intent.row))
    places = [(intent.table_id, intent.row) for intent in intents]
    is_there = {place: work.rows[place].now.item is not None for place in places}
    parts = parts_of(intents, lambda intent: len(intent.item or b""), MAX_BYTES)
    return [
        *mark(place for place in places if is_there[place]),
        *insert_placeholders(place for place in places if not is_there[place]),
        *(insert_intents(part) for part in parts),
    ]


def _answer(work: _Work, first_id: int) -> None:
    """Of what is committed now."""
    for step, answer in work.otherwise:
        step.answer = answer
    for prepare, outcomes in work.placed:
        done = [outcome for outcome in outcomes if isinstance(outcome, Done)]
        prepare.answer = [Done(0, each.old, each.new, partition=each.partition) for each in done]
    for decide, outcomes in work.decided:
        decide.answer = Decided(with_versions(outcomes, first_id))
    for finish, writes, outcomes in work.applied:
        finish.answer = [
            Applied(
                write.table.id,
                write.row,
                write.route.shard.id,
                write.route.partition,
                outcome.version,
            )
            for write, outcome in zip(writes, with_versions(outcomes, first_id), strict=True)
            if isinstance(outcome, Done)
        ]


def _answer_lost(work: _Work, failure: LostConnection) -> None:
    """Of what may be committed, or may be yet. The others may be done again."""
    for prepare, _ in work.placed:
        prepare.answer = AnswerLost(str(failure))
    for decide, outcomes in work.decided:
        decide.answer = AnswerLost(str(failure), outcomes)
