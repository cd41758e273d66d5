"""`mynamo demo-watch`: failures, as the dashboards and the alerts show them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import click
from rich.console import Console

import mynamo
from mynamo.catalog.cluster import Cluster
from mynamo.cli.checks import print_verdict
from mynamo.cli.children import Workers
from mynamo.cli.demo import data_folder, engine_option
from mynamo.cli.demo_alerts import AlertWatch
from mynamo.cli.demo_console import ShownConsole
from mynamo.cli.demo_failures import QUIET, USUAL_MINUTES, Failures, await_metrics, create_orders
from mynamo.cli.demo_grow import BrokerKind, usual_broker
from mynamo.cli.demo_load import fill
from mynamo.cli.demo_pictures import draw_dashboards
from mynamo.cli.demo_requests import Api, RequestLoad
from mynamo.cli.interrupts import INTERRUPTED, interruptible, shield
from mynamo.cli.output import console
from mynamo.dashboards.panel_data import Span
from mynamo.dashboards.prometheus_api import PrometheusApi
from mynamo.errors import ConfigError
from mynamo.extras import need
from mynamo.local import EngineKind, LocalCluster
from mynamo.local.fetch.downloads import provide_prometheus
from mynamo.local.ports import LOOPBACK, free_port
from mynamo.local.prometheus import LocalPrometheus
from mynamo.log import ensure_topics
from mynamo.operations.pipeline import wait_until_applied

SCRAPE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Servers:
    local: LocalCluster
    workers: Workers
    port: int
    prometheus: LocalPrometheus
    textfiles: Path
    console: ShownConsole


@click.command()
@click.option("--items", type=click.IntRange(1000), default=30_000, show_default=True)
@click.option(
    "--minutes", type=click.FloatRange(0.5, 120), default=9.0, show_default=True,
    help="For the failures, about. Alerts fire after minutes: in fewer than 9 some cannot.",
)  # fmt: skip
@click.option(
    "--pictures", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
    default=Path("dashboards"), show_default=True, help="Folder for the pictures.",
)  # fmt: skip
@click.option(
    "--deploy", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
    help="Folder with grafana/*.json and prometheus/rules.yml.  [default: that of mynamo's "
    "repository]",
)  # fmt: skip
@engine_option
@click.option(
    "--kafka", type=click.Choice(["embedded", "apache"]),
    help="The broker.  [default: Apache Kafka if this machine has it, else the embedded one]",
)  # fmt: skip
def demo_watch(
    items: int,
    minutes: float,
    pictures: Path,
    deploy: Path | None,
    engine: EngineKind | None,
    kafka: BrokerKind | None,
) -> None:
    """See failures as the dashboards and the alerts show them, in some ten minutes.

    Starts two shards, a broker, workers, DynamoDB's API, the console, and a Prometheus with
    mynamo's alerts; sends requests all the while. Kills a shard and starts it again; adds a GSI to
    the table; freezes the indexer for a while. Tells what happens when, which alerts are pending,
    fire and end. Takes pictures of the console meanwhile, if Chromium is there, and in the end
    draws each dashboard of deploy/grafana from its JSON. Reads everything back. Ends with status 0
    only if no acknowledged change is lost, the table verified clean, and every panel has data or a
    reason to have none.

    \b
    Examples:
      mynamo demo-watch
      mynamo demo-watch --minutes 2 --pictures /tmp/pictures
    """
    need("local", "`mynamo demo-watch`")
    need("plots", "`mynamo demo-watch`")
    need("console", "`mynamo demo-watch`")
    deploy = _checked_deploy(deploy)
    pictures.mkdir(parents=True, exist_ok=True)
    screen = console()
    started = time.monotonic()
    try:
        with (
            interruptible(),
            data_folder(None) as folder,
            _running(folder, engine, kafka or usual_broker(), deploy, pictures, screen) as servers,
        ):
            good = _run(servers, items, minutes, deploy, pictures, screen)
    except KeyboardInterrupt:
        screen.print("\ninterrupted; everything is stopped")
        raise SystemExit(INTERRUPTED) from None
    screen.print(f"\nAll of it took {time.monotonic() - started:.0f} s; everything is stopped.")
    if not good:
        raise SystemExit(1)


def _checked_deploy(deploy: Path | None) -> Path:
    """The folder with dashboards and alerts.

    Raises:
        ConfigError: they are not there.
    """
    folder = deploy or Path(mynamo.__file__).resolve().parents[1] / "deploy"
    if not (folder / "prometheus" / "rules.yml").is_file() or not _dashboards(folder):
        raise ConfigError(
            f"{folder} has no grafana/*.json and prometheus/rules.yml, which are in mynamo's "
            "repository and not in its package: name the repository's folder deploy with --deploy"
        )
    return folder


def _dashboards(deploy: Path) -> list[Path]:
    return sorted((deploy / "grafana").glob("*.json"))


@contextmanager
def _running(
    folder: Path,
    engine: EngineKind | None,
    kafka: BrokerKind,
    deploy: Path,
    pictures: Path,
    screen: Console,
) -> Iterator[_Servers]:
    """All servers and workers; all of it is stopped in the end."""
    local = LocalCluster(folder, 2, engine, kafka, fetch=True)
    workers: Workers | None = None
    prometheus: LocalPrometheus | None = None
    shown: ShownConsole | None = None
    try:
        programs = provide_prometheus(click.echo)
        local.start(click.echo)
        ensure_topics(local.config.kafka)
        with Cluster(local.config):
            pass  # the first to open it sets it up
        ports: list[int] = []
        while len(ports) < 6:
            ports.append(free_port(ports))
        metrics_ports = dict(zip(("writer", "indexer", "serve"), ports, strict=False))
        api_port, prometheus_port, console_port = ports[3:]
        workers = Workers(local, api_port, ("--workers", "1"), metrics_ports)
        workers.start()
        shown = ShownConsole(local, console_port, pictures, screen)
        shown.start()
        textfiles = folder / "textfiles"
        textfiles.mkdir()
        with _node_exporter(textfiles) as textfile_port:
            prometheus = LocalPrometheus(programs, folder / "prometheus", prometheus_port)
            click.echo(f"starting {prometheus.title} on port {prometheus_port}")
            instances = {"gateway" if c == "serve" else c: p for c, p in metrics_ports.items()}
            jobs = {"mynamo": instances, "node": {"node": textfile_port}}
            prometheus.start(jobs, deploy / "prometheus" / "rules.yml", SCRAPE_SECONDS)
            yield _Servers(local, workers, api_port, prometheus, textfiles, shown)
    finally:
        shield()
        if prometheus is not None:
            prometheus.stop()
        if shown is not None:
            shown.stop()
        if workers is not None:
            workers.stop()
        local.stop()


@contextmanager
def _node_exporter(folder: Path) -> Iterator[int]:
    """Serve the *.prom files of a folder, as a node exporter's textfile collector does.

    Yields:
        The port.
    """

    class Files(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"".join(file.read_bytes() for file in sorted(folder.glob("*.prom")))
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass  # nobody reads it

    server = ThreadingHTTPServer((LOOPBACK, 0), Files)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _run(
    servers: _Servers, items: int, minutes: float, deploy: Path, pictures: Path, screen: Console
) -> bool:
    """The failures, and what is left of them.

    Returns:
        Whether all is as it should be.
    """
    api, prometheus = Api(servers.port), PrometheusApi(servers.prometheus.url)
    with Cluster(servers.local.config) as cluster:
        create_orders(api)
        fill(cluster, items, screen)
        wait_until_applied(cluster, 600)
        await_metrics(prometheus)
        scale = minutes / USUAL_MINUTES
        time.sleep(QUIET * scale)
        screen.print(
            f"Prometheus answers at {servers.prometheus.url} while this runs: a Grafana on this "
            f"machine can show the dashboards\nThe console is at {servers.console.url}\n"
            "Times are minutes and seconds, from the first request"
        )
        with (
            RequestLoad(servers.port, items) as load,
            AlertWatch(prometheus, load, screen) as watch,
        ):
            failures = Failures(
                servers.local, cluster, servers.workers, api, prometheus, watch,
                scale, servers.textfiles, servers.console,
            )  # fmt: skip
            failures.run()
        if watch.trouble is not None:
            raise watch.trouble
        wait_until_applied(cluster, 120)
        verdict = failures.verify()
        watch.show()
        span = Span(watch.began, watch.ended, SCRAPE_SECONDS)
        explained = draw_dashboards(
            _dashboards(deploy), prometheus, span, watch.marks, pictures, screen
        )
        changed, wrong = load.lost()
    api.close()
    screen.print(
        f"\n{load.requests:,} requests, {load.failed:,} failed; {changed:,} items were changed, "
        f"{wrong:,} of them have fewer changes than were acknowledged, or too many\n"
    )
    print_verdict(verdict)
    return verdict.ok and not wrong and explained
