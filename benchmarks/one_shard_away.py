"""What a gateway answers for one shard while the other one is well, dead, frozen and slow.

    python benchmarks/one_shard_away.py                   # of this code
    python benchmarks/one_shard_away.py --code FOLDER     # of another folder's

600 clients ask for items of one shard, each every two seconds. Eight ask for items of the other
shard, gets and puts by turns, as fast as they are answered; one asks for the greeting, ten times a
second.
"Slow" means that each packet to the shard and from it comes half a second late. The catalog is on
the server of the shard that stays well.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from mynamo.catalog.cluster import Cluster
from mynamo.local import LocalCluster, free_port
from mynamo.local.state import config_toml

ITEMS = 400
CLIENTS = 600
OTHERS = 8
PAUSE = 2.0
WELL, AWAY = 1, 2
DELAY = 0.5
TABLE = {
    "TableName": "items",
    "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
    "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
    "BillingMode": "PAY_PER_REQUEST",
}
SIGNED_IN_FORM = (
    "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/dynamodb/aws4_request, "
    "SignedHeaders=host;x-amz-target, Signature=abc"
)


class Client:
    """One connection to the gateway."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, head: str, body: bytes = b"") -> tuple[int, bytes]:
        """The status of an answer, and its body."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        source, to = self._streams
        to.write(f"{head}Host: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = await source.readuntil(b"\r\n\r\n")
        lengths = [
            int(line.partition(b":")[2])
            for line in answer.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        ]
        return int(answer[9:12]), await source.readexactly(lengths[0])

    async def ask(self, operation: str, **request: object) -> tuple[int, bytes]:
        """Send an operation."""
        head = (
            f"POST / HTTP/1.1\r\nX-Amz-Target: DynamoDB_20120810.{operation}\r\n"
            "Content-Type: application/x-amz-json-1.0\r\nX-Amz-Date: 20260101T000000Z\r\n"
            f"Authorization: {SIGNED_IN_FORM}\r\n"
        )
        return await self.send(head, json.dumps(request).encode())

    async def item(self, key: str, number: int) -> int:
        """Read an item or write it, by turns; the status."""
        name = {"id": {"S": key}}
        if number % 2:
            return (await self.ask("PutItem", TableName="items", Item=name))[0]
        return (await self.ask("GetItem", TableName="items", Key=name))[0]

    async def greeting(self) -> int:
        """What load balancers ask for; the status."""
        return (await self.send("GET / HTTP/1.1\r\n"))[0]


class Relay:
    """Stands before a server, and passes everything on later."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self.delay = 0.0
        self._target = target
        self._pumps: set[asyncio.Task[None]] = set()

    async def listen(self) -> asyncio.Server:
        """Begin to take connections."""
        return await asyncio.start_server(self._connect, "127.0.0.1", self.port)

    async def _connect(self, source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        try:
            server_source, server_to = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            to.transport.abort()
            return
        for pump in (self._pump(source, server_to), self._pump(server_source, to)):
            task = asyncio.create_task(pump)
            self._pumps.add(task)
            task.add_done_callback(self._pumps.discard)

    async def _pump(self, source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(1 << 16):
                if self.delay:
                    await asyncio.sleep(self.delay)
                to.write(data)
        to.close()


@dataclass
class Figures:
    """What happened in one phase.

    Attributes:
        times: seconds that each answer of the other shard took, of those that succeeded.
        others: statuses of the other shard's answers.
        greetings: of the greetings.
        away: of the answers for the shard itself.
    """

    times: list[float] = field(default_factory=list)
    others: Counter[int] = field(default_factory=Counter)
    greetings: Counter[int] = field(default_factory=Counter)
    away: Counter[int] = field(default_factory=Counter)

    def row(self, name: str, seconds: float) -> str:
        """Of the table."""
        cuts = statistics.quantiles(self.times, n=100) if len(self.times) > 1 else [math.nan] * 99
        cells = [
            name,
            f"{self.others[200] / seconds:.0f}",
            f"{cuts[49] * 1000:.1f}",
            f"{cuts[98] * 1000:.0f}",
            f"{_failed(self.others)} of {self.others.total()}",
            f"{_failed(self.greetings)} of {self.greetings.total()}",
            f"{self.away[200]} of {self.away.total()}",
        ]
        return f"| {' | '.join(cells)} |"


COLUMNS = (
    "the other shard is", "requests/s", "p50, ms", "p99, ms", "refused", "greetings refused",
    "of the other shard: answered",
)  # fmt: skip


def _failed(statuses: Counter[int]) -> int:
    return statuses.total() - statuses[200]


async def until(ends_at: float, ask: Callable[[], Awaitable[int]], found: Counter[int],
                pause: float = 0.0, times: list[float] | None = None) -> None:  # fmt: skip
    """Ask again and again, and count statuses."""
    while time.monotonic() < ends_at:
        began = time.monotonic()
        status = await ask()
        found[status] += 1
        took = time.monotonic() - began
        if times is not None and status == 200:
            times.append(took)
        await asyncio.sleep(max(pause - took, 0.02 if status != 200 else 0.0))


async def phase(port: int, keys: dict[int, list[str]], seconds: float) -> Figures:
    """Have all clients ask for so long."""
    found = Figures()
    ends_at = time.monotonic() + seconds

    async def away(number: int) -> None:
        client = Client(port)
        await asyncio.sleep(PAUSE * number / CLIENTS)
        key = keys[AWAY][number % len(keys[AWAY])]
        await until(ends_at, lambda: client.item(key, number), found.away, PAUSE)

    async def other(number: int) -> None:
        client = Client(port)
        turn = number

        async def ask() -> int:
            nonlocal turn
            turn += 1
            return await client.item(keys[WELL][turn % len(keys[WELL])], turn)

        await until(ends_at, ask, found.others, times=found.times)

    clients = [asyncio.create_task(away(number)) for number in range(CLIENTS)]
    await asyncio.gather(
        until(ends_at, Client(port).greeting, found.greetings, 0.1),
        *(other(number) for number in range(OTHERS)),
    )
    for client in clients:  # some wait for the shard still
        client.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    return found


async def measure(servers: LocalCluster, code: Path, seconds: float) -> None:
    """Serve with the code, ask, and print."""
    shard = servers.shards[AWAY]
    relay = Relay(shard.port)
    config = servers.config
    shards = tuple(
        one.model_copy(update={"port": relay.port}) if one.id == AWAY else one
        for one in config.shards
    )
    async with await relay.listen():
        folder = Path(tempfile.mkdtemp())
        (folder / "mynamo.toml").write_text(
            config_toml(config.model_copy(update={"shards": shards}))
        )
        port = free_port()
        command = [
            sys.executable, "-m", "mynamo", "serve", "--no-auth", "--port", str(port),
            "--workers", "1",
        ]  # fmt: skip
        environment = os.environ | {
            "MYNAMO_CONFIG": str(folder / "mynamo.toml"), "PYTHONPATH": str(code),
            "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip
        with (
            (folder / "log").open("wb") as log,
            subprocess.Popen(command, env=environment, cwd=code, stdout=log, stderr=log) as gateway,
        ):
            try:
                keys = await fill(servers, port)
                print(f"| {' | '.join(COLUMNS)} |\n|{' ---: |' * len(COLUMNS)}", flush=True)
                await phase(port, keys, 5.0)
                for name in ("well", "dead", "frozen", "slow"):
                    await become(name, servers, relay)
                    print((await phase(port, keys, seconds)).row(name, seconds), flush=True)
                    await recover(name, servers, relay, port, keys)
            finally:
                gateway.send_signal(signal.SIGTERM)
        print((folder / "log").read_text()[-3000:], file=sys.stderr)


async def fill(servers: LocalCluster, port: int) -> dict[int, list[str]]:
    """Make the table and its items; the keys of each shard's."""
    client = Client(port)
    while True:
        with suppress(OSError):
            if (await client.greeting()) == 200:
                break
        await asyncio.sleep(0.1)
    status, answer = await client.ask("CreateTable", **TABLE)
    assert status == 200, answer
    keys: dict[int, list[str]] = {AWAY: [], WELL: []}
    with Cluster(servers.config) as cluster:
        table = cluster.table("items")
        for number in range(ITEMS):
            assert await client.item(str(number), 1) == 200
            key = table.key_only({"id": {"S": str(number)}})
            keys[cluster.shard_of(key.hash).id].append(str(number))
    return keys


async def become(name: str, servers: LocalCluster, relay: Relay) -> None:
    """Do it to the shard."""
    shard = servers.shards[AWAY]
    if name == "dead":
        await asyncio.to_thread(shard.kill)
    elif name == "frozen":
        os.kill(shard.pid or 0, signal.SIGSTOP)
    elif name == "slow":
        relay.delay = DELAY


async def recover(
    name: str, servers: LocalCluster, relay: Relay, port: int, keys: dict[int, list[str]]
) -> None:
    """Undo it, and wait until all that had waited is over."""
    shard = servers.shards[AWAY]
    if name == "dead":
        await asyncio.to_thread(shard.start)
    elif name == "frozen":
        os.kill(shard.pid or 0, signal.SIGCONT)
    relay.delay = 0.0
    client = Client(port)
    well = 0
    while well < 20:
        well = well + 1 if await client.item(keys[AWAY][well], well) == 200 else 0
        await asyncio.sleep(0.2)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--code", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--engine", default="mysql")
    asked = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))
    with LocalCluster(Path(tempfile.mkdtemp()), 2, asked.engine, "embedded") as servers:
        asyncio.run(measure(servers, asked.code.resolve(), asked.seconds))


if __name__ == "__main__":
    main()
