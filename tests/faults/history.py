"""What clients did and saw: operations, written down as they happen."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import orjson

Outcome = Literal["ok", "refused", "unknown", "crash"]
"""ok: it was acknowledged; refused: it must have had no effect; unknown: it may have its
effect at any time after its start, or never; crash: as unknown, and an error that no user
should ever see."""

Key = tuple[str, int]


@dataclass(slots=True)
class Operation:
    """One call of one client.

    Attributes:
        client: a number that no two threads share.
        kind: see `tests.faults.model` for what each does.
        key: of the item; for queries the hash key and 0.
        argument: what was asked; writes have a unique "op" in it.
        start, end: `time.monotonic_ns`, which all processes of a machine share; `end` is None
            if the client never learned what became of it.
        result: what it saw, or why it failed.
        version: from the receipt, where there was one.
    """

    client: int
    kind: str
    table: str
    key: Key
    argument: Any
    start: int
    end: int | None = None
    outcome: Outcome = "unknown"
    result: Any = None
    version: int | None = None

    @property
    def op(self) -> str | None:
        """The unique value of a write."""
        op = (self.argument or {}).get("op")
        return None if op is None else str(op)


class Recorder:
    """Appends to a file a line when an operation begins and one when it ends.

    A client that takes a killed one's place may go on with its file.

    Each line is one write to the file at once, so what a killed process has begun is there.
    Safe to share between threads.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        _drop_torn_line(self._file)
        self._lock = threading.Lock()
        self._count = 0
        self._run = f"{os.getpid()}-{time.monotonic_ns()}"

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            os.close(self._file)
            self._file = -1

    def begin(self, client: int, kind: str, table: str, key: Key, argument: Any) -> Begun:
        """Write down that an operation begins now."""
        with self._lock:
            self._count += 1
            call = f"{self._run}-{self._count}"
        start = time.monotonic_ns()
        self._append({
            "call": call, "client": client, "kind": kind, "table": table, "key": key,
            "argument": argument, "start": start,
        })  # fmt: skip
        return Begun(self, call)

    def _append(self, line: dict[str, Any]) -> None:
        data = orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
        with self._lock:
            if self._file >= 0:  # a thread that the end of the run did not wait for
                os.write(self._file, data)


class Begun:
    """An operation under way."""

    def __init__(self, recorder: Recorder, call: str) -> None:
        self._recorder = recorder
        self._call = call

    def end(self, outcome: Outcome, result: Any = None, version: int | None = None) -> None:
        """Write down what became of it, now."""
        end = time.monotonic_ns()
        self._recorder._append({
            "call": self._call, "end": end, "outcome": outcome, "result": result,
            "version": version,
        })  # fmt: skip


def _drop_torn_line(file: int) -> None:
    data = b""
    while block := os.read(file, 1 << 20):
        data += block
    os.ftruncate(file, data.rfind(b"\n") + 1)


def load(paths: Iterable[Path]) -> list[Operation]:
    """All operations of these files, in the order in which they began.

    The last line of a file may be torn; any other damage is an error.
    """
    operations: list[Operation] = []
    for path in paths:
        operations += _load_one(path)
    return sorted(operations, key=lambda operation: operation.start)


def _load_one(path: Path) -> list[Operation]:
    begun: dict[str, Operation] = {}
    lines = path.read_bytes().split(b"\n")
    for number, text in enumerate(lines, 1):
        if not text:
            continue
        try:
            line = orjson.loads(text)
        except orjson.JSONDecodeError:
            if number == len(lines):
                break
            raise
        call = line.pop("call")
        if "start" in line:
            key = (str(line["key"][0]), int(line["key"][1]))
            begun[call] = Operation(**{**line, "key": key})
            continue
        operation = begun[call]
        operation.outcome, operation.result = line["outcome"], line["result"]
        operation.version = line["version"]
        if operation.outcome in ("ok", "refused"):
            operation.end = line["end"]
    return list(begun.values())
