"""`mynamo dev`: a whole cluster on this machine, for development."""

from __future__ import annotations

import contextlib
import shlex
import sys
import time
from pathlib import Path

import click

from mynamo.catalog.cluster import Cluster
from mynamo.cli.children import DiskWatch, Workers, revive_servers
from mynamo.cli.interrupts import interruptible, shield, status_of
from mynamo.errors import LocalServerError
from mynamo.extras import need
from mynamo.local import EngineKind, LocalCluster
from mynamo.local.files import write_private
from mynamo.local.ports import LOOPBACK, free_port, is_free
from mynamo.log import ensure_topics
from mynamo.schemas.gateway_config import LOCALHOST

LOOK_SECONDS = 0.5


@click.command()
@click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), default=Path(".mynamo"),
    show_default=True, metavar="DIR", help="Folder of everything: data, logs, configuration.",
)  # fmt: skip
@click.option(
    "--shards", type=click.IntRange(1, 64),
    help="How many; a folder keeps those it was made with.  [default: 2]",
)  # fmt: skip
@click.option(
    "--engine", type=click.Choice(["mysql", "mariadb"]),
    help="Server of the shards.  [default: the folder's, else MySQL, else MariaDB]",
)  # fmt: skip
@click.option(
    "--kafka", metavar="embedded|apache|HOST:PORT",
    help="The broker.  [default: that of the folder's last run, else embedded]",
)  # fmt: skip
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True,
    help="Of DynamoDB's API on this machine; 0: any free one.",
)  # fmt: skip
@click.option(
    "--cors-origin", "cors_origins", multiple=True, metavar="ORIGIN",
    help="Web pages that may call the API besides this machine's, such as null (pages opened "
    "from files), https://example.com or *. Repeat it for several.",
)  # fmt: skip
@click.option(
    "--index-reads", type=click.Choice(["own-writes", "eventual"]), default="own-writes",
    show_default=True, help="Whether reads of GSIs wait for what was answered before.",
)  # fmt: skip
def dev(
    data: Path,
    shards: int | None,
    engine: EngineKind | None,
    kafka: str | None,
    port: int,
    cors_origins: tuple[str, ...],
    index_reads: str,
) -> None:
    """Run a whole cluster on this machine: shards, broker, writer, indexer, DynamoDB's API.

    It runs until Ctrl-C, SIGTERM or the end of its terminal (SIGHUP), and on Linux leaves no
    process behind however it ends (elsewhere the next start ends what `kill -9` left). What
    was acknowledged is on disk: start it again in the same folder, even after `kill -9` or a
    power failure, and everything is there. The embedded broker keeps nothing on disk, which
    costs time only (the changes are published again), but for dead letters and queued writes
    that still wait in it; with --kafka apache those stay too. On a broker that runs already it
    has topics of its own. A server that this machine lacks is downloaded, once and without
    root.

    \b
    Examples:
      mynamo dev
      mynamo dev --port 8001
      mynamo dev --data /tmp/try --shards 4 --engine mariadb --kafka apache
    """
    need("gateway" if kafka and kafka != "embedded" else "local", "`mynamo dev`")
    port = _checked(port)
    local = LocalCluster(data, shards, engine, kafka, fetch=True)
    workers: Workers | None = None
    started = time.monotonic()
    ready = False
    with interruptible():
        try:
            local.start(click.echo)
            ensure_topics(local.config.kafka)
            with Cluster(local.config):
                pass  # the first to open it sets it up
            workers = Workers(local, port, gateway_options(cors_origins, index_reads))
            workers.start()
            _welcome(local, workers, port, time.monotonic() - started)
            ready = True
            disk = DiskWatch(local.data_dir)
            while True:
                time.sleep(LOOK_SECONDS)
                revive_servers(local, _report)
                workers.revive(_report)
                disk.look(_report)
        except KeyboardInterrupt as interruption:
            shield()
            _tell("\nstopping ...")
            status = 0 if ready else status_of(interruption)
        finally:
            _finish(local, workers)
    _tell(f"stopped; the data stays in {local.data_dir}" if ready else "interrupted")
    sys.exit(status)


def gateway_options(cors_origins: tuple[str, ...], index_reads: str) -> list[str]:
    """Those of `mynamo serve`."""
    origins = (LOCALHOST, *cors_origins) if cors_origins else ()
    return ["--index-reads", index_reads] + [
        word for origin in origins for word in ("--cors-origin", origin)
    ]


def _checked(port: int) -> int:
    """The port of the API, before anything is started for nothing.

    Raises:
        LocalServerError: it is taken.
    """
    if port == 0:
        return free_port()
    if not is_free(port):
        raise LocalServerError(
            f"port {port} is taken, perhaps by another `mynamo dev`; choose another one for "
            f"DynamoDB's API, such as --port {port + 1 if port < 65535 else 8000}"
        )
    return port


def _finish(local: LocalCluster, workers: Workers | None) -> None:
    """End all processes in good order; a second Ctrl-C does not get in between."""
    shield()
    if workers is not None:
        workers.stop()
    local.stop()


def _report(line: str) -> None:
    _tell(f"{time.strftime('%H:%M:%S')} {line}")


def _tell(line: str) -> None:
    """Print a line. The terminal may be gone; that does not end the work."""
    with contextlib.suppress(OSError):
        click.echo(line)


def _welcome(local: LocalCluster, workers: Workers, port: int, seconds: float) -> None:
    endpoint = f"http://{LOOPBACK}:{port}"
    broker = local.broker.title if local.broker else local.config.kafka.bootstrap_servers
    logs = " ".join(shlex.quote(str(path)) for path in workers.logs)
    client = "mysql" if local.engine.kind == "mysql" else "mariadb"
    click.echo(
        f"""
Ready after {seconds:.1f} s: {len(local.shards)} x {local.engine.title}, {broker}, \
a writer, an indexer and DynamoDB's API.

DynamoDB's API: {endpoint} (from this machine only; any credentials are accepted)
  export AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any AWS_DEFAULT_REGION=us-east-1
  aws dynamodb list-tables --endpoint-url {endpoint}
  boto3.client("dynamodb", endpoint_url="{endpoint}")

mynamo's own commands, from another terminal:
  export MYNAMO_CONFIG={shlex.quote(str(local.config_file))}
  mynamo table create orders --hash-key customer --sort-key ordered_at:N --gsi by_status=status
  mynamo put orders '{{"customer": "ann", "ordered_at": 1, "status": "open", "price": 9.90}}'
  mynamo query orders open --index by_status
or plain SQL, with any client of MySQL's:
  {client} --defaults-file={shlex.quote(str(_client_file(local)))}

Logs of the workers: {logs}
Ctrl-C stops it; the data stays in {shlex.quote(str(local.data_dir))}.""",
    )


def _client_file(local: LocalCluster) -> Path:
    """Write what the MySQL client needs for shard 1, so that no password is typed or shown."""
    shard = local.config.shards[0]
    return write_private(
        local.data_dir / "shard-1.cnf",
        f"[client]\nhost={shard.host}\nport={shard.port}\nuser={shard.user}\n"
        f"password={shard.password.get_secret_value()}\n[mysql]\ndatabase={shard.database}\n",
    )
