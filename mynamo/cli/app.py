"""The root command: its subcommands, its options, and what becomes of errors."""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from mynamo.errors import MynamoError


@dataclass(frozen=True)
class Entry:
    """Where a command is defined, and its line in `mynamo --help`."""

    module: str
    attribute: str
    summary: str


SECTIONS: dict[str, dict[str, Entry]] = {
    "Start here": {
        "demo": Entry("demo", "demo", "See everything work: load, index, query, verify."),
        "dev": Entry("dev", "dev", "Run a whole cluster on this machine."),
    },
    "Tables": {
        "table": Entry("tables", "table", "Create, list, describe and drop tables."),
        "index": Entry("indexes", "index", "Add an index to a table, or drop one."),
    },
    "Items": {
        "put": Entry("writes", "put", "Write an item."),
        "get": Entry("reads", "get", "Read an item by its key."),
        "query": Entry("reads", "query", "Read the items of one hash key, or of one in an index."),
        "scan": Entry("reads", "scan", "Read all items of a table or an index."),
        "update": Entry("writes", "update", "Set and remove attributes of an item."),
        "delete": Entry("writes", "delete", "Delete an item."),
        "load": Entry("load", "load", "Write the items of a file of JSON lines."),
    },
    "Operations": {
        "writer": Entry("workers", "writer", "Run a writer worker."),
        "indexer": Entry("workers", "indexer", "Run a GSI indexer worker."),
        "serve": Entry("serve", "serve", "Serve DynamoDB's API over HTTP."),
        "lag": Entry("checks", "lag", "Show how far the GSIs are behind."),
        "verify": Entry("checks", "verify", "Prove that a table's indexes equal the table."),
        "repair": Entry("checks", "repair", "Mend what verify finds."),
        "dlq": Entry("letters", "dlq", "Show, replay and discard what could not be applied."),
    },
}
"""All commands, in the order of `mynamo --help`."""


class Root(click.Group):
    """Loads a command's module when the command is used, and words errors for people."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands."""
        return [name for section in SECTIONS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, or None."""
        for section in SECTIONS.values():
            if cmd_name in section:
                entry = section[cmd_name]
                module = importlib.import_module(f"mynamo.cli.{entry.module}")
                command: click.Command = getattr(module, entry.attribute)
                return command
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, by section, without loading any of them."""
        width = max(map(len, self.list_commands(ctx)))
        for title, section in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(n.ljust(width), e.summary) for n, e in section.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command.

        Raises:
            click.ClickException: in place of every error, for `Error: ...` and status 1.
        """
        try:
            return super().invoke(ctx)
        except MynamoError as error:
            raise click.ClickException(wording(error)) from None
        except (click.ClickException, click.exceptions.Exit, click.Abort, OSError):
            raise  # click's own, and broken pipes, which click knows how to end on
        except Exception as error:
            if os.environ.get("MYNAMO_DEBUG"):
                raise
            raise click.ClickException(
                f"{type(error).__name__}: {error} (this is a defect in mynamo; with "
                "MYNAMO_DEBUG=1 the same command shows where)"
            ) from error


def wording(error: BaseException) -> str:
    """An error as a person reads it, with what was noted on its way."""
    text = str(error) or type(error).__name__
    notes = [note[:1].lower() + note[1:] for note in getattr(error, "__notes__", ())]
    return f"{text} ({'; '.join(notes)})" if notes else text


def _show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        number = version("mynamo")
    except PackageNotFoundError:
        number = "(not installed, run from its source)"
    click.echo(f"mynamo {number}")
    ctx.exit()


@click.group(
    cls=Root,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`mynamo COMMAND --help` shows each command's options and examples.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Configuration of the cluster.  [default: $MYNAMO_CONFIG, then ./mynamo.toml, "
    "then ./.mynamo/mynamo.toml, which `mynamo dev` writes]",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version,
    help="Show the version and exit.",
)  # fmt: skip
def root(config: Path | None) -> None:
    """DynamoDB's data model, API and habits on the MySQL and Kafka you already run."""


def main() -> None:
    """The entry point: run the command line and end the process with its status."""
    root(prog_name="mynamo")
