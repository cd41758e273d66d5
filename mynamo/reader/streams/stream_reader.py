"""`StreamReader`: the streams of tables, their stream shards, and their records."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.stream_lineage import StreamShard, has_ended
from mynamo.catalog.stream_shards import all_shards_of, shards_of
from mynamo.catalog.tables import TableStream
from mynamo.errors import (
    InvalidRequest,
    RecordsTrimmed,
    ShardNotConfigured,
    ShardUnavailable,
    StreamNotFound,
    StreamShardNotFound,
)
from mynamo.reader.streams.pages import LAST_SEQ, MOST_RECORDS, RecordPage, read_page
from mynamo.reader.streams.positions import Position
from mynamo.schemas.stream_records import parse_sequence_number

Start = Literal[
    "TRIM_HORIZON", "LATEST", "AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER", "AT_TIMESTAMP"
]
"""Where to begin in a stream shard, in DynamoDB's words."""
_CLOCK = 60_000_000
"""Microseconds by which records may be out of the order of time."""


@dataclass(frozen=True, slots=True)
class StreamPage:
    """A page of records, and where to read on.

    Attributes:
        page: what was read.
        next: None: the stream shard has ended, and all was read; its children come next.
    """

    page: RecordPage
    next: Position | None


class StreamReader:
    """Reads streams. Safe to share between threads.

    Args:
        cluster: whose tables have them.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def streams(self, table: str | None = None) -> list[TableStream]:
        """The streams that can be read, by table and label; also disabled ones.

        Args:
            table: those of tables of this name.

        Raises:
            ShardUnavailable: the catalog's server does not answer.
        """
        found = self._cluster.refresh().streams
        return sorted(
            (one for one in found if table is None or one.table == table),
            key=lambda one: (one.table, one.label),
        )

    def stream(self, table: str, label: str | None = None) -> TableStream:
        """A stream.

        Args:
            label: None: the newest of tables of that name.

        Raises:
            StreamNotFound: there is none.
        """
        found = self.streams(table)
        if not found:
            raise StreamNotFound(
                f"table {table} has no stream; `mynamo stream enable {table}` begins one"
            )
        if label is None:
            return found[-1]
        for one in found:
            if one.label == label:
                return one
        raise StreamNotFound(
            f"table {table} has no stream {label}; `mynamo stream list` shows those that there are"
        )

    def shards(self, stream: TableStream) -> list[StreamShard]:
        """The stream shards of a stream, by their names. One is shown as ended once its children
        have all of its slots.

        Raises:
            ShardUnavailable: a shard does not answer: what others have might mislead.
        """
        found = all_shards_of(self._cluster, stream.id)
        now = self._cluster.refresh().stream(stream.id)
        is_over = now is None or now.status == "DISABLED"
        return [
            each if each.is_open or is_over or has_ended(each, found) else replace(each, end=None)
            for each in found
        ]

    def position(
        self,
        stream: TableStream,
        name: str,
        start: Start,
        sequence_number: str | None = None,
        timestamp: float | None = None,
    ) -> Position:
        """Where to begin to read a stream shard.

        Args:
            name: of the stream shard.
            sequence_number: of a record, for the two starts that name one.
            timestamp: for AT_TIMESTAMP: seconds since 1970.

        Raises:
            StreamShardNotFound: the stream has none of that name.
            InvalidRequest: the sequence number is not one of the stream shard.
            RecordsTrimmed: what is there to read has been deleted in part.
            ShardUnavailable: its shard does not answer.
        """
        shard, found = self._find(stream, name)
        if start == "TRIM_HORIZON":
            return Position.of(found, found.above, from_horizon=True)
        last_seq = int(shard.ask(LAST_SEQ)[0].rows[0][0])
        newest = last_seq if found.end is None else min(found.end, last_seq)
        if start == "LATEST":
            return Position.of(found, newest)
        if start == "AT_TIMESTAMP":
            return self._at(shard, found, timestamp or 0.0, newest)
        generation, seq = parse_sequence_number(sequence_number or "")
        if generation != found.generation or not found.above < seq <= max(newest, found.above + 1):
            raise InvalidRequest(
                f"Invalid SequenceNumber: {sequence_number} is not one of shard {name}"
            )
        if start == "AT_SEQUENCE_NUMBER":
            seq -= 1
        if seq < found.trimmed:
            raise RecordsTrimmed
        return Position.of(found, seq)

    def read(self, position: Position, limit: int = MOST_RECORDS) -> StreamPage:
        """Read the next records.

        Raises:
            StreamShardNotFound: the stream shard is gone, with all of its records.
            RecordsTrimmed: records behind the position have been deleted.
            ShardUnavailable: its shard does not answer.
        """
        page = read_page(self._shard(position.shard), position, limit)
        if page.at_end and self._is_shown_ended(position):
            return StreamPage(page, None)
        return StreamPage(page, page.next)

    def _is_shown_ended(self, position: Position) -> bool:
        stream = self._cluster.refresh().stream(position.stream_id)
        if stream is None:  # it was disabled, and is forgotten
            return True
        try:
            found = self.shards(stream)
        except ShardUnavailable:  # its children may be there; who reads on asks again
            return False
        return not any(each.is_open for each in found if each.name == position.name)

    def _find(self, stream: TableStream, name: str) -> tuple[DynamoDBShard, StreamShard]:
        failure: ShardUnavailable | None = None
        for shard in self._cluster.shards.values():
            try:
                for each in shards_of(shard, stream.id):
                    if each.name == name:
                        return shard, each
            except ShardUnavailable as away:  # it may be on another one
                failure = away
        if failure is not None:
            raise failure
        self._cluster.check_complete()
        raise StreamShardNotFound(f"Requested resource not found: Shard: {name} not found")

    def _shard(self, number: int) -> DynamoDBShard:
        try:
            return self._cluster.member(number)
        except ShardNotConfigured:
            raise
        except ShardUnavailable:
            member = self._cluster.snapshot.members.get(number)
            if member is None or member.state == "REMOVED":
                raise StreamShardNotFound from None
            raise

    def _at(
        self, shard: DynamoDBShard, found: StreamShard, timestamp: float, newest: int
    ) -> Position:
        """Before the first record that is not older. Records are nearly in the order of time."""
        wanted = round(timestamp * 1_000_000)
        low, high = found.above, newest
        while low < high:  # the first record above `low` is older than that by a minute
            middle = (low + high) // 2
            rows = shard.ask(
                ("SELECT seq, created FROM mynamo_record FORCE INDEX (PRIMARY)"
                 " WHERE stream_id = %s AND seq > %s AND seq <= %s ORDER BY seq LIMIT 1",
                 (found.stream_id, middle, high))
            )[0].rows  # fmt: skip
            if rows and rows[0][1] < wanted - _CLOCK:
                low = rows[0][0]
            else:
                high = middle
        rows = shard.ask(
            ("SELECT seq FROM mynamo_record FORCE INDEX (PRIMARY)"
             " WHERE stream_id = %s AND seq > %s AND seq <= %s AND created >= %s"
             " AND slot >= %s AND slot <= %s ORDER BY seq LIMIT 1",
             (found.stream_id, low, newest, wanted, found.first, found.last))
        )[0].rows  # fmt: skip
        if not rows:
            return Position.of(found, newest)
        first = int(rows[0][0])
        return Position.of(found, first - 1, from_horizon=first - 1 < found.trimmed)
