"""The dead-letter topic: messages that could not be applied, and what was done with them.

Nothing in the topic is ever changed. The resolution of a dead letter (replayed or discarded) is a
message of its own, later in the same topic. So both are kept or lost together, and the order of
the topic decides.
"""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from mynamo.errors import CorruptData, LogUnavailable
from mynamo.log.clients import (
    MAX_MESSAGE,
    Message,
    kafka_errors,
    open_consumer,
    partitions_of_topic,
)
from mynamo.log.consumption import Patience, Reading
from mynamo.log.publisher import Publisher
from mynamo.runtime.counters import counters
from mynamo.schemas.config import KafkaConfig
from mynamo.schemas.dead_letters import (
    DeadLetter,
    DeadLetterState,
    Resolution,
    load_dead_letter,
    load_resolution,
)

log = logging.getLogger(__name__)

RESOLUTION = b"mark"
"""Value of the header `kind` of a resolution. A dead letter has its own kind there."""

_MAX_VALUE = MAX_MESSAGE * 3 // 4
"""Characters of the largest message, in base64, that fits into a dead letter."""
_KEPT = 64 * 1024
"""Bytes that are kept of a message that does not fit."""
_PATIENCE = 30.0
_POLL_MS = 500
_POLL_RECORDS = 500


def dead_letter_of(
    record: Any, kind: Literal["command", "event"], reason: str, letter_id: str | None = None
) -> DeadLetter:
    """The dead letter for a message.

    Args:
        record: as a consumer gave it.
        letter_id: of the command or event; None: it cannot be read, so its offset identifies it.
    """
    return DeadLetter(
        letter_id=letter_id or f"{record.topic}/{record.partition}/{record.offset}",
        kind=kind,
        reason=reason,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        value=base64.b64encode(record.value or b"").decode(),
        written_at=record.timestamp * 1000 if record.timestamp >= 0 else None,
    )


def send_dead_letters(publisher: Publisher, dead_letters: Iterable[DeadLetter]) -> None:
    """Send dead letters and wait until Kafka has them.

    Raises:
        LogUnavailable: it does not have them all.
    """
    messages = [_message(publisher.config, dead_letter) for dead_letter in dead_letters]
    publisher.send(messages)
    counters.add("dead_letters_written", len(messages))


def resolve_dead_letter(
    publisher: Publisher, dead_letter: DeadLetter, state: Literal["replayed", "discarded"]
) -> None:
    """Note in the topic what was done with a dead letter.

    Raises:
        LogUnavailable: Kafka may not have it.
    """
    topic, partition, offset = dead_letter.origin
    resolution = Resolution(
        letter_id=dead_letter.letter_id,
        topic=topic,
        partition=partition,
        offset=offset,
        state=state,
    )
    key, value = dead_letter.letter_id.encode(), resolution.dump()
    publisher.send([(publisher.config.dead_letter_topic, 0, key, value, [("kind", RESOLUTION)])])


@dataclass(frozen=True, slots=True)
class DeadLetterEntry:
    """A dead letter and what was done with it.

    Attributes:
        dead_letter: the newest, if its message failed more than once.
        attempts: how often its message has failed; reading it again after a crash does not count.
        state: "open" until it is replayed or discarded; open again once it fails again.
        marked_at: when it was replayed or discarded, Unix microseconds.
    """

    dead_letter: DeadLetter
    attempts: int = 1
    state: DeadLetterState = "open"
    marked_at: int | None = None


def read_dead_letter_entries(config: KafkaConfig) -> list[DeadLetterEntry]:
    """Read all dead letters in the topic, oldest first, with what was done with them.

    Raises:
        LogUnavailable: Kafka does not answer.
    """
    return merge_resolutions(_all_entries(config))


def read_dead_letter_entry(config: KafkaConfig, letter_id: str) -> DeadLetterEntry | None:
    """Read one dead letter; None: there is none of this id.

    Raises:
        LogUnavailable: Kafka does not answer.
    """
    of_id = (one for one in _all_entries(config) if one.letter_id == letter_id)
    return next(iter(merge_resolutions(of_id)), None)


def read_dead_letters(config: KafkaConfig, limit: int | None = None) -> list[DeadLetter]:
    """Read the dead letters in the topic, oldest first, whatever was done with them.

    Args:
        limit: the newest so many; None: all.

    Raises:
        LogUnavailable: Kafka does not answer.
    """
    found = [one.dead_letter for one in read_dead_letter_entries(config)]
    return found if limit is None else found[max(0, len(found) - limit) :]


def merge_resolutions(entries: Iterable[DeadLetter | Resolution]) -> list[DeadLetterEntry]:
    """Combine dead letters with their resolutions, in the order of the topic."""
    by_id: dict[str, DeadLetterEntry] = {}
    for one in entries:
        _merge(by_id, one)
    return list(by_id.values())


