"""What every broker on this machine shares: a process, a port, and waiting for its answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from mynamo.errors import LocalServerError
from mynamo.local.ports import LOOPBACK, is_free, is_listening
from mynamo.local.process import ServerProcess


class Broker(ABC):
    """A Kafka broker in a folder of its own, on a fixed port of the loopback address.

    Attributes:
        title: its name and version, for people.
        data_dir: everything it keeps, and its log.
        port: where clients reach it.
    """

    title: str

    def __init__(self, name: str, data_dir: Path | str, port: int) -> None:
        self.data_dir = Path(data_dir).resolve()
        self.port = port
        self._process = ServerProcess(name, self.data_dir)

    @property
    def bootstrap_servers(self) -> str:
        """`host:port`, as every Kafka client takes it."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def running(self) -> bool:
        """Whether the broker runs."""
        return self._process.running

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid

    @property
    def log(self) -> Path:
        """The broker's log file."""
        return self._process.log

    @abstractmethod
    def start(self) -> Self:
        """Start the broker and wait until it answers.

        Raises:
            LocalServerError: it did not start.
        """

    def stop(self) -> None:
        """Shut the broker down in good order."""
        self._process.stop()

    def kill(self) -> None:
        """End the broker at once (SIGKILL)."""
        self._process.kill()

    def restart(self) -> Self:
        """Stop it, if it runs, and start it on the same port."""
        self.stop()
        return self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _prepare(self, *ports: int) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._process.end_leftover()
        for port in ports:
            if not is_free(port):
                raise LocalServerError(
                    f"port {port} on {LOOPBACK} is taken; choose another one, or stop the "
                    "server that listens on it"
                )

    def _answers(self) -> bool:
        return is_listening(self.port) and broker_answers(self.bootstrap_servers)


def broker_answers(bootstrap_servers: str) -> bool:
    """Say whether a broker answers a metadata request with at least one live node."""
    try:
        admin = KafkaAdminClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=5_000)
    except (KafkaError, OSError):
        return False
    try:
        return bool(admin.describe_cluster()["brokers"])
    except (KafkaError, OSError):
        return False
    finally:
        admin.close()
