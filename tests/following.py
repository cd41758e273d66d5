"""Tables with streams, relays that publish nowhere, and what readers of streams see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from mynamo.catalog import table_streams
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.stream_lineage import StreamShard
from mynamo.catalog.tables import TableStream
from mynamo.log.clients import Message
from mynamo.log.publisher import Publisher
from mynamo.reader.streams.follower import StreamFollower
from mynamo.reader.streams.stream_reader import StreamReader
from mynamo.schemas.stream_records import StreamRecord
from mynamo.schemas.table_settings import StreamView
from mynamo.writer.outbox.relay import Relay


class _Nowhere:
    """Takes messages and forgets them."""

    def send(
        self, messages: Sequence[Message], while_waiting: Callable[[], None] | None = None
    ) -> None:
        pass


def relay_of(cluster: Cluster, shard: DynamoDBShard) -> Relay:
    """A relay of a shard that publishes nowhere."""
    return Relay(cluster, shard, f"test {shard.id}", cast(Publisher, _Nowhere()))


def number_all(cluster: Cluster) -> None:
    """Let a relay of each shard number all changes, and write their records."""
    for shard in cluster.shards.values():
        relay = relay_of(cluster, shard)
        relay.step()
        while relay.found or relay.more:
            relay.step()
        relay.release()


def with_stream(
    cluster: Cluster, table: str = "orders", view: StreamView = "NEW_AND_OLD_IMAGES"
) -> TableStream:
    """Enable a table's stream."""
    table_streams.enable(cluster, table, view)
    return stream_of(cluster, table)


def stream_of(cluster: Cluster, table: str = "orders") -> TableStream:
    """The newest stream of a table."""
    return StreamReader(cluster).stream(table)


def shards_of(cluster: Cluster, stream: TableStream) -> list[StreamShard]:
    """The stream shards that there are."""
    return StreamReader(cluster).shards(stream)


def recorded(cluster: Cluster, stream: TableStream) -> list[StreamRecord]:
    """All records of a stream, parents' before their children's; the changes are numbered first."""
    number_all(cluster)
    return read_all(cluster, stream)


def read_all(cluster: Cluster, stream: TableStream) -> list[StreamRecord]:
    """All records that there are."""
    follower = StreamFollower(StreamReader(cluster), stream)
    found: list[StreamRecord] = []
    quiet = 0
    while quiet < 2:
        some = follower.poll()
        found += some
        quiet = 0 if some else quiet + 1
    return found


def told(records: Sequence[StreamRecord]) -> list[tuple[str, str]]:
    """What happened to which item: `("INSERT", "a")`."""
    return [(record.name, record.keys["id"]["S"]) for record in records]


def by_item(records: Sequence[StreamRecord]) -> dict[str, list[Any]]:
    """Per item the prices that it had, in the order of its records; None: it was deleted."""
    found: dict[str, list[Any]] = {}
    for record in records:
        price = None if record.new is None else int(record.new["price"]["N"])
        found.setdefault(record.keys["id"]["S"], []).append(price)
    return found
