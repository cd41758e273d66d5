"""`mynamo transaction`: transactions over several shards, for operators."""

from __future__ import annotations

from uuid import UUID

import click

from mynamo.catalog import enabling
from mynamo.catalog.intents import Decision
from mynamo.cli.command_context import as_json as with_json
from mynamo.cli.command_context import opened
from mynamo.cli.groups import Group
from mynamo.cli.output import print_grid, print_json, say
from mynamo.cli.statuses import FAILED
from mynamo.operations.open_transactions import (
    OpenTransaction,
    finish,
    named,
    open_transactions,
)

_NONE = "no transaction over several shards is open"
_BECAME = {
    Decision.COMMITTED: "applied",
    Decision.ABORTED: "aborted",
    None: "released; it had ended before",
}


@click.group(cls=Group)
def transaction() -> None:
    """Enable transactions over several shards; show and finish those that are open."""


@transaction.command()
def enable() -> None:
    """Allow transactions in a cluster of an earlier release.

    A new cluster allows those over several shards. In one that an earlier release has set up, run
    this once, when all processes are of this release: those of earlier releases refuse to work
    from then on, and there is no way back. Reads and writes pause for a moment meanwhile. It is
    safe to repeat, and says what it did; if it was interrupted, run it again, or leave the rest to
    a writer worker.

    \b
    Example:
      mynamo transaction enable
    """
    with opened() as cluster:
        enabling.enable(cluster, click.echo)
    click.echo("transactions over several shards are allowed")


@transaction.command(name="list")
@with_json
def list_(as_json: bool) -> None:
    """Show transactions over several shards that are not finished.

    Most of them are under way, and gone the next moment. `mynamo writer` finishes what is left
    alone for five seconds; what stays waits for its deciding shard, or for a writer. Until then its
    items can be read, but not written. Ends with status 1 if a server did not answer.

    \b
    Example:
      mynamo transaction list
    """
    with opened() as cluster:
        report = open_transactions(cluster)
    for note in report.notes:
        say(note)
    if as_json:
        print_json([_json(each) for each in report.found])
    elif report.found:
        print_grid(
            ["transaction", "age", "deciding shard", "decision", "items", "on shards"],
            [(UUID(bytes=each.id), f"{each.seconds:.1f} s", each.decider, _decision(each),
              sum(each.items.values()), ", ".join(map(str, sorted(each.items))))
             for each in report.found],
            right=["age", "items"],
        )  # fmt: skip
    elif not report.notes:
        say(_NONE)
    if report.notes or any(each.unknown for each in report.found):
        raise SystemExit(FAILED)


@transaction.command()
@click.argument("ids", metavar="[ID]...", nargs=-1, type=click.UUID)
@click.option("--all", "everything", is_flag=True, help="All that `mynamo transaction list` shows.")
def resolve(ids: tuple[UUID, ...], everything: bool) -> None:
    """Finish transactions: apply what is committed, abort the rest.

    `mynamo writer` and whoever meets an item of theirs do the same after some seconds. One that is
    under way is aborted, too; whoever began it tries again. One that cannot be finished leaves the
    others alone; ends with status 1 then.

    \b
    Examples:
      mynamo transaction resolve 0192f3a0-7a2c-7b7e-9d3c-0f6f3a1f2b4d
      mynamo transaction resolve --all
    """
    if bool(ids) == everything:
        raise click.UsageError("name transactions, or --all")
    with opened() as cluster:
        report = open_transactions(cluster)
        found = report.found
        chosen = found if everything else named(found, [each.bytes for each in ids])
        finished = finish(cluster, chosen)
    for transaction_id, decision in finished.decisions.items():
        click.echo(f"{UUID(bytes=transaction_id)}: {_BECAME[decision]}")
    for transaction_id, failure in finished.failures.items():
        say(f"{UUID(bytes=transaction_id)}: not finished: {failure}")
    for note in report.notes:
        say(note)
    if report.notes or finished.failures:
        raise SystemExit(FAILED)
    if not chosen:
        say(_NONE)


def _decision(each: OpenTransaction) -> str:
    if each.unknown:
        return f"not known: {each.unknown}"
    return "none" if each.decision is None else each.decision.name


def _json(each: OpenTransaction) -> dict[str, object]:
    return {
        "id": str(UUID(bytes=each.id)),
        "seconds": each.seconds,
        "decider": each.decider,
        "decision": None if each.decision is None else each.decision.name,
        "unknown": each.unknown or None,
        "items": sum(each.items.values()),
        "shards": sorted(each.items),
    }
