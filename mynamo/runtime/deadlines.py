"""How long one call may take, where its caller has said so.

A call's deadline goes with it, in its context, to whatever waits for its sake: for a connection, a
server's answer, the turn on an item, a lock. A call without one has no cost from this, and the
limits of its cluster. One that has one is in no batch: it would have to wait for those before
it, whose deadlines are others.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

from mynamo.errors import InvalidRequest

Answer = TypeVar("Answer")


@dataclass(slots=True)
class _Call:
    """One call.

    Attributes:
        timeout: what its caller said, in seconds; None: only `outcome_timeout`.
        ends_at: accordingly (monotonic).
        outcome_timeout: seconds to find out what became of a commit.
    """

    timeout: float | None
    ends_at: float | None
    outcome_timeout: float | None


_call: ContextVar[_Call | None] = ContextVar("mynamo_call", default=None)


def within(
    timeout: float | None, outcome_timeout: float | None, call: Callable[[], Answer]
) -> Answer:
    """Make a call that takes no longer than its caller says.

    Args:
        timeout: seconds; None: as long as its cluster has it.
        outcome_timeout: likewise.

    Raises:
        InvalidRequest: one of them is not valid.
    """
    if timeout is None and outcome_timeout is None:
        return call()
    check_timeout("timeout", timeout)
    check_timeout("outcome_timeout", outcome_timeout)
    ends_at = None if timeout is None else time.monotonic() + timeout
    return _calling(_Call(timeout, ends_at, outcome_timeout), call)


def until(ends_at: float, call: Callable[[], Answer]) -> Answer:
    """Make a call that ends at a time (monotonic), whatever is said of the one it belongs to."""
    return _calling(_Call(None, ends_at, None), call)


def _calling(one: _Call, call: Callable[[], Answer]) -> Answer:
    before = _call.set(one)
    try:
        return call()
    finally:
        _call.reset(before)


def check_timeout(name: str, seconds: Any, least: float | None = None) -> None:
    """Refuse what is no time.

    Args:
        least: the smallest that is allowed; by default anything above 0.

    Raises:
        InvalidRequest: it is none.
    """
    if seconds is None:
        return
    number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if number and not math.isnan(seconds) and (seconds > 0 or seconds == least):
        return
    bound = "above 0" if least is None else f"from {least:g} on"
    raise InvalidRequest(f"{name} must be a number of seconds {bound}, not {seconds!r:.100}")


def start_anew() -> None:
    """Give the call its whole time again, after what its caller allowed a time of its own."""
    call = _call.get()
    if call is not None and call.timeout is not None:
        call.ends_at = time.monotonic() + call.timeout


def end() -> float | None:
    """When the call that this belongs to ends (monotonic); None: it has no deadline of its own."""
    call = _call.get()
    return None if call is None else call.ends_at


def timeout() -> float | None:
    """What its caller said, for messages."""
    call = _call.get()
    return None if call is None else call.timeout


def outcome_timeout(default: float) -> float:
    """Seconds to find out what became of a commit."""
    call = _call.get()
    return default if call is None or call.outcome_timeout is None else call.outcome_timeout


def left(most: float) -> float:
    """Seconds that something may take: as many as are left for the call, or `most` if these are
    fewer."""
    ends_at = end()
    return most if ends_at is None else max(0.0, min(most, ends_at - time.monotonic()))
