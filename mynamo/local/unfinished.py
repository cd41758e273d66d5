"""The folders of shards, and removing those of an interrupted first start.

A new shard's folder contains a marker file until the cluster's state, which names its shards, is
written. A folder with a marker that the state does not name was never used, so nothing in it is
needed: the next start creates it again, with any engine.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from mynamo.local.engines import BINARIES
from mynamo.local.process import ServerProcess

MARKER = "unfinished"
NEW = ".new"
"""Suffix of folders that are incomplete and can be removed."""


def shard_folder(data_dir: Path, number: int) -> Path:
    """The folder of a shard's server."""
    return data_dir / f"shard-{number}"


def begin(data_dir: Path, number: int) -> None:
    """Put the marker file into a shard's folder, if the folder is new."""
    folder = shard_folder(data_dir, number)
    if not folder.exists():
        work = folder.with_suffix(NEW)
        work.mkdir(mode=0o700)
        (work / MARKER).touch()
        work.rename(folder)


def discard_unfinished(data_dir: Path, finished: int) -> None:
    """Remove what an interrupted first start left behind.

    Args:
        data_dir: the cluster's folder.
        finished: how many shards its state names.
    """
    named = {shard_folder(data_dir, number) for number in range(1, finished + 1)}
    for marker in data_dir.glob(f"shard-*/{MARKER}"):
        folder = marker.parent
        if folder in named:
            marker.unlink()
        elif folder.suffix != NEW:
            for kind in BINARIES:
                ServerProcess(kind, folder).end_leftover()
            folder.rename(
                folder.with_suffix(NEW)
            )  # so that a half-removed folder does not count as a whole one
    for folder in data_dir.glob(f"shard-*{NEW}"):
        shutil.rmtree(folder)


def finish(data_dir: Path) -> None:
    """Remove the marker files, once the state names the shards."""
    for marker in data_dir.glob(f"shard-*/{MARKER}"):
        marker.unlink()
