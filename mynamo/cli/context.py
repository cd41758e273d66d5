"""What commands share: the cluster that the configuration names, and their options."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from mynamo.errors import ShardUnavailable
from mynamo.schemas.config import ClusterConfig
from mynamo.shards.cluster import Cluster

Command = TypeVar("Command", bound=Callable[..., Any])


def load_config() -> ClusterConfig:
    """The configuration that `--config`, the environment or a usual place names.

    Raises:
        ConfigError: there is none, or what it says is not valid.
    """
    return ClusterConfig.load(click.get_current_context().find_root().params.get("config"))


@contextmanager
def opened(patient: bool = False) -> Iterator[Cluster]:
    """The cluster, open for as long as the block runs.

    Args:
        patient: wait for a catalog that does not answer, as a worker should; a person at a
            terminal is told at once.

    Raises:
        ConfigError: see `load_config`; or the shards are not this cluster's.
        ShardUnavailable: the catalog's server does not answer.
    """
    config = load_config()
    if not patient:
        _check_catalog(config)
    with Cluster(config) as cluster:
        yield cluster


def _check_catalog(config: ClusterConfig) -> None:
    where = config.catalog
    try:
        socket.create_connection((where.host, where.port), config.pool.connect_timeout).close()
    except OSError as error:
        raise ShardUnavailable(
            f"catalog ({where.host}:{where.port}/{where.database}) does not answer: {error}; "
            "check that its server runs (`mynamo dev` runs one) and that its address is right"
        ) from None


def as_json(command: Command) -> Command:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")(command)


def dynamodb_json(command: Command) -> Command:
    """Add `--dynamodb-json`."""
    return click.option(
        "--dynamodb-json",
        is_flag=True,
        help='Items in DynamoDB JSON: {"id": {"S": "a"}, "price": {"N": "9.90"}}.',
    )(command)


def names(_: click.Context, __: click.Parameter, text: str | None) -> tuple[str, ...] | None:
    """Split `a,b,c`, for options that take names of attributes."""
    if text is None:
        return None
    found = tuple(name.strip() for name in text.split(","))
    if not all(found):
        raise click.BadParameter("names of attributes, joined by commas: a,b,c")
    return found


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does: with KeyboardInterrupt."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
