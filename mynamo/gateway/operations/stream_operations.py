"""DynamoDB Streams: ListStreams, DescribeStream, GetShardIterator and GetRecords.

Source: Amazon DynamoDB Streams API Reference.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import wraps
from typing import Any

from mynamo.catalog.stream_lineage import StreamShard
from mynamo.catalog.tables import TableStream
from mynamo.errors import StreamNotFound, StreamShardNotFound, Unavailable
from mynamo.gateway.arns import stream_arn, stream_of_arn
from mynamo.gateway.context import Call, Context
from mynamo.gateway.service_errors import NOT_FOUND, ServiceError, invalid
from mynamo.reader.streams.pages import MANY, MOST_RECORDS
from mynamo.reader.streams.positions import Position, dump_iterator, parse_iterator
from mynamo.runtime.tasks import in_thread
from mynamo.schemas.stream_records import StreamRecord, is_stream_shard_name, sequence_number

Request = dict[str, Any]

MOST_LISTED = 100
"""Streams or stream shards in one answer."""
_BY_NUMBER = ("AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER")


def _answers(handler: Any) -> Any:
    """A shard that is away is an InternalServerError, which this API has, and SDKs try again."""

    @wraps(handler)
    def answer(context: Context, request: Request, call: Call) -> dict[str, Any]:
        try:
            answered: dict[str, Any] = handler(context, request, call)
            return answered
        except Unavailable as failure:
            raise ServiceError("InternalServerError", str(failure), 500) from failure

    return answer


@_answers
def list_streams(context: Context, request: Request, call: Call) -> dict[str, Any]:
    """ListStreams."""
    name = request.get("TableName")
    found = context.streams.streams(name)
    if name is not None and not found and name not in context.cluster.snapshot.names:
        raise ServiceError("ResourceNotFoundException", f"{NOT_FOUND}: Table: {name} not found")
    after = request.get("ExclusiveStartStreamArn")
    if after is not None:
        place = stream_of_arn(context, call.operation, after)
        found = [one for one in found if (one.table, one.label) > place]
    limit = request.get("Limit", MOST_LISTED)
    listed = [
        {
            "StreamArn": stream_arn(context, one.table, one.label),
            "TableName": one.table,
            "StreamLabel": one.label,
        }
        for one in found[:limit]
    ]
    answer: dict[str, Any] = {"Streams": listed}
    if len(found) > limit:
        answer["LastEvaluatedStreamArn"] = listed[-1]["StreamArn"]
    return answer


@_answers
def describe_stream(context: Context, request: Request, call: Call) -> dict[str, Any]:
    """DescribeStream: stream shards in the order of their names; the page after a name, whether or
    not it is still there."""
    stream = _stream(context, call, request["StreamArn"])
    wanted = _filter(request.get("ShardFilter"))
    shards = context.streams.shards(stream)
    if wanted is not None:
        shards = _children(shards, wanted)
    after = request.get("ExclusiveStartShardId", "")
    shards = [each for each in shards if each.name > after]
    limit = request.get("Limit", MOST_LISTED)
    keys = [(stream.hash_key, "HASH")]
    if stream.sort_key is not None:
        keys.append((stream.sort_key, "RANGE"))
    described: dict[str, Any] = {
        "StreamArn": request["StreamArn"],
        "StreamLabel": stream.label,
        "StreamStatus": stream.status,
        "StreamViewType": stream.view,
        "CreationRequestDateTime": _made_at(stream),
        "TableName": stream.table,
        "KeySchema": [{"AttributeName": key.name, "KeyType": kind} for key, kind in keys],
        "Shards": [_described(each) for each in shards[:limit]],
    }
    if len(shards) > limit:
        described["LastEvaluatedShardId"] = shards[limit - 1].name
    return {"StreamDescription": described}


def _filter(given: Mapping[str, str] | None) -> str | None:
    """The shard whose children are asked for.

    Raises:
        ServiceError: it is not named, or cannot be one.
    """
    if given is None:
        return None
    for name in ("Type", "ShardId"):
        if name not in given:
            raise invalid(f"ShardFilter.{name} must not be null")
    if not is_stream_shard_name(given["ShardId"]):
        raise invalid(f"Invalid ShardFilter.ShardId: {given['ShardId']}")
    return given["ShardId"]


def _children(shards: Sequence[StreamShard], parent: str) -> list[StreamShard]:
    """All children of a stream shard that has ended, or none."""
    if any(each.is_open for each in shards if each.name == parent):
        return []
    return [each for each in shards if each.parent == parent]


def _described(shard: StreamShard) -> dict[str, Any]:
    first = shard.above + 1
    numbers = {"StartingSequenceNumber": sequence_number(shard.generation, first)}
    if shard.end is not None:
        last = max(first, shard.end)
        numbers["EndingSequenceNumber"] = sequence_number(shard.generation, last)
    described: dict[str, Any] = {"ShardId": shard.name, "SequenceNumberRange": numbers}
    if shard.parent is not None:
        described["ParentShardId"] = shard.parent
    return described


def _made_at(stream: TableStream) -> float:
    return datetime.fromisoformat(stream.label).replace(tzinfo=UTC).timestamp()


@_answers
def get_shard_iterator(context: Context, request: Request, call: Call) -> dict[str, Any]:
    """GetShardIterator."""
    kind, number = request["ShardIteratorType"], request.get("SequenceNumber")
    moment = request.get("Timestamp")
    if kind in _BY_NUMBER and number is None:
        raise invalid(f"Invalid SequenceNumber: it must not be null with ShardIteratorType {kind}")
    if kind not in _BY_NUMBER and number is not None:
        raise invalid(f"Invalid SequenceNumber: it must be null with ShardIteratorType {kind}")
    if kind == "AT_TIMESTAMP" and moment is None:
        raise invalid("Invalid Timestamp: it must not be null with ShardIteratorType AT_TIMESTAMP")
    if kind != "AT_TIMESTAMP" and moment is not None:
        raise invalid(f"Invalid Timestamp: it must be null with ShardIteratorType {kind}")
    if moment is not None and moment > time.time():
        raise invalid("Invalid Timestamp: it is in the future")
    stream = _stream(context, call, request["StreamArn"])
    name = request["ShardId"]
    try:
        position = context.streams.position(stream, name, kind, number, moment)
    except StreamShardNotFound:
        message = f"{NOT_FOUND}: Shard: {name} in Stream: {request['StreamArn']} not found"
        raise ServiceError("ResourceNotFoundException", message) from None
    return {"ShardIterator": _iterator(context, request["StreamArn"], position)}


@_answers
def get_records(context: Context, request: Request, call: Call) -> dict[str, Any]:
    """GetRecords."""
    arn = request["ShardIterator"].partition("|")[0]
    stream, position = stream_at(context, request["ShardIterator"])
    read = context.streams.read(position, request.get("Limit", MOST_RECORDS))
    records = read.page.records
    show = in_thread(_shown) if len(records) > MANY else _shown
    answer: dict[str, Any] = {"Records": show(context, position, stream.view, records)}
    if read.next is not None:
        answer["NextShardIterator"] = _iterator(context, arn, read.next)
    return answer


def _iterator(context: Context, arn: str, position: Position) -> str:
    return f"{arn}|1|{dump_iterator(position, context.cluster.id)}"


def stream_at(context: Context, iterator: str) -> tuple[TableStream, Position]:
    """The stream that an iterator reads, and where.

    Raises:
        ServiceError, InvalidToken, IteratorExpired: it is no iterator, or too old.
        StreamShardNotFound: there is no such stream any more.
    """
    _, one, text = (*iterator.split("|", 2), "", "")[:3]
    if one != "1":
        raise invalid("Invalid ShardIterator")
    position = parse_iterator(text, context.cluster.id)
    cluster, number = context.cluster, position.stream_id
    stream = cluster.snapshot.stream(number) or cluster.refresh().stream(number)
    if stream is None:
        raise StreamShardNotFound
    return stream, position


def _shown(
    context: Context, position: Position, view: str, records: Sequence[StreamRecord]
) -> list[dict[str, Any]]:
    return [_record(context, position, view, each) for each in records]


def _record(
    context: Context, position: Position, view: str, record: StreamRecord
) -> dict[str, Any]:
    """A record as DynamoDB answers it, its members in AWS's order."""
    change: dict[str, Any] = {
        "ApproximateCreationDateTime": record.created // 1_000_000,
        "Keys": record.keys,
    }
    if record.new is not None:
        change["NewImage"] = record.new
    if record.old is not None:
        change["OldImage"] = record.old
    change |= {
        "SequenceNumber": record.sequence_number,
        "SizeBytes": record.size,
        "StreamViewType": view,
    }
    identity = f"{position.name} {record.sequence_number}".encode()
    described: dict[str, Any] = {
        "eventID": hashlib.blake2b(identity, digest_size=16, key=context.cluster.id).hexdigest(),
        "eventName": record.name,
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": context.region,
        "dynamodb": change,
    }
    if record.expired:
        described["userIdentity"] = {"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"}
    return described


def _stream(context: Context, call: Call, arn: str) -> TableStream:
    table, label = stream_of_arn(context, call.operation, arn)
    try:
        return context.streams.stream(table, label)
    except StreamNotFound:
        message = f"{NOT_FOUND}: Stream: {arn} not found"
        raise ServiceError("ResourceNotFoundException", message) from None
