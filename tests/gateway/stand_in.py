"""A service that does as a test tells it, behind the real HTTP server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from mynamo.gateway.auth.claims import AnyCredentials
from mynamo.gateway.context import Sender
from mynamo.gateway.http.api_protocol import App, Authenticator
from mynamo.gateway.http.cors import Cors
from mynamo.gateway.http.server import HttpServer, listen
from mynamo.gateway.model.request_shapes import STREAM_REQUESTS
from mynamo.schemas.gateway_config import GatewayConfig, GatewayLimits
from tests.gateway.raw import running

TIMEOUT = 20.0


class Answered(NamedTuple):
    """As the service's answers."""

    status: int
    body: bytes
    headers: dict[str, str]


class StandIn:
    """Answers with what came in; `hold` makes it wait until `let_go`.

    Attributes:
        calls: operations and bodies, in the order in which they came.
        reply: makes the answer's body from the request's.
        begun: counts up when a call arrives.
        server: what it stands behind.
    """

    server: HttpServer

    def __init__(self) -> None:
        self.calls: list[tuple[str, bytes]] = []
        self.reply: Callable[[bytes], bytes] = lambda body: body
        self.begun = threading.Semaphore(0)
        self._gate = threading.Event()
        self._gate.set()

    def hold(self) -> None:
        """From now on calls wait."""
        self._gate.clear()

    def let_go(self) -> None:
        """All that wait go on."""
        self._gate.set()

    def await_calls(self, count: int) -> None:
        """Wait until so many more calls have arrived."""
        for _ in range(count):
            assert self.begun.acquire(timeout=TIMEOUT), "the request did not arrive"

    def call(
        self,
        operation: str,
        body: bytes,
        headers: Mapping[str, str],
        request_id: str,
        sender: Sender | None,
    ) -> Answered:
        """Answer as told."""
        self.calls.append((operation, body))
        self.begun.release()
        assert self._gate.wait(TIMEOUT)
        return Answered(200, self.reply(body), {"x-mynamo-consistency-token": "t"})

    def report(self) -> tuple[bool, dict[str, object]]:
        """The health of nothing."""
        return True, {"status": "ok"}


@contextmanager
def stand_in(
    authenticator: Authenticator | None = None,
    origins: tuple[str, ...] | None = None,
    host: str = "127.0.0.1",
    **limits: Any,
) -> Iterator[tuple[StandIn, str]]:
    """Serve a stand-in from a thread; gives it and its URL."""
    made = StandIn()
    config = GatewayConfig(host=host, port=0, limits=GatewayLimits(**limits))
    app = App(
        made,
        authenticator or AnyCredentials(),
        made,
        Cors(origins),
        config,
        {"ListTables", "PutItem", *STREAM_REQUESTS},
    )
    try:
        made.server = HttpServer(app, listen(config), config.limits)
        with running(made.server) as url:
            yield made, url
    finally:
        made.let_go()
