"""Whatever is sent, the answer is DynamoDB's, nobody waits, and nothing grows."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.amounts import amount
from tests.commands import Dev
from tests.gateway.fuzzing import CHANGES_TABLES, TABLE, VICTIM, Attempt, Fuzzer, headers_of

pytestmark = pytest.mark.slow

REQUESTS = amount(4_000)
CLIENTS = 6
PATIENCE = 30.0
"""Seconds without an answer that count as a hang; the machine may be busy."""
NOT_THE_PROTOCOL = (404, b"<UnknownOperationException/>\n")
"""What AWS answers when content type and target do not say which protocol it is."""
GROWTH_MB = 64
"""What the server may grow by once it has seen a good part of the requests."""


def complaint(status: int, headers: dict[str, str], body: bytes) -> str | None:
    """What is wrong with an answer, or None."""
    if status >= 500:
        return f"status {status}"
    if (status, body) == NOT_THE_PROTOCOL:
        return None
    try:
        answer = json.loads(body)
    except ValueError:
        return f"status {status}, and the body is no JSON: {body[:80]!r}"
    if not isinstance(answer, dict):
        return f"the body is no object: {body[:80]!r}"
    if status == 200:
        return None
    if status not in (400, 413):
        return f"status {status}"
    if "#" not in answer.get("__type", "") or "application/x-amz-json" not in headers.get(
        "content-type", ""
    ):
        return f"not an error of DynamoDB's form: {body[:200]!r}"
    return None


@pytest.mark.parametrize(
    ("status", "body"),
    [(500, b'{"__type":"a#b"}'), (200, b"<html>"), (400, b"{}"), (400, b"[]"), (302, b"{}")],
)
def test_the_control_bad_answers_are_noticed(status: int, body: bytes) -> None:
    headers = {"content-type": "application/x-amz-json-1.0"}
    assert complaint(status, headers, body)
    assert complaint(400, headers, b'{"__type":"a#b"}') is None


class Client:
    """One keep-alive connection, opened anew when the server has closed it."""

    def __init__(self, url: str) -> None:
        self._host = urlsplit(url).netloc
        self._connection = http.client.HTTPConnection(self._host, timeout=PATIENCE)

    def send(self, attempt: Attempt) -> tuple[int, dict[str, str], bytes]:
        """The answer's status, headers (names in lower case) and body."""
        for fresh in (False, True):
            try:
                self._connection.request("POST", "/", attempt.body, attempt.headers)
                answer = self._connection.getresponse()
                headers = {name.lower(): value for name, value in answer.getheaders()}
                return answer.status, headers, answer.read()
            except (ConnectionError, http.client.HTTPException):
                self._connection.close()
                if fresh:
                    raise
        raise AssertionError("not reached")

    def close(self) -> None:
        self._connection.close()


def call(client: Client, operation: str, **request: Any) -> tuple[int, Any]:
    status, _, body = client.send(
        Attempt(operation, "", json.dumps(request).encode(), headers_of(operation))
    )
    return status, json.loads(body)


def make_table(client: Client, name: str) -> None:
    """A table with every kind of index, unless it is there."""
    call(
        client, "CreateTable", TableName=name, BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "sk", "AttributeType": "N"},
            {"AttributeName": "a", "AttributeType": "S"},
            {"AttributeName": "b", "AttributeType": "S"},
        ],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"},
                   {"AttributeName": "sk", "KeyType": "RANGE"}],
        LocalSecondaryIndexes=[{
            "IndexName": "by_b", "Projection": {"ProjectionType": "ALL"},
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"},
                          {"AttributeName": "b", "KeyType": "RANGE"}],
        }],
        GlobalSecondaryIndexes=[{
            "IndexName": "by_a", "Projection": {"ProjectionType": "KEYS_ONLY"},
            "KeySchema": [{"AttributeName": "a", "KeyType": "HASH"}],
        }],
    )  # fmt: skip


@pytest.fixture
def client(dev: Dev) -> Iterator[Client]:
    with contextlib.closing(Client(dev.endpoint)) as made:
        make_table(made, TABLE)
        make_table(made, VICTIM)
        yield made


def test_every_answer_is_well_formed(client: Client, dev: Dev) -> None:
    gateway = min(int(line.split()[0]) for line in dev.processes if " serve" in line)
    complaints: list[str] = []
    statuses: Counter[tuple[str, int]] = Counter()
    halfway: list[int] = []

    def work(number: int) -> None:
        fuzzer = Fuzzer(number)
        with contextlib.closing(Client(dev.endpoint)) as mine:
            for count in range(REQUESTS // CLIENTS + 1):
                attempt = fuzzer.attempt()
                answer = mine.send(attempt)
                wrong = complaint(*answer)
                if wrong:
                    complaints.append(
                        f"seed {number}, request {count}, {attempt.operation} ({attempt.how}): "
                        f"{wrong}; {attempt.body[:300]!r}"
                    )
                statuses[attempt.operation, answer[0]] += 1
                if attempt.operation in CHANGES_TABLES and answer[0] == 200:
                    make_table(mine, VICTIM)
                if number == 0 and count == REQUESTS // CLIENTS // 2:
                    halfway.append(memory_mb(gateway))

    with ThreadPoolExecutor(CLIENTS) as pool:
        for task in [pool.submit(work, number) for number in range(CLIENTS)]:
            task.result()
    assert complaints[:5] == []
    assert statuses.total() >= REQUESTS
    refused = sum(count for (_, status), count in statuses.items() if status != 200)
    assert statuses.total() * 0.2 < refused < statuses.total() * 0.95, statuses
    assert memory_mb(gateway) < halfway[0] + GROWTH_MB
    # It still serves. One of the requests may have dropped the table.
    make_table(client, TABLE)
    item = {"pk": {"S": "after"}, "sk": {"N": "1"}}
    assert call(client, "PutItem", TableName=TABLE, Item=item)[0] == 200
    assert call(client, "GetItem", TableName=TABLE, Key=item) == (200, {"Item": item})


@pytest.mark.parametrize(
    "sent",
    [
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        b"POST / HTTP/9.9\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + b"X: y\r\n" * 10_000,
        b"\x00" * 5_000,
        b"POST / HTTP/1.1\r\nHost x\r\n\r\n",
    ],
)
def test_malformed_http_ends_its_own_connection_only(client: Client, dev: Dev, sent: bytes) -> None:
    parts = urlsplit(dev.endpoint)
    with socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE) as raw:
        with contextlib.suppress(ConnectionError):
            raw.sendall(sent)
            raw.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while part := raw.recv(65_536):  # to the end: a hang would run into the timeout
                answer += part
    assert answer == b"" or answer.split()[1][:1] == b"4", answer[:200]
    assert call(client, "ListTables")[0] == 200


def memory_mb(pid: int) -> int:
    """Resident memory of a process and of all its descendants, in MB."""
    children: dict[int, list[int]] = {}
    resident: dict[int, int] = {}
    for proc in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (proc / "stat").read_text().rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(proc.name))
            resident[int(proc.name)] = int(fields[21]) * 4096
    total, waiting = 0, [pid]
    while waiting:
        one = waiting.pop()
        total += resident.get(one, 0)
        waiting += children.get(one, [])
    return total // 2**20
