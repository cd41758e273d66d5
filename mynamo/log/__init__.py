"""Kafka, as mynamo uses it: clients, topics, dead letters."""

import mynamo.kafka_import  # noqa: F401  (before anything imports kafka)
from mynamo.log.clients import (
    kafka_errors,
    open_admin,
    open_consumer,
    open_producer,
    send_all,
    subscribe,
)
from mynamo.log.consumption import Patience, Reading, Stalled
from mynamo.log.kafka_internals import identity, is_joining
from mynamo.log.publisher import Publisher
from mynamo.log.topics import ensure_topics

__all__ = [
    "Patience",
    "Publisher",
    "Reading",
    "Stalled",
    "ensure_topics",
    "identity",
    "is_joining",
    "kafka_errors",
    "open_admin",
    "open_consumer",
    "open_producer",
    "send_all",
    "subscribe",
]
