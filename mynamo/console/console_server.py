"""The console's server: uvicorn, in this thread, until it is told to stop."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager

import uvicorn

from mynamo.catalog.cluster import Cluster
from mynamo.console.bounded_connections import CONNECTIONS, BoundedConnection, BoundedLoop
from mynamo.console.site import site
from mynamo.console.visits import Console
from mynamo.gateway.auth.credentials import Credential
from mynamo.gateway.catalog_changes import following_credentials
from mynamo.gateway.http.server import tls_context
from mynamo.schemas.gateway_config import GatewayConfig

_GRACE_SECONDS = 10
_HEADER_BYTES = 64 * 1024


@contextmanager
def console_of(
    cluster: Cluster,
    config: GatewayConfig,
    *,
    credentials: Mapping[str, Credential] | None,
    writes: bool,
) -> Iterator[Console]:
    """The console of a cluster, while the block runs.

    Args:
        credentials: of the configuration; None: nobody signs in.
        writes: see `Console`.

    Raises:
        ShardUnavailable: the catalog, which has credentials too, does not answer.
    """
    with (
        following_credentials(cluster, config, credentials) as find,
        closing(Console(cluster, config, find, writes)) as console,
    ):
        yield console


def serve_console(
    console: Console,
    config: GatewayConfig,
    listeners: Sequence[socket.socket],
    stop: threading.Event,
    ready: Callable[[], None],
) -> None:
    """Serve until `stop` is set; what is under way is finished.

    Args:
        listeners: from `mynamo.gateway.http.server.listen`.
        ready: called when requests can be taken.

    Raises:
        ConfigError: the certificate or its key cannot be used.
    """
    tls = tls_context(config)

    def context(_: uvicorn.Config, __: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        return tls or ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    server = uvicorn.Server(
        uvicorn.Config(
            site(console),
            http=BoundedConnection,
            ws="none",
            loop=f"{BoundedLoop.__module__}:{BoundedLoop.__name__}",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,  # addresses have keys of items
            proxy_headers=False,
            server_header=False,
            limit_concurrency=CONNECTIONS + 1,  # requests whose clients have gone count too
            timeout_graceful_shutdown=_GRACE_SECONDS,
            h11_max_incomplete_event_size=_HEADER_BYTES,
            ssl_certfile=config.cert,
            ssl_keyfile=config.key,
            ssl_context_factory=context if tls is not None else None,
        )
    )

    def watch() -> None:
        stop.wait()
        server.should_exit = True

    threading.Thread(target=watch, name="console-stop", daemon=True).start()
    ready()
    server.run(list(listeners))
