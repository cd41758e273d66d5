"""Waiting for something to come true, with a deadline instead of a fixed sleep."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")


def eventually(check: Callable[[], Answer], seconds: float = 30.0, what: str = "") -> Answer:
    """Call until the answer is true, or fail with the last one.

    Args:
        check: cheap; an AssertionError counts as not yet.
        seconds: to wait at the most.
        what: was waited for, for the failure's message.
    """
    deadline = time.monotonic() + seconds
    pause = 0.01
    while True:
        try:
            answer: object = check()
        except AssertionError as failure:
            answer = None
            last: object = failure
        else:
            last = answer
        if answer:
            return answer  # type: ignore[return-value]
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what or check}; last: {last}")
        time.sleep(pause)
        pause = min(0.2, pause * 1.5)
