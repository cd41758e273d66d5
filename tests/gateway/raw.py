"""HTTP servers in a thread, and HTTP by hand: for what no client library would ever send."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from mynamo.gateway.http.server import HttpServer

TIMEOUT = 20.0


@contextmanager
def running(server: HttpServer) -> Iterator[str]:
    """Run a server in a thread until the block ends; gives its URL."""
    thread = threading.Thread(target=server.run, name="test-gateway", daemon=True)
    thread.start()
    try:
        yield f"http://{server.address[0]}:{server.address[1]}"
    finally:
        server.stop()
        thread.join(30)
    assert not thread.is_alive(), "the gateway does not end"


class Heard(NamedTuple):
    """An answer; names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Wire:
    """A connection, byte by byte."""

    socket: socket.socket
    _left: bytes = b""

    def send(self, data: bytes) -> None:
        """Send; that the server has hung up already shows when reading."""
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(data)

    def hear(self) -> Heard:
        """Read one answer.

        Raises:
            EOFError: the server ended the connection before it.
        """
        head = self.until(b"\r\n\r\n").decode("latin-1")
        first, *lines = head.split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        status = int(first.split(" ")[1])
        body = b"" if status == 100 else self._exactly(int(headers["content-length"]))
        return Heard(status, headers, body)

    def ended(self) -> bool:
        """Wait for the server to end the connection; False if it says something instead."""
        try:
            return self._left == b"" and self.socket.recv(1) == b""
        except ConnectionError:
            return True

    def until(self, mark: bytes) -> bytes:
        while mark not in self._left:
            self._more()
        head, _, self._left = self._left.partition(mark)
        return head

    def _exactly(self, size: int) -> bytes:
        while len(self._left) < size:
            self._more()
        body, self._left = self._left[:size], self._left[size:]
        return body

    def _more(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise EOFError(f"the server hung up after {self._left!r}")
        self._left += data


@contextmanager
def wire(url: str) -> Iterator[Wire]:
    """Connect to a server by its URL."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), TIMEOUT) as connected:
        yield Wire(connected)


def post(
    body: bytes = b"{}", operation: str = "ListTables", headers: Mapping[str, str] | None = None
) -> bytes:
    """The bytes of a request that is signed in form."""
    lines = {
        "Host": "x",
        "Content-Type": "application/x-amz-json-1.0",
        "X-Amz-Target": f"DynamoDB_20120810.{operation}",
        "X-Amz-Date": "20260101T000000Z",
        "Authorization": "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/dynamodb/aws4_request, "
        "SignedHeaders=host;x-amz-target, Signature=abc",
        "Content-Length": str(len(body)),
        **(headers or {}),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value != "-")
    return f"POST / HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body


def has_ipv6() -> bool:
    """Whether this machine has the second loopback address."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True
