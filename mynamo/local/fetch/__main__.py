"""`python -m mynamo.local.fetch WHAT`: download a server that is not installed.

Needs no root and changes nothing outside the cache folder. What was fetched once is not
fetched again. `mynamo dev` fetches what it needs by itself.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from mynamo.errors import LocalServerError
from mynamo.local.fetch.downloads import FETCHERS, fetch


@click.command(help=__doc__)
@click.argument("what", type=click.Choice(sorted(FETCHERS)))
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for downloads; by default $MYNAMO_CACHE, else .cache in a checkout of mynamo, "
    "else mynamo in your cache folder.",
)
def main(what: str, cache: Path | None) -> None:
    """The command line."""
    if cache:
        os.environ["MYNAMO_CACHE"] = str(cache.resolve())  # so that what is there is found
    try:
        fetch(what, click.echo)
    except LocalServerError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
