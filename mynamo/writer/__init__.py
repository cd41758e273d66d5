"""Applying writes on their shards: the transaction, the queue, the relay."""

from mynamo.writer.queue.commands_topic import command_message, command_request
from mynamo.writer.transaction.evaluation import (
    Done,
    Outcome,
    Refused,
    ReturnValues,
    check_return_values,
    returned,
)
from mynamo.writer.transaction.expression_texts import parse_texts
from mynamo.writer.transaction.meeting import finish_transaction
from mynamo.writer.transaction.request_tokens import RequestToken
from mynamo.writer.transaction.routing import apply, apply_each
from mynamo.writer.transaction.transact import transact
from mynamo.writer.transaction.transacted import Transacted
from mynamo.writer.transaction.write_requests import Operation, WriteRequest, check_request

__all__ = [
    "Done",
    "Operation",
    "Outcome",
    "Refused",
    "RequestToken",
    "ReturnValues",
    "Transacted",
    "WriteRequest",
    "apply",
    "apply_each",
    "check_request",
    "check_return_values",
    "command_message",
    "command_request",
    "finish_transaction",
    "parse_texts",
    "returned",
    "transact",
]
