"""Positions in a stream shard, and the iterators that say them to clients.

An iterator has all that a page needs but what may change: so a page asks one shard, once, and
nothing is kept of an iterator.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
import time
from dataclasses import dataclass, replace

from mynamo.catalog.stream_lineage import StreamShard
from mynamo.errors import InvalidToken, IteratorExpired
from mynamo.schemas.stream_records import name_parts, stream_shard_name

EXPIRES_AFTER = 900.0
"""Seconds for which an iterator holds, as DynamoDB's does."""
_FORMAT = 1
_BODY = struct.Struct(">BQQIHIHHQQBQ")
_CHECK = 12
_AHEAD = 60.0
"""Seconds by which the clocks of two gateways may differ."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where to read on in a stream shard.

    Attributes:
        name: of the stream shard.
        shard: the number of the shard that has the stream shard.
        generation, first, last, above: as of the stream shard.
        seq: records above this number come next.
        from_horizon: nothing was read yet, and records that were deleted are passed over; else they
            are an error.
    """

    name: str
    stream_id: int
    shard: int
    generation: int
    first: int
    last: int
    above: int
    seq: int
    from_horizon: bool = False

    @classmethod
    def of(cls, shard: StreamShard, seq: int, from_horizon: bool = False) -> Position:
        """A position in a stream shard."""
        return cls(
            shard.name,
            shard.stream_id,
            shard.shard,
            shard.generation,
            shard.first,
            shard.last,
            shard.above,
            max(seq, shard.above),
            from_horizon,
        )

    def moved(self, seq: int, trimmed: int) -> Position:
        """The same behind what was read.

        Args:
            trimmed: up to which number records had been deleted.
        """
        reached = max(seq, self.seq)
        return replace(self, seq=reached, from_horizon=self.from_horizon and reached < trimmed)


def dump_iterator(position: Position, cluster_id: bytes, now: float | None = None) -> str:
    """The text of an iterator.

    Args:
        cluster_id: of the cluster; another one refuses it.
        now: when it is given out, in seconds since 1970; None: now.
    """
    body = _BODY.pack(
        _FORMAT,
        position.stream_id,
        *name_parts(position.name),
        position.shard,
        position.generation,
        position.first,
        position.last,
        position.above,
        position.seq,
        position.from_horizon,
        round((time.time() if now is None else now) * 1000),
    )
    return base64.urlsafe_b64encode(body + _checksum(body, cluster_id)).decode()


def parse_iterator(text: str, cluster_id: bytes) -> Position:
    """Read an iterator's text.

    Raises:
        InvalidToken: it is none, or of another cluster.
        IteratorExpired: it was given out too long ago.
    """
    try:
        data = base64.b64decode(text, altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raise InvalidToken("Invalid ShardIterator") from None
    body, check = data[:-_CHECK], data[-_CHECK:]
    if len(body) != _BODY.size or body[0] != _FORMAT or check != _checksum(body, cluster_id):
        raise InvalidToken("Invalid ShardIterator")
    (_, stream_id, begun, mark, shard, generation, first, last, above, seq, horizon, issued) = (
        _BODY.unpack(body)
    )
    age = time.time() - issued / 1000
    if not -_AHEAD <= age <= EXPIRES_AFTER:
        raise IteratorExpired
    name = stream_shard_name(begun, mark)
    return Position(name, stream_id, shard, generation, first, last, above, seq, bool(horizon))


def _checksum(body: bytes, cluster_id: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_CHECK, key=cluster_id).digest()
