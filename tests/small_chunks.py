"""Making verify work in small chunks, so that a small table has many borders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mynamo.operations import comparison_statements, survey


def small_chunks(change: Callable[[Any, str, Any], None], rows: int, size: int = 4 << 20) -> None:
    """Bound chunks.

    Args:
        change: `setattr`, or pytest's that changes it back.
        rows: of a chunk.
        size: of a chunk's items in bytes.
    """
    change(comparison_statements, "CHUNK_ROWS", rows)
    change(comparison_statements, "CHUNK_BYTES", size)
    if rows < survey.FEWEST:
        change(survey, "FEWEST", rows)
        change(survey, "MOST", rows)
