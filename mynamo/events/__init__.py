"""Change events for programs that read Kafka: `Consumer`."""

from mynamo.events.changes_consumer import Consumer, Positions

__all__ = ["Consumer", "Positions"]
