"""Network links that can be cut, slowed down, and held back in either direction.

Every process of a run reaches every server through a link of its own, so that one worker can
lose one server while the others keep it. All links live in one thread.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from mynamo.local import free_port
from mynamo.local.ports import LOOPBACK

Direction = Literal["requests", "answers"]
Answer = TypeVar("Answer")

_PIECE = 1 << 16
_COMMIT = b";COMMIT"
"""What a request ends with that ends a write."""
_ABORT = b"INSERT IGNORE INTO mynamo_transaction"
"""What a request has that may abort a transaction over several shards."""
_GRACE = 10.0


@dataclass(frozen=True, slots=True)
class Weather:
    """What is wrong with a link.

    Attributes:
        refused: connections end, and new ones are refused.
        delay: seconds by which each piece of data comes later.
        rate: bytes per second and direction; None: as fast as it goes.
        held: data in these directions waits until the weather changes, then goes on its way:
            what a network does whose packets are lost and sent again.
        forgetful: a connection ends when a commit, or the end of a transaction over several
            shards, is answered, and the answer is lost.
    """

    refused: bool = False
    delay: float = 0.0
    rate: int | None = None
    held: frozenset[Direction] = frozenset()
    forgetful: bool = False


FAIR = Weather()


class Link:
    """From a port of its own to one server.

    Attributes:
        port: where clients connect.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, target: int) -> None:
        self.port = free_port()
        self._loop = loop
        self._target = target
        self._weather = FAIR
        self._changed = asyncio.Event()
        self._open: set[asyncio.StreamWriter] = set()

    async def listen(self) -> asyncio.Server:
        """Begin to take connections."""
        return await asyncio.start_server(self._connect, LOOPBACK, self.port, limit=_PIECE)

    def set(self, weather: Weather, *, drop: bool = False) -> None:
        """Change the weather, from any thread.

        Args:
            drop: end every connection, and lose what it holds back.
        """

        async def change() -> None:
            self._weather = weather
            if drop or weather.refused:
                for writer in list(self._open):
                    writer.transport.abort()
            self._changed.set()
            self._changed = asyncio.Event()

        asyncio.run_coroutine_threadsafe(change(), self._loop).result(_GRACE)

    async def _connect(
        self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter
    ) -> None:
        if self._weather.refused:
            client_out.transport.abort()
            return
        self._open.add(client_out)
        try:
            server_in, server_out = await asyncio.open_connection(
                LOOPBACK, self._target, limit=_PIECE
            )
        except OSError:
            self._close(client_out)
            return
        self._open.add(server_out)
        committing = asyncio.Event()
        pumps = [
            asyncio.create_task(self._pump("requests", client_in, server_out, committing)),
            asyncio.create_task(self._pump("answers", server_in, client_out, committing)),
        ]
        # When one side ends, the other still gets what is on its way to it.
        await asyncio.wait(pumps)
        self._close(client_out)
        self._close(server_out)

    async def _pump(
        self,
        direction: Direction,
        source: asyncio.StreamReader,
        to: asyncio.StreamWriter,
        committing: asyncio.Event,
    ) -> None:
        with suppress(OSError):
            while data := await source.read(_PIECE):
                await self._travel(direction, len(data))
                if direction == "answers" and committing.is_set():
                    break
                if self._weather.forgetful and (data.endswith(_COMMIT) or _ABORT in data):
                    committing.set()
                to.write(data)
                await to.drain()
            await self._travel(direction, 0)
        self._close(to)

    async def _travel(self, direction: Direction, size: int) -> None:
        weather = self._weather
        if weather.delay:
            await asyncio.sleep(weather.delay)
        if weather.rate:
            await asyncio.sleep(size / weather.rate)
        while direction in self._weather.held:
            await self._changed.wait()

    def _close(self, writer: asyncio.StreamWriter) -> None:
        self._open.discard(writer)
        with suppress(OSError, RuntimeError):
            writer.close()


class Network:
    """The links of a run, and the thread that they live in."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="links", daemon=True)
        self._servers: list[asyncio.Server] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._run(self._end)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_GRACE)
        self._loop.close()

    def link(self, target: int) -> Link:
        """Open a link to a port of this machine; the server need not run yet."""

        async def make() -> Link:
            link = Link(self._loop, target)
            self._servers.append(await link.listen())
            return link

        return self._run(make)

    def _run(self, work: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
        return asyncio.run_coroutine_threadsafe(work(), self._loop).result(_GRACE)

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
