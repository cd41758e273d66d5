"""Kafka: whether it answers; of a writer worker, dead letters and queued writes too.

A scrape waits for the answers for some seconds, and leaves out what has not come by then.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from mynamo.errors import LogUnavailable
from mynamo.log.clients import kafka_errors, open_consumer, uncommitted
from mynamo.log.dead_letter_topic import DeadLetterList
from mynamo.log.kafka_types import KafkaError, TopicPartition
from mynamo.metrics.families import gauge
from mynamo.metrics.names import DEAD_LETTERS, KAFKA_UP, QUEUED_WRITES, Metric
from mynamo.schemas.config import KafkaConfig

log = logging.getLogger(__name__)

FRESH_SECONDS = 2.0
PATIENCE_SECONDS = 3.0
"""Prometheus waits for 10 s for a scrape, unless told otherwise; shards may take 4 of them."""
_ANSWER_MS = 2_000

Found = dict[Metric, float]


class _Question:
    """A question to Kafka, asked in a thread of its own. For one caller at a time.

    Args:
        group: of the consumer with which it is asked.
        ask: asks it, with that consumer.
    """

    def __init__(self, config: KafkaConfig, group: str | None, ask: Callable[[Any], Found]) -> None:
        self._config = config
        self._group = group
        self._ask = ask
        self._consumer: Any = None
        self._thread: threading.Thread | None = None
        self._found: Found = {}
        self._found_at = -FRESH_SECONDS

    def begin(self) -> None:
        """Ask, unless this is under way or was done a moment ago."""
        if self._thread is None and time.monotonic() - self._found_at >= FRESH_SECONDS:
            # A daemon, since a process that ends must not wait for Kafka.
            self._thread = threading.Thread(target=self._run, name="metrics-kafka", daemon=True)
            self._thread.start()

    def answer(self, seconds: float) -> Found:
        """What was found; nothing, if that takes longer than so many seconds, or fails."""
        if self._thread is not None:
            self._thread.join(max(0.0, seconds))
            if self._thread.is_alive():
                return {}
            self._thread, self._found_at = None, time.monotonic()
        return self._found

    def close(self) -> None:
        """Let go of Kafka, unless the thread still waits for it."""
        if self._thread is None:
            self._let_go()

    def _run(self) -> None:
        self._found = {}
        try:
            if self._consumer is None:
                self._consumer = open_consumer(self._config, self._group)
            with kafka_errors(self._config):
                self._found = self._ask(self._consumer)
        except LogUnavailable as failure:
            log.debug("metrics of Kafka are not known: %s", failure)
            self._let_go()

    def _let_go(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with suppress(KafkaError):
                consumer.close(timeout_ms=_ANSWER_MS)


class KafkaMetrics(Collector):
    """Asks Kafka, at most every two seconds however often it is asked itself.

    Args:
        role: of the process: writer or indexer.
    """

    def __init__(self, config: KafkaConfig, role: str) -> None:
        self._config = config
        self._dead_letters = DeadLetterList(config)
        self._scraping = threading.Lock()
        self._questions = [_Question(config, None, self._is_up)]
        if role == "writer":
            self._questions.append(_Question(config, config.writer_group, self._waiting))

    def close(self) -> None:
        """Let go of Kafka."""
        for question in self._questions:
            question.close()

    def describe(self) -> Iterable[Family]:
        """See `Collector`: nothing, so that Kafka is not asked when this is registered."""
        return ()

    def collect(self) -> Iterable[Family]:
        """See `Collector`."""
        found = {KAFKA_UP: 0.0}
        with self._scraping:
            ends_at = time.monotonic() + PATIENCE_SECONDS
            for question in self._questions:
                question.begin()
            for question in self._questions:
                found |= question.answer(ends_at - time.monotonic())
        for metric, value in found.items():
            family = gauge(metric)
            family.add_metric([], value)
            yield family

    def _is_up(self, consumer: Any) -> Found:
        place = TopicPartition(self._config.dead_letter_topic, 0)
        consumer.end_offsets([place], timeout_ms=_ANSWER_MS)
        return {KAFKA_UP: 1}

    def _waiting(self, consumer: Any) -> Found:
        return {
            DEAD_LETTERS: self._dead_letters.count_open(consumer),
            QUEUED_WRITES: uncommitted(consumer, self._config.writes_topic),
        }
