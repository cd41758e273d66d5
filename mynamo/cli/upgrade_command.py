"""`mynamo upgrade`: allow all that this release knows in a cluster of an earlier one."""

from __future__ import annotations

import click

from mynamo.catalog import enabling
from mynamo.cli.command_context import opened


@click.command()
def upgrade() -> None:
    """Allow what this release knows in a cluster of an earlier release.

    A new cluster allows everything. In one that an earlier release has set up, run this once, when
    all processes are of this release: transactions over several shards, shards that come and go,
    time to live and streams need that. Processes of earlier releases refuse to work from then on,
    and there is no way back. It is safe to repeat, and says what it did; if it was interrupted, run
    it again, or leave the rest to a writer worker.

    \b
    Example:
      mynamo upgrade
    """
    with opened() as cluster:
        enabling.enable(cluster, click.echo, enabling.NEWEST)
    click.echo("the cluster allows all that this release knows")
