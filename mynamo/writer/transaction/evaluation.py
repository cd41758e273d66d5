"""Evaluation: a batch of writes in order on the locked rows, and what each write returns.

Source: Amazon DynamoDB API Reference, PutItem, DeleteItem and UpdateItem, `ReturnValues`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

from orjson import Fragment

from mynamo.catalog.intents import MARK, unmarked
from mynamo.catalog.tables import RowKey, Table
from mynamo.errors import (
    ConditionFailed,
    CorruptData,
    IdempotentParameterMismatch,
    InternalError,
    InvalidRequest,
    MynamoError,
    ShardUnavailable,
    TransactionConflict,
    WriteOutcomeUnknown,
)
from mynamo.schemas.events import outbox_payload
from mynamo.schemas.items import dump_item, load_item
from mynamo.schemas.keys import slot_of
from mynamo.schemas.values import StoredItem
from mynamo.writer.transaction.request_tokens import CHANGED, CHANGED_ELSEWHERE, KeptToken
from mynamo.writer.transaction.write_requests import (
    AllOrNothing,
    Current,
    Operation,
    StillDue,
    Write,
    WriteRequest,
    apply_to,
)

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Done:
    """A write that was applied.

    Attributes:
        version: of the change, which is the id of its outbox row; 0 if nothing changed.
        old: the item before.
        new: the item after.
        repeated: it is a queued write, or one of a transaction with a token, that had been applied
            before.
        partition: of its event.
        followed_by: of a write of which the version is not known: the id of a later outbox row of
            its stream; 0: there is none left.
    """

    version: int
    old: StoredItem | None = None
    new: StoredItem | None = None
    repeated: bool = False
    partition: int = 0
    followed_by: int = 0

    @property
    def waits_for(self) -> int:
        """The outbox row for which a read of this write waits; 0: for none."""
        return self.followed_by or self.version


@dataclass(frozen=True, slots=True)
class Refused:
    """A write that was not applied: why, for its caller alone.

    Attributes:
        repeated: it is a queued write that had been refused before.
        whole: it is not this write that was at fault, but the server or the configuration.
    """

    error: MynamoError
    repeated: bool = False
    whole: bool = False


Outcome = Done | Refused


class ItemInTransaction(TransactionConflict):
    """A transaction over several shards has an intent on the item. Whoever may wait resolves it
    and tries again; to others it is a conflict.

    Attributes:
        table_id, row: the item's place, on the shard that was written to.
    """

    def __init__(self, table_id: int, row: RowKey) -> None:
        super().__init__(TransactionConflict.__doc__)
        self.table_id = table_id
        self.row = row


@dataclass(slots=True)
class OutboxRow:
    """One change event before it has an id.

    Attributes:
        partition: of the `changes` topic.
        feeds: whether an index waits for it.
        payload: see `mynamo.schemas.events.outbox_payload`.
        item_version: of the item, where the event re-emits it; None: the row's own id.
        records: whether the relay writes a record of it, for the table's stream.
    """

    partition: int
    feeds: bool
    table_id: int
    payload: bytes
    item_version: int | None = None
    records: bool = False


@dataclass(slots=True)
class Row:
    """A main row in the course of the transaction.

    Attributes:
        events: how many changes it has.
        held: an item was absent here before and after an `AllOrNothing`, and must stay so until
            the commit. An absent row has no lock, so one is inserted and deleted again: whoever
            inserts it meanwhile waits, and an `AllOrNothing` that has seen it absent starts over.
        placeholder: there was no item before, but a row that an intent has here.
    """

    table: Table
    key: RowKey
    before: Current
    now: Current
    events: int = 0
    held: bool = False
    placeholder: bool = False


_NOTHING = Current(None, 0)


def current_of(version: int, data: bytes) -> Current:
    """The item of a row of a main table.

    Args:
        version: as the row has it, perhaps with a mark.
        data: empty in a placeholder.

    Raises:
        CorruptData: it is no item.
    """
    if 0 < version < MARK:
        return Current(load_item(data), version, data=data)
    item = load_item(data) if data else None
    return Current(item, unmarked(version), in_transaction=True, data=data or None)


def rows_of(
    tables: Mapping[int, Table],
    places: Iterable[tuple[int, RowKey]],
    found: Mapping[int, Sequence[Any]],
) -> dict[tuple[int, RowKey], Row]:
    """Rows that are locked, as they were found.

    Args:
        tables: by id.
        places: table's id and key of each.
        found: hash, sort, version and item of those that are there, by table id.
    """
    items = {
        (table_id, RowKey(*key)): current_of(version, data)
        for table_id, rows in found.items()
        for *key, version, data in rows
    }
    rows = {}
    for place in places:
        current = items.get(place, _NOTHING)
        rows[place] = Row(tables[place[0]], place[1], current, current)
    return rows


class DoneCommand(NamedTuple):
    """A queued write that is to be remembered.

    Attributes:
        event: number of its event; None: it made none.
        refusal: why it was refused; None: it was not.
    """

    slot: int
    command_id: bytes
    event: int | None
    refusal: str | None


@dataclass(slots=True)
class Plan:
    """What step 3 found out.

    Attributes:
        tokens: of `AllOrNothing` that were applied, to be kept.
        holds: whether a row is held; see `Row`.
        size: bytes of its events, which hold every item before and after.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    events: list[OutboxRow] = field(default_factory=list)
    commands: list[DoneCommand] = field(default_factory=list)
    tokens: list[tuple[bytes, KeptToken]] = field(default_factory=list)
    holds: bool = False
    size: int = 0


