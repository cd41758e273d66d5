"""Room on the disk of a data folder."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

MEBIBYTE = 1024 * 1024
NEW_SHARD_BYTES = 300 * MEBIBYTE
"""What a shard's server takes for itself when it is new, with room for its first log files."""
ANY_BYTES = 1 * MEBIBYTE
"""What a start takes in a folder that has everything already."""
SCARCE_BYTES = 100 * MEBIBYTE
"""Below this much a server may stop at any moment: MySQL waits when its log cannot grow."""


def free_bytes(path: Path) -> int:
    """What is free on the disk of a file or folder, which need not be there yet."""
    there = next(parent for parent in (path, *path.parents) if parent.exists())
    usage = shutil.disk_usage(there)
    return usage.free if usage.total else sys.maxsize  # /proc and the like have no size


def shortage(path: Path, needed: int = SCARCE_BYTES) -> str | None:
    """Say in a sentence that a disk is short of space, or None when it is not.

    Args:
        path: on that disk.
        needed: bytes that should be free.
    """
    free = free_bytes(path)
    if free >= needed:
        return None
    return (
        f"the disk of {path} is full: {free // MEBIBYTE} MB are free, and "
        f"{needed // MEBIBYTE} MB are needed; free some space, or choose another folder"
    )
