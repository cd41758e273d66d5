"""Trying a dead letter again, once its cause is mended."""

from __future__ import annotations

import time
import uuid

from mynamo.errors import TableNotFound
from mynamo.log.publisher import Publisher
from mynamo.schemas.commands import load_command
from mynamo.schemas.dead_letters import DeadLetter
from mynamo.schemas.events import load_event
from mynamo.shards.cluster import Cluster
from mynamo.writer.commands import command_message
from mynamo.writer.restate import restate


def replay(cluster: Cluster, letter: DeadLetter) -> None:
    """Try the message of a dead letter again.

    A queued write is published once more under an id that follows from its own, so that
    replaying a letter twice applies it once. For a change event, every GSI of its table is
    made to say what the table says of the item now.

    Raises:
        CorruptData: the message cannot be read, so it cannot be replayed.
        InvalidItem: it cannot be applied as it is.
        TableNotFound: its table is gone.
        LogUnavailable, ShardUnavailable: try again.
    """
    if letter.kind == "command":
        _replay_command(cluster, letter.message)
    else:
        _replay_event(cluster, letter.message)


def _replay_command(cluster: Cluster, message: bytes) -> None:
    command = load_command(message)
    again = command.model_copy(
        update={
            "command_id": uuid.uuid5(command.command_id, "replay"),
            "submitted_at": time.time_ns() // 1000,
        }
    )
    publisher = Publisher(cluster.config.kafka)
    try:
        publisher.send([command_message(cluster, again)])
    finally:
        publisher.close()


def _replay_event(cluster: Cluster, message: bytes) -> None:
    event = load_event(message)
    table = cluster.table_by_id(event.table_id, at_least=event.schema_version)
    if table is None:
        raise TableNotFound(f"table {event.table} (number {event.table_id}) was dropped")
    row = table.key_of(event.keys)
    shard = cluster.shard_of(row.hash)
    for index in table.global_indexes:
        restate(cluster, shard, table, index, row, ghost=event.old_image)
