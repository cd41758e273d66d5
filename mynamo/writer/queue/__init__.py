"""Writes that wait in Kafka until a worker applies them."""
