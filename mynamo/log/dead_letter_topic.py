"""The dead-letter topic: putting messages aside, and reading what was put aside.

Nothing in it is ever changed. What is done with a letter is a mark, a message of its own
behind it, so letters and marks live and die together, and the order of the topic decides.
"""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from kafka import TopicPartition

from mynamo.errors import CorruptData, LogUnavailable
from mynamo.log.clients import MAX_MESSAGE, Message, kafka_errors, open_consumer
from mynamo.log.consumption import Patience, Reading
from mynamo.log.publisher import Publisher
from mynamo.schemas.config import KafkaConfig
from mynamo.schemas.dead_letters import (
    DeadLetter,
    LetterState,
    Resolution,
    load_letter,
    load_resolution,
)

log = logging.getLogger(__name__)

RESOLUTION = b"mark"
"""Value of the header `kind` of a mark; that of a letter names its kind."""

_MAX_VALUE = MAX_MESSAGE * 3 // 4
"""Characters of the largest message, in base64, that fits into a letter."""
_KEPT = 64 * 1024
"""Bytes that are kept of a message that does not fit."""
_PATIENCE = 30.0
_POLL_MS = 500
_POLL_RECORDS = 500


def letter_of(
    record: Any, kind: Literal["command", "event"], reason: str, letter_id: str | None = None
) -> DeadLetter:
    """The dead letter for a message.

    Args:
        record: as a consumer gave it.
        letter_id: of the command or event; None: it cannot be read, so its place must do.
    """
    stamp = getattr(record, "timestamp", None)
    return DeadLetter(
        letter_id=letter_id or f"{record.topic}/{record.partition}/{record.offset}",
        kind=kind,
        reason=reason,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        value=base64.b64encode(record.value or b"").decode(),
        written_at=stamp * 1000 if isinstance(stamp, int) and stamp >= 0 else None,
    )


def send_letters(publisher: Publisher, letters: Iterable[DeadLetter]) -> None:
    """Send letters and wait until Kafka has them.

    Raises:
        LogUnavailable: it does not have them all.
    """
    publisher.send([_message(publisher.config, letter) for letter in letters])


def resolve_letter(
    publisher: Publisher, letter: DeadLetter, state: Literal["replayed", "discarded"]
) -> None:
    """Note in the topic what was done with a letter.

    Raises:
        LogUnavailable: Kafka may not have it.
    """
    topic, partition, offset = letter.origin
    resolution = Resolution(
        letter_id=letter.letter_id, topic=topic, partition=partition, offset=offset, state=state
    )
    place = publisher.config.dead_letter_topic
    publisher.send(
        [(place, 0, letter.letter_id.encode(), resolution.dump(), [("kind", RESOLUTION)])]
    )


@dataclass(frozen=True, slots=True)
class FiledLetter:
    """A letter and what became of it.

    Attributes:
        letter: the newest, if its message failed more than once.
        attempts: how often its message has failed; that it is read again after a crash does
            not count.
        state: "open" until it is replayed or discarded; open again once it fails again.
        marked_at: when it was replayed or discarded, Unix microseconds.
    """

    letter: DeadLetter
    attempts: int = 1
    state: LetterState = "open"
    marked_at: int | None = None


def read_filed(config: KafkaConfig) -> list[FiledLetter]:
    """Read all letters in the topic, oldest first, and what became of them.

    Raises:
        LogUnavailable: Kafka does not answer.
    """
    consumer = open_consumer(config, None)
    try:
        with kafka_errors(config):
            return file_letters(_entries(_whole_topic(consumer, config.dead_letter_topic)))
    finally:
        consumer.close()


def read_letters(config: KafkaConfig, limit: int | None = None) -> list[DeadLetter]:
    """Read the letters in the topic, oldest first, whatever became of them.

    Args:
        limit: the newest so many; None: all.

    Raises:
        LogUnavailable: Kafka does not answer.
    """
    found = [filed.letter for filed in read_filed(config)]
    return found if limit is None else found[max(0, len(found) - limit) :]


def file_letters(entries: Iterable[DeadLetter | Resolution]) -> list[FiledLetter]:
    """Put letters and the marks on them together, in the order of the topic."""
    filed: dict[str, FiledLetter] = {}
    for entry in entries:
        known = filed.get(entry.letter_id)
        same = known is not None and known.letter.origin == entry.origin
        if isinstance(entry, Resolution):
            if known is not None and same:
                filed[entry.letter_id] = replace(
                    known, state=entry.state, marked_at=entry.marked_at
                )
            continue
        filed.pop(entry.letter_id, None)
        if known is None:
            filed[entry.letter_id] = FiledLetter(entry)
        elif same:  # put aside twice, because a worker died in between
            filed[entry.letter_id] = replace(known, letter=entry)
        else:
            filed[entry.letter_id] = FiledLetter(entry, known.attempts + 1)
    return list(filed.values())


def _entries(records: Iterable[Any]) -> Iterator[DeadLetter | Resolution]:
    for record in records:
        try:
            if dict(record.headers or ()).get("kind") == RESOLUTION:
                yield load_resolution(record.value or b"")
            else:
                yield load_letter(record.value or b"")
        except CorruptData as flaw:
            log.warning("dead letter at offset %d: %s", record.offset, flaw)


def _message(config: KafkaConfig, letter: DeadLetter) -> Message:
    if len(letter.value) > _MAX_VALUE:
        kept = base64.b64encode(letter.message[:_KEPT]).decode()
        reason = f"{letter.reason} (only the message's first {_KEPT} bytes are kept)"
        letter = letter.model_copy(update={"value": kept, "reason": reason})
    headers = [("kind", letter.kind.encode())]
    return config.dead_letter_topic, 0, letter.letter_id.encode(), letter.dump(), headers


def _whole_topic(consumer: Any, topic: str) -> Iterator[Any]:
    places = [TopicPartition(topic, p) for p in sorted(consumer.partitions_for_topic(topic) or ())]
    if not places:
        return
    consumer.assign(places)
    ends = consumer.end_offsets(places)
    consumer.seek_to_beginning(*places)
    reading = Reading(consumer, Patience(), wait_ms=_POLL_MS, full=_POLL_RECORDS)
    deadline = time.monotonic() + _PATIENCE
    while any(consumer.position(place) < ends[place] for place in places):
        polled = reading.poll(_POLL_MS, _POLL_RECORDS)
        for records in polled.values():
            yield from records
        if polled:
            deadline = time.monotonic() + _PATIENCE
        elif time.monotonic() > deadline:
            raise LogUnavailable(f"Kafka has stopped to answer while topic {topic} was read")
