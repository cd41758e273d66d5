"""A load generator: one process, raw HTTP/1.1 on kept connections, requests that are prebuilt.

    python benchmarks/http_load.py < plan.json    # prints what it measured as JSON
    python benchmarks/http_load.py fixed 8123     # a server that answers all with a fixed 200

Closed loop: each connection sends its next request when the last one is answered. Open loop
(`rate`): requests are due at fixed times, whatever the server does, and latencies count from
there; one that finds no free connection waits for it.

Only what is answered with status 200 counts. Every `SAMPLE`th answer (of batches each) is parsed
and checked, and some of the items that were put are read back in the end.
"""

from __future__ import annotations

import asyncio
import gc
import json
import math
import resource
import sys
import threading
import time
from array import array
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import cycle
from time import perf_counter
from typing import Any

import httptools  # type: ignore[import-untyped,unused-ignore]
import orjson
import uvloop
from http_requests import Request, Requests

SAMPLE = 50
READ_BACK = 50
WARM_SECONDS = 0.3
GRACE_SECONDS = 60.0
OPEN_LOOP_GRACE_SECONDS = 5.0
FIXED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: 2\r\n\r\n{}"
)


@dataclass(frozen=True)
class Plan:
    """What to do.

    Attributes:
        port: of the server, on the loopback address.
        table: the table's name.
        operation: one of `http_requests.OPERATIONS`.
        connections: that many.
        seconds: to measure, after `WARM_SECONDS` that do not count.
        first: number of the first item to put.
        seed: of the choice of keys.
        rate: requests per second of an open loop; None: closed loop.
        checked: whether answers are checked.
    """

    port: int
    table: str
    operation: str
    connections: int
    seconds: float
    first: int
    seed: int
    rate: float | None = None
    checked: bool = True


@dataclass
class Measured:
    """What came of it.

    Attributes:
        answered: requests with status 200, the warming up included.
        rate: of them per second, in the time that counts.
        p50_ms, p99_ms, longest_ms: latency; of an open loop, from when a request was due.
        load_cpu_us: CPU time of this process per request.
        load_busy: the part of one core that this process took.
        errors: answers of another status, lost connections, and what was not answered some
            time after the end.
        wrong: answers whose content was wrong, among those that were looked at.
        example: one of those errors or wrong answers.
    """

    answered: int = 0
    rate: float = 0.0
    p50_ms: float = math.nan
    p99_ms: float = math.nan
    longest_ms: float = math.nan
    load_cpu_us: float = math.nan
    load_busy: float = 0.0
    errors: int = 0
    wrong: int = 0
    example: str = ""


class Connection(asyncio.Protocol):
    """One connection, with at most one request on its way."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._parser = httptools.HttpResponseParser(self)
        self.transport: Any = None
        self.request: Request | None = None
        self.began = 0.0
        self.body = b""

    def send(self, request: Request, began: float) -> None:
        """Send a request whose latency counts from `began` on."""
        self.request, self.began, self.body = request, began, b""
        self.transport.write(request.data)

    def connection_made(self, transport: Any) -> None:
        """asyncio's."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """asyncio's."""
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """The parser's."""
        self.body += body

    def on_message_complete(self) -> None:
        """The parser's."""
        self._load.answered(self, self._parser.get_status_code())

    def connection_lost(self, _: Exception | None) -> None:
        """asyncio's."""
        self._load.lost(self)


