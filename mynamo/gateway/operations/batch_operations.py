"""BatchGetItem and BatchWriteItem.

Reads: many keys of several tables, one round trip to each shard. Writes: puts and deletions in
several tables, one transaction on each shard.

Nothing holds a batch together: what a shard that does not answer was to write comes back as
UnprocessedItems, and so does an item that a transaction has for too long, or for which there are no
capacity units; everything else is written. UnprocessedItems have not happened: if that is not known
of one, the batch fails.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mynamo.catalog.tables import RowKey, Table
from mynamo.errors import (
    ShardUnavailable,
    ThroughputExceeded,
    TransactionConflict,
    WriteOutcomeUnknown,
)
from mynamo.expressions import Projection
from mynamo.gateway.context import Call, Context
from mynamo.gateway.operations.capacity import (
    ASKING,
    Consumed,
    charge_write,
    least_write_units,
    read_units,
    reported_all,
)
from mynamo.gateway.operations.consistency import answer_tokens, count_writes
from mynamo.gateway.operations.item_operations import collection_metrics
from mynamo.gateway.operations.request_expressions import (
    Expressions,
    check_not_mixed,
    check_scalar_keys,
)
from mynamo.gateway.provisioned_throughput import CapacityUse
from mynamo.gateway.service_errors import invalid
from mynamo.reader import Get, Got
from mynamo.schemas.items import check_size, dump_item, normalise
from mynamo.schemas.values import StoredItem
from mynamo.writer import Done, Outcome, Refused, WriteRequest, apply_each

MAX_KEYS = 100
MAX_ANSWER = 16 * 1024 * 1024
"""Bytes of items; what is beyond goes into UnprocessedKeys."""


@dataclass(slots=True)
class _BatchRead:
    """What a request asks of one table.

    Attributes:
        given: as it came.
        keys: in stored form.
    """

    given: Mapping[str, Any]
    keys: list[StoredItem]
    projection: Projection | None


@dataclass(frozen=True, slots=True)
class _Place:
    """One key of the request.

    Attributes:
        name: of the table, as the request has it.
        position: among the table's keys.
        shard_id: of the shard that has it.
        get: for the reader.
    """

    name: str
    position: int
    shard_id: int
    get: Get


def batch_get_item(context: Context, request: dict[str, Any], _: Call) -> dict[str, Any]:
    """BatchGetItem."""
    asked = _batch_reads(request)
    tables = {name: context.cluster.table(name) for name in asked}
    places = _places(context, asked, tables)
    for name, part in asked.items():
        check_scalar_keys(tables[name], part.projection)
    uses = {name: context.capacity_use(table, "read") for name, table in tables.items()}
    found = _read_admitted(context, places, _throttled_reads(asked, uses, places))
    return _read_answer(request, asked, places, found, uses)


def _batch_reads(request: Mapping[str, Any]) -> dict[str, _BatchRead]:
    """The request's parts, checked as far as no table is needed."""
    check_not_mixed("BatchGetItem", request)
    _check_one_kind(request["RequestItems"])
    given = request["RequestItems"]
    keys = {name: _keys(part) for name, part in given.items()}
    if sum(map(len, keys.values())) > MAX_KEYS:
        raise invalid("Too many items requested for the BatchGetItem call")
    return {
        name: _BatchRead(part, keys[name], Expressions.of("GetItem", part).projection)
        for name, part in given.items()
    }


