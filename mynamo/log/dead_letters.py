"""The dead-letter topic: putting messages aside, and reading what was put aside."""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Iterable, Iterator
from typing import Any

from kafka import TopicPartition

from mynamo.errors import CorruptData, LogUnavailable
from mynamo.log.clients import MAX_MESSAGE, Message, kafka_errors, open_consumer
from mynamo.log.publisher import Publisher
from mynamo.schemas.config import KafkaConfig
from mynamo.schemas.dead_letters import DeadLetter, load_letter

log = logging.getLogger(__name__)

_MAX_VALUE = MAX_MESSAGE * 3 // 4
"""Characters of the largest message, in base64, that fits into a letter."""
_KEPT = 64 * 1024
"""Bytes that are kept of a message that does not fit."""
_PATIENCE = 30.0


def send_letters(publisher: Publisher, letters: Iterable[DeadLetter]) -> None:
    """Send letters and wait until Kafka has them.

    Raises:
        LogUnavailable: it does not have them all.
    """
    publisher.send([_message(publisher.config, letter) for letter in letters])


def read_letters(config: KafkaConfig, limit: int | None = None) -> list[DeadLetter]:
    """Read the letters in the topic, oldest first; of those sent again, the newest.

    Args:
        limit: the newest so many; None: all.

    Raises:
        LogUnavailable: Kafka does not answer.
    """
    consumer = open_consumer(config, None)
    try:
        with kafka_errors(config):
            letters: dict[str, DeadLetter] = {}
            for record in _whole_topic(consumer, config.dead_letter_topic):
                try:
                    letter = load_letter(record.value or b"")
                except CorruptData as flaw:
                    log.warning("dead letter at offset %d: %s", record.offset, flaw)
                    continue
                letters.pop(letter.letter_id, None)
                letters[letter.letter_id] = letter
    finally:
        consumer.close()
    found = list(letters.values())
    return found if limit is None else found[max(0, len(found) - limit) :]


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
    deadline = time.monotonic() + _PATIENCE
    while any(consumer.position(place) < ends[place] for place in places):
        polled = consumer.poll(timeout_ms=500)
        for records in polled.values():
            yield from records
        if polled:
            deadline = time.monotonic() + _PATIENCE
        elif time.monotonic() > deadline:
            raise LogUnavailable(f"Kafka has stopped to answer while topic {topic} was read")
