"""The root command: its subcommands, its options, and error messages."""

from __future__ import annotations

import errno
import importlib
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from mynamo.cli.groups import Group
from mynamo.cli.interrupts import INTERRUPTED, begin, status_of
from mynamo.cli.statuses import FAILED
from mynamo.errors import InvalidExpression, MynamoError, TransactionConflict

CONFIG = "config"
"""The name of the parameter of `--config`, of the root command and of every other."""


@dataclass(frozen=True)
class Entry:
    """Where a command is defined, and its line in `mynamo --help`.

    Attributes:
        configured: it works on the cluster that `--config` names.
    """

    module: str
    attribute: str
    summary: str
    configured: bool = True


SECTIONS: dict[str, dict[str, Entry]] = {
    "Start here": {
        "demo": Entry("demo", "demo", "See everything work: load, index, query, verify.", False),
        "demo-grow": Entry(
            "demo_grow", "demo_grow", "See a cluster grow and shrink under load.", False
        ),
        "demo-watch": Entry(
            "demo_watch", "demo_watch", "See failures on the dashboards and in the alerts.", False
        ),
        "dev": Entry("dev", "dev", "Run a whole cluster on this machine.", False),
    },
    "Tables": {
        "table": Entry("table_commands", "table", "Create, list, describe and drop tables."),
        "index": Entry("index_commands", "index", "Add an index to a table, or drop one."),
        "stream": Entry("stream_commands", "stream", "Record and follow a table's changes."),
        "ttl": Entry("time_to_live_commands", "ttl", "Have items deleted once they have expired."),
    },
    "Items": {
        "put": Entry("writes", "put", "Write an item."),
        "get": Entry("reads", "get", "Read an item by its key."),
        "query": Entry("reads", "query", "Read the items of one hash key, or of one in an index."),
        "scan": Entry("reads", "scan", "Read all items of a table or an index."),
        "update": Entry("writes", "update", "Set and remove attributes of an item."),
        "delete": Entry("writes", "delete", "Delete an item."),
        "transact": Entry(
            "transact_command",
            "transact",
            "Do several writes, all or none; or reads as of one moment.",
        ),
        "load": Entry("load", "load", "Write the items of files: JSON, CSV, exports of DynamoDB."),
    },
    "Operations": {
        "writer": Entry("workers", "writer", "Run a writer worker."),
        "indexer": Entry("workers", "indexer", "Run a GSI indexer worker."),
        "serve": Entry("serve", "serve", "Serve DynamoDB's API over HTTP."),
        "console": Entry("console_command", "console", "Show a cluster to people, in a browser."),
        "credentials": Entry(
            "credential_commands", "credentials", "Make and revoke key pairs of the API's clients."
        ),
        "policy": Entry("policy_commands", "policy", "Say what IAM policies allow."),
        "doctor": Entry(
            "doctor_command", "doctor", "Look for what is wrong with servers and settings."
        ),
        "lag": Entry("checks", "lag", "Show how far the GSIs are behind."),
        "verify": Entry("checks", "verify", "Prove that a table's indexes equal the table."),
        "repair": Entry("checks", "repair", "Mend what verify finds."),
        "shard": Entry("shard_commands", "shard", "Show, add and remove shards."),
        "transaction": Entry(
            "transaction_commands",
            "transaction",
            "Enable, show and finish transactions over several shards.",
        ),
        "upgrade": Entry("upgrade_command", "upgrade", "Allow what this release knows."),
        "slots": Entry("slot_commands", "slots", "Move slots to another shard."),
        "incarnation": Entry(
            "incarnation_commands", "incarnation", "Show what became of shards that were restored."
        ),
        "dlq": Entry(
            "dead_letter_commands", "dlq", "Show, replay and discard what could not be applied."
        ),
    },
}
"""All commands, in the order of `mynamo --help`."""


