"""Compare the gateway's Python of two commits by turns: CPU time for each request, without MySQL.

    python benchmarks/gateway_python.py HEAD~1 HEAD
    python benchmarks/gateway_python.py HEAD HEAD --pythons python3.11 python3.13
    python benchmarks/gateway_python.py HEAD HEAD --metrics
    python benchmarks/gateway_python.py HEAD HEAD --metrics --traces

Requests come as bytes from connections that are none, and MySQL's answers to the statements of
puts, gets and queries are canned, so that other processes disturb little: what is counted is the
event loop's thread, without the time for making those answers. There are no system calls in it for
connections. Each commit has a process for each operation, and the two take turns. "ratio" is that
of the means of the cheapest quarter of the rounds; the median and the quartiles of the rounds'
ratios stand beside it.

With `--traces` a third process takes turns with them, which has metrics, and traces of all
requests; it is compared with the first. All threads count then, as spans are exported by one of
their own: they are encoded for a collector, and sent to none.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import re
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import Any

import orjson
import uvloop
from commits import checkout
from http_requests import Requests, order, table_definition
from peers import say
from rounds import number, table

from mynamo.catalog.cluster import Cluster
from mynamo.gateway.auth.claims import AnyCredentials
from mynamo.gateway.http.answering import Answering
from mynamo.gateway.http.api_protocol import App
from mynamo.gateway.http.connection import Shared
from mynamo.gateway.http.cors import Cors
from mynamo.gateway.http.guard import guarded
from mynamo.gateway.service import OPERATIONS, Service
from mynamo.local import LocalCluster
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.items import dump_item

TABLE = "orders"
FIRST = 10**9
COUNT = 1500
"""Requests of a round."""
WARM_ROUNDS = 3
BLOB, NUMBER = 252, 8
"""MySQL's types of columns."""
READY = "ready"


class Answers:
    """MySQL's answers to the statements of a packet.

    Args:
        table_id, version, epoch: what the guards say.

    Attributes:
        seconds: that making them has taken, of this thread.
    """

    def __init__(self, table_id: int, version: int, epoch: int) -> None:
        self.seconds = 0.0
        self._item = dump_item(order(5))
        self._guards = [(b"0", b"%d" % epoch), (b"%d" % table_id, b"%d" % version)]
        self._epoch = b"%d" % epoch
        self._insert_id = 1000

    def to(self, packet: bytes) -> bytes:
        """The bytes that the server would send."""
        began = time.thread_time()
        packets: list[bytes] = []
        statements = packet[5:].split(b";")
        for statement in statements:
            status = struct.pack("<H", 2 | 8 * (statement is not statements[-1]))
            if statement.startswith(b"SELECT"):
                columns, rows = self._selected(statement)
                end = b"\xfe\0\0" + status
                packets += [bytes((len(columns),)), *map(_column, columns), end]
                packets += [b"".join(map(_sized, row)) for row in rows] + [end]
            else:
                self._insert_id += 200
                is_outbox = b"mynamo_outbox" in statement
                assigned = b"\xfd" + self._insert_id.to_bytes(3, "little") if is_outbox else b"\0"
                packets.append(b"\0\1" + assigned + status + b"\0\0")
        sent = b"".join(
            len(each).to_bytes(3, "little") + bytes(((at + 1) % 256,)) + each
            for at, each in enumerate(packets)
        )
        self.seconds += time.thread_time() - began
        return sent

    def _selected(self, statement: bytes) -> tuple[list[int], list[tuple[bytes, ...]]]:
        """Types of columns, and rows."""
        keys = [bytes.fromhex(key.decode()) for key in re.findall(rb"X'([0-9a-f]*)'", statement)]
        ten = [b"\xc0\1" + bytes((at,)) for at in range(10)]
        if statement.startswith(b"SELECT id, version FROM mynamo_fence"):
            return [NUMBER] * 2, list(self._guards)
        if statement.startswith(b"SELECT COALESCE(MAX(id), 0) FROM mynamo_outbox"):
            return [NUMBER], [(b"%d" % self._insert_id,)]
        if statement.startswith(b"SELECT hash, sort, version, item"):
            return [BLOB, BLOB, NUMBER, BLOB], []
        if statement.startswith(b"SELECT t.hash"):
            pairs = zip(keys[::2], keys[1::2], strict=True)
            found = [(hashed, sort, self._item, self._epoch) for hashed, sort in pairs]
            return [BLOB, BLOB, BLOB, NUMBER], found
        if statement.startswith(b"SELECT f.version"):
            found = [(self._epoch, keys[0], sort, self._item) for sort in ten]
            return [NUMBER, BLOB, BLOB, BLOB], found
        if statement.startswith(b"SELECT index_hash"):
            return [BLOB] * 5, [(keys[0], sort, keys[0], sort, self._item) for sort in ten]
        raise ValueError(f"no answer is known to {statement[:200]!r}")


