"""Files that are written whole or not at all, and can be read by their owner only."""

from __future__ import annotations

import os
from pathlib import Path


def write_private(path: Path, text: str) -> Path:
    """Write a file; whenever this process or the machine dies, the old or the new one is there.

    Args:
        path: its folder is there.
        text: the whole content.

    Raises:
        OSError: the old file is as it was.
    """
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)  # of a process that was killed here
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    return path


def write_if_changed(path: Path, text: str) -> None:
    """Write a file as `write_private` does, unless it says that already."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_private(path, text)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on disk: those of new files, and of renamed ones."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
