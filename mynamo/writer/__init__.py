"""Applying writes on their shards: the transaction, the queue, the relay."""

from mynamo.writer.commands import command_message
from mynamo.writer.evaluation import Done, Outcome, Refused
from mynamo.writer.requests import WriteRequest, command_request, prepare
from mynamo.writer.routing import apply

__all__ = [
    "Done",
    "Outcome",
    "Refused",
    "WriteRequest",
    "apply",
    "command_message",
    "command_request",
    "prepare",
]