class Load:
    """One run."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._made = Requests(plan.port, plan.table, plan.first, plan.seed)
        self._requests: Iterator[Request] = cycle(self._made.of(plan.operation))
        # A batch may be answered with status 200 and name items that were not written.
        self._look_at_all = plan.operation == "BatchWriteItem"
        self._connections: set[Connection] = set()
        self._free: deque[Connection] = deque()
        self._waiting: deque[float] = deque()
        self._latencies = array("d")
        self._counted = 0
        self._written: list[int] = []
        self._begin = self._end = 0.0
        self._closing = False
        self._broken: OSError | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.measured = Measured()

    async def run(self) -> Measured:
        """Do it.

        Raises:
            OSError: the server does not take connections.
        """
        plan, measured = self._plan, self.measured
        for _ in range(plan.connections):
            await self._connect()
        gc.collect()
        gc.freeze()
        gc.disable()
        self._begin = perf_counter() + WARM_SECONDS
        self._end = self._begin + plan.seconds
        began, cpu = perf_counter(), _cpu()
        if plan.rate is None:
            for connection in list(self._connections):
                self._send(connection, perf_counter())
        else:
            self._free.extend(self._connections)
            loop = asyncio.get_running_loop()
            threading.Thread(target=self._pace, args=(loop, plan.rate), daemon=True).start()
        await asyncio.sleep(self._end - perf_counter())
        await self._drain()
        cpu, took = _cpu() - cpu, perf_counter() - began
        self._closing = True
        if self._broken:
            raise self._broken
        if plan.checked:
            await self._read_back()
        for connection in self._connections:
            connection.transport.abort()
        measured.rate = self._counted / plan.seconds
        measured.load_cpu_us = cpu / max(1, measured.answered) * 1e6
        measured.load_busy = cpu / took
        if self._latencies:
            ordered = sorted(self._latencies)
            measured.p50_ms, measured.p99_ms, measured.longest_ms = (
                ordered[min(len(ordered) - 1, int(len(ordered) * part))] * 1000
                for part in (0.5, 0.99, 1)
            )
        return measured

    def answered(self, connection: Connection, status: int) -> None:
        """A request was answered."""
        if self._closing:
            return
        now = perf_counter()
        request, connection.request = connection.request, None
        assert request is not None
        if status == 200:
            self._count(request, connection, now)
        else:
            self._error(f"status {status}: {connection.body[:300]!r}")
        if self._plan.rate is None:
            if now < self._end:
                self._send(connection, perf_counter())
        elif self._waiting:
            self._send(connection, self._waiting.popleft())
        else:
            self._free.append(connection)

    def lost(self, connection: Connection) -> None:
        """A connection was closed; another one takes its place."""
        if self._closing:
            return
        self._connections.discard(connection)
        if connection in self._free:
            self._free.remove(connection)
        if connection.request is not None:
            self._error("connection lost")
        if perf_counter() < self._end and not self._broken:
            task = asyncio.get_running_loop().create_task(self._replace())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _count(self, request: Request, connection: Connection, now: float) -> None:
        measured = self.measured
        measured.answered += 1
        if self._plan.checked and (measured.answered % SAMPLE == 1 or self._look_at_all):
            if not self._is_right(request, connection.body):
                return
            if request.written is not None:
                self._written.append(request.written)
        if self._begin <= now < self._end:
            self._counted += 1
        # What is answered after the end counts too: the slow ones would be left out otherwise.
        reference = now if self._plan.rate is None else connection.began
        if reference >= self._begin:
            self._latencies.append(now - connection.began)

    def _is_right(self, request: Request, body: bytes) -> bool:
        try:
            right = request.right(orjson.loads(body))
        except (orjson.JSONDecodeError, KeyError, TypeError):
            right = False
        if not right:
            self.measured.wrong += 1
            self.measured.example = f"{request.data[-300:]!r} was answered {body[:300]!r}"
        return right

    def _error(self, example: str) -> None:
        self.measured.errors += 1
        self.measured.example = example

    def _send(self, connection: Connection, began: float) -> None:
        connection.send(next(self._requests), began)

    def _pace(self, loop: asyncio.AbstractEventLoop, rate: float) -> None:
        """A thread that says when requests are due: timers of the event loop count in whole ms."""
        due = perf_counter()
        while due < self._end:
            time.sleep(max(0.0, due - perf_counter()))
            loop.call_soon_threadsafe(self._arrive, due)
            due += 1 / rate

    def _arrive(self, due: float) -> None:
        if self._free:
            self._send(self._free.popleft(), due)
        else:
            self._waiting.append(due)

    async def _drain(self) -> None:
        """Let what is on its way come in; what an open loop is owed then counts as so long."""
        grace = GRACE_SECONDS if self._plan.rate is None else OPEN_LOOP_GRACE_SECONDS
        deadline = perf_counter() + grace
        while perf_counter() < deadline and (self._on_their_way() or self._waiting):
            await asyncio.sleep(0.01)
        if late := self._on_their_way():
            self._error(f"not answered after {grace:.0f} s")
            self.measured.errors += len(late) - 1
        if self._plan.rate is not None:
            now = perf_counter()
            owed = [*self._waiting, *(connection.began for connection in late)]
            self._latencies.extend(now - due for due in owed if due >= self._begin)
            self.measured.errors += len(self._waiting)
            self._waiting.clear()

    def _on_their_way(self) -> list[Connection]:
        return [one for one in self._connections if one.request is not None]

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: Connection(self), "127.0.0.1", self._plan.port
        )
        self._connections.add(connection)
        return connection

    async def _replace(self) -> None:
        try:
            connection = await self._connect()
        except OSError as error:
            self._broken = error
            return
        if self._plan.rate is None:
            self._send(connection, perf_counter())
        elif self._waiting:
            self._send(connection, self._waiting.popleft())
        else:
            self._free.append(connection)

    async def _read_back(self) -> None:
        """Read some of the items that were put."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._plan.port)
        for number in self._written[-READ_BACK:]:
            request = self._made.get(number, consistent=True)
            writer.write(request.data)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            self._is_right(request, await reader.readexactly(length))
        writer.close()


class Fixed(asyncio.Protocol):
    """A server that does nothing: what the load generator can do is what it does with this."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        """asyncio's."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """asyncio's."""
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """The parser's."""
        self._transport.write(FIXED)


async def serve_fixed(port: int) -> None:
    """Run it for good."""
    server = await asyncio.get_running_loop().create_server(Fixed, "127.0.0.1", port)
    await server.serve_forever()


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    if sys.argv[1:2] == ["fixed"]:
        uvloop.run(serve_fixed(int(sys.argv[2])))
    else:
        print(json.dumps(asdict(uvloop.run(Load(Plan(**json.load(sys.stdin))).run()))))
