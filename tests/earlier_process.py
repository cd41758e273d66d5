"""A process of an earlier release that opens the cluster and does what it is told, word by word.

Run as `python earlier_process.py CONFIG` with an earlier release's packages on its path: it says
"open" or what went wrong, then reads words from stdin and says of each "done" or what went wrong.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import mynamo

KEY = {"id": "a"}


class EarlierProcess:
    """Such a process.

    Args:
        release: where its packages are.
        config_file: of the cluster.

    Attributes:
        opened: "open", or what went wrong.
    """

    def __init__(self, release: Path, config_file: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__, str(config_file)],
            env={**os.environ, "PYTHONPATH": str(release)}, cwd=release, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.opened = self._said()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def do(self, word: str) -> str:
        """Let it `put` or `get` an item, or `refresh` what it knows of the catalog."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        return self._said()

    def _said(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _tried(work: Any) -> str:
    try:
        work()
    except mynamo.MynamoError as failure:
        return f"{type(failure).__name__}: {failure}"
    return "done"


def _main() -> None:
    try:
        manager = mynamo.connect(sys.argv[1])
    except mynamo.MynamoError as failure:
        _say(f"{type(failure).__name__}: {failure}")
        return
    with suppress(mynamo.AlreadyExists):
        manager.create_table({"table": "earlier", "hash_key": "id"})
    words = {
        "put": lambda: manager.producer.put("earlier", KEY),
        "get": lambda: manager.reader.get("earlier", KEY),
        "refresh": manager.cluster.refresh,
    }
    _say("open")
    for line in sys.stdin:
        _say(_tried(words[line.strip()]))


if __name__ == "__main__":
    _main()
