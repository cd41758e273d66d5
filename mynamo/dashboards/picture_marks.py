"""Events that a picture shows, and its times."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mark:
    """An event.

    Attributes:
        at: seconds since 1970.
        text: what happened.
    """

    at: float
    text: str


def minutes(seconds: float) -> str:
    """Seconds as minutes and seconds, such as 2:05; from an hour on with hours."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
    return f"{whole // 60}:{whole % 60:02d}"
