"""A TCP proxy that loses what a test wants lost."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Literal, Self

Fault = Literal["lose_request", "lose_answer", "lose_server", "stall"]


class Proxy:
    """Stands between clients and one server on this machine.

    `on(needle, fault)` arms it: the next request that contains the needle is
    `lose_request`: not passed on, and both connections are closed;
    `lose_answer`: passed on, and both are closed once the server has answered;
    `lose_server`: the same, and from then on every connection is refused;
    `stall`: held back until `release`.

    Attributes:
        port: where clients connect.
        struck: set once the fault has happened.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._armed: tuple[bytes, Fault] | None = None
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._refusing = False
        self._refuse_next = False
        self._released = threading.Event()
        self.struck = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.refuse()
        self._listener.close()

    def on(self, needle: bytes, fault: Fault) -> None:
        """Arm it, once."""
        self._released.clear()
        self.struck.clear()
        with self._lock:
            self._armed = (needle, fault)

    def release(self) -> None:
        """Let pass what stalls."""
        self._released.set()

    def refuse(self) -> None:
        """Close every connection, and each new one at once, until `accept`."""
        self._refusing = True
        self._released.set()
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            _close(connection)

    def accept(self) -> None:
        """Take connections again."""
        self._refusing = False

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._refusing:
                _close(client)
                continue
            try:
                server = socket.create_connection(self._target)
            except OSError:
                _close(client)
                continue
            with self._lock:
                self._open |= {client, server}
            losing = threading.Event()
            for work in (self._requests, self._answers):
                threading.Thread(target=work, args=(client, server, losing), daemon=True).start()

    def _requests(
        self, client: socket.socket, server: socket.socket, losing: threading.Event
    ) -> None:
        with suppress(OSError):
            while data := client.recv(1 << 16):
                fault = self._fault_for(data)
                if fault == "lose_request":
                    self.struck.set()
                    break
                if fault in ("lose_answer", "lose_server"):
                    self._refuse_next = fault == "lose_server"
                    losing.set()
                if fault == "stall":
                    self.struck.set()
                    self._released.wait()
                server.sendall(data)
        if not losing.is_set():
            self._end(client, server)

    def _answers(
        self, client: socket.socket, server: socket.socket, losing: threading.Event
    ) -> None:
        with suppress(OSError):
            while data := server.recv(1 << 16):
                if losing.is_set():
                    self._refusing = self._refusing or self._refuse_next
                    self.struck.set()
                    break
                client.sendall(data)
        self._end(client, server)

    def _fault_for(self, data: bytes) -> Fault | None:
        with self._lock:
            if self._armed is None or self._armed[0] not in data:
                return None
            fault = self._armed[1]
            self._armed = None
            return fault

    def _end(self, *connections: socket.socket) -> None:
        for connection in connections:
            _close(connection)
        with self._lock:
            self._open -= set(connections)


def _close(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
