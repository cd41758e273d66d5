"""`Change`: one change of one item in Python form, as the library's readers of streams give it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mynamo.schemas.events import ChangeEvent, Operation, StoredImage
from mynamo.schemas.items import from_stored
from mynamo.schemas.stream_records import StreamRecord


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one item.

    Attributes:
        table: its name.
        event: INSERT, MODIFY or REMOVE.
        keys: of the item, in Python form.
        new: the item after, if it still exists and is shown.
        old: the item before, if it existed and is shown.
        at: when it was written, by its shard's clock.
        expired: it was deleted by time to live.
        sequence_number: digits. Of two changes of one item the later one has the larger number.
    """

    table: str
    event: Operation
    keys: dict[str, Any]
    new: dict[str, Any] | None
    old: dict[str, Any] | None
    at: datetime
    expired: bool
    sequence_number: str

    @classmethod
    def of_record(cls, table: str, record: StreamRecord) -> Change:
        """The change that a record of a table's stream shows."""
        return cls(
            table,
            record.name,
            from_stored(record.keys),
            _plain(record.new),
            _plain(record.old),
            datetime.fromtimestamp(record.created / 1e6, UTC),
            record.expired,
            record.sequence_number,
        )

    @classmethod
    def of_event(cls, event: ChangeEvent) -> Change:
        """The change that an event in Kafka states; its number is the item's version."""
        return cls(
            event.table,
            event.operation,
            from_stored(event.keys),
            _plain(event.new_image),
            _plain(event.old_image),
            datetime.fromtimestamp(event.committed_at / 1e6, UTC),
            event.expired,
            str(event.version),
        )


def _plain(image: StoredImage | None) -> dict[str, Any] | None:
    return None if image is None else from_stored(image)
