"""Clients of the console that send nothing, or never the rest of it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import uvicorn

from mynamo.console import bounded_connections
from mynamo.console.bounded_connections import BoundedConnection
from tests.waiting import eventually

HEAD = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n"


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Read the body; answer with as many bytes as the address says."""
    while (await receive()).get("more_body"):
        pass
    size = int(scope["path"][1:] or 2)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for n in range(size, 0, -1_000_000):
        part = {"type": "http.response.body", "body": b"x" * min(n, 1_000_000), "more_body": True}
        await send(part)
    await send({"type": "http.response.body"})


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A server with short deadlines."""
    monkeypatch.setattr(bounded_connections, "REQUEST_SECONDS", 1.0)
    monkeypatch.setattr(bounded_connections, "ANSWER_SECONDS", 2.0)
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    config = uvicorn.Config(
        application, http=BoundedConnection, loop="asyncio", lifespan="off", log_config=None
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    port: int = listener.getsockname()[1]
    thread.start()
    yield port
    server.should_exit = True
    thread.join(30)
    assert not thread.is_alive()


def connected(port: int, sent: bytes = b"") -> socket.socket:
    one = socket.create_connection(("127.0.0.1", port), timeout=20)
    one.sendall(sent)
    return one


def has_ended(one: socket.socket) -> bool:
    """Wait for its end; what is answered before counts for nothing."""
    try:
        while one.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return True


def answer(one: socket.socket, path: str = "/") -> bytes:
    one.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    found = b""
    while not found.endswith(b"0\r\n\r\n"):
        part = one.recv(65536)
        assert part, found
        found += part
    return found


@pytest.mark.parametrize("sent", [b"", b"GET / HT", HEAD, HEAD + b"abc", HEAD + b"abcd" + HEAD])
def test_a_request_that_does_not_end_ends_its_connection(port: int, sent: bytes) -> None:
    with connected(port, sent) as one:
        assert has_ended(one)


def test_a_client_that_sends_byte_by_byte_is_no_exception(port: int) -> None:
    with connected(port) as one:

        def has_been_reset() -> bool:
            try:
                one.sendall(b"x")
            except OSError:
                return True
            return False

        assert eventually(has_been_reset, 20)


def test_a_client_that_does_not_take_its_answer_is_let_go(port: int) -> None:
    with connected(port) as one:
        one.sendall(b"GET /50000000 HTTP/1.1\r\nhost: x\r\n\r\n")
        time.sleep(3)  # longer than it may take
        taken = 0
        while part := one.recv(1_000_000):
            taken += len(part)
        assert taken < 50_000_000


def test_a_connection_is_used_again(port: int) -> None:
    with connected(port) as one:
        for _ in range(4):
            assert b"200" in answer(one)
            time.sleep(0.4)  # together longer than a request may take


def test_who_is_slow_makes_room(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_connections, "REQUEST_SECONDS", 60.0)
    monkeypatch.setattr(bounded_connections, "PER_ADDRESS", 20)
    with ExitStack() as stack:
        silent = [stack.enter_context(connected(port, b"GET")) for _ in range(20)]
        with connected(port) as refused:  # nobody has been slow yet
            assert has_ended(refused)
        time.sleep(1.1)  # until they are
        for _ in range(5):
            assert b"200" in answer(stack.enter_context(connected(port)))
        assert all(has_ended(one) for one in silent[:5])
