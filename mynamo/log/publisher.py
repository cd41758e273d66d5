"""`Publisher`: a Kafka producer that threads share, opened when needed, replaced once it failed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from kafka.errors import KafkaError, KafkaTimeoutError

from mynamo.errors import LogUnavailable
from mynamo.log.clients import Message, kafka_errors, open_producer
from mynamo.log.kafka_internals import SentBatch, give_batches
from mynamo.log.record_format import Content
from mynamo.log.topics import ensure_topics
from mynamo.runtime import forks
from mynamo.schemas.config import KafkaConfig

_TICK = 0.5
"""Seconds between two calls of `while_waiting`."""
_MEND_AFTER = 2.0
"""Seconds without an answer after which the topics are looked at: a broker that keeps
nothing on disk may have come back without them."""
PATIENCE = 20.0
"""Seconds after which messages count as not sent."""
_CLOSING = 60.0


class Publisher:
    """Sends messages and says when Kafka has them. Safe to share between threads.

    A producer that failed once is not used again. Messages that it still holds may arrive late;
    that does no harm, as every reader of mynamo's topics recognises a message that it has seen.

    Args:
        config: where to. Missing topics are made.
        timeout: seconds after which messages count as not sent; `PATIENCE`, if that is less.
    """

    def __init__(self, config: KafkaConfig, timeout: float | None = None) -> None:
        self.config = config
        self._timeout = timeout
        self.renew_after_fork()
        forks.note(self)

    __reduce__ = forks.not_picklable

    def renew_after_fork(self) -> None:
        """Begin without a producer: the parent keeps its own, with the messages in it."""
        self._producer: Any = None
        self._lock = threading.Lock()

    def send(
        self,
        messages: Sequence[Message],
        while_waiting: Callable[[], None] = lambda: None,
        timeout: float | None = None,
    ) -> None:
        """Send messages, those of a partition in their order, and wait until Kafka has them all.

        Args:
            messages: see `Message`.
            while_waiting: called about twice a second; what it raises ends the waiting.
            timeout: in place of the publisher's own.

        Raises:
            LogUnavailable: Kafka does not have them all; some may have been sent.
        """
        producer = self._open()
        try:
            with kafka_errors(self.config):
                by_place: dict[tuple[str, int], list[Content]] = {}
                for topic, partition, key, value, headers in messages:
                    by_place.setdefault((topic, partition), []).append((key, value, headers))
                batches = [
                    batch
                    for place, contents in by_place.items()
                    for batch in give_batches(producer, *place, contents)
                ]
                if timeout is None:
                    timeout = min(PATIENCE, self._timeout or PATIENCE)
                self._await(producer, batches, while_waiting, timeout)
        except LogUnavailable:
            self.discard(producer)
            raise

    def reach(self) -> None:
        """Open a producer, if there is none.

        Raises:
            LogUnavailable: no broker answers.
        """
        self._open()

    def close(self) -> None:
        """Close the producer; the next `send` opens another."""
        with self._lock:
            producer, self._producer = self._producer, None
        if producer is not None:
            _close(producer, 2.0)

    def _open(self) -> Any:
        forks.check()
        with self._lock:
            if self._producer is None:
                ensure_topics(self.config)
                self._producer = open_producer(self.config)
            return self._producer

    def _await(
        self,
        producer: Any,
        batches: Sequence[SentBatch],
        while_waiting: Callable[[], None],
        timeout: float,
    ) -> None:
        started = time.monotonic()
        mended = False
        while True:
            with suppress(KafkaTimeoutError):
                producer.flush(timeout=min(_TICK, timeout))
            if all(batch.answered for batch in batches):
                break
            while_waiting()
            waited = time.monotonic() - started
            if waited > timeout:
                raise LogUnavailable(
                    f"Kafka at {self.config.bootstrap_servers} has not answered within the "
                    f"timeout of {timeout:g} s; check that it runs"
                )
            if waited > _MEND_AFTER and not mended:
                mended = True
                with suppress(LogUnavailable):
                    ensure_topics(self.config)
        for batch in batches:
            batch.check()

    def discard(self, producer: Any) -> None:
        """Have the next message sent by a new producer of kafka-python's."""
        with self._lock:
            if self._producer is producer:
                self._producer = None
        # Closing waits for what is under way, which nobody else needs to wait for.
        threading.Thread(target=_close, args=(producer, _CLOSING), daemon=True).start()


def _close(producer: Any, seconds: float) -> None:
    with suppress(KafkaError, OSError):
        producer.close(timeout=seconds)
