"""The outbox: its relay to Kafka, and how much of it waits."""
