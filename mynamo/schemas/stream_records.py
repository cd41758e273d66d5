"""Records of a table's stream as shards store them, and the names and numbers that readers see.

Source: Amazon DynamoDB Streams API Reference: Record, StreamRecord, Shard, GetShardIterator.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import orjson

from mynamo.errors import CorruptData, InvalidRequest
from mynamo.schemas.events import Operation, StoredImage
from mynamo.schemas.items import item_size
from mynamo.schemas.table_settings import StreamView

_DIGITS = 20
_MOST_DIGITS = 40
_NUMBER = re.compile(rf"\d{{{_DIGITS + 1},{_MOST_DIGITS}}}", re.ASCII)
_NAME = re.compile(r"shardId-(\d{20})-([0-9a-f]{8})", re.ASCII)
_NEW = ("NEW_IMAGE", "NEW_AND_OLD_IMAGES")
_OLD = ("OLD_IMAGE", "NEW_AND_OLD_IMAGES")


def sequence_number(generation: int, seq: int) -> str:
    """The SequenceNumber of a record.

    Args:
        generation: of its stream shard.
        seq: of its event, on the shard that has both.
    """
    return f"{generation}{seq:0{_DIGITS}d}"


def parse_sequence_number(text: str) -> tuple[int, int]:
    """Generation and number of a SequenceNumber.

    Raises:
        InvalidRequest: it is not one.
    """
    if _NUMBER.fullmatch(text) is None or text[0] == "0":
        raise InvalidRequest(f"Invalid SequenceNumber: {text[:_MOST_DIGITS]}")
    return int(text[:-_DIGITS]), int(text[-_DIGITS:])


def stream_shard_name(milliseconds: int, mark: int | None = None) -> str:
    """The name of a stream shard, which consumers parse.

    Args:
        milliseconds: since 1970, when it begins.
        mark: 32 bits that tell it from others of that moment; None: new ones.
    """
    mark = secrets.randbits(32) if mark is None else mark
    return f"shardId-{milliseconds:020d}-{mark:08x}"


def name_parts(name: str) -> tuple[int, int]:
    """When a stream shard began, in milliseconds since 1970, and its mark, by its name."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise CorruptData(f"{name!r} is no name of a stream shard")
    return int(match[1]), int(match[2], 16)


def begun_at(name: str) -> int:
    """When a stream shard began, in milliseconds since 1970, by its name."""
    return name_parts(name)[0]


def is_stream_shard_name(text: str) -> bool:
    """Whether a text has the form of one."""
    return _NAME.fullmatch(text) is not None


def body_of(event: Mapping[str, Any]) -> bytes | None:
    """What is stored of a change, by the view type of its stream.

    Args:
        event: the payload of an outbox row of a table with a stream.

    Returns:
        None: the change left the item as it was, so there is no record of it.
    """
    old, new, view = event["old_image"], event["new_image"], event["view"]
    if old == new:
        return None
    body: dict[str, Any] = {"name": event["operation"], "keys": event["keys"]}
    if view in _NEW and new is not None:
        body["new"] = new
    if view in _OLD and old is not None:
        body["old"] = old
    if event.get("expired"):
        body["expired"] = True
    return orjson.dumps(body)


@dataclass(frozen=True, slots=True)
class StreamRecord:
    """One change of one item, as a reader of the stream sees it.

    Attributes:
        name: INSERT, MODIFY or REMOVE.
        sequence_number: digits; of two records of one stream shard, or of one and a descendant,
            the later one has the larger number.
        created: when it was written, by its shard's clock, in Unix microseconds.
        keys: of the item, in stored form.
        new, old: the item after and before, as far as the view type shows them.
        expired: it was deleted by time to live.
    """

    name: Operation
    sequence_number: str
    created: int
    keys: StoredImage
    new: StoredImage | None
    old: StoredImage | None
    expired: bool

    @classmethod
    def load(cls, generation: int, seq: int, created: int, body: bytes) -> StreamRecord:
        """Read what `body_of` wrote.

        Raises:
            CorruptData: it is not that.
        """
        try:
            stored = orjson.loads(body)
            return cls(
                name=stored["name"],
                sequence_number=sequence_number(generation, seq),
                created=created,
                keys=stored["keys"],
                new=stored.get("new"),
                old=stored.get("old"),
                expired=stored.get("expired", False),
            )
        except (ValueError, LookupError, TypeError, AttributeError):
            raise CorruptData(f"record {seq} of a stream cannot be read") from None

    @property
    def size(self) -> int:
        """SizeBytes: of the keys and of the images that are shown."""
        return sum(item_size(part) for part in (self.keys, self.new, self.old) if part is not None)


VIEWS: tuple[StreamView, ...] = get_args(StreamView)
"""What a stream's records may show of an item besides its key."""
