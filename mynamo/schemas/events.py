"""The change event: what every consumer of the `changes` topic reads; and tokens that name one."""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple, get_args

import orjson
from pydantic import BaseModel, ConfigDict, Field

from mynamo.errors import CorruptData, InvalidToken
from mynamo.schemas.table_settings import StreamView
from mynamo.schemas.validation import load

FORMAT = 1
"""Raised whenever old consumers could misread the events: they wait until they are upgraded."""

Operation = Literal["INSERT", "MODIFY", "REMOVE"]
Origin = Literal["write", "backfill", "repair"]
StoredImage = dict[str, dict[str, Any]]


class ChangeEvent(BaseModel):
    """One committed change of one item.

    Attributes:
        format: of this message; now 1.
        event_id: the same whenever the event is sent again: `shard-outbox id`.
        table_id: identity of the table, never used for another one.
        table: its name.
        schema_version: version of the table's definition that the write knew.
        shard: on which it was committed.
        partition: of the `changes` topic; with `shard` it names a stream.
        sequence: position in the shard's sequence; dense per shard.
        previous: sequence of the event before it in the same stream that feeds an index
            (0: none). A consumer that has not seen that one has lost events.
        feeds: whether an index waits for it; only these count for `previous`.
        version: the item's version; larger means committed later.
        operation: INSERT, MODIFY or REMOVE, as DynamoDB Streams names them.
        origin: "write" for changes; "backfill" and "repair" state an item again, unchanged.
        index_id: the one index that a backfill or repair is for; None: all of the table's.
        expired: the item was deleted because it had expired (time to live); absent where it was
            not.
        stream: number of the stream that the table had; absent where it had none.
        view: the view type of the stream; likewise.
        slot: of the item; likewise.
        keys: the item's key in DynamoDB JSON.
        old_image: the item before, if there was one.
        new_image: the item after, if it still exists.
        committed_at: when it was committed, by the shard's clock, Unix microseconds.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: Literal[1]
    event_id: str
    table_id: int
    table: str
    schema_version: int
    shard: int
    partition: int
    sequence: int = Field(ge=1)
    previous: int = Field(ge=0)
    feeds: bool
    version: int = Field(ge=0)
    operation: Operation
    origin: Origin = "write"
    index_id: int | None = None
    expired: bool = False
    stream: int | None = None
    view: StreamView | None = None
    slot: int | None = None
    keys: StoredImage
    old_image: StoredImage | None = None
    new_image: StoredImage | None = None
    committed_at: int


def outbox_payload(
    *,
    table_id: int,
    table: str,
    schema_version: int,
    operation: Operation,
    origin: Origin = "write",
    index_id: int | None = None,
    keys: StoredImage,
    old_image: StoredImage | orjson.Fragment | None,
    new_image: StoredImage | orjson.Fragment | None,
    expired: bool = False,
    stream: tuple[int, StreamView, int] | None = None,
    traceparent: str | None = None,
) -> bytes:
    """The part of an event that is known before it commits.

    Args:
        old_image, new_image: items, or what `dump_item` gave for them.
        stream: number and view type of the table's stream, and the item's slot.
        traceparent: of the request that made it, if it is traced.
        others: see `ChangeEvent`.
    """
    payload = orjson.dumps(
        {
            "format": FORMAT,
            "table_id": table_id,
            "table": table,
            "schema_version": schema_version,
            "operation": operation,
            "origin": origin,
            "index_id": index_id,
            **(_EXPIRED if expired else {}),
            **({} if stream is None else {"stream": stream[0], "view": stream[1]}),
            "keys": keys,
            "old_image": old_image,
            "new_image": new_image,
            **({} if stream is None else {"slot": stream[2]}),
        }
    )
    if traceparent is None:
        return payload
    return b'%b%b%b"}' % (payload[:-1], _TRACEPARENT, traceparent.encode())


_TRACEPARENT = b',"traceparent":"'
_TRACEPARENT_BYTES = 55


def without_traceparent(payload: bytes) -> tuple[bytes, bytes | None]:
    """A payload as it is without traces, and the `traceparent` that it has, if it has one.

    No other payload ends with a quote and a brace, whatever its items have: its last member is an
    image or a number.
    """
    if not payload.endswith(b'"}'):
        return payload, None
    value_at = len(payload) - 2 - _TRACEPARENT_BYTES
    end = value_at - len(_TRACEPARENT)
    if payload[end:value_at] != _TRACEPARENT:  # of a later release
        return payload, None
    return payload[:end] + b"}", payload[value_at:-2]


_EXPIRED = {"expired": True}


def keys_in_payload(keys: StoredImage) -> bytes:
    """What every payload of an item's events contains, and of no other item's, unless an attribute
    of its images looks the same.

    Args:
        keys: of the item, canonical, in the order in which its table names them.
    """
    return b'"keys":' + orjson.dumps(keys) + b","


class PayloadHead(NamedTuple):
    """What a payload says of its item, without its images.

    Attributes:
        table: its name.
        table_id: its identity.
        operation: INSERT, MODIFY or REMOVE.
        keys: of the item, as JSON.
    """

    table: str
    table_id: int
    operation: Operation
    keys: bytes


def head_of(payload: bytes) -> PayloadHead:
    """The head of a payload that `outbox_payload` wrote, without parsing its images.

    What is looked for is found at its own place first: texts before the keys have no braces, and
    quotes in the values of keys are escaped.

    Raises:
        CorruptData: it was not written so.
    """
    keys_at = payload.find(b'"keys":{')
    images_at = payload.find(b'"}},"old_image":', keys_at)
    if keys_at < 0 or images_at < 0:
        raise CorruptData("a payload in the outbox is not in the order in which they are written")
    return PayloadHead(*_table_in(payload[:keys_at]), payload[keys_at + 7 : images_at + 3])


@lru_cache(1024)
def _table_in(beginning: bytes) -> tuple[str, int, Operation]:
    """Name and id of the table that many payloads begin with, and what happened."""
    members = orjson.loads(beginning[:-1] + b"}")
    return members["table"], members["table_id"], members["operation"]


def complete_event(
    payload: bytes,
    *,
    shard: int,
    outbox_id: int,
    version: int,
    partition: int,
    sequence: int,
    previous: int,
    feeds: bool,
    committed_at: int,
) -> bytes:
    """The whole event: the stored payload with what commit and sequencing added, spliced in."""
    head = (
        f'{{"event_id":"{shard}-{outbox_id}","shard":{shard},"partition":{partition},'
        f'"sequence":{sequence},"previous":{previous},"feeds":{"true" if feeds else "false"},'
        f'"version":{version},"committed_at":{committed_at},'
    )
    return head.encode() + payload[1:]


def load_event(message: bytes) -> ChangeEvent:
    """Read an event from its message.

    Raises:
        CorruptData: it is not one.
        NewerFormat: it is of a format that this version does not know.
    """
    return load(ChangeEvent, message, "a change event", FORMAT, "event_id")


@dataclass(slots=True)
class PlainEvent:
    """What an indexer needs of an event: the members of `ChangeEvent` by these names."""

    event_id: str
    table_id: int
    schema_version: int
    shard: int
    partition: int
    sequence: int
    previous: int
    feeds: bool
    version: int
    index_id: int | None
    keys: StoredImage
    old_image: StoredImage | None
    new_image: StoredImage | None


def read_event(message: bytes) -> PlainEvent | ChangeEvent:
    """As `load_event`, in half the time for an event as relays write them: without the model.

    Raises:
        CorruptData, NewerFormat: see `load_event`.
    """
    try:
        members = orjson.loads(message)
        event = PlainEvent(
            members["event_id"],
            table_id := members["table_id"],
            schema_version := members["schema_version"],
            shard := members["shard"],
            partition := members["partition"],
            sequence := members["sequence"],
            previous := members["previous"],
            feeds := members["feeds"],
            version := members["version"],
            index_id := members["index_id"],
            keys := members["keys"],
            old_image := members["old_image"],
            new_image := members["new_image"],
        )
        plain = (
            members["format"] == FORMAT
            and type(table_id) is type(schema_version) is int
            and type(shard) is type(partition) is type(sequence) is type(previous) is int
            and type(version) is type(members["committed_at"]) is int
            and sequence >= 1
            and previous >= 0
            and version >= 0
            and type(feeds) is bool
            and type(event.event_id) is type(members["table"]) is str
            and members["operation"] in _OPERATIONS
            and members["origin"] in _ORIGINS
            and (index_id is None or type(index_id) is int)
            and _is_image(keys)
            and (old_image is None or _is_image(old_image))
            and (new_image is None or _is_image(new_image))
        )
    except (ValueError, LookupError, TypeError):
        plain = False
    return event if plain else load_event(message)


_OPERATIONS = get_args(Operation)
_ORIGINS = get_args(Origin)


def _is_image(value: object) -> bool:
    return type(value) is dict and set(map(type, value.values())) <= _DICTIONARY


_DICTIONARY = {dict}


_TOKEN = struct.Struct(">BIHHQ")
_TOKEN_KIND = 1


SEPARATOR = ","
"""Between consistency tokens, where one text has several."""


@dataclass(frozen=True, slots=True)
class ConsistencyToken:
    """Names one committed write, so that an index query can wait for it.

    Attributes:
        cluster: checksum of the cluster's id; a token of another cluster is refused.
        shard: on which it was committed.
        partition: of its event.
        version: the id of its event in the shard's outbox; 0 if nothing was changed.
    """

    cluster: int
    shard: int
    partition: int
    version: int

    def __str__(self) -> str:
        return token_text(self.cluster, self.shard, self.partition, self.version)

    @classmethod
    def parse(cls, text: str) -> ConsistencyToken:
        """Read a token's text.

        Raises:
            InvalidToken: it is not one.
        """
        try:
            data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except (ValueError, binascii.Error):
            raise InvalidToken(f"{text!r} is not a consistency token") from None
        body, check = data[:-4], data[-4:]
        if len(body) != _TOKEN.size or zlib.crc32(body).to_bytes(4, "big") != check:
            raise InvalidToken(f"{text!r} is not a consistency token")
        kind, cluster, shard, partition, version = _TOKEN.unpack(body)
        if kind != _TOKEN_KIND:
            raise InvalidToken(f"{text!r} is a token of a kind this version does not know")
        return cls(cluster, shard, partition, version)


def token_text(cluster: int, shard: int, partition: int, version: int) -> str:
    """The text of a consistency token; see there."""
    body = _TOKEN.pack(_TOKEN_KIND, cluster, shard, partition, version)
    check = zlib.crc32(body).to_bytes(4, "big")
    return base64.urlsafe_b64encode(body + check).rstrip(b"=").decode()
