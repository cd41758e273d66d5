"""Scan parts: every row is in one of them, and a part that is resumed leaves nothing out."""

from __future__ import annotations

import threading
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as some

from mynamo.catalog.snapshot import SlotRange
from mynamo.operations.checksums import BUCKETS, bucket_of, bucket_start
from mynamo.operations.comparison_progress import Meter, Progress
from mynamo.operations.comparison_statements import Span
from mynamo.operations.scan_parts import PIECES, ScanPart, all_scan_parts, spans_of
from mynamo.runtime.throttle import Throttle

BUCKET = some.integers(0, BUCKETS - 1)


def contains(span: Span, hash16: bytes) -> bool:
    """Whether a scan of it reads an item, whose sort key is not the lowest."""
    above = hash16 >= (span.low if span.after is None else span.after[0])
    return above and (span.high is None or hash16 < span.high)


def test_scan_parts_cover_every_hash_once() -> None:
    scan_parts = list(all_scan_parts([1, 2], [7]))
    assert len(scan_parts) == len(set(scan_parts)) == 2 * 2 * PIECES
    for place in ((1, 0), (2, 7)):
        spans = [scan_part.span(None) for scan_part in scan_parts if scan_part[:2] == place]
        assert spans[0].low == bytes(16)
        assert spans[-1].high is None
        assert all(one.high == next_.low for one, next_ in pairwise(spans))


@given(
    some.sets(BUCKET, max_size=50),
    BUCKET,
    some.integers(0, PIECES - 1),
    some.booleans(),
    some.sampled_from([1, 8, 300, BUCKETS]),
)
def test_spans_cover_the_buckets_that_are_left(
    buckets: set[int], reached: int, piece: int, resumed: bool, gap: int
) -> None:
    whole = ScanPart(1, 0, piece).span(None)
    position = (bucket_start(reached), b"s")
    span = whole.beyond(position) if resumed and contains(whole, position[0]) else whole
    spans = list(spans_of(buckets, span, gap))
    for bucket in buckets:
        last = bucket_start(bucket)[:2] + b"\xff" * 14
        assert any(contains(one, last) for one in spans) == contains(span, last)
    ends = [(one.low, one.high) for one in spans]
    assert ends == sorted(ends, key=lambda end: end[0])
    assert all(contains(whole, one.low) for one in spans)
    assert sum(one.after is not None for one in spans) <= 1


def test_without_its_last_bucket_a_span_would_be_seen_to_lack_it() -> None:
    """The negative control of the test above, at the very end."""
    whole = ScanPart(1, 0, PIECES - 1).span(None)
    (span,) = spans_of({BUCKETS - 1}, whole, 1)
    assert contains(span, b"\xff" * 16)
    assert not contains(span._replace(high=b"\xff" * 16), b"\xff" * 16)


def test_a_throttle_lets_so_many_rows_through(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0

    class Clock(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            nonlocal now
            now += max(0.0, timeout or 0.0)
            return False

    monkeypatch.setattr("mynamo.runtime.throttle.time.monotonic", lambda: now)
    throttle, clock = Throttle(200), Clock()
    for _ in range(50):
        throttle.pay(20, clock)
    assert now == pytest.approx(1000 + 50 * 20 / 200 - 0.1)
    Throttle(None).pay(10**9, clock)
    assert now == pytest.approx(1004.9)


def test_progress_never_falls_and_ends_at_one() -> None:
    seen: list[Progress] = []
    meter = Meter([SlotRange(0, 2047, 1, 1), SlotRange(2048, 4095, 2, 1)], seen.append)
    scan_parts = list(all_scan_parts([1, 2], [7]))
    meter.begin(scan_parts, {scan_parts[0].name: None}, checksum_pass=True)
    for scan_part in scan_parts[1:]:
        low, _, _ = scan_part.span(None)
        meter.reached(scan_part, (low, b"s"), 5)
        meter.reached(scan_part, None, 5)
    survey = seen[-1].fraction
    meter.begin(scan_parts, {}, checksum_pass=False)
    meter.reached(scan_parts[0], None, 5)
    meter.finish()
    fractions = [progress.fraction for progress in seen]
    assert fractions == sorted(fractions)
    assert survey == pytest.approx(0.9)
    assert fractions[-1] == 1.0
    assert seen[-1].rows == 10 * (len(scan_parts) - 1) + 5
    assert bucket_of(scan_parts[-1].span(None).low) == BUCKETS - BUCKETS // PIECES
