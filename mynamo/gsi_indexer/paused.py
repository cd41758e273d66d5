"""Pausing streams whose next event needs a shard that is away, while all others go on.

Several streams share a partition of Kafka, which has one offset. So the events of a paused stream
are passed over, and read again once the shard is back. What is kept in memory is an offset for each
paused stream, however many events wait. These are the steps:

1.  Pause. The stream's next event has a row for a shard that is away, or the stream's own shard is
    away and its progress is unknown: the event's offset is noted. A crash: see step 3.
2.  Pass over. All of the stream from that offset on is left out, whatever shards it needs; so the
    stream's positions and checkpoints never pass an event that waits.
3.  Commit no offset of a partition that has a paused stream, or progress that its shard could not
    record. A crash, or a rebalance: the next owner reads from an offset that is before every event
    that waits, and finds by the recorded progress what of the others it may leave out.
4.  Resume, when the shard answers again: forget all that waited for it, and seek to the least of
    the partition's offsets. The other streams' events come a second time, and are known; those of
    streams that wait for another shard are passed over again. A late message cannot do harm: it
    follows without a gap on what was applied, or it does not (`arrivals`).

Between 1 and 4 an event that is not found is not lost: `lost_events` leaves paused streams alone.
The model is tests/models/paused.pml.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from mynamo.gsi_indexer.arrivals import Arrival, Stream


class PausedStreams:
    """The streams of one consumer that are paused. Use by its thread.

    Attributes:
        waits_for: per stream, the shard that is away.
    """

    def __init__(self) -> None:
        self.waits_for: dict[Stream, int] = {}
        self._offsets: dict[Stream, int] = {}

    @property
    def partitions(self) -> set[int]:
        """Those that have a paused stream (step 3)."""
        return {stream.partition for stream in self.waits_for}

    def pause(self, stream: Stream, offset: int, shard_id: int) -> None:
        """Step 1.

        Args:
            offset: of the stream's next event, in its partition.
            shard_id: of the shard that is away.
        """
        self.waits_for.setdefault(stream, shard_id)
        self._offsets[stream] = min(offset, self._offsets.get(stream, offset))

    def others(self, arrivals: list[Arrival]) -> list[Arrival]:
        """Step 2: the arrivals that do not wait."""
        if not self.waits_for:
            return arrivals
        return [
            arrival
            for arrival in arrivals
            if arrival.stream not in self._offsets
            or arrival.record.offset < self._offsets[arrival.stream]
        ]

    def resume(self, shard_ids: Collection[int]) -> dict[int, int]:
        """Step 4, for shards that are back.

        Returns:
            Per partition, the offset to read from.
        """
        offsets: dict[int, int] = {}
        for stream in [s for s, shard_id in self.waits_for.items() if shard_id in shard_ids]:
            del self.waits_for[stream]
            offset = self._offsets.pop(stream)
            offsets[stream.partition] = min(offset, offsets.get(stream.partition, offset))
        return offsets

    def forget(self, partitions: Iterable[int]) -> None:
        """Forget partitions that come or go: they are read from their committed offsets."""
        gone = set(partitions)
        for stream in [s for s in self.waits_for if s.partition in gone]:
            del self.waits_for[stream], self._offsets[stream]
