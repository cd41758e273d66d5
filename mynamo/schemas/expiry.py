"""Time to live: when an item expires, by the value of one attribute.

Source: Amazon DynamoDB Developer Guide, "Using time to live (TTL) in DynamoDB": a top-level
attribute of type N with seconds since 1970; what is more than five years in the past is ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

FIVE_YEARS = 5 * 365 * 86_400
"""Seconds."""
_LATEST = 2**63
_SHORT = 18
"""Digits that are less than that, whatever they are."""


def expires_at(item: Mapping[str, Mapping[str, Any]], attribute: str) -> int | None:
    """When an item expires, in whole seconds since 1970; None: never.

    Args:
        item: in stored form.
        attribute: that says so. One that is absent, of another type, negative, or from 2^63 on
            says never.
    """
    text = item.get(attribute, {}).get("N")
    if type(text) is not str:
        return None
    if text.isdigit() and len(text) <= _SHORT:
        return int(text)
    try:
        seconds = int(Decimal(text).to_integral_value("ROUND_FLOOR"))
    except (ArithmeticError, ValueError):  # somebody else has written it
        return None
    return seconds if 0 <= seconds < _LATEST else None


def sort_of(seconds: int) -> bytes:
    """What orders items by when they expire."""
    return seconds.to_bytes(8, "big")


def seconds_of(sort: bytes) -> int:
    """The seconds of `sort_of`."""
    return int.from_bytes(sort, "big")


def due_between(now: int) -> tuple[int, int]:
    """The first second of those at which an item has expired that is to be deleted now, and the
    one behind them."""
    return max(0, now - FIVE_YEARS + 1), now


def is_due(seconds: int | None, now: int) -> bool:
    """Whether an item that expires at this second is to be deleted now."""
    first, behind = due_between(now)
    return seconds is not None and first <= seconds < behind
