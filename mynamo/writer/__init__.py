"""Applying writes on their shards: the transaction, the queue, the relay."""

import mynamo.kafka_import  # noqa: F401  (before anything imports kafka)
from mynamo.writer.commands import command_message, command_request
from mynamo.writer.evaluation import Done, Outcome, Refused
from mynamo.writer.requests import Operation, WriteRequest, prepare
from mynamo.writer.returning import ReturnValues, check_return_values, returned
from mynamo.writer.routing import apply, apply_each
from mynamo.writer.texts import parse_texts

__all__ = [
    "Done",
    "Operation",
    "Outcome",
    "Refused",
    "ReturnValues",
    "WriteRequest",
    "apply",
    "apply_each",
    "check_return_values",
    "command_message",
    "command_request",
    "parse_texts",
    "prepare",
    "returned",
]
