"""The socket of a connection: threads block on it, tasks leave their thread to others."""

from __future__ import annotations

import asyncio
import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from mynamo.errors import ShardUnavailable
from mynamo.mysql.pool import ConnectionPool
from mynamo.mysql.sockets import Wire
from mynamo.runtime.tasks import Scheduler
from mynamo.schemas.config import DatabaseConfig, PoolConfig
from tests.tasks import spawn

TIMEOUT = 20.0
SOON = 0.05
LARGE = bytes(range(256)) * 20_000  # more than the buffers of a connection hold


@pytest.fixture
def pair() -> Iterator[tuple[Wire, socket.socket]]:
    """A wire, and the other side of it."""
    here, there = socket.socketpair()
    wire = Wire(here, TIMEOUT)
    yield wire, there
    wire.close()
    there.close()


def by_thread(work: Callable[[], Any]) -> Any:
    """Do some work in this thread."""
    return work()


def by_task(work: Callable[[], Any]) -> Any:
    """Have a task do some work; its thread goes on meanwhile."""

    async def ride() -> Any:
        scheduler = Scheduler(asyncio.get_running_loop(), helpers=1)
        answer = spawn(scheduler, work)
        at_once = answer.done()
        await asyncio.wait([answer])
        scheduler.close()
        assert not at_once or isinstance(answer.exception(), BrokenPipeError)
        return await answer

    return asyncio.run(asyncio.wait_for(ride(), TIMEOUT))


callers = pytest.mark.parametrize("caller", [by_thread, by_task])


def later(work: Callable[[], Any]) -> threading.Thread:
    """Do some work in a moment, in another thread."""

    def wait_and_work() -> None:
        time.sleep(SOON)
        work()

    thread = threading.Thread(target=wait_and_work)
    thread.start()
    return thread


@callers
def test_an_answer_is_waited_for(
    pair: tuple[Wire, socket.socket], caller: Callable[[Callable[[], Any]], Any]
) -> None:
    wire, there = pair
    file = io.BufferedReader(wire)

    def ask() -> bytes:
        wire.sendall(b"who is there?")
        return file.read(4) + file.read(2)

    answering = later(lambda: there.sendall(there.recv(100)[:6]))
    assert caller(ask) == b"who is"
    answering.join()


@callers
def test_what_is_large_goes_and_comes_whole(
    pair: tuple[Wire, socket.socket], caller: Callable[[Callable[[], Any]], Any]
) -> None:
    wire, there = pair
    file = io.BufferedReader(wire)

    def answer() -> None:
        with there.makefile("rb") as asked:
            there.sendall(asked.read(len(LARGE))[::-1])

    def ask() -> bytes:
        wire.sendall(LARGE)
        return file.read(len(LARGE))

    answering = later(answer)
    assert caller(ask) == LARGE[::-1]
    answering.join()


@callers
def test_silence_ends(
    pair: tuple[Wire, socket.socket], caller: Callable[[Callable[[], Any]], Any]
) -> None:
    wire, _ = pair
    wire.settimeout(SOON)
    with pytest.raises(TimeoutError):
        caller(lambda: wire.readinto(bytearray(10)))
    with pytest.raises(TimeoutError):
        caller(lambda: wire.sendall(LARGE))


@callers
def test_a_lost_connection_is_noticed(
    pair: tuple[Wire, socket.socket], caller: Callable[[Callable[[], Any]], Any]
) -> None:
    wire, there = pair
    closing = later(there.close)
    assert caller(lambda: wire.readinto(bytearray(10))) == 0
    closing.join()
    with pytest.raises(OSError, match="pipe"):
        caller(lambda: wire.sendall(b"hello"))


def test_a_task_waits_for_a_connection_without_its_thread() -> None:
    """Of a pool that has none, and whose server is not there."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    database = DatabaseConfig(
        host="127.0.0.1", port=port, user="nobody", password=SecretStr("x"), database="none"
    )
    pool = ConnectionPool(database, PoolConfig(size=2, wait_timeout=SOON), "here")

    def take() -> None:
        with pool.session():
            pass

    with pytest.raises(ShardUnavailable, match="here"):
        by_task(take)
    assert all(pool.permits.acquire(blocking=False) for _ in range(2))
    with pytest.raises(ShardUnavailable, match="were busy"):
        by_task(take)


@pytest.fixture
def tcp_pair() -> Iterator[tuple[Wire, socket.socket]]:
    """As `pair`, over TCP, which knows how many bytes to wake a reader for."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        here = socket.create_connection(server.getsockname())
        there, _ = server.accept()
    there.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    wire = Wire(here, TIMEOUT)
    yield wire, there
    wire.close()
    there.close()


def answered_in_parts(
    wire: Wire, there: socket.socket, caller: Callable[[Callable[[], Any]], Any], least: int
) -> int:
    """Bytes that a caller is woken with, for an answer of 33 that comes in three parts."""

    def send() -> None:
        for _ in range(3):
            there.sendall(b"x" * 11)
            time.sleep(SOON)

    def ask() -> int:
        wire.expect(least)
        wire.sendall(b"?")
        return wire.readinto(bytearray(1000))

    sender = threading.Thread(target=send)
    sender.start()
    count: int = caller(ask)
    sender.join()
    return count


@callers
def test_an_answer_in_parts_wakes_its_caller_once(
    tcp_pair: tuple[Wire, socket.socket], caller: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mynamo.mysql.sockets._GATHER", TIMEOUT)
    assert answered_in_parts(*tcp_pair, caller, least=33) == 33
    # The control: without the number, the first part wakes it.
    assert answered_in_parts(*tcp_pair, caller, least=1) < 33


@callers
def test_an_answer_that_is_shorter_than_expected_is_read(
    tcp_pair: tuple[Wire, socket.socket], caller: Any
) -> None:
    assert answered_in_parts(*tcp_pair, caller, least=1000) >= 11
