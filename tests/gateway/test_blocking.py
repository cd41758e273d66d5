"""Controls: what blocks the event loop's thread is found, and nothing else."""

from __future__ import annotations

import os
import select
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from mynamo.mysql import pool, sockets
from mynamo.schemas.config import ClusterConfig
from tests.gateway.blocking import Blocked
from tests.gateway.conftest import client_of, served
from tests.gateway.raw import post, wire
from tests.gateway.stand_in import TIMEOUT, StandIn, stand_in

IN_THE_LOOP, IN_A_THREAD = "PutItem", "ListTables"


def sleep() -> None:
    time.sleep(0.001)


def wait_for_an_event() -> None:
    threading.Event().wait(0.001)


def wait_for_a_lock() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire(timeout=0.001)


def wait_for_a_place() -> None:
    threading.Semaphore(0).acquire(timeout=0.001)


def receive() -> None:
    near, far = socket.socketpair()
    with near, far:
        far.send(b"x")
        near.recv(1)


def connect() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()


def resolve() -> None:
    socket.getaddrinfo("127.0.0.1", 80)


def poll() -> None:
    select.poll().poll(1)


def sync() -> None:
    with tempfile.TemporaryFile() as file:
        os.fsync(file.fileno())


def read_a_file() -> None:
    Path(__file__).read_bytes()


WAYS = (
    sleep, wait_for_an_event, wait_for_a_lock, wait_for_a_place, receive, connect, resolve, poll,
    sync, read_a_file,
)  # fmt: skip


@pytest.fixture
def stood_in() -> Iterator[tuple[StandIn, str]]:
    with stand_in() as made:
        yield made


def status(url: str, operation: str) -> int:
    """That of the answer to a call."""
    with wire(url) as client:
        client.send(post(b"{}", operation))
        return client.hear().status


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_control_what_blocks_is_found(
    stood_in: tuple[StandIn, str], blocked: Blocked, way: Callable[[], None]
) -> None:
    made, url = stood_in

    def reply(body: bytes) -> bytes:
        way()
        return body

    made.reply = reply
    assert status(url, IN_A_THREAD) == 200
    assert blocked.take() == []
    assert status(url, IN_THE_LOOP) == 500
    found = blocked.take()
    assert [stack for stack in found if f"in {way.__name__}\n" not in stack] == []
    assert found


def test_control_what_blocks_is_found_while_a_task_waits(
    stood_in: tuple[StandIn, str], blocked: Blocked
) -> None:
    """The other one waits as it does for MySQL."""
    made, url = stood_in
    near, far = socket.socketpair()
    reader = BufferedReader(sockets.Wire(near, TIMEOUT))
    made.reply = lambda _: reader.read(5)
    with far, reader, wire(url) as client:
        client.send(post(b"{}", IN_THE_LOOP))
        made.await_calls(1)

        def reply(_: bytes) -> bytes:
            sleep()
            return b""

        made.reply = reply
        assert status(url, IN_THE_LOOP) == 500
        assert len(blocked.take()) == 1
        far.send(b"first")
        heard = client.hear()
        assert (heard.status, heard.body) == (200, b"first")


@pytest.fixture
def new_dynamodb(dynamodb: Any, config: ClusterConfig) -> Iterator[Any]:
    """A client of a gateway that has no connections to the shards yet, and a table."""
    dynamodb.create_table(
        TableName="things",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    with served(config) as url:
        client = client_of(url)
        yield client
        client.close()


def put_and_get(client: Any) -> None:
    """Both as tasks of the event loop."""
    client.put_item(TableName="things", Item={"id": {"S": "a"}})
    client.get_item(TableName="things", Key={"id": {"S": "a"}})


def test_control_connecting_outside_a_thread_is_found(
    new_dynamodb: Any, blocked: Blocked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "in_thread", lambda function: function)
    with pytest.raises(ClientError):
        put_and_get(new_dynamodb)
    assert any("in connect\n" in stack for stack in blocked.take())


def test_control_waiting_for_mysql_outside_a_task_is_found(
    new_dynamodb: Any, blocked: Blocked, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_and_get(new_dynamodb)
    assert blocked.take() == []
    monkeypatch.setattr(sockets, "current", lambda: None)
    with pytest.raises(ClientError):
        put_and_get(new_dynamodb)
    assert any("in _comes\n" in stack for stack in blocked.take())