class Root(Group):
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
                begin()
                command: click.Command = getattr(module, entry.attribute)
                if entry.configured:
                    _take_config(command)
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
            click.exceptions.Exit: it was interrupted.
        """
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interruption:
            click.echo("interrupted", err=True)
            raise click.exceptions.Exit(status_of(interruption)) from None
        except click.Abort as ended:  # at a question
            if isinstance(ended.__context__, KeyboardInterrupt):
                raise click.exceptions.Exit(INTERRUPTED) from None
            raise
        except MynamoError as error:
            raise click.ClickException(wording(error)) from None
        except (click.ClickException, click.exceptions.Exit):
            raise
        except OSError as error:
            if error.errno == errno.EPIPE:  # whoever read the output is gone: click is silent
                raise
            raise click.ClickException(_os_wording(error)) from None
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
    if isinstance(error, TransactionConflict):
        notes.append("`mynamo transaction list` shows one that stays")
    word = reserved_word(error)
    if word is not None:
        notes.append(f"""write #{word} in its place, and --names '{{"#{word}": "{word}"}}'""")
    return f"{text} ({'; '.join(notes)})" if notes else text


def reserved_word(error: BaseException) -> str | None:
    """The reserved word that makes an expression wrong; None: that is not what is wrong."""
    found = re.search(r"reserved keyword: (\w+)$", str(error))
    return found[1] if found and isinstance(error, InvalidExpression) else None


def _os_wording(error: OSError) -> str:
    reason = error.strerror or str(error)
    if error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {reason}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
        return f"the output could not be written: {reason}"
    return reason


def _named_here(ctx: click.Context, _: click.Parameter, file: Path | None) -> None:
    """Take `--config` behind a command's name for the one before it."""
    if file is None:
        return
    params = ctx.find_root().params
    if params.get(CONFIG) not in (None, file):
        raise click.UsageError(f"--config is given twice: {params[CONFIG]} and {file}")
    params[CONFIG] = file


def _config_option(**more: Any) -> click.Option:
    return click.Option(
        ["--config"], type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", **more
    )


def _take_config(command: click.Command) -> None:
    """Add `--config` to a command, or to all commands of a group."""
    if isinstance(command, click.Group):
        for each in command.commands.values():
            _take_config(each)
    elif all(param.name != CONFIG for param in command.params):
        command.params.append(
            _config_option(
                expose_value=False, callback=_named_here,
                help="Configuration of the cluster; see `mynamo --help`.",
            )
        )  # fmt: skip


def _show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    from mynamo.release import release

    click.echo(f"mynamo {release() or '(not installed, run from its source)'}")
    ctx.exit()


@click.group(
    cls=Root,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`mynamo COMMAND --help` shows each command's options and examples.",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version,
    help="Show the version and exit.",
)  # fmt: skip
@click.pass_context
def root(ctx: click.Context, config: Path | None) -> None:
    """DynamoDB's data model, API and habits on the MySQL and Kafka you already run."""
    name = ctx.invoked_subcommand
    if config is not None and any(
        name in section and not section[name].configured for section in SECTIONS.values()
    ):
        raise click.UsageError(
            f"`mynamo {name}` makes a cluster of its own, and a configuration for it: leave "
            "--config out"
        )


root.params.insert(
    0,
    _config_option(
        help="Configuration of the cluster; also behind the command's name.  [default: "
        "$MYNAMO_CONFIG, then ./mynamo.toml, then ./.mynamo/mynamo.toml, which `mynamo dev` writes]"
    ),
)


def run() -> None:
    """Run the command line and end the process with its status."""
    status: Any = 0
    try:
        root(prog_name="mynamo")
    except SystemExit as ended:
        status = ended.code
    except OSError as error:  # the help could not be written
        click.echo(f"Error: {_os_wording(error)}", err=True)
        status = FAILED
    sys.exit(_flushed(status))


def _flushed(status: Any) -> Any:
    """Write what is left of the output; where that fails, drop it, and say so once.

    Python would try again when it ends, and end with a traceback and a status of its own.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            if not status and stream is sys.stdout and error.errno != errno.EPIPE:
                click.echo(f"Error: {_os_wording(error)}", err=True)
                status = FAILED
    return status
