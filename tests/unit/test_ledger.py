"""Sums of fingerprints: equal for equal rows, and for nothing else that damage can make."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from mynamo.catalog.tables import IndexKey, RowKey
from mynamo.errors import InvalidRequest
from mynamo.operations.checksums import (
    BUCKETS,
    Ledger,
    bucket_end,
    bucket_of,
    bucket_start,
    global_checksum,
    local_checksum,
    taken_away,
)
from mynamo.schemas.keys import slot_of

ROW = RowKey(b"h" * 16, b"sort")
SHORTER = RowKey(b"h" * 16, b"ort")
KEY = IndexKey(b"g" * 16, b"index sort")


def mark(bucket: int, number: int) -> bytes:
    return bucket.to_bytes(2, "big") + number.to_bytes(8, "big")


def test_rows_that_differ_in_anything_have_other_fingerprints() -> None:
    rows = [
        global_checksum(1, KEY, ROW, 7, b"item"),
        global_checksum(2, KEY, ROW, 7, b"item"),
        global_checksum(1, KEY, ROW, 8, b"item"),
        global_checksum(1, KEY, ROW, 7, b"other"),
        global_checksum(1, KEY._replace(hash=b"i" * 16), ROW, 7, b"item"),
        global_checksum(1, KEY._replace(sort=b"index"), ROW, 7, b"item"),
        # The same bytes one after the other, divided elsewhere.
        global_checksum(1, KEY._replace(sort=b"index sorts"), SHORTER, 7, b"item"),
        global_checksum(1, KEY, ROW._replace(sort=b"sor"), 7, b"titem"),
        global_checksum(1, KEY, ROW._replace(hash=b"i" * 16), 7, b"item"),
        local_checksum(1, ROW, b"index sort"),
        local_checksum(2, ROW, b"index sort"),
        local_checksum(1, ROW._replace(sort=b"ort"), b"index sorts"),
    ]  # fmt: skip
    assert all(one != other for one, other in combinations(rows, 2))


@given(some.lists(some.tuples(some.integers(0, BUCKETS - 1), some.integers(0, 2**64 - 1))))
def test_what_is_added_and_taken_away_leaves_nothing(rows: list[tuple[int, int]]) -> None:
    ledger = Ledger([3])
    for bucket, number in rows:
        ledger.add(3, {bucket: number})
    ledger.add(3, taken_away(mark(*row) for row in reversed(rows)))
    assert ledger.different(3) == frozenset()


@pytest.mark.parametrize("bucket", [0, 1, 4711, BUCKETS - 1])
def test_one_row_more_or_less_is_left(bucket: int) -> None:
    ledger = Ledger([3, 4])
    ledger.add(3, {bucket: 2**64 - 1, 7: 5})
    ledger.add(3, taken_away([mark(7, 5)]))
    ledger.add(4, taken_away([mark(bucket, 1)]))
    assert ledger.different(3) == {bucket}
    assert ledger.different(4) == {bucket}


def test_a_ledger_is_kept_and_taken_back() -> None:
    ledger, other = Ledger([3, 4]), Ledger([3, 4])
    ledger.add(3, {0: 1, BUCKETS - 1: 2**64 - 1})
    other.load(ledger.dump())
    assert other.different(3) == {0, BUCKETS - 1}
    other.add(3, taken_away([mark(0, 1)]))
    assert other.different(3) == {BUCKETS - 1}
    with pytest.raises(InvalidRequest, match="other indexes"):
        Ledger([3]).load(ledger.dump())


def test_buckets_are_parts_of_slots() -> None:
    for bucket in (0, 15, 16, BUCKETS - 1):
        low, high = bucket_start(bucket), bucket_end(bucket)
        assert bucket_of(low) == bucket
        assert slot_of(low) == bucket // 16
        assert (high is None) == (bucket == BUCKETS - 1)
        last = (int.from_bytes(high or b"\1" + bytes(16), "big") - 1).to_bytes(16, "big")
        assert bucket_of(last) == bucket
