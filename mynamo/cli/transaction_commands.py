"""`mynamo transaction`: transactions over several shards, for operators."""

from __future__ import annotations

import click

from mynamo.catalog import enabling
from mynamo.cli.command_context import opened
from mynamo.cli.groups import Group


@click.group(cls=Group)
def transaction() -> None:
    """Enable transactions over several shards."""


@transaction.command()
def enable() -> None:
    """Allow transactions over several shards in a cluster of an earlier release.

    A new cluster allows them. In one that an earlier release has set up, run this once, when all
    processes are of this release: those of earlier releases refuse to work from then on, and there
    is no way back. Reads and writes pause for a moment meanwhile. It is safe to repeat, and says
    what it did; if it was interrupted, run it again, or leave the rest to a writer worker.

    \b
    Example:
      mynamo transaction enable
    """
    with opened() as cluster:
        enabling.enable(cluster, click.echo)
    click.echo("transactions over several shards are allowed")
