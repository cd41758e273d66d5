"""The state that a data folder keeps between runs, and the lock that allows one run at a time."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import IO

from pydantic import BaseModel, ValidationError

from mynamo.errors import LocalServerError
from mynamo.local.engines import EngineKind
from mynamo.local.files import write_if_changed
from mynamo.schemas.config import ClusterConfig, DatabaseConfig

STATE_FILE = "state.json"


class ClusterState(BaseModel):
    """What a local cluster must find again when it starts anew.

    Attributes:
        engine: which server wrote the shards' files.
        shard_ports: one port per shard, shard 1 first.
        kafka_port: where clients reach the broker.
        controller_port: where Apache Kafka talks to itself.
        topic_prefix: of topics and consumer groups on a broker that others use too.
        kafka: the broker: `embedded`, `apache`, or `HOST:PORT` of one that others run.
    """

    engine: EngineKind | None = None
    shard_ports: list[int] = []
    kafka_port: int | None = None
    controller_port: int | None = None
    topic_prefix: str | None = None
    kafka: str | None = None

    @classmethod
    def load(cls, path: Path) -> ClusterState:
        """Read the state; a new one when there is none.

        Raises:
            LocalServerError: it cannot be read.
        """
        try:
            return cls.model_validate_json(path.read_text()) if path.exists() else cls()
        except (OSError, ValidationError) as error:
            raise LocalServerError(
                f"{path} cannot be read ({error}); choose another folder, or, if nothing in "
                "this one is needed, delete it"
            ) from None

    def save(self, path: Path) -> None:
        """Write the state, whole or not at all, unless the file says it already."""
        write_if_changed(path, self.model_dump_json(indent=2) + "\n")


class FolderLock:
    """At most one run at a time uses a folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """Take the lock; the kernel gives it back when this process ends, however it ends.

        An existing folder stays as it is: see `sign`.

        Raises:
            LocalServerError: another process has it, or the folder cannot be made.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = self._path.open("a+")
        except OSError as error:
            raise LocalServerError(
                f"the folder {self._path.parent} cannot be used: {error}; choose another one"
            ) from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            file.close()
            raise LocalServerError(
                f"process {owner} runs a cluster in {self._path.parent} already; stop it, or "
                "choose another folder"
            ) from None
        self._file = file

    def sign(self) -> None:
        """Write into the lock's file who holds it, for messages of other processes."""
        if self._file is not None:
            self._file.truncate(0)
            self._file.write(str(os.getpid()))
            self._file.flush()

    def release(self) -> None:
        """Give the lock back."""
        if self._file is not None:
            self._file.close()
            self._file = None


def config_toml(config: ClusterConfig) -> str:
    """Write a configuration as the TOML that `ClusterConfig.load` reads."""
    lines = ["# Written by mynamo for the servers in this folder; each start replaces it.", ""]
    lines += ["[catalog]", *_database(config.catalog), ""]
    for shard in config.shards:
        lines += ["[[shards]]", f"id = {shard.id}", *_database(shard), ""]
    kafka = config.kafka.model_dump(exclude_defaults=True, mode="json")
    lines += ["[kafka]", *(f"{name} = {json.dumps(value)}" for name, value in kafka.items()), ""]
    return "\n".join(lines)


def _database(where: DatabaseConfig) -> list[str]:
    return [
        f"host = {json.dumps(where.host)}",
        f"port = {where.port}",
        f"user = {json.dumps(where.user)}",
        f"password = {json.dumps(where.password.get_secret_value())}",
        f"database = {json.dumps(where.database)}",
    ]
