"""What commands share: the cluster that the configuration names, and their options."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.tables import Table
from mynamo.cli.output import say
from mynamo.errors import ShardUnavailable, TableNotFound
from mynamo.schemas.config import ClusterConfig, find_file
from mynamo.schemas.suggestions import suggestion
from mynamo.schemas.validation import NAME_PATTERN

if TYPE_CHECKING:
    _Text = click.ParamType[str]
else:
    _Text = click.ParamType  # older versions of click have no generic one

Command = TypeVar("Command", bound=Callable[..., Any])


def load_config() -> ClusterConfig:
    """The configuration: of `--config`, the environment or a default path.

    Raises:
        ConfigError: there is none, or what it says is not valid.
    """
    return ClusterConfig.load(_named())


def config_file() -> Path | None:
    """The file that `load_config` reads; None: the environment alone says all.

    Raises:
        ConfigError: the file that is named is not there.
    """
    return find_file(_named())


def _named() -> Path | None:
    file: Path | None = click.get_current_context().find_root().params.get("config")
    return file


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
        if cluster.is_new:
            say(
                f"{cluster.catalog.where} was empty: a new cluster was set up in it. If there "
                "should be tables, the configuration names the wrong database"
            )
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


class TableName(_Text):
    """The name of a table; it is checked before a server is asked."""

    name = "table"

    def convert(self, value: str, _: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name as it stands.

        Raises:
            click.UsageError: no table can have this name.
        """
        if re.fullmatch(NAME_PATTERN, value):
            return value
        words = ctx.command.collect_usage_pieces(ctx)[1:] if ctx else []
        raise click.UsageError(
            f"{value!r} is no name of a table, which has 3 to 255 of a-z, A-Z, 0-9, '_', '-' and "
            f"'.'; the table comes first: {' '.join(words)}",
            ctx,
        )


table_name = click.argument("table", metavar="TABLE", type=TableName())
"""The table that a command is about: its first word."""


def find_table(cluster: Cluster, name: str) -> Table:
    """The table of that name.

    Raises:
        TableNotFound: there is none; the message names those that it may be meant for.
    """
    try:
        return cluster.table(name)
    except TableNotFound as error:
        known = cluster.snapshot.names
        if name in known:  # it is being made or dropped
            raise
        likely = suggestion(name, known)
        if likely:
            raise TableNotFound(f"{error}{likely}") from None
        those = "`mynamo table list` shows those that there are"
        raise TableNotFound(f"{error}; {those if known else 'there are no tables yet'}") from None


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