class CannedWire(RawIOBase):
    """In place of a connection's socket and of its reader."""

    ends_at: float | None = None

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._left = b""

    def readable(self) -> bool:
        """io's."""
        return True

    def readinto(self, buffer: Any) -> int:
        """io's."""
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size

    def sendall(self, data: bytes) -> None:
        """The socket's."""
        self._left = self._answers.to(bytes(data))

    def expect(self, least: int) -> None:
        """The socket's."""

    def settimeout(self, seconds: float | None) -> None:
        """The socket's."""


class Client:
    """A connection's transport, whose client sends its next request at once.

    Args:
        load: what it is a part of.
        make: makes the connection.
    """

    def __init__(self, load: Load, make: Any) -> None:
        self._load = load
        self._connection = make()
        self._connection.connection_made(self)

    def send(self) -> None:
        """Send the next request."""
        self._connection.data_received(self._load.next())

    def write(self, data: bytes) -> None:
        """The transport's."""
        if b" 200 " not in data[:20]:
            sys.exit(f"an error: {data[:500]!r}")
        self._load.answered(self)

    def get_extra_info(self, name: str) -> None:
        """The transport's: nothing is known of the other end."""

    def is_closing(self) -> bool:
        """The transport's."""
        return False

    def close(self) -> None:
        """The transport's."""


class Load:
    """Rounds of requests.

    Args:
        requests: what is sent, from the first one again after the last.
    """

    def __init__(self, requests: list[bytes]) -> None:
        self._requests = requests
        self._loop = asyncio.get_running_loop()
        self._sent = self._answered = 0
        self._done = asyncio.Event()

    async def round(self, clients: list[Client]) -> None:
        """One round."""
        self._answered = 0
        self._sent = len(clients)
        self._done.clear()
        for client in clients:
            self._loop.call_soon(client.send)
        await self._done.wait()

    def next(self) -> bytes:
        """The next request."""
        self._requests.append(request := self._requests.pop(0))
        return request

    def answered(self, client: Client) -> None:
        """A client has its answer."""
        self._answered += 1
        if self._sent < COUNT:
            self._sent += 1
            self._loop.call_soon(client.send)
        elif self._answered == COUNT:
            self._done.set()


async def serve(
    config: ClusterConfig, operation: str, connections: int, asked: argparse.Namespace
) -> None:
    """Do a round for each line that comes in, and print us for each request."""
    if asked.traced:
        from mynamo.schemas.config import TracingConfig  # which earlier commits lack

        _export_nowhere()
        config = config.model_copy(update={"tracing": TracingConfig(enabled=True)})
    clock = time.process_time if asked.traces else time.thread_time
    cluster = Cluster(config)
    (shard,) = cluster.shards.values()
    known = cluster.table(TABLE)
    answers = Answers(known.id, known.version, cluster.snapshot.epochs[shard.id])
    with shard.session() as one, shard.session() as other:
        for session in (one, other):
            driver: Any = session._connection
            wire = CannedWire(answers)
            driver._sock, driver._rfile = wire, BufferedReader(wire)
            session.note_id(1)
    limits = config.gateway.limits
    service = _counting(cluster) if asked.metrics else Service(cluster, config.gateway)
    nobody: Any = None
    app = App(
        service, AnyCredentials(), nobody, Cors(None), config.gateway, OPERATIONS,
        **({"tracer": cluster.tracer} if asked.traced else {}),
    )  # fmt: skip
    answering = Answering(app, limits)
    answering.start(asyncio.get_running_loop())
    make = guarded(limits, answering.answer, Shared())
    made = getattr(Requests(8000, TABLE, FIRST, 1), OPERATIONS_MADE[operation])()
    load = Load([request.data for request in made])
    clients = [Client(load, make) for _ in range(connections)]
    gc.collect()
    gc.freeze()
    print(READY, flush=True)
    for _ in sys.stdin:
        answers.seconds = 0.0
        began = clock()
        await load.round(clients)
        took = clock() - began - answers.seconds
        print(took / COUNT * 1e6, flush=True)
    os._exit(0)  # the sessions' servers know nothing of what was said


def _counting(cluster: Cluster) -> Service:
    from prometheus_client import CollectorRegistry

    from mynamo.metrics.request_metrics import RequestMetrics

    metrics = RequestMetrics(CollectorRegistry(), cluster.config.metrics.tables)
    return Service(cluster, cluster.config.gateway, None, metrics)