def _check_one_kind(items: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse old and new parameters in one request even if they are for different tables."""
    given = {name for part in items.values() for name in part}
    if {"AttributesToGet", "ProjectionExpression"} <= given:
        raise invalid(
            "Can not use both expression and non-expression parameters in the same request: "
            "Non-expression parameters: {AttributesToGet} "
            "Expression parameters: {ProjectionExpression}"
        )


def _keys(given: Mapping[str, Any]) -> list[StoredItem]:
    """What is asked of one table, in stored form."""
    keys = [normalise(key) for key in given["Keys"]]
    if len({dump_item(key) for key in keys}) < len(keys):
        raise invalid("Provided list of item keys contains duplicates")
    return keys


def _places(
    context: Context, asked: Mapping[str, _BatchRead], tables: Mapping[str, Table]
) -> list[_Place]:
    return [
        _Place(
            name,
            position,
            context.cluster.shard_id_of(tables[name].key_only(key).hash),
            Get(tables[name].name, key, part.projection),
        )
        for name, part in asked.items()
        for position, key in enumerate(part.keys)
    ]


def _throttled_reads(
    asked: Mapping[str, _BatchRead],
    uses: Mapping[str, CapacityUse | None],
    places: Sequence[_Place],
) -> set[int]:
    """The positions of the keys for which there are no capacity units; those of others are taken.

    Raises:
        ThroughputExceeded: none can be read.
    """
    throttled: dict[int, ThroughputExceeded] = {}
    for position, place in enumerate(places):
        use = uses[place.name]
        if use is not None:
            try:
                use.admit(read_units(0, bool(asked[place.name].given.get("ConsistentRead"))))
            except ThroughputExceeded as failure:
                throttled[position] = failure
    if throttled and len(throttled) == len(places):
        raise throttled[0]
    return set(throttled)


def _read_admitted(
    context: Context, places: Sequence[_Place], throttled: set[int]
) -> list[Got | None]:
    """Read what is not throttled, see `_read`; None for the others."""
    if not throttled:
        return _read(context, places)
    found = iter(_read(context, [p for n, p in enumerate(places) if n not in throttled]))
    return [None if n in throttled else next(found) for n in range(len(places))]


def _read(context: Context, places: Sequence[_Place]) -> list[Got | None]:
    """Read what can be read: of shards that do not answer, None.

    Raises:
        ShardUnavailable: none of them answers.
    """
    try:
        return list(context.reader.get_each([place.get for place in places]))
    except ShardUnavailable:
        shards = {place.shard_id for place in places}
        if len(shards) == 1:
            raise
        return _read_by_shard(context, places, shards)


def _read_by_shard(
    context: Context, places: Sequence[_Place], shards: set[int]
) -> list[Got | None]:
    found: list[Got | None] = [None] * len(places)
    failures: list[ShardUnavailable] = []
    for shard_id in shards:
        there = [i for i, place in enumerate(places) if place.shard_id == shard_id]
        try:
            got = context.reader.get_each([places[i].get for i in there])
        except ShardUnavailable as failure:
            failures.append(failure)
            continue
        for i, each in zip(there, got, strict=True):
            found[i] = each
    if len(failures) == len(shards):
        raise failures[0]
    return found


def _read_answer(
    request: Mapping[str, Any],
    asked: Mapping[str, _BatchRead],
    places: Sequence[_Place],
    found: Sequence[Got | None],
    uses: Mapping[str, CapacityUse | None],
) -> dict[str, Any]:
    responses: dict[str, list[StoredItem]] = {name: [] for name in asked}
    left: dict[str, list[Any]] = {}
    consumed = {name: Consumed() for name in asked}
    size, full = 0, False
    for place, got in zip(places, found, strict=True):
        full = full or (got is not None and size + got.size > MAX_ANSWER)
        part = asked[place.name].given
        if got is None or full:
            left.setdefault(place.name, []).append(part["Keys"][place.position])
            continue
        size += got.size
        consumed[place.name].table += read_units(got.size, bool(part.get("ConsistentRead")))
        if got.item is not None:
            responses[place.name].append(got.item)
    _settle(uses, consumed)
    return {
        "Responses": responses,
        "UnprocessedKeys": {
            name: {**asked[name].given, "Keys": keys} for name, keys in left.items()
        },
    } | reported_all(request, consumed)


def _settle(uses: Mapping[str, CapacityUse | None], consumed: Mapping[str, Consumed]) -> None:
    for name, use in uses.items():
        if use is not None:
            use.settle(consumed[name].by_bucket())


MAX_WRITES = 25


@dataclass(frozen=True, slots=True)
class _BatchWrite:
    """One write of the request.

    Attributes:
        name: of the table.
        given: as it came.
        write: what it stands for.
    """

    name: str
    given: Mapping[str, Any]
    write: WriteRequest


def batch_write_item(context: Context, request: dict[str, Any], call: Call) -> dict[str, Any]:
    """BatchWriteItem."""
    asked = _batch_writes(request)
    tables = {name: context.cluster.table(name) for name in request["RequestItems"]}
    for name, table in tables.items():
        _check_items(table, [each for each in asked if each.name == name])
    uses = {name: context.capacity_use(table, "write") for name, table in tables.items()}
    answers = _apply_admitted(context, asked, _throttled_writes(asked, uses))
    outcomes = [outcome for _, outcome in answers]
    done = [
        (tables[each.name], shard, outcome)
        for each, (shard, outcome) in zip(asked, answers, strict=True)
        if isinstance(outcome, Done)
    ]
    count_writes(context, done)  # of a batch that fails too, a part may be written
    answered = list(zip(asked, outcomes, strict=True))
    consumed = _consumed(request, tables, answered, uses)  # likewise
    _settle(uses, consumed)
    _raise_refusals(outcomes)
    answer_tokens(context.cluster, call, ((shard, outcome) for _, shard, outcome in done))
    return _write_answer(request, tables, answered, consumed)


def _batch_writes(request: Mapping[str, Any]) -> list[_BatchWrite]:
    """The writes of a request, checked as far as no table is needed."""
    given = [(name, each) for name, part in request["RequestItems"].items() for each in part]
    if len(given) > MAX_WRITES:
        raise invalid("Too many items requested for the BatchWriteItem call")
    return [_BatchWrite(name, each, _write_of(name, each)) for name, each in given]


def _write_of(name: str, given: Mapping[str, Any]) -> WriteRequest:
    put, delete = given.get("PutRequest"), given.get("DeleteRequest")
    if (put is None) == (delete is None):  # the service says the same of none and of both
        raise invalid(
            "Supplied AttributeValue has more than one datatypes set, "
            "must contain exactly one of the supported datatypes"
        )
    if put is None:
        return WriteRequest(name, "DELETE", normalise(given["DeleteRequest"]["Key"]))
    item = normalise(put["Item"])
    check_size(item)
    return WriteRequest(name, "PUT", item)


def _check_items(table: Table, asked: Iterable[_BatchWrite]) -> None:
    """Refuse the whole batch for one item that the table could not take, or two of one key."""
    seen: set[RowKey] = set()
    for each in asked:
        if each.write.operation == "PUT":
            row = table.key_of(each.write.item)
            table.check(each.write.item)
        else:
            row = table.key_only(each.write.item)
        if row in seen:
            raise invalid("Provided list of item keys contains duplicates")
        seen.add(row)


def _throttled_writes(
    asked: Sequence[_BatchWrite], uses: Mapping[str, CapacityUse | None]
) -> dict[int, ThroughputExceeded]:
    """The positions of the writes for which there are no capacity units, and why; those of others
    are taken."""
    throttled: dict[int, ThroughputExceeded] = {}
    for position, each in enumerate(asked):
        use = uses[each.name]
        if use is not None:
            try:
                use.admit(least_write_units(each.write))
            except ThroughputExceeded as failure:
                throttled[position] = failure
    return throttled


def _apply_admitted(
    context: Context, asked: Sequence[_BatchWrite], throttled: Mapping[int, ThroughputExceeded]
) -> list[tuple[int, Outcome]]:
    """Apply what is not throttled; the rest is refused. See `apply_each`."""
    admitted = [each.write for n, each in enumerate(asked) if n not in throttled]
    answers = iter(apply_each(context.cluster, admitted))
    return [
        (0, Refused(throttled[n], whole=True)) if n in throttled else next(answers)
        for n in range(len(asked))
    ]


def _raise_refusals(outcomes: Sequence[Outcome]) -> None:
    """Fail where a write itself was at fault, where it may have happened, or where nothing was
    written."""
    failures = [outcome for outcome in outcomes if not isinstance(outcome, Done)]
    for failure in failures:
        later = failure.whole or isinstance(failure.error, TransactionConflict)
        unknown = isinstance(failure.error, WriteOutcomeUnknown)
        if not later or unknown or len(failures) == len(outcomes):
            raise failure.error


def _consumed(
    request: Mapping[str, Any],
    tables: Mapping[str, Table],
    done: Sequence[tuple[_BatchWrite, Outcome]],
    uses: Mapping[str, CapacityUse | None],
) -> dict[str, Consumed]:
    """What was consumed, as far as it is asked for or limited; by table."""
    consumed = {name: Consumed() for name in tables}
    asks = request.get("ReturnConsumedCapacity") in ASKING
    for asked, outcome in done:
        if isinstance(outcome, Done) and (asks or uses[asked.name] is not None):
            charge_write(consumed[asked.name], tables[asked.name], outcome.old, outcome.new)
    return consumed


def _write_answer(
    request: Mapping[str, Any],
    tables: Mapping[str, Table],
    done: Sequence[tuple[_BatchWrite, Outcome]],
    consumed: Mapping[str, Consumed],
) -> dict[str, Any]:
    left: dict[str, list[Any]] = {}
    for asked, outcome in done:
        if not isinstance(outcome, Done):
            left.setdefault(asked.name, []).append(asked.given)
    answer: dict[str, Any] = {"UnprocessedItems": left}
    metrics = {
        name: collection_metrics(
            table,
            (a.write.item for a, o in done if a.name == name and isinstance(o, Done)),
        )
        for name, table in tables.items()
        if request.get("ReturnItemCollectionMetrics") == "SIZE"
    }
    if any(metrics.values()):
        answer["ItemCollectionMetrics"] = {n: each for n, each in metrics.items() if each}
    return answer | reported_all(request, consumed)
