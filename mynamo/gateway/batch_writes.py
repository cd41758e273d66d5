"""BatchWriteItem: puts and deletions in several tables, one transaction on each shard.

Nothing holds a batch together: what a shard that does not answer was to write comes back
as UnprocessedItems, and everything else is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mynamo.gateway.capacity import Consumed, asks_for_capacity, charge_write, reported_all
from mynamo.gateway.consistency import answer_tokens, count_writes
from mynamo.gateway.errors import invalid
from mynamo.gateway.writes import collection_metrics
from mynamo.schemas.items import check_size, normalise
from mynamo.shards.tables import RowKey, Table
from mynamo.writer import Done, Outcome, WriteRequest, apply_each

if TYPE_CHECKING:
    from mynamo.gateway.service import Call, Service

MAX_WRITES = 25


@dataclass(frozen=True, slots=True)
class _Asked:
    """One write of the request.

    Attributes:
        name: of the table.
        given: as it came.
        write: what it stands for.
    """

    name: str
    given: Mapping[str, Any]
    write: WriteRequest


def batch_write_item(service: Service, request: dict[str, Any], call: Call) -> dict[str, Any]:
    """BatchWriteItem."""
    asked = _asked(request)
    tables = {name: service.cluster.table(name) for name in request["RequestItems"]}
    for name, table in tables.items():
        _check_items(table, [each for each in asked if each.name == name])
    answers = apply_each(service.cluster, [each.write for each in asked])
    outcomes = [outcome for _, outcome in answers]
    done = [
        (tables[each.name], shard, outcome)
        for each, (shard, outcome) in zip(asked, answers, strict=True)
        if isinstance(outcome, Done)
    ]
    count_writes(service, done)  # of a batch that fails too, a part may be written
    _raise_refusals(outcomes)
    answer_tokens(service.cluster, call, ((shard, outcome) for _, shard, outcome in done))
    return _answer(request, tables, list(zip(asked, outcomes, strict=True)))


def _asked(request: Mapping[str, Any]) -> list[_Asked]:
    """The writes of a request, checked as far as no table is needed."""
    given = [(name, each) for name, part in request["RequestItems"].items() for each in part]
    if len(given) > MAX_WRITES:
        raise invalid("Too many items requested for the BatchWriteItem call")
    return [_Asked(name, each, _write_of(name, each)) for name, each in given]


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


def _check_items(table: Table, asked: Iterable[_Asked]) -> None:
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


def _raise_refusals(outcomes: Sequence[Outcome]) -> None:
    """Fail where a write itself was at fault, or where no shard answered."""
    failures = [outcome for outcome in outcomes if not isinstance(outcome, Done)]
    for failure in failures:
        if not failure.whole or len(failures) == len(outcomes):
            raise failure.error


def _answer(
    request: Mapping[str, Any],
    tables: Mapping[str, Table],
    done: Sequence[tuple[_Asked, Outcome]],
) -> dict[str, Any]:
    left: dict[str, list[Any]] = {}
    consumed = {name: Consumed() for name in tables}
    for asked, outcome in done:
        if not isinstance(outcome, Done):
            left.setdefault(asked.name, []).append(asked.given)
        elif asks_for_capacity(request):
            charge_write(consumed[asked.name], tables[asked.name], outcome.old, outcome.new)
    answer: dict[str, Any] = {"UnprocessedItems": left}
    metrics = {
        name: collection_metrics(
            request,
            table,
            (a.write.item for a, o in done if a.name == name and isinstance(o, Done)),
        )
        for name, table in tables.items()
    }
    if any(metrics.values()):
        answer["ItemCollectionMetrics"] = {n: each for n, each in metrics.items() if each}
    return answer | reported_all(request, consumed)
