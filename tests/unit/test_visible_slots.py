"""The parts of a span of rows that a comparison looks at, between ranges that are hidden."""

from __future__ import annotations

import pytest

from mynamo.catalog.snapshot import SlotMove
from mynamo.operations.comparison_statements import Span
from mynamo.operations.visible_slots import end_of, visible_part
from mynamo.schemas.keys import SLOTS, slot_range

HIDDEN = [slot_range(2, 3), slot_range(4, 4), slot_range(4000, SLOTS - 1)]


def at(slot: int) -> bytes:
    return slot_range(slot, slot)[0]


PARTS = {
    "before": (Span(at(0), at(10)), Span(at(0), at(2))),
    "ends where a range begins": (Span(at(0), at(2)), Span(at(0), at(2))),
    "within two ranges": (Span(at(2), at(5)), None),
    "begins in a range": (Span(at(3), at(10)), Span(at(5), at(10))),
    "goes on in a range": (Span(at(0), at(10), (at(2), b"")), Span(at(5), at(10))),
    "goes on behind it": (Span(at(0), at(10), (at(7), b"a")), Span(at(0), at(10), (at(7), b"a"))),
    "to the end": (Span(at(10), None), Span(at(10), at(4000))),
    "hidden to the end": (Span(at(4000), None), None),
    "ends in the last range": (Span(at(4000), at(4010)), None),
}


@pytest.mark.parametrize("case", PARTS)
def test_first_visible_part(case: str) -> None:
    span, expected = PARTS[case]
    assert visible_part(span, HIDDEN) == expected


def test_without_hidden_ranges_a_span_is_one_part() -> None:
    assert visible_part(Span(at(0), None), []) == Span(at(0), None)


@pytest.mark.parametrize("high", [at(64), at(4001), None])
def test_parts_one_after_another_are_all_that_is_not_hidden(high: bytes | None) -> None:
    whole = Span(at(0), high)
    span, seen = whole, []
    while (part := visible_part(span, HIDDEN)) is not None:
        start = part.after[0] if part.after else part.low
        seen.append((start, part.high))
        after = end_of(part, whole, 2)
        if after is None:
            break
        span = span.beyond(after)
    last = at(4000) if high is None or high > at(4000) else high
    assert seen == [(at(0), at(2)), (at(5), last)]


def test_a_move_hides_what_the_other_shard_has() -> None:
    move = SlotMove(1, 0, 9, 1, 2, "COPYING", 0, b"", 1, (0, 0), None)
    assert (move.hidden_on(1), move.hidden_on(2)) == (2, 1)
    assert str(move) == "slots 0-9: shard 1 -> 2, COPYING"
