"""The public names of kafka-python that packages beside this one use."""

from __future__ import annotations

from kafka import ConsumerRebalanceListener, TopicPartition
from kafka.errors import KafkaError, KafkaTimeoutError
from kafka.structs import OffsetAndMetadata

__all__ = [
    "ConsumerRebalanceListener",
    "KafkaError",
    "KafkaTimeoutError",
    "OffsetAndMetadata",
    "TopicPartition",
]
