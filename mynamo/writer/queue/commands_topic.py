"""Queued writes as messages: which partition they go to, and what makes them too old."""

from __future__ import annotations

import time

from mynamo.catalog.cluster import Cluster
from mynamo.errors import CorruptData
from mynamo.expressions import Update
from mynamo.log.clients import Message
from mynamo.runtime import tracing
from mynamo.schemas.commands import WriteCommand
from mynamo.schemas.items import normalise
from mynamo.writer.transaction.expression_texts import parse_texts
from mynamo.writer.transaction.write_requests import WriteRequest, check_request

DAY = 86_400.0
MAX_AGE = 7 * DAY
"""Seconds after which a command becomes a dead letter and is not applied."""
MAX_AHEAD = DAY
"""Seconds by which the publisher's clock may be ahead."""
REMEMBERED = MAX_AGE + MAX_AHEAD + DAY
"""Seconds for which a shard remembers a command that it has applied: longer than the
command could be applied, by any clock, plus a day for a worker that was frozen meanwhile."""


def command_request(command: WriteCommand) -> WriteRequest:
    """The request that a queued write stands for.

    Raises:
        InvalidItem: its item, key or values are not valid DynamoDB JSON.
        InvalidExpression: its expressions are not valid.
    """
    update, condition = parse_texts(
        update=command.update_expression,
        condition=command.condition_expression,
        names=command.expression_names,
        values=normalise(command.expression_values),
    )
    if command.set or command.remove:
        update = Update.setting(normalise(command.set), command.remove)
    return WriteRequest(
        table=command.table,
        operation=command.operation,
        item=normalise(command.item if command.item is not None else command.key),
        update=update,
        condition=condition or command.condition,
        command_id=command.command_id.bytes,
    )


def command_message(cluster: Cluster, command: WriteCommand) -> Message:
    """The message for a command, to the partition of its item, so that an item's stay in order.

    Raises:
        InvalidItem, InvalidExpression: it could never be applied.
        TableNotFound: there is no such table.
    """
    table = cluster.table(command.table)
    row, _ = check_request(command_request(command), table)
    key = command.table.encode() + b"\0" + row.hash + row.sort
    partition = cluster.partition_of(table.id, row.slot)
    topic = cluster.config.kafka.writes_topic
    headers = [("table", command.table.encode())]
    if (span := tracing.current_span.get()) is not None:
        headers.append((tracing.TRACEPARENT, span.traceparent.encode()))
    return topic, partition, key, command.dump(), headers


def check_age(command: WriteCommand) -> None:
    """Refuse a command whose effect could happen twice, because nobody remembers it so long.

    Raises:
        CorruptData: it is too old, or from the future.
    """
    age = time.time() - command.submitted_at / 1_000_000
    if age > MAX_AGE:
        raise CorruptData(
            f"it was submitted {age / DAY:.1f} days ago, and is applied within "
            f"{MAX_AGE / DAY:.0f} days or not at all; see what became of its item before you "
            "replay it"
        )
    if age < -MAX_AHEAD:
        raise CorruptData(
            f"it was submitted {-age / DAY:.1f} days in the future: correct the clock of its "
            "publisher, and replay it"
        )
