"""BatchGetItem: many keys of several tables, one round trip to each shard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mynamo.errors import ShardUnavailable
from mynamo.expressions import Projection
from mynamo.expressions.legacy import check_not_mixed
from mynamo.gateway.capacity import Consumed, read_units, reported_all
from mynamo.gateway.errors import invalid
from mynamo.gateway.request_expressions import Expressions
from mynamo.gateway.scalar_keys import check_scalar_keys
from mynamo.reader import Get, Got
from mynamo.schemas.items import dump_item, normalise
from mynamo.schemas.values import StoredItem
from mynamo.shards.tables import Table

if TYPE_CHECKING:
    from mynamo.gateway.service import Call, Service

MAX_KEYS = 100
MAX_ANSWER = 16 * 1024 * 1024
"""Bytes of items; what is beyond goes into UnprocessedKeys."""


@dataclass(slots=True)
class _Asked:
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


def batch_get_item(service: Service, request: dict[str, Any], _: Call) -> dict[str, Any]:
    """BatchGetItem."""
    asked = _asked(request)
    tables = {name: service.cluster.table(name) for name in asked}
    places = _places(service, asked, tables)
    for name, part in asked.items():
        check_scalar_keys(tables[name], part.projection)
    found = _read(service, places)
    return _answer(request, asked, places, found)


def _asked(request: Mapping[str, Any]) -> dict[str, _Asked]:
    """The request's parts, checked as far as no table is needed."""
    check_not_mixed("BatchGetItem", request)
    _check_one_kind(request["RequestItems"])
    given = request["RequestItems"]
    keys = {name: _keys(part) for name, part in given.items()}
    if sum(map(len, keys.values())) > MAX_KEYS:
        raise invalid("Too many items requested for the BatchGetItem call")
    return {
        name: _Asked(part, keys[name], Expressions.of("GetItem", part).projection)
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
    service: Service, asked: Mapping[str, _Asked], tables: Mapping[str, Table]
) -> list[_Place]:
    return [
        _Place(
            name,
            position,
            service.cluster.shard_of(tables[name].key_only(key).hash).id,
            Get(tables[name].name, key, part.projection),
        )
        for name, part in asked.items()
        for position, key in enumerate(part.keys)
    ]


def _read(service: Service, places: Sequence[_Place]) -> list[Got | None]:
    """Read what can be read: of shards that do not answer, None.

    Raises:
        ShardUnavailable: none of them answers.
    """
    try:
        return list(service.reader.get_each([place.get for place in places]))
    except ShardUnavailable:
        shards = {place.shard_id for place in places}
        if len(shards) == 1:
            raise
        return _read_by_shard(service, places, shards)


def _read_by_shard(
    service: Service, places: Sequence[_Place], shards: set[int]
) -> list[Got | None]:
    found: list[Got | None] = [None] * len(places)
    failures: list[ShardUnavailable] = []
    for shard_id in shards:
        there = [i for i, place in enumerate(places) if place.shard_id == shard_id]
        try:
            got = service.reader.get_each([places[i].get for i in there])
        except ShardUnavailable as failure:
            failures.append(failure)
            continue
        for i, each in zip(there, got, strict=True):
            found[i] = each
    if len(failures) == len(shards):
        raise failures[0]
    return found


def _answer(
    request: Mapping[str, Any],
    asked: Mapping[str, _Asked],
    places: Sequence[_Place],
    found: Sequence[Got | None],
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
    return {
        "Responses": responses,
        "UnprocessedKeys": {
            name: {**asked[name].given, "Keys": keys} for name, keys in left.items()
        },
    } | reported_all(request, consumed)