def evaluate(
    callers: Sequence[Sequence[Write]],
    rows: dict[tuple[int, RowKey], Row],
    seen: dict[bytes, Outcome],
    kept: Mapping[bytes, KeptToken],
    generation: int = 0,
) -> Plan:
    """Evaluate writes one after another, each on what the one before it left.

    Args:
        callers: the writes of each; those of an `AllOrNothing` all happen, or none.
        rows: of all the writes, by table id and key; they are brought up to date.
        seen: outcomes of queued writes that are done already.
        kept: tokens of transactions that are done already.
        generation: the shard's, if there are transactions with a token.

    Returns:
        The outcomes, with numbers of events in place of versions.
    """
    plan = Plan()
    for writes in callers:
        if isinstance(writes, AllOrNothing):
            plan.outcomes += _evaluate_all(writes, rows, kept, generation, plan)
            continue
        for write in writes:
            if write.request.command_id in seen:
                plan.outcomes.append(seen[write.request.command_id])
                continue
            outcome = _outcome_of(write, rows[write.table.id, write.row], plan)
            plan.outcomes.append(outcome)
            if write.request.command_id and not _met_intent(outcome):
                refusal = str(outcome.error) if isinstance(outcome, Refused) else None
                event = (
                    len(plan.events) - 1 if isinstance(outcome, Done) and outcome.version else None
                )
                command_id = write.request.command_id
                plan.commands.append(DoneCommand(write.row.slot, command_id, event, refusal))
                seen[write.request.command_id] = outcome
    return plan


def _met_intent(outcome: Outcome) -> bool:
    return isinstance(outcome, Refused) and isinstance(outcome.error, ItemInTransaction)


def _evaluate_all(
    writes: AllOrNothing,
    rows: dict[tuple[int, RowKey], Row],
    kept: Mapping[bytes, KeptToken],
    generation: int,
    plan: Plan,
) -> list[Outcome]:
    """The outcomes of writes that all happen, or none.

    All are evaluated, so that each reason is known. If one is refused, what the others came to is
    taken out of the plan, and they have outcomes without a version.
    """
    token = writes.token
    known = kept.get(token.token) if token is not None else None
    if token is not None and known is not None:
        return _repeated(writes, known, token.request)
    if token is not None and not is_current(writes.generation, generation):
        return [Refused(not_current(writes.generation, generation)) for _ in writes]
    events, size = len(plan.events), plan.size
    own = [rows[write.table.id, write.row] for write in writes]
    before = [(row.now, row.events) for row in own]
    outcomes = [_outcome_of(write, row, plan) for write, row in zip(writes, own, strict=True)]
    if any(isinstance(outcome, Refused) for outcome in outcomes):
        for row, (now, count) in zip(own, before, strict=True):
            row.now, row.events = now, count
        del plan.events[events:]
        plan.size = size
        return [o if isinstance(o, Refused) else Done(0) for o in outcomes]
    for row in own:
        if row.before.item is None and row.now.item is None:
            row.held = plan.holds = True
    if token is not None:
        first = events if len(plan.events) > events else None
        slot = slot_of(writes[0].row.hash)
        changed = _changed_of(writes, outcomes)
        decision = writes.decision.transaction_id if writes.decision else None
        plan.tokens.append((token.token, KeptToken(token.request, slot, first, changed, decision)))
    return outcomes


def _changed_of(writes: AllOrNothing, outcomes: Sequence[Outcome]) -> bytes:
    """What a token keeps of each write of its request; see `KeptToken`."""
    own = (CHANGED if isinstance(o, Done) and o.version else 0 for o in outcomes)
    if writes.decision is None:
        return bytes(own)
    return bytes(
        next(own) if made is None else CHANGED_ELSEWHERE if made else 0
        for made in writes.decision.elsewhere
    )


def is_current(generation: int, found: int) -> bool:
    """Whether something that began in a generation of a shard may still be decided there."""
    return generation <= found <= generation + 1


def not_current(generation: int, found: int) -> MynamoError:
    """What a request with a token hears that began in a generation which is not current."""
    if found < generation:
        return ShardUnavailable("the shard went back in time; nothing was written, try again")
    return WriteOutcomeUnknown(
        "the request has taken so long that a repetition of it may have happened and be forgotten "
        "by now; this attempt wrote nothing; read the items to see"
    )


