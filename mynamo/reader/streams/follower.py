"""`StreamFollower`: all records of a stream, those of parents before those of their children."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from mynamo.catalog.stream_lineage import StreamShard
from mynamo.catalog.tables import TableStream
from mynamo.errors import ShardUnavailable, StreamNotFound, StreamShardNotFound
from mynamo.reader.streams.positions import Position
from mynamo.reader.streams.stream_reader import StreamReader
from mynamo.schemas.stream_records import StreamRecord

LOOK_EVERY = 5.0
"""Seconds after which the stream shards are read again though none has ended."""
_PAUSE = 0.25
"""Seconds between two looks for records where there were none."""


@dataclass(slots=True)
class _Reading:
    """A stream shard that is read; None: it was read to its end."""

    position: Position | None


class StreamFollower:
    """Follows one stream, in one thread. An item's records come in the order of its changes.

    Args:
        reader: of the cluster.
        stream: to follow.
        from_horizon: begin with the oldest record that there is; else with those that come.

    Raises:
        ShardUnavailable: a shard does not answer.
    """

    def __init__(
        self, reader: StreamReader, stream: TableStream, *, from_horizon: bool = True
    ) -> None:
        self._reader = reader
        self._stream = stream
        self._readings: dict[str, _Reading] = {}
        self._shards: list[StreamShard] = []
        self._look_at = 0.0
        self._look()
        if not from_horizon:
            for shard in self._shards:
                latest = reader.position(stream, shard.name, "LATEST")
                self._readings[shard.name] = _Reading(latest if shard.is_open else None)

    def poll(self) -> list[StreamRecord]:
        """The next records, of all stream shards that may be read now; there may be none.

        Raises:
            ShardUnavailable: a shard does not answer, and the others have none; nothing is lost,
                call again.
            RecordsTrimmed: it is too far behind: records were deleted that it has not read.
        """
        found: list[StreamRecord] = []
        failure: ShardUnavailable | None = None
        if time.monotonic() >= self._look_at:
            try:
                self._look()
            except ShardUnavailable as away:
                failure = away
        for shard in self._shards:
            try:
                found += self._read(shard)
            except ShardUnavailable as away:
                failure = away
        if failure is not None and not found:
            raise failure
        return found

    def records(self, seconds: float | None = None) -> Iterator[StreamRecord]:
        """All records as they come.

        Args:
            seconds: ends after so long without any; None: never, but where the stream has been
                disabled and was read to its end.

        Raises:
            See `poll`.
        """
        last_at = time.monotonic()
        while True:
            found = self.poll()
            yield from found
            if found:
                last_at = time.monotonic()
                continue
            if self.is_over or (seconds is not None and time.monotonic() - last_at >= seconds):
                return
            time.sleep(_PAUSE)

    @property
    def is_over(self) -> bool:
        """Whether the stream is disabled, and was read to its end."""
        return self._stream.status == "DISABLED" and all(
            shard.name in self._readings and self._readings[shard.name].position is None
            for shard in self._shards
        )

    def _look(self) -> None:
        try:
            self._stream = self._reader.stream(self._stream.table, self._stream.label)
            self._shards = self._reader.shards(self._stream)
        except StreamNotFound:  # all that it had was deleted
            self._shards = []
        self._look_at = time.monotonic() + LOOK_EVERY

    def _read(self, shard: StreamShard) -> list[StreamRecord]:
        reading = self._readings.get(shard.name)
        if reading is None:
            if not self._may_begin(shard):
                return []
            reading = _Reading(Position.of(shard, shard.above, from_horizon=True))
            self._readings[shard.name] = reading
        if reading.position is None:
            return []
        try:
            read = self._reader.read(reading.position)
        except StreamShardNotFound:  # it was deleted with all of its records
            reading.position, self._look_at = None, 0.0
            return []
        reading.position = read.next
        if read.next is None:
            self._look_at = 0.0  # for its children
        return read.page.records

    def _may_begin(self, shard: StreamShard) -> bool:
        """Whether what comes before it was read."""
        if shard.parent is None or all(each.name != shard.parent for each in self._shards):
            return True
        parent = self._readings.get(shard.parent)
        return parent is not None and parent.position is None
