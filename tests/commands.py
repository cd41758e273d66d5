"""Running mynamo's commands: in this process, and `mynamo dev` as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import mynamo
from mynamo.cli.app import root
from mynamo.local import free_port
from tests.waiting import eventually

START_SECONDS = 120.0
WORKER_SECONDS = 60.0
"""How long a worker may take to join Kafka and do its work."""

CREATE_ORDERS = (
    "table", "create", "orders", "--hash-key", "customer", "--sort-key", "at:N",
    "--lsi", "by_price=price:N", "--gsi", "by_status=status,at:N",
)  # fmt: skip


def run(config: Path, *words: str, status: int = 0, **options: Any) -> Result:
    """Run a command in this process; it must end with `status`.

    Args:
        config: the configuration file.
        options: as `CliRunner.invoke` takes them.
    """
    result = CliRunner().invoke(root, ["--config", str(config), *words], **options)
    assert result.exit_code == status, (words, result.output, result.exc_info)
    assert "Traceback" not in result.output
    return result


def start(*words: str, program: str = "mynamo", **options: Any) -> subprocess.Popen[Any]:
    """Start a command as a process of its own, whether mynamo is installed or not."""
    env = {**os.environ, "PYTHONPATH": str(Path(mynamo.__file__).parents[1])}
    return subprocess.Popen([sys.executable, "-m", program, *words], env=env, **options)


def processes_of(folder: Path) -> list[str]:
    """Every process with this folder in its command line or as its working directory."""
    found = []
    for proc in Path("/proc").glob("[0-9]*"):
        try:
            words = (proc / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            inside = (proc / "cwd").readlink().is_relative_to(folder)
        except OSError:
            continue
        if words and int(proc.name) != os.getpid() and (inside or f"{folder}/" in words):
            found.append(f"{proc.name} {words}")
    return found


class Dev:
    """`mynamo dev` in a folder, and commands that talk to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.config = folder / "data" / "mynamo.toml"
        self._log = folder / "dev.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """Where its DynamoDB API is."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def said(self) -> str:
        """What it has printed since it was started."""
        return self._log.read_text()

    @property
    def processes(self) -> list[str]:
        """It and everything that it runs."""
        return processes_of(self.folder)

    def start(self) -> None:
        """Start it and wait for the line that says it is ready."""
        with self._log.open("wb") as log:
            self._process = start(
                "dev", "--data", str(self.config.parent), "--port", str(self.port),
                cwd=self.folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        eventually(self._is_ready, START_SECONDS)

    def end(self, kind: signal.Signals) -> int:
        """Send a signal, wait for the end, and return the status."""
        assert self._process is not None
        self._process.send_signal(kind)
        return self._process.wait(START_SECONDS)

    def end_if_running(self) -> None:
        """Clean up after a test."""
        if self._process is not None and self._process.poll() is None:
            self.end(signal.SIGTERM)

    def run(self, *words: str, status: int = 0) -> str:
        """Run a command against it; returns its stdout."""
        return run(self.config, *words, status=status).stdout

    def put(self, at: int, table: str = "orders") -> str:
        """Put an order of ann's; returns the consistency token."""
        item = f'{{"customer": "ann", "at": {at}, "status": "open", "price": {at}}}'
        token: str = json.loads(self.run("put", table, item, "--json"))["token"]
        return token

    def open_orders(self, token: str, table: str = "orders") -> list[int]:
        """What the GSI by_status has, once it has applied that write."""
        page = self.run(
            "query", table, "open", "--index", "by_status", "--after", token,
            "--timeout", str(WORKER_SECONDS), "--json",
        )  # fmt: skip
        return [item["at"] for item in json.loads(page)["items"]]

    def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            pytest.fail(f"it ended: {self.said}")
        return "Ready after" in self.said