def _merge(by_id: dict[str, DeadLetterEntry], one: DeadLetter | Resolution) -> None:
    known = by_id.get(one.letter_id)
    same = known is not None and known.dead_letter.origin == one.origin
    if isinstance(one, Resolution):
        if known is not None and same:
            by_id[one.letter_id] = replace(known, state=one.state, marked_at=one.marked_at)
        return
    by_id.pop(one.letter_id, None)
    if known is None:
        by_id[one.letter_id] = DeadLetterEntry(one)
    elif same:  # sent twice, because a worker died in between
        by_id[one.letter_id] = replace(known, dead_letter=one)
    else:
        by_id[one.letter_id] = DeadLetterEntry(one, known.attempts + 1)


class DeadLetterList:
    """All dead letters, without their messages. Each look reads what the topic has got since the
    last one. Use by one thread at a time.
    """

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._by_id: dict[str, DeadLetterEntry] = {}
        self._first: dict[Any, int] = {}
        self._next: dict[Any, int] = {}

    def count_open(self, consumer: Any) -> int:
        """How many are open; see `look`."""
        return sum(entry.state == "open" for entry in self.look(consumer))

    def look(self, consumer: Any) -> list[DeadLetterEntry]:
        """All of them, oldest first; `value` is empty.

        Args:
            consumer: of kafka-python, any one: to ask where the topic begins and ends.

        Raises:
            LogUnavailable: Kafka does not answer; look again later.
        """
        with kafka_errors(self._config):
            partitions = partitions_of_topic(consumer, self._config.dead_letter_topic)
            first, ends = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
        if first != self._first or any(ends[p] < self._next[p] for p in partitions):
            # The topic is another one, or some of it has been deleted: from its beginning.
            self._by_id, self._first, self._next = {}, first, first
        if ends != self._next:
            self._read(ends)
            self._next = ends
        return list(self._by_id.values())

    def _read(self, ends: Mapping[Any, int]) -> None:
        by_id = dict(self._by_id)  # if this fails in the middle, the next look begins here again
        consumer = open_consumer(self._config, None)
        try:
            with kafka_errors(self._config):
                consumer.assign(list(ends))
                for partition, offset in self._next.items():
                    consumer.seek(partition, offset)
                for one in _entries(_up_to(consumer, ends)):
                    _merge(by_id, _without_message(one))
        finally:
            consumer.close()
        self._by_id = by_id


def _without_message(one: DeadLetter | Resolution) -> DeadLetter | Resolution:
    return one.model_copy(update={"value": ""}) if isinstance(one, DeadLetter) else one


def _all_entries(config: KafkaConfig) -> Iterator[DeadLetter | Resolution]:
    consumer = open_consumer(config, None)
    try:
        with kafka_errors(config):
            yield from _entries(_whole_topic(consumer, config.dead_letter_topic))
    finally:
        consumer.close()


def _entries(records: Iterable[Any]) -> Iterator[DeadLetter | Resolution]:
    for record in records:
        try:
            if dict(record.headers or ()).get("kind") == RESOLUTION:
                yield load_resolution(record.value or b"")
            else:
                yield load_dead_letter(record.value or b"")
        except CorruptData as flaw:
            log.warning("dead letter at offset %d: %s", record.offset, flaw)


def _message(config: KafkaConfig, dead_letter: DeadLetter) -> Message:
    if len(dead_letter.value) > _MAX_VALUE:
        kept = base64.b64encode(dead_letter.message[:_KEPT]).decode()
        reason = f"{dead_letter.reason} (only the message's first {_KEPT} bytes are kept)"
        dead_letter = dead_letter.model_copy(update={"value": kept, "reason": reason})
    headers = [("kind", dead_letter.kind.encode())]
    return config.dead_letter_topic, 0, dead_letter.letter_id.encode(), dead_letter.dump(), headers


def _whole_topic(consumer: Any, topic: str) -> Iterator[Any]:
    partitions = partitions_of_topic(consumer, topic)
    if not partitions:
        return
    consumer.assign(partitions)
    ends = consumer.end_offsets(partitions)
    consumer.seek_to_beginning(*partitions)
    yield from _up_to(consumer, ends)


def _up_to(consumer: Any, ends: Mapping[Any, int]) -> Iterator[Any]:
    """Read from where the consumer is.

    Args:
        ends: by partition, the offset behind the last message to read.
    """
    reading = Reading(consumer, Patience(), wait_ms=_POLL_MS, full=_POLL_RECORDS)
    deadline = time.monotonic() + _PATIENCE
    while any(consumer.position(partition) < end for partition, end in ends.items()):
        polled = reading.poll(_POLL_MS, _POLL_RECORDS)
        for records in polled.values():
            yield from records
        if polled:
            deadline = time.monotonic() + _PATIENCE
        elif time.monotonic() > deadline:
            topics = ", ".join({partition.topic for partition in ends})
            raise LogUnavailable(f"Kafka has stopped to answer while topic {topics} was read")
