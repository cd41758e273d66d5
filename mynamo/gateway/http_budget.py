"""A bound on what all clients' large bodies cost together."""

from __future__ import annotations

from typing import Protocol

LARGE_BODY = 64 * 1024


class Receiver(Protocol):
    """A connection that a body comes in on."""

    @property
    def receiving(self) -> bool:
        """Whether more of the body is to come."""

    def refuse(self, status: int) -> None:
        """Say no and end the connection."""


class BodyBudget:
    """How many bytes of large bodies the process holds; the slowest client goes first.

    Args:
        limit: bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: dict[Receiver, int] = {}  # in the order in which they began
        self._total = 0

    def hold(self, connection: Receiver, size: int) -> bool:
        """Count a body that grows; False if it is large and there is no room for it."""
        if size <= LARGE_BODY:
            return True
        self._total += size - self._held.get(connection, 0)
        self._held[connection] = size
        for other in list(self._held):
            if self._total <= self._limit:
                break
            if other is not connection and other.receiving:
                self.release(other)
                other.refuse(408)
        return self._total <= self._limit

    def release(self, connection: Receiver) -> None:
        """Forget a connection's body."""
        self._total -= self._held.pop(connection, 0)
