"""Streams of tables: a definition, which writes know by their table's definition guard.

From the write on that knows it, each change of an item has a record, which the relay writes; see
`docs/design/streams.md`. The rounds of a writer worker follow the slot map, end the stream shards
of streams that are disabled, and forget those that have nothing left to read.
"""

from __future__ import annotations

import time

from mynamo.catalog import enabling, stream_shards
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.roll_forward import roll_forward
from mynamo.catalog.tables import StreamStatus, Table, TableStream
from mynamo.errors import InvalidRequest, NotFound, ShardUnavailable
from mynamo.schemas.stream_records import VIEWS
from mynamo.schemas.table_settings import Stream, StreamView

FOLLOW_EVERY = 60.0
"""Seconds after which the slot map is followed though nothing seems to have changed."""


def enable(cluster: Cluster, table_name: str, view: StreamView) -> TableStream:
    """Have a table's changes recorded.

    Args:
        view: what a record shows of an item besides its key.

    Returns:
        The stream; changes that begin from now on are in it.

    Raises:
        See `begin_enabling`.
        ShardUnavailable: a shard does not answer. Either nothing was changed, or a writer worker
            finishes it later.
    """
    stream = begin_enabling(cluster, table_name, view)
    _finish(cluster, stream.table_id, "ENABLED")
    return stream


def disable(cluster: Cluster, table_name: str) -> None:
    """Have a table's changes not recorded any more. What is recorded can be read until it is old.

    Raises:
        See `begin_disabling`.
        ShardUnavailable: a shard does not answer; a writer worker finishes it later.
    """
    _finish(cluster, begin_disabling(cluster, table_name).id, "DISABLED")


def _finish(cluster: Cluster, table_id: int, status: StreamStatus) -> None:
    """Finish what is recorded; whoever is told that a shard is away is told what comes of it."""
    try:
        roll_forward(cluster, table_id)
    except ShardUnavailable as failure:
        failure.add_note(
            f"The change is recorded, and a writer worker finishes it once the server answers: "
            f"`mynamo stream list` then shows the stream as {status}"
        )
        raise


def begin_enabling(cluster: Cluster, table_name: str, view: StreamView) -> TableStream:
    """Record that a table has a stream; `definitions.finish` has writes know of it.

    Raises:
        TableNotFound: there is none of that name.
        InvalidRequest: it has one; or the view type is none; or this cluster does not allow it yet.
        ShardNotConfigured: the configuration lacks a shard; nothing was changed.
        ShardUnavailable: the catalog does not answer.
    """
    if view not in VIEWS:
        raise InvalidRequest(f"a view type is one of {', '.join(VIEWS)}, not {view!r}")
    enabling.check_enabled(cluster, enabling.STREAMS)
    cluster.refresh()
    cluster.check_complete()
    table = cluster.table(table_name)
    cluster.catalog.add_stream(table.id, view)
    stream = cluster.refresh().tables[table.id].latest_stream
    if stream is None:
        raise NotFound(f"Requested resource not found: Table: {table_name} not found")
    return stream


def begin_disabling(cluster: Cluster, table_name: str) -> Table:
    """Record that a table has no stream any more.

    Raises:
        TableNotFound: there is none of that name.
        InvalidRequest: it has none.
        ShardNotConfigured: the configuration lacks a shard; nothing was changed.
        ShardUnavailable: the catalog does not answer.
    """
    cluster.refresh()
    cluster.check_complete()
    table = cluster.table(table_name)
    stream = table.stream
    if stream is None:
        raise InvalidRequest("Table has no stream to disable")
    label = Stream(label=stream.label)  # the table's latest one, also when its records are gone
    cluster.catalog.change_settings(table.id, lambda known: known.with_(stream=label))
    cluster.catalog.retire_stream(table.id)
    return cluster.refresh().tables.get(table.id) or table


class StreamRounds:
    """What a writer worker does for streams, again and again. Use by one thread."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._settled: tuple[int, tuple[tuple[int, int], ...]] | None = None
        self._follow_at = self._forget_at = 0.0

    def round(self) -> None:
        """Do what there is to do now: whenever the catalog has another version, or a shard another
        incarnation, than when all was settled; and once a minute.

        Raises:
            ShardUnavailable: the catalog or a shard does not answer; call again.
        """
        if self._cluster.lacking:
            return
        there_are = bool(self._cluster.snapshot.streams)
        now = (
            (self._cluster.snapshot.version, self._cluster.catalog.incarnations())
            if there_are
            else None
        )
        if now == self._settled and time.monotonic() < self._follow_at:
            return
        left = stream_shards.follow_all(self._cluster)
        if time.monotonic() >= self._forget_at:
            self._forget()
            self._forget_at = time.monotonic() + FOLLOW_EVERY
        self._settled = None if left else now
        self._follow_at = time.monotonic() + (1.0 if left else FOLLOW_EVERY)

    def _forget(self) -> None:
        """Forget streams that are disabled and have nothing left to read."""
        for stream in self._cluster.snapshot.streams:
            if stream.status == "DISABLED" and not stream_shards.has_records(self._cluster, stream):
                self._cluster.catalog.forget_stream(stream.id)
