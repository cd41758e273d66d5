"""A TCP proxy in front of one Kafka broker that makes its answers to fetches slow, or empty."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

_FETCH = 1
_FLEXIBLE = 12
"""The version of a fetch from which its header ends with tags."""


@dataclass
class Slowness:
    """What is wrong with the broker.

    Attributes:
        collects_ms: a request that gives it less time than this gets no messages.
        pause: seconds by which answers with messages, or without, come later.
        rate: bytes of such answers per second; None: as fast as they go.
    """

    collects_ms: int = 0
    pause: float = 0.0
    rate: int | None = None


class KafkaProxy:
    """Stands between clients and the broker that sends its clients here.

    Attributes:
        port: where clients connect.
        slowness: from now on; may be changed at any time.
        waits: the times, in milliseconds, that fetches allowed the broker, in order.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.slowness = Slowness()
        self.waits: list[int] = []
        self._target: tuple[str, int] | None = None
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._listener.close()

    def lead_to(self, port: int) -> None:
        """Say where the broker is."""
        self._target = ("127.0.0.1", port)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._target is None:
                    client.close()
                    continue
                try:
                    server = socket.create_connection(self._target)
                except OSError:
                    client.close()
                    continue
                asked: deque[int] = deque()
                for work in (self._requests, self._answers):
                    threading.Thread(target=work, args=(client, server, asked), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket, asked: deque[int]) -> None:
        with suppress(OSError):
            while frame := _frame(client):
                key, version = struct.unpack_from(">hh", frame)
                asked.append(key)
                server.sendall(self._starved(frame, version) if key == _FETCH else frame_of(frame))
        _close(client, server)

    def _starved(self, request: bytes, version: int) -> bytes:
        (named,) = struct.unpack_from(">h", request, 8)
        body = 10 + max(0, named) + (1 if version >= _FLEXIBLE else 0)
        wait_at, most_at = body + 4, body + 12  # after the replica's id, and the least bytes
        (wait,) = struct.unpack_from(">i", request, wait_at)
        self.waits.append(wait)
        changed = bytearray(request)
        if wait < self.slowness.collects_ms:
            struct.pack_into(">i", changed, most_at, 0)
        return frame_of(bytes(changed))

    def _answers(self, client: socket.socket, server: socket.socket, asked: deque[int]) -> None:
        with suppress(OSError):
            while frame := _frame(server):
                if asked.popleft() == _FETCH:
                    self._dawdle(client, frame_of(frame))
                else:
                    client.sendall(frame_of(frame))
        _close(client, server)

    def _dawdle(self, client: socket.socket, answer: bytes) -> None:
        self._ended.wait(self.slowness.pause)
        rate = self.slowness.rate
        if rate is None:
            client.sendall(answer)
            return
        piece = max(1, rate // 50)
        for start in range(0, len(answer), piece):
            client.sendall(answer[start : start + piece])
            time.sleep(piece / rate)


def frame_of(payload: bytes) -> bytes:
    """A message of Kafka's protocol with its length before it."""
    return struct.pack(">i", len(payload)) + payload


def _frame(source: socket.socket) -> bytes:
    (size,) = struct.unpack(">i", _exactly(source, 4))
    return _exactly(source, size)


def _exactly(source: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        data = source.recv(min(1 << 16, size - len(parts)))
        if not data:
            raise ConnectionResetError
        parts += data
    return bytes(parts)


def _close(*connections: socket.socket) -> None:
    for connection in connections:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()
