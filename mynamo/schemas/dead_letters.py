"""The dead letter: a message that could not be applied, and why."""

from __future__ import annotations

import base64
import time
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from mynamo.schemas.validation import load


class DeadLetter(BaseModel):
    """One message that was put aside.

    Attributes:
        letter_id: the same if it is put aside again: `topic/partition/offset`, or the id of
            the command or event.
        kind: "command" (a queued write) or "event" (a change event).
        reason: why, for a person.
        topic, partition, offset: where it was read.
        value: the message, base64.
        failed_at: Unix microseconds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    letter_id: str
    kind: Literal["command", "event"]
    reason: str
    topic: str
    partition: int
    offset: int
    value: str
    failed_at: int = Field(default_factory=lambda: time.time_ns() // 1000)

    @property
    def message(self) -> bytes:
        """The message as it was read."""
        return base64.b64decode(self.value)

    def dump(self) -> bytes:
        """The message for the dead-letter topic."""
        return self.model_dump_json().encode()


def load_letter(message: bytes) -> DeadLetter:
    """Read a dead letter from its message.

    Raises:
        CorruptData: it is not one.
    """
    return load(DeadLetter, message, "a dead letter")