def _repeated(writes: AllOrNothing, known: KeptToken, request: bytes) -> list[Outcome]:
    if known.request != request:
        return [Refused(IdempotentParameterMismatch()) for _ in writes]
    return [
        Done(version, repeated=True, partition=write.route.partition)
        for write, version in zip(writes, known.versions(), strict=True)
    ]


def _outcome_of(write: Write, row: Row, plan: Plan) -> Outcome:
    try:
        return _evaluate_one(write, row, plan)
    except (ConditionFailed, InvalidRequest, CorruptData, ItemInTransaction) as error:
        return Refused(error)
    except MynamoError:
        raise
    except Exception as error:
        return Refused(unforeseen(f"a write to table {write.table.name}", error))


def unforeseen(what: str, error: Exception) -> InternalError:
    """What the caller gets for an exception that is none of ours, which is logged.

    Args:
        what: failed.
    """
    log.error("%s failed in a way that nobody foresaw", what, exc_info=error)
    failure = InternalError()
    failure.__cause__ = error
    return failure


def _evaluate_one(write: Write, row: Row, plan: Plan) -> Done:
    if row.now.in_transaction:
        raise ItemInTransaction(write.table.id, write.row)
    old = row.now.item
    if old is not None and any(old.get(name) != value for name, value in write.key.items()):
        raise CorruptData(
            f"table {write.table.name}: two hash keys have the same 128-bit hash: "
            f"{write.key} and {write.table.key_attributes(old)}"
        )
    new = _changed(write, row.now)
    if (new is None and old is None) or write.request.operation == "CHECK":
        return Done(0, old, new)
    data = None if new is None else dump_item(new)  # which the row and the event have in common
    event = _event(write, row.now, new, data)
    plan.events.append(event)
    plan.size += len(event.payload)
    row.now = Current(new, -len(plan.events), data=data)
    row.events += 1
    # Its version is known only after the insert: the event's number stands for it.
    return Done(len(plan.events), old, new, partition=event.partition)


def _changed(write: Write, current: Current) -> StoredItem | None:
    try:
        return apply_to(write, current)
    except MynamoError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        if current.item is None:
            raise
        # `load_item` takes values as they are; somebody else has written this one.
        raise CorruptData from None


def _event(write: Write, before: Current, new: StoredItem | None, data: bytes | None) -> OutboxRow:
    table, old = write.table, before.item
    stream = table.stream
    return OutboxRow(
        partition=write.route.partition,
        feeds=bool(table.global_indexes),
        table_id=table.id,
        payload=outbox_payload(
            table_id=table.id,
            table=table.name,
            schema_version=table.version,
            operation="INSERT" if old is None else "REMOVE" if new is None else "MODIFY",
            keys=write.key,
            old_image=old if before.data is None else Fragment(before.data),
            new_image=None if data is None else Fragment(data),
            expired=isinstance(write.request.condition, StillDue),
            stream=None if stream is None else (stream.id, stream.view, write.row.slot),
            traceparent=write.traceparent,
        ),
        records=stream is not None,
    )


def with_versions(outcomes: list[Outcome], first_id: int) -> list[Outcome]:
    """Put the real versions in place of the events' numbers."""
    return [
        Done(first_id + o.version - 1, o.old, o.new, partition=o.partition)
        if isinstance(o, Done) and o.version and not o.repeated
        else o
        for o in outcomes
    ]


ReturnValues = Literal["NONE", "ALL_OLD", "UPDATED_OLD", "ALL_NEW", "UPDATED_NEW"]


def check_return_values(kind: str, operation: Operation) -> None:
    """Refuse what this operation cannot return.

    Raises:
        InvalidRequest: puts and deletes return NONE or ALL_OLD only.
    """
    allowed = get_args(ReturnValues) if operation == "UPDATE" else ("NONE", "ALL_OLD")
    if kind not in allowed:
        raise InvalidRequest("Return values set to invalid value")


def returned(kind: ReturnValues, request: WriteRequest, done: Done) -> StoredItem | None:
    """The attributes that a write answers with.

    Args:
        kind: which; one that `check_return_values` lets pass.
        request: as it was applied.
        done: what came of it.

    Returns:
        None if the answer has no attributes: none were asked for, or there are none, as in
        the old item of a new one. UPDATED_OLD and UPDATED_NEW have what stands at the update's
        paths before and after it, and leave out what is not there.
    """
    if kind == "ALL_OLD":
        return done.old
    if kind == "ALL_NEW":
        return done.new
    if request.update is None:
        return None
    if kind == "UPDATED_OLD" and done.old is not None:
        return request.update.touched(done.old) or None
    if kind == "UPDATED_NEW" and done.new is not None:
        return request.update.touched(done.new) or None
    return None
