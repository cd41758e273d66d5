"""Kafka: whether it answers; of a writer worker, dead letters and queued writes too.

A thread asks at a scrape, which waits for it for some seconds. One that gets no answer goes on, and
no other one is begun beside it.
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
from mynamo.log.dead_letter_topic import OpenDeadLetters
from mynamo.log.kafka_types import KafkaError, TopicPartition
from mynamo.metrics import names
from mynamo.metrics.families import gauge
from mynamo.metrics.names import Metric
from mynamo.schemas.config import KafkaConfig

log = logging.getLogger(__name__)

FRESH_SECONDS = 2.0
PATIENCE_SECONDS = 4.0
"""Prometheus waits for 10 s for a scrape, unless told otherwise."""
_ANSWER_MS = 3_000


class KafkaMetrics(Collector):
    """Asks Kafka, at most every two seconds however often it is asked itself.

    Args:
        role: of the process: writer or indexer.
    """

    def __init__(self, config: KafkaConfig, role: str) -> None:
        self._config = config
        self._is_writer = role == "writer"
        self._consumer: Any = None
        self._dead_letters = OpenDeadLetters(config)
        self._scraping = threading.Lock()
        self._asking: threading.Thread | None = None
        self._asked_at = -FRESH_SECONDS
        self._found: dict[Metric, float] = {}

    def describe(self) -> Iterable[Family]:
        """See `Collector`: nothing, so that Kafka is not asked when this is registered."""
        return ()

    def collect(self) -> Iterable[Family]:
        """See `Collector`."""
        with self._scraping:
            if self._asking is None and time.monotonic() - self._asked_at >= FRESH_SECONDS:
                # A daemon, since a process that ends must not wait for Kafka.
                self._asking = threading.Thread(target=self._ask, name="metrics-kafka", daemon=True)
                self._asking.start()
            if self._asking is not None:
                self._asking.join(PATIENCE_SECONDS)
                if not self._asking.is_alive():
                    self._asking, self._asked_at = None, time.monotonic()
            found = {names.KAFKA_UP: 0.0} if self._asking is not None else self._found
        for metric, value in found.items():
            family = gauge(metric)
            family.add_metric([], value)
            yield family

    def _ask(self) -> None:
        found = self._found = {names.KAFKA_UP: 0.0}
        try:
            self._reach()
            found[names.KAFKA_UP] = 1.0
            if self._is_writer:
                self._note(names.DEAD_LETTERS, lambda: self._dead_letters.count(self._consumer))
                self._note(names.QUEUED_WRITES, self._queued)
        except LogUnavailable as failure:
            log.debug("metrics of Kafka are not known: %s", failure)
            self._let_go()

    def _reach(self) -> None:
        """Raises LogUnavailable if Kafka does not answer."""
        if self._consumer is None:
            group = self._config.writer_group if self._is_writer else None
            self._consumer = open_consumer(self._config, group)
        with kafka_errors(self._config):
            place = TopicPartition(self._config.dead_letter_topic, 0)
            self._consumer.end_offsets([place], timeout_ms=_ANSWER_MS)

    def _note(self, metric: Metric, find: Callable[[], int]) -> None:
        try:
            self._found[metric] = find()
        except LogUnavailable as failure:  # it may not be allowed to read this
            log.debug("%s is not known: %s", metric.name, failure)

    def _queued(self) -> int:
        with kafka_errors(self._config):
            return uncommitted(self._consumer, self._config.writes_topic)

    def close(self) -> None:
        """Let go of Kafka, unless a thread still waits for it."""
        if self._asking is None:
            self._let_go()

    def _let_go(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with suppress(KafkaError):
                consumer.close(timeout_ms=_ANSWER_MS)
