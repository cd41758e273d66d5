"""Dead letters: messages that could not be applied, and why; and their resolutions."""

from __future__ import annotations

import base64
import time
import uuid
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from mynamo.schemas.validation import load


class DeadLetter(BaseModel):
    """One message that could not be applied.

    Attributes:
        letter_id: the same if the message fails again: `topic/partition/offset`, or the id of
            the command or event.
        kind: "command" (a queued write) or "event" (a change event).
        reason: why, for a person.
        topic, partition, offset: where it was read.
        value: the message, base64.
        failed_at: when it failed, Unix microseconds.
        written_at: when Kafka got the message, Unix microseconds; None: not known.
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
    written_at: int | None = None

    @property
    def origin(self) -> tuple[str, int, int]:
        """Where it was read: topic, partition, offset."""
        return self.topic, self.partition, self.offset

    @property
    def command_id(self) -> bytes | None:
        """Of the queued write, if it is one that could be read."""
        try:
            return uuid.UUID(self.letter_id).bytes if self.kind == "command" else None
        except ValueError:
            return None

    @property
    def message(self) -> bytes:
        """The message as it was read."""
        return base64.b64decode(self.value)

    def dump(self) -> bytes:
        """The message for the dead-letter topic."""
        return self.model_dump_json().encode()


DeadLetterState = Literal["open", "replayed", "discarded"]


class Resolution(BaseModel):
    """What was done with a dead letter.

    Attributes:
        letter_id, topic, partition, offset: of the dead letter. If its message fails again, at
            another offset, it is open again.
        state: what was done with it.
        marked_at: Unix microseconds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    letter_id: str
    topic: str
    partition: int
    offset: int
    state: Literal["replayed", "discarded"]
    marked_at: int = Field(default_factory=lambda: time.time_ns() // 1000)

    @property
    def origin(self) -> tuple[str, int, int]:
        """Where the dead letter's message was read."""
        return self.topic, self.partition, self.offset

    def dump(self) -> bytes:
        """The message for the dead-letter topic."""
        return self.model_dump_json().encode()


def load_resolution(message: bytes) -> Resolution:
    """Read a resolution from its message.

    Raises:
        CorruptData: it is not one.
    """
    return load(Resolution, message, "the resolution of a dead letter")


def load_dead_letter(message: bytes) -> DeadLetter:
    """Read a dead letter from its message.

    Raises:
        CorruptData: it is not one.
    """
    return load(DeadLetter, message, "a dead letter")
