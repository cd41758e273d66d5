"""`mynamo doctor`: what is wrong with configuration, servers and settings."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import click

from mynamo.cli.command_context import as_json, config_file, load_config
from mynamo.cli.output import print_json
from mynamo.cli.statuses import WRONG
from mynamo.local.state import STATE_FILE
from mynamo.operations.doctor import ROLES, Check, Role, examine, worst

_COLORS = {"ok": "green", "warning": "yellow", "problem": "red"}


@click.command()
@click.option(
    "--role", type=click.Choice(ROLES),
    help="Whose rights the configured users must have.  [default: a reader's, at least]",
)  # fmt: skip
@as_json
def doctor(role: Role | None, as_json: bool) -> None:
    """Look at configuration, servers, rights, settings, Kafka and this machine.

    One line for each check (ok, warning or problem), and below it what to do. All servers are
    asked side by side, and nothing is changed. Ends with status 0 if there is no problem, also if
    there are warnings; with 3 if there is one; with 1 if there is no configuration to go by.

    \b
    Examples:
      mynamo doctor
      mynamo doctor --role writer --config /etc/mynamo/writer.toml
      mynamo doctor --json | jq '.checks[] | select(.status != "ok")'
    """
    config = load_config()
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # the checks say it
    checks = examine(config, role, _local_data())
    if as_json:
        print_json({"status": worst(checks), "checks": [asdict(check) for check in checks]})
    else:
        _print(checks)
    raise SystemExit(WRONG if worst(checks) == "problem" else 0)


def _local_data() -> Path | None:
    """The folder of `mynamo dev` that the configuration lies in."""
    file = config_file()
    return file.parent if file and (file.parent / STATE_FILE).is_file() else None


def _print(checks: list[Check]) -> None:
    for check in checks:
        status = click.style(f"{check.status:8}", fg=_COLORS[check.status])
        click.echo(f"{status} {check.about}: {check.text}")
        if check.todo:
            click.echo(f"{'':8} -> {check.todo}")
    counts = Counter(check.status for check in checks)
    told = [f"{counts['ok']} ok", *(_counted(counts[s], s) for s in ("warning", "problem"))]
    click.echo(", ".join(told))


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
