"""Replaying and discarding dead letters.

The steps of replaying a queued write:

1.  The shards forget that they refused it.  A crash here: its dead letter is open as before.
2.  It is published again under its own id. However often it arrives after that (a second
    replay, the old message again), it is applied once.  A crash here: replay it again.
3.  The dead letter gets its resolution.  If the write fails again, its new dead letter is open.
"""

from __future__ import annotations

import time

from mynamo.catalog.cluster import Cluster
from mynamo.errors import TableNotFound
from mynamo.log.dead_letter_topic import resolve_dead_letter
from mynamo.log.publisher import Publisher
from mynamo.schemas.commands import load_command
from mynamo.schemas.dead_letters import DeadLetter
from mynamo.schemas.events import load_event
from mynamo.writer.backfill.re_emit import re_emit
from mynamo.writer.queue.commands_topic import command_message, command_request
from mynamo.writer.queue.refusals import forget_refusals, record_refusals


def replay(cluster: Cluster, dead_letter: DeadLetter, publisher: Publisher) -> None:
    """Try the message of a dead letter again, and record that.

    A queued write is published once more. For a change event, every GSI of its table is made
    to say what the table says of the item now. Either may be repeated without harm.

    Raises:
        CorruptData: the message cannot be read, so it cannot be replayed.
        InvalidItem, InvalidExpression: it cannot be applied as it is.
        TableNotFound: its table is gone.
        LogUnavailable, ShardUnavailable: try again.
    """
    if dead_letter.kind == "command":
        _replay_command(cluster, dead_letter.message, publisher)
    else:
        _replay_event(cluster, dead_letter.message)
    resolve_dead_letter(publisher, dead_letter, "replayed")


def discard(cluster: Cluster, dead_letter: DeadLetter, publisher: Publisher) -> bool:
    """Discard a dead letter and record that; its message has no effect if it comes again.

    Returns:
        Whether that is so; False: its queued write had been applied in the meantime.

    Raises:
        LogUnavailable, ShardUnavailable: try again.
    """
    applied: set[bytes] = set()
    command_id = dead_letter.command_id
    if command_id is not None:
        applied = record_refusals(cluster, {command_id: "it was discarded"})
    resolve_dead_letter(publisher, dead_letter, "discarded")
    return not applied


def _replay_command(cluster: Cluster, message: bytes, publisher: Publisher) -> None:
    command = load_command(message)
    again = command.model_copy(update={"submitted_at": time.time_ns() // 1000})
    ready = command_message(cluster, again)  # or it could not be applied
    row = cluster.table(command.table).key_of(command_request(again).item)
    forget_refusals(cluster, row.slot, command.command_id.bytes)  # 1
    publisher.send([ready])  # 2


def _replay_event(cluster: Cluster, message: bytes) -> None:
    event = load_event(message)
    table = cluster.table_by_id(event.table_id, at_least=event.schema_version)
    if table is None:
        raise TableNotFound(f"table {event.table} (number {event.table_id}) was dropped")
    row = table.key_of(event.keys)
    for index in table.global_indexes:
        re_emit(cluster, table, index, row, ghost=event.old_image)