def _export_nowhere() -> None:
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Encoder(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            encode_spans(spans).SerializeToString()
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Encoder()))
    trace.set_tracer_provider(provider)


OPERATIONS_MADE = {
    "PutItem": "puts",
    "GetItem": "gets",
    "Query": "queries",
    "QueryGSI": "index_queries",
}


def _column(kind: int) -> bytes:
    words = b"".join(map(_sized, (b"def", b"", b"", b"", b"c", b"c")))
    return words + b"\x0c" + struct.pack("<HIBHB", 63, 1024, kind, 0x80, 0) + b"\0\0"


def _sized(value: bytes) -> bytes:
    size = len(value)
    return (bytes((size,)) if size < 251 else b"\xfc" + size.to_bytes(2, "little")) + value


class Contender:
    """A process that does rounds.

    Args:
        python: which runs it.
        files: the commit's checkout.
        words: for its command line.
    """

    def __init__(self, python: str, files: Path, words: list[str]) -> None:
        path = os.pathsep.join([str(files), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            [python, __file__, "--serve", *words],
            cwd=files,
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if self._line() != READY:
            sys.exit("a process did not start; see above")

    def round(self) -> float:
        """us for each request."""
        assert self._process.stdin
        print(file=self._process.stdin, flush=True)
        return float(self._line())

    def close(self) -> None:
        """End it."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    def _line(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()


def compare(asked: argparse.Namespace) -> str:
    """A table."""
    rows = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mynamo-python-")))
        local = stack.enter_context(LocalCluster(folder, 1).start(say))
        with Cluster(local.config) as cluster:
            service = Service(cluster, local.config.gateway)
            _create(service)
        files = [stack.enter_context(checkout(each)) for each in (asked.before, asked.after)]
        pythons = [asked.pythons[0], asked.pythons[-1]]
        more = [[], ["--metrics"] if asked.metrics else []]
        if asked.traces:
            files.append(files[-1])
            pythons.append(pythons[-1])
            more = [[*options, "--traces"] for options in (*more, ["--metrics", "--traced"])]
        for operation in asked.operations:
            words = [str(local.config_file), operation, str(asked.connections)]
            contenders = [
                Contender(python, folder, [*words, *options])
                for python, folder, options in zip(pythons, files, more, strict=True)
            ]
            took: list[list[float]] = [[] for _ in contenders]
            for one in range(asked.rounds + WARM_ROUNDS):
                turns = range(len(contenders))
                for at in turns if one % 2 else reversed(turns):
                    took[at].append(contenders[at].round())
            for each in contenders:
                each.close()
            first, *others = (each[WARM_ROUNDS:] for each in took)
            row = [operation, number(_cheapest(first))]
            for other in others:
                row += _compared(first, other)
            rows.append(row)
    names = ["operation", "before, us", "after, us", "ratio", "median", "quartiles"]
    if asked.traces:
        names += ["traced, us", "ratio", "median", "quartiles"]
    return table(names, rows)


def _cheapest(took: list[float]) -> float:
    """The mean of the cheapest quarter."""
    return statistics.mean(sorted(took)[: max(1, len(took) // 4)])


def _compared(before: list[float], after: list[float]) -> list[str]:
    ratio = _cheapest(after) / _cheapest(before)
    ratios = [new / old for old, new in zip(before, after, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    shown = number(_cheapest(after))
    return [shown, f"{ratio:.3f}", f"{middle:.3f}", f"{low:.3f} to {high:.3f}"]


def _create(service: Service) -> None:
    answer = service.call("CreateTable", orjson.dumps(table_definition(TABLE)), {})
    if answer.status != 200:
        sys.exit(f"no table: {answer.body!r}")
    deadline = time.monotonic() + 60
    while service.context.cluster.refresh().names[TABLE].status != "ACTIVE":
        if time.monotonic() > deadline:
            sys.exit("the table does not become active")
        time.sleep(0.1)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", nargs="?")
    parser.add_argument("after", nargs="?")
    parser.add_argument(
        "--operations", nargs="+", choices=list(OPERATIONS_MADE), default=list(OPERATIONS_MADE)
    )
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=16)
    parser.add_argument("--pythons", nargs="+", default=[sys.executable], help="one, or one each")
    parser.add_argument(
        "--metrics", action="store_true", help="the second counts its requests for Prometheus"
    )
    parser.add_argument(
        "--traces", action="store_true", help="a third one has metrics, and traces of all requests"
    )
    parser.add_argument("--traced", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        file, operation, connections = asked.serve
        uvloop.run(serve(ClusterConfig.load(file), operation, int(connections), asked))
    elif asked.after is None:
        parser.error("name two commits")
    else:
        print(compare(asked))


if __name__ == "__main__":
    main()
