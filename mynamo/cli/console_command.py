"""`mynamo console`: a web console for people, until it is told to stop."""

from __future__ import annotations

import socket
import sys
import threading

import click

from mynamo.catalog.cluster import Cluster
from mynamo.cli.command_context import load_config
from mynamo.cli.serve import is_loopback
from mynamo.cli.workers import log_level, run_until_told, start_logging
from mynamo.errors import ConfigError
from mynamo.extras import need
from mynamo.schemas.gateway_config import GatewayConfig

SHOWN = "the console is at "
"""How the first line begins that it prints; then the address follows."""
PORT = 8080


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), default=PORT,
    help=f"Of the console; 0: any free one.  [default: {PORT}]",
)  # fmt: skip
@click.option(
    "--host", default="127.0.0.1", show_default=True,
    help="Address to listen on; other than this machine's own it needs gateway.cert.",
)  # fmt: skip
@click.option(
    "--allow-writes", is_flag=True,
    help="Let it change items, repair indexes and replay dead letters, where rights allow that.",
)  # fmt: skip
@click.option("--no-auth", is_flag=True, help="Ask nobody to sign in; on this machine only.")
@log_level
def console(port: int, host: str, allow_writes: bool, no_auth: bool, log_level: str) -> None:
    """Serve a web console for people, until SIGTERM or Ctrl-C.

    It shows the cluster, tables, items, lag, dead letters, transactions and streams, and verifies
    indexes. People sign in with a key pair of [gateway] in the configuration file, or of `mynamo
    credentials`, and may do what its policies allow. It changes nothing without --allow-writes.

    \b
    Examples:
      mynamo console
      mynamo console --port 9000 --allow-writes
      mynamo console --no-auth
    """
    need("console", "`mynamo console`")
    cluster = load_config()
    start_logging(log_level, cluster.log)
    config = cluster.gateway.model_copy(update={"host": host, "port": port})
    _refuse_if_open(config, no_auth)
    from mynamo.console.console_server import console_of, serve_console
    from mynamo.gateway.auth.credentials import of_pairs
    from mynamo.gateway.http.server import listen, tls_context

    tls_context(config)
    credentials = None if no_auth else of_pairs(config.credentials)
    listeners = listen(config)

    def work(opened: Cluster, stop: threading.Event) -> None:
        with console_of(opened, config, credentials=credentials, writes=allow_writes) as made:
            serve_console(
                made, config, listeners, stop,
                lambda: _announce(config, listeners[0], no_auth, allow_writes),
            )  # fmt: skip

    sys.exit(run_until_told(work))


def _refuse_if_open(config: GatewayConfig, no_auth: bool) -> None:
    """Refuse to let strangers in, or secrets pass a network in the clear."""
    if not no_auth and not config.credentials and config.credentials_key is None:
        raise ConfigError(
            "no credentials are configured, so nobody could sign in: add\n"
            '  [gateway]\n  credentials = [{ access_key_id = "...", secret_access_key = "..." }]\n'
            "to the configuration file, or, to try things out on this machine, use --no-auth"
        )
    if is_loopback(config.host):
        return
    if no_auth:
        raise ConfigError(
            f"--no-auth lets everyone who reaches {config.host} see all tables; listen on 127.0.0.1"
        )
    if config.cert is None:
        raise ConfigError(
            f"secrets would pass the network to {config.host} in the clear: set gateway.cert and "
            "gateway.key in the configuration, or listen on 127.0.0.1 and reach it over SSH"
        )


def _announce(
    config: GatewayConfig, listener: socket.socket, no_auth: bool, allow_writes: bool
) -> None:
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    scheme = "https" if config.cert else "http"
    who = "nobody signs in" if no_auth else "sign in with a key pair"
    what = "writes are allowed" if allow_writes else "read-only"
    click.echo(f"{SHOWN}{scheme}://{shown}:{port} ({who}; {what})")
