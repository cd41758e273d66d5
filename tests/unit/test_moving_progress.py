"""What commands that move slots say of when they will be done."""

from __future__ import annotations

import pytest

from mynamo.catalog.snapshot import MoveState, SlotMove
from mynamo.cli.moving import Eta
from mynamo.operations.resharding.mover import Report


def report(
    number: int, rows: int, state: MoveState = "COPYING", ahead: int = 0, expected: int = 100
) -> Report:
    """Of one of several moves of 64 slots."""
    first = 64 * number
    move = SlotMove(number, first, first + 63, 1, 2, state, 0, bytes(16), 1, (0, 0), None)
    return Report(move, "copying", rows, expected, ahead)


def test_the_time_left_is_that_of_the_slots_left() -> None:
    eta = Eta()
    assert eta.seconds(0.0) is None
    eta.note(report(0, 0, ahead=192), 10.0)
    assert eta.seconds(11.0) is None, "nothing has been copied"
    eta.note(report(0, 50, ahead=192), 12.0)
    # Half of 64 slots in two seconds; 32 and 192 are left.
    assert eta.seconds(12.0) == pytest.approx(2 * 224 / 32)
    eta.note(report(0, 100, "DONE", ahead=128), 14.0)
    eta.note(report(1, 0, ahead=128), 14.0)
    assert eta.seconds(14.0) == pytest.approx(4 * 192 / 64)
    assert eta.words(14.0) == "; 128 slots have not begun, all slots moved in 0:12"
    eta.note(report(1, 100, "DONE"), 18.0)
    assert eta.seconds(18.0) == 0
    assert eta.words(18.0) == ""


def test_what_was_copied_before_says_nothing_of_the_speed() -> None:
    eta = Eta()
    eta.note(report(0, 50), 0.0)
    assert eta.seconds(1.0) is None
    eta.note(report(0, 75), 10.0)
    assert eta.seconds(10.0) == pytest.approx(10.0)


def test_an_estimate_that_was_too_low_does_not_end_a_move() -> None:
    eta = Eta()
    eta.note(report(0, 0), 0.0)
    eta.note(report(0, 500), 10.0)
    left = eta.seconds(10.0)
    assert left is not None
    assert left > 0


def test_without_an_estimate_there_is_no_time() -> None:
    eta = Eta()
    eta.note(report(0, 0, expected=0), 0.0)
    eta.note(report(0, 500, expected=0), 10.0)
    assert eta.seconds(10.0) is None
