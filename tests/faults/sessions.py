"""Items that expire: what a client does with them, and what must hold.

Each thread has sessions of its own, whose time to live is some seconds, and prolongs some of them,
also when their time is over and they are still there. It knows until when the last acknowledged
write lets a session live: until then it is there, and a long time after it, it is gone.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.definitions import create_table
from mynamo.catalog.time_to_live import enable
from mynamo.errors import AlreadyExists, InvalidRequest
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.table import TableSchema
from tests.faults.access import Answer
from tests.faults.history import Key, Operation
from tests.faults.transacting import Do
from tests.rows import everywhere

SESSIONS = "sessions"
SCHEMA = TableSchema.parse(
    {
        "name": SESSIONS,
        "hash_key": "h",
        "sort_key": "n:N",
        "local_indexes": [{"name": "by_ends", "sort_key": "ends:N"}],
        "global_indexes": [{"name": "by_op", "hash_key": "op"}],
    }
)
MIX = {"session_begin": 3, "session_prolong": 4, "session_get": 5}
"""How often each kind of step is drawn, beside those of `workload`."""
MARGIN = 2.0
"""Seconds by which the moments that are compared here may differ, on one machine."""
_SHORTEST, _LONGEST = 2, 12
_KNOWN = 20
"""Sessions that one thread remembers."""


def wall(monotonic_ns: int) -> float:
    """The machine's wall clock at a moment, whatever this process's clock shows; to a second."""
    lines = Path("/proc/stat").read_text("ascii").splitlines()
    (booted,) = (int(line.split()[1]) for line in lines if line.startswith("btime "))
    gap = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
    return booted + gap + monotonic_ns / 1e9


class Sessions:
    """One thread's sessions."""

    def __init__(self, do: Do, choice: random.Random, client: int, run: str) -> None:
        self._do = do
        self._choice = choice
        self._name = f"s{client}.{run}"
        self._count = 0
        self._known: dict[Key, None] = {}

    def step(self, kind: str) -> None:
        """One step of `MIX`."""
        if kind == "session_begin" or not self._known:
            self._count += 1
            key = (f"{self._name}-{self._count}", 0)
            if self._write("session_begin", key):
                self._known[key] = None
            if len(self._known) > _KNOWN:
                del self._known[next(iter(self._known))]
            return
        key = self._choice.choice(list(self._known))
        if kind == "session_get":
            self._do(kind, key, {}, lambda access: access.get(key, SESSIONS), SESSIONS)
        elif not self._write(kind, key):
            del self._known[key]  # it is gone, or nobody knows

    def _write(self, kind: str, key: Key) -> bool:
        self._count += 1
        ends = int(wall(time.monotonic_ns())) + self._choice.randint(_SHORTEST, _LONGEST)
        part = {
            "kind": kind, "h": key[0], "n": key[1], "ends": ends,
            "op": f"{self._name}-{self._count}",
        }  # fmt: skip
        call: Callable[[Any], Answer] = lambda access: access.update(SESSIONS, part)  # noqa: E731
        answer = self._do(kind, key, part, call, SESSIONS)
        return isinstance(answer, Answer)


def ensure_sessions(config: ClusterConfig) -> None:
    """Make the table, with time to live."""
    with Cluster(config) as cluster:
        with suppress(AlreadyExists):
            create_table(cluster, SCHEMA)
        with suppress(InvalidRequest):  # it has it
            enable(cluster, SESSIONS, "ends")


def check_sessions(
    operations: Sequence[Operation], ahead: Sequence[tuple[float, float]] = ()
) -> tuple[int, list[str]]:
    """No session is gone before its time is over.

    Args:
        operations: on the table of sessions. Each session's are those of one thread.
        ahead: when a shard's clock was ahead, from and to (monotonic): what was seen then, or as
            long after it as a session may live, is not checked.

    Returns:
        How many times a session had to be there, and what is wrong.
    """
    by_key: dict[Key, list[Operation]] = defaultdict(list)
    for operation in operations:
        by_key[operation.key].append(operation)
    zero = wall(0)
    checked, wrong = 0, []
    for key, own in by_key.items():
        ends = 0.0
        for one in own:
            found = _found(one)
            left = 0.0 if one.end is None else ends - (zero + one.end / 1e9)
            if found is not None and left > MARGIN and not _is_within(one, ahead):
                checked += 1
                if not found:
                    text = f"{one.kind} of {key} did not find it, {left:.1f} s before its end"
                    wrong.append(text)
            if one.kind in MIX and one.kind != "session_get":
                new = float(one.argument["ends"])
                ends = new if one.outcome == "ok" else min(ends, new)
    return checked, wrong


def _is_within(one: Operation, spans: Sequence[tuple[float, float]]) -> bool:
    end = (one.end or 0) / 1e9
    return any(first <= end <= last + _LONGEST + MARGIN for first, last in spans)


def _found(one: Operation) -> bool | None:
    """Whether an operation found its session; None: it says nothing of that."""
    if one.kind in ("session_get", "get") and one.outcome == "ok":
        return one.result["item"] is not None
    if one.kind == "session_prolong" and one.outcome == "ok":
        return True
    if one.kind == "session_prolong" and (one.result or {}).get("reason") == "condition":
        return False
    return None


def left_over(config: ClusterConfig, seconds: float) -> int:
    """Wait until all sessions are gone; returns how many are there when the time is over."""
    deadline = time.monotonic() + seconds
    with Cluster(config) as cluster:
        table = cluster.table(SESSIONS)
        while True:
            counts = everywhere(cluster, f"SELECT COUNT(*) FROM t{table.id:d}")
            left: int = sum(count for (count,) in counts)
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(0.5)
