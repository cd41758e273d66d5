"""Comparing a table with its indexes by checksums: where these agree, no row is looked at.

The *checksum* of an index row is 64 bits of the SHA-256 of the whole row and of the number of its
shard. Rows are grouped into *buckets* by the hash of their item; a bucket is a sixteenth of a
slot. For each index and bucket, the ledger adds the checksums of the rows that the items must
have, which this process computes from the items. It subtracts the checksums of the rows that
exist, which the servers compute. The result is 0 where the index is right. It is something else
(but for one case in 2^64) where the index is wrong, or where items were written in the meantime.
Such a bucket is compared row by row.
"""

from __future__ import annotations

import base64
import zlib
from array import array
from collections.abc import Iterable, Mapping
from hashlib import sha256

from mynamo.catalog.tables import Index, IndexKey, RowKey
from mynamo.errors import InvalidRequest
from mynamo.schemas.keys import SLOTS

BUCKETS = 1 << 16
_BITS = (1 << 64) - 1

Sums = dict[int, int]
"""By bucket."""


def bucket_of(hash16: bytes) -> int:
    """The bucket of an item, by the hash of its key."""
    return hash16[0] << 8 | hash16[1]


def bucket_start(bucket: int) -> bytes:
    """The lowest hash of a bucket."""
    return bucket.to_bytes(2, "big") + bytes(14)


def bucket_end(bucket: int) -> bytes | None:
    """The lowest hash behind a bucket; None: it is the last one."""
    return bucket_start(bucket + 1) if bucket + 1 < BUCKETS else None


def buckets_of(slots: Iterable[int]) -> frozenset[int]:
    """The buckets of the items of these slots."""
    each = BUCKETS // SLOTS
    return frozenset(bucket for slot in slots for bucket in range(slot * each, (slot + 1) * each))


def digest_columns(index: Index, shard_id: int) -> str:
    """What to select for the *digest* of a row: its bucket, 2 bytes, and its checksum, 8 bytes.

    The checksum is that of `local_checksum` or `global_checksum`, in SQL. The lengths come first,
    so that no two rows are the same bytes.
    """
    if index.is_local:
        numbers = "LENGTH(index_sort), '/', LENGTH(sort), '/'"
        columns = "hash, index_sort, sort"
    else:
        numbers = "LENGTH(index_sort), '/', LENGTH(sort), '/', version, '/'"
        columns = "index_hash, hash, index_sort, sort, item"
    whole = f"CONCAT('{shard_id:d}/', {numbers}, {columns})"
    return f"CONCAT(LEFT(hash, 2), UNHEX(LEFT(SHA2({whole}, 256), 16)))"


def local_checksum(shard_id: int, row: RowKey, index_sort: bytes) -> int:
    """The checksum of a row of an LSI."""
    numbers = b"%d/%d/%d/" % (shard_id, len(index_sort), len(row.sort))
    return _first_bits(numbers + row.hash + index_sort + row.sort)


def global_checksum(shard_id: int, key: IndexKey, row: RowKey, version: int, item: bytes) -> int:
    """The checksum of a row of a GSI."""
    numbers = b"%d/%d/%d/%d/" % (shard_id, len(key.sort), len(row.sort), version)
    return _first_bits(b"".join((numbers, key.hash, row.hash, key.sort, row.sort, item)))


def _first_bits(row: bytes) -> int:
    return int.from_bytes(sha256(row).digest()[:8], "big")


def taken_away(digests: Iterable[bytes]) -> Sums:
    """What existing rows subtract from the ledger, by the digests that a server computed."""
    sums: Sums = {}
    for digest in digests:
        number = int.from_bytes(digest, "big")
        bucket = number >> 64
        sums[bucket] = sums.get(bucket, 0) - (number & _BITS)
    return sums


class Ledger:
    """The sum of each bucket of each index. Not safe to share between threads.

    Takes half a megabyte for each index, whatever the table's size.
    """

    def __init__(self, indexes: Iterable[int]) -> None:
        self._left = {index_id: array("Q", bytes(8 * BUCKETS)) for index_id in indexes}

    def add(self, index_id: int, sums: Mapping[int, int]) -> None:
        """Add the sums of rows that must exist, or the negative ones of rows that do."""
        left = self._left[index_id]
        for bucket, number in sums.items():
            left[bucket] = (left[bucket] + number) & _BITS

    def different(self, index_id: int) -> frozenset[int]:
        """The buckets that must be compared row by row."""
        return frozenset(b for b, number in enumerate(self._left[index_id]) if number)

    def dump(self) -> dict[str, str]:
        """All of it as text."""
        return {
            str(index_id): base64.b64encode(zlib.compress(left.tobytes(), 1)).decode()
            for index_id, left in self._left.items()
        }

    def load(self, dumped: Mapping[str, str]) -> None:
        """Take back what `dump` gave.

        Raises:
            InvalidRequest: it is of other indexes.
        """
        if set(dumped) != {str(index_id) for index_id in self._left}:
            raise InvalidRequest("the saved state is of other indexes")
        for index_id in self._left:
            data = zlib.decompress(base64.b64decode(dumped[str(index_id)]))
            self._left[index_id] = array("Q", data)
