"""What a check says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from mynamo.errors import MynamoError

Status = Literal["ok", "warning", "problem"]
STATUSES: tuple[Status, ...] = ("ok", "warning", "problem")
"""From the best to the worst."""
Said = tuple[Status, str, str]
"""As `Check`: a status, what was found, and what to do."""


@dataclass(frozen=True, slots=True)
class Check:
    """What a check has found.

    Attributes:
        status: warning: something can be lost, or stands still; problem: something does not work.
        about: the server, database or machine that was looked at.
        text: what was found.
        todo: what to do; empty: nothing.
    """

    status: Status
    about: str
    text: str
    todo: str = ""

    @classmethod
    def of(cls, about: str, said: Said) -> Check:
        """The check of what was said."""
        status, text, todo = said
        return cls(status, about, text, todo)


def said_of(failure: MynamoError, about: str, todo: str) -> Said:
    """What a check says that an exception of ours ended.

    Args:
        todo: what to do, if the message does not say it behind a semicolon.
    """
    text = str(failure).removeprefix(about).removeprefix("it: ").removeprefix(":").strip()
    found, _, said = text.partition("; ")
    return "problem", found, said or todo


def worst(checks: Iterable[Check]) -> Status:
    """The worst status among checks."""
    return max((check.status for check in checks), key=STATUSES.index, default="ok")
