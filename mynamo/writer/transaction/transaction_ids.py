"""Ids of transactions over several shards: UUIDs of version 7; no two attempts have the same.

They begin with the time of the request's first attempt, by its coordinator's clock. It decides who
of two that meet goes on first, and nothing else.
"""

from __future__ import annotations

import os
import time

_AGE_BYTES = 6


def new_age() -> bytes:
    """What the ids of a request's attempts begin with: the time now, in milliseconds."""
    return (time.time_ns() // 1_000_000).to_bytes(_AGE_BYTES, "big")


def age_of(transaction_id: bytes) -> bytes:
    """Of a smaller one the transaction is older."""
    return transaction_id[:_AGE_BYTES]


def new_id(age: bytes) -> bytes:
    """The id of another attempt."""
    chance = bytearray(os.urandom(10))
    chance[0] = chance[0] & 0x0F | 0x70
    chance[2] = chance[2] & 0x3F | 0x80
    return age + bytes(chance)
