"""The state of a comparison: kept in memory, and in a file if it is to be resumed.

The file is replaced as a whole every few seconds. A process that is killed leaves a consistent
file and loses a few seconds of work: what was done after the last save is done again, and is
counted once.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import orjson

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.snapshot import Snapshot
from mynamo.catalog.tables import Index, RowKey, Table
from mynamo.errors import InvalidRequest
from mynamo.operations.checksums import Ledger
from mynamo.operations.counts import Counts
from mynamo.operations.scan_parts import Position, ScanPart, Step

Phase = Literal["survey", "compare", "again"]
"""As files have them: the checksum pass, the comparison row by row, and that of slots that have
moved meanwhile."""
SAVE_EVERY = 5.0
"""Seconds."""
_FORMAT = 2


class Journal:
    """The state of one comparison. Safe to share between threads.

    Args:
        file: where to keep it; None: nowhere.
        kind: of comparison, in a word: one kind does not go on with another's file.
        extra: what else to keep, from now to then.

    Attributes:
        moved: slots that moved during the phases before.

    Raises:
        InvalidRequest: another process uses the file.
    """

    def __init__(self, file: Path | None, kind: str, extra: Callable[[], Any]) -> None:
        self._file = file
        self._kind = kind
        self._extra = extra
        self._lock = threading.Lock()
        self._guard = _guard(file) if file else None
        self.phase: Phase = "survey"
        self.counts = Counts()
        self.ledger = Ledger(())
        self.cursors: dict[str, Position | None] = {}
        self.moved = frozenset[int]()
        self._slots: list[SlotsOf] = []  # when the phase began
        self._shards: list[int] = []
        self._identity: dict[str, Any] = {}
        self._saved_at = time.monotonic()

    def begin(
        self, cluster: Cluster, table: Table, indexes: Sequence[Index], shards: Iterable[int]
    ) -> Any:
        """Begin a comparison, or go on with the one in the file. One of other shards begins anew.

        Args:
            shards: that are compared.

        Returns:
            What was kept besides; None: it begins.

        Raises:
            InvalidRequest: the file holds something else.
        """
        self.phase, self.counts, self.cursors = "survey", Counts(), {}
        self.moved, self._slots = frozenset(), _slots_of(cluster.snapshot)
        self._shards = sorted(shards)
        self.ledger = Ledger(index.id for index in indexes)
        self._identity = {"kind": self._kind, **_identity(cluster, table, indexes)}
        if self._file is None or not self._file.exists():
            self.save()
            return None
        try:
            kept = orjson.loads(self._file.read_bytes())
            known = kept["identity"] if kept["format"] == _FORMAT else None
        except (ValueError, KeyError, TypeError):
            raise InvalidRequest(
                f"{self._file} is not the state of a comparison; name another file"
            ) from None
        if known != self._identity:
            raise InvalidRequest(
                f"{self._file} holds another comparison: of another table, of this one before its "
                "definition changed, or another command's; delete the file to begin anew"
            )
        if kept["shards"] != self._shards:
            self.save()
            return None
        self.phase = kept["phase"]
        self.moved, self._slots = frozenset(kept["moved"]), kept["slots"]
        self.counts = Counts.load(kept["tally"], indexes)
        self.ledger.load(kept["ledger"])
        self.cursors = {name: _position(after) for name, after in kept["cursors"].items()}
        return kept["extra"]

    @property
    def known_damage(self) -> frozenset[RowKey]:
        """Some of the damaged items that have been counted."""
        return frozenset(each.row for each in self.counts.damaged) if self.moved else frozenset()

    def forget(self) -> None:
        """Begin anew: the definition changed, or slots have moved to another shard."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)

    def left(self, scan_part: ScanPart) -> bool:
        """Whether there is anything left of a part."""
        return self.cursors.get(scan_part.name, ()) is not None

    def note(self, steps: Sequence[tuple[ScanPart, Step]]) -> None:
        """These steps are done, all or none of them, and what they found is decided."""
        with self._lock:
            for scan_part, step in steps:
                for index_id, sums in step.sums.items():
                    self.ledger.add(index_id, sums)
                self.counts.merge(step.counts)
                self.cursors[scan_part.name] = step.after
            if self._file is not None and time.monotonic() - self._saved_at >= SAVE_EVERY:
                self._save()

    def next_phase(self, snapshot: Snapshot) -> bool:
        """A phase is complete.

        Args:
            snapshot: the catalog, read after the phase.

        Returns:
            Whether there is another one: the comparison row by row, or that of slots that have
            moved during the one before.
        """
        slots = _slots_of(snapshot)
        before, now = _expanded(self._slots), _expanded(slots)
        moved = frozenset(slot for slot in now if now[slot] != before.get(slot))
        with self._lock:
            if self.phase != "survey" and not moved:
                return False
            self.phase = "compare" if self.phase == "survey" else "again"
            self.moved, self._slots, self.cursors = moved, slots, {}
            self._save()
        return True

    def save(self) -> None:
        """Keep the state as it is now."""
        with self._lock:
            self._save()

    def finish(self) -> None:
        """The comparison is complete: there is nothing to resume."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)
            _new(self._file).unlink(missing_ok=True)  # of a process that was killed while it saved

    def close(self) -> None:
        """Let other processes have the file."""
        if self._guard is not None and self._file is not None:
            with suppress(OSError):
                _guard_of(self._file).unlink(missing_ok=True)
            os.close(self._guard)
            self._guard = None

    def _save(self) -> None:
        if self._file is None:
            return
        state = {
            "format": _FORMAT,
            "identity": self._identity,
            "shards": self._shards,
            "phase": self.phase,
            "moved": sorted(self.moved),
            "slots": self._slots,
            "cursors": {
                name: None if after is None else [part.hex() for part in after]
                for name, after in self.cursors.items()
            },
            "tally": self.counts.dump(),
            "ledger": self.ledger.dump(),
            "extra": self._extra(),
        }
        new = _new(self._file)
        try:
            with new.open("wb") as stream:
                stream.write(orjson.dumps(state))
                stream.flush()
                os.fsync(stream.fileno())
            new.replace(self._file)
        except OSError as error:
            raise InvalidRequest(f"{self._file} cannot be written: {error}") from None
        self._saved_at = time.monotonic()


def _identity(cluster: Cluster, table: Table, indexes: Iterable[Index]) -> dict[str, Any]:
    """What must be the same for a comparison to go on."""
    return {
        "cluster": cluster.id.hex(),
        "table": table.name,
        "table_id": table.id,
        "version": table.version,
        "indexes": [index.id for index in indexes],
    }


SlotsOf = list[int]
"""First and last slot of a range, its shard, and the epoch since which that has it."""


def _slots_of(snapshot: Snapshot) -> list[SlotsOf]:
    return [[s.first, s.last, s.shard_id, s.since] for s in snapshot.slots]


def _expanded(slots: Iterable[SlotsOf]) -> dict[int, tuple[int, int]]:
    return {
        slot: (shard_id, since)
        for first, last, shard_id, since in slots
        for slot in range(first, last + 1)
    }


def _position(after: list[str] | None) -> Position | None:
    return None if after is None else tuple(bytes.fromhex(part) for part in after)


def _new(file: Path) -> Path:
    return file.with_name(file.name + ".new")


def _guard_of(file: Path) -> Path:
    return file.with_name(file.name + ".lock")


def _guard(file: Path) -> int:
    """Lock a file beside the file, which is replaced again and again."""
    try:
        descriptor = os.open(_guard_of(file), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InvalidRequest(f"{file} cannot be written: {error}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise InvalidRequest(f"{file} is in use by another process") from None
    return descriptor
