"""What a write returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Receipt:
    """A committed write.

    Attributes:
        table: the table's name.
        shard: number of the shard that has it on disk.
        version: of the item; larger than that of every earlier change of it. 0 if there was
            nothing to change (the deletion of an item that does not exist).
        token: give it to an index query as `after` to read this write.
        old: the item before, or None.
    """

    table: str
    shard: int
    version: int
    token: str
    old: dict[str, Any] | None
