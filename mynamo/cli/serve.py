"""`mynamo serve`: DynamoDB's API over HTTP, until it is told to stop."""

from __future__ import annotations

import ipaddress
import os
import resource
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

import click

from mynamo.catalog.cluster import Cluster
from mynamo.cli.command_context import load_config
from mynamo.cli.metrics_option import metrics_of, metrics_port, request_metrics
from mynamo.cli.trace_export import traces_exported
from mynamo.cli.workers import log_level, run_until_told, start_logging
from mynamo.errors import ConfigError
from mynamo.extras import need
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.gateway_config import GatewayConfig

SERVING = "DynamoDB's API on "
"""How the first line begins that it prints; then the address follows."""
MOST_WORKERS = 8
"""Processes, unless more are asked for. Each may have `pool.size` connections, 16 by default, to
each database, and MySQL takes 151 unless told otherwise."""


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), help="Of the API.  [default: 8000]")
@click.option(
    "--host",
    help="Address to listen on; localhost: 127.0.0.1 and ::1.  [default: 127.0.0.1]",
)
@click.option(
    "--workers", type=click.IntRange(1, 64),
    help=f"Processes that share the port.  [default: one for each core, {MOST_WORKERS} at most]",
)  # fmt: skip
@click.option(
    "--cors-origin", "cors_origins", multiple=True, metavar="ORIGIN",
    help="Web pages that may call; see `gateway.cors_origins`. Repeat it for several.",
)  # fmt: skip
@click.option(
    "--index-reads", type=click.Choice(["eventual", "own-writes"]),
    help="own-writes: reads of GSIs wait for what was answered before.  [default: eventual]",
)  # fmt: skip
@click.option("--no-auth", is_flag=True, help="Accept any credentials; on this machine only.")
@click.option(
    "--open-to-network", is_flag=True,
    help="With --no-auth: serve other machines too. Whoever reaches the port can do anything.",
)  # fmt: skip
@metrics_port
@log_level
def serve(
    port: int | None,
    host: str | None,
    workers: int | None,
    cors_origins: tuple[str, ...],
    index_reads: str | None,
    no_auth: bool,
    open_to_network: bool,
    metrics_port: int | None,
    log_level: str,
) -> None:
    """Serve DynamoDB's API over HTTP, until SIGTERM or Ctrl-C.

    Any AWS SDK can talk to it once its endpoint is set. Requests must be signed with one of
    the key pairs under [gateway] in the configuration file, or of `mynamo credentials`; region,
    limits and a certificate for HTTPS are set there too. Run several, behind a load balancer: they
    share nothing.
    GSIs are kept up to date by the workers (`mynamo writer`, `mynamo indexer`).

    \b
    Examples:
      mynamo serve
      mynamo serve --host 0.0.0.0 --port 443 --workers 4
    """
    need("gateway", "`mynamo serve`")
    cluster = load_config()
    if cluster.tracing.enabled:  # said once, and not by each process
        need("tracing", "tracing.enabled")
    start_logging(log_level, cluster.log)
    config = _configured(
        cluster,
        port=port,
        host=host,
        cors_origins=cors_origins or None,
        index_reads=index_reads,
    )
    _refuse_if_open(config, no_auth, open_to_network)
    _allow_many_files()
    from mynamo.gateway.auth.credentials import of_pairs
    from mynamo.gateway.http.connection_counts import ConnectionCounts
    from mynamo.gateway.http.processes import run_processes
    from mynamo.gateway.http.server import listen, tls_context
    from mynamo.gateway.own_writes import AnsweredWrites
    from mynamo.gateway.provisioned_throughput import CapacityBuckets
    from mynamo.gateway.rates import check_users, rate_limits
    from mynamo.gateway.serving import serve as serve_until

    tls_context(config)
    # Before the processes are forked: one that is started again has the same policies.
    credentials = of_pairs(config.credentials)
    if not no_auth:
        check_users(config)
    listeners = listen(config)
    workers = workers or _workers()
    counts = ConnectionCounts(workers) if workers > 1 else None
    ready = _once(lambda: _announce(config, listeners[0], no_auth))
    answered: AnsweredWrites | None = None
    if config.index_reads == "own-writes":  # in memory that the processes have in common
        shards = [shard.id for shard in cluster.shards]
        answered = AnsweredWrites(workers, shards, cluster.kafka.partitions)
    rates = rate_limits(config)  # likewise
    buckets = CapacityBuckets() if config.enforce_provisioned_throughput else None  # likewise

    def work(process: int) -> int:
        for shared in (answered, counts):
            if shared is not None:
                shared.become(process)

        def serve_with_metrics(opened: Cluster, stop: threading.Event) -> None:
            port = metrics_port and metrics_port + process
            with (
                metrics_of(opened, "serve", port) as registry,
                traces_exported(opened.config.tracing, "gateway"),
            ):
                serve_until(
                    opened, config, listeners, stop,
                    credentials=None if no_auth else credentials,
                    answered=answered, counts=counts, ready=ready,
                    metrics=request_metrics(registry, opened), rates=rates, buckets=buckets,
                )  # fmt: skip

        return run_until_told(serve_with_metrics)

    if workers == 1:
        sys.exit(work(0))
    status = run_processes(workers, work)
    click.get_current_context().exit(status)


def _once(say: Callable[[], None]) -> Callable[[], None]:
    """A function that says something once, in the first process that calls it."""
    reading, writing = os.pipe()
    os.write(writing, b".")
    os.close(writing)

    def first() -> None:
        if os.read(reading, 1):
            say()

    return first


def _workers() -> int:
    """As many as there are cores for this process."""
    linux = sys.platform == "linux"
    cores = len(os.sched_getaffinity(0)) if linux else os.cpu_count() or 1
    return min(MOST_WORKERS, cores)


def _configured(cluster: ClusterConfig, **options: Any) -> GatewayConfig:
    given = {name: value for name, value in options.items() if value is not None}
    return cluster.gateway.model_copy(update=given)


def _refuse_if_open(config: GatewayConfig, no_auth: bool, open_to_network: bool) -> None:
    """Refuse to serve a network without authentication, unless asked to."""
    if not no_auth and not config.credentials and config.credentials_key is None:
        raise ConfigError(
            "no credentials are configured, so no request could be signed: add\n"
            '  [gateway]\n  credentials = [{ access_key_id = "...", secret_access_key = "..." }]\n'
            "to the configuration file, or, to try things out on this machine, use --no-auth"
        )
    if no_auth and not open_to_network and not is_loopback(config.host):
        raise ConfigError(
            f"--no-auth lets everyone who reaches {config.host} read and write all tables; "
            "listen on 127.0.0.1, or say --open-to-network too if that is meant"
        )


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _announce(config: GatewayConfig, listener: socket.socket, no_auth: bool) -> None:
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    pairs = len(config.credentials)
    who = (
        "any credentials are accepted"
        if no_auth
        else f"requests must be signed with {'the' if pairs == 1 else 'one of the'} configured "
        f"key pair{'' if pairs == 1 else 's'}"
    )
    if config.credentials_key is not None and not no_auth:
        who = "requests must be signed with a configured key pair or one of the catalog"
    scheme = "https" if config.cert else "http"
    click.echo(f"{SERVING}{scheme}://{shown}:{port} (region {config.region}; {who})")


def _allow_many_files() -> None:
    """Each client is an open file; the usual limit of 1024 is for programs that poll badly."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else 65_536
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, 65_536), hard))
