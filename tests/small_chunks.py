"""Making verify work in small chunks, so that a small table has many borders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mynamo.operations import checksum_pass, comparison_statements


def small_chunks(change: Callable[[Any, str, Any], None], rows: int, size: int = 4 << 20) -> None:
    """Bound chunks.

    Args:
        change: `setattr`, or pytest's that changes it back.
        rows: of a chunk.
        size: of a chunk's items in bytes.
    """
    change(comparison_statements, "CHUNK_ROWS", rows)
    change(comparison_statements, "CHUNK_BYTES", size)
    if rows < checksum_pass.FEWEST:
        change(checksum_pass, "FEWEST", rows)
        change(checksum_pass, "MOST", rows)
