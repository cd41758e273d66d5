"""`mynamo dlq`: what could not be applied, and what to do with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import click
import orjson

from mynamo.catalog.cluster import Cluster
from mynamo.cli.app import wording
from mynamo.cli.command_context import as_json, load_config, opened
from mynamo.cli.groups import Group
from mynamo.cli.output import print_grid, print_json, say
from mynamo.errors import MynamoError, Unavailable
from mynamo.log import Publisher
from mynamo.log.dead_letter_topic import DeadLetterEntry, read_dead_letter_entries
from mynamo.schemas.dead_letters import DeadLetter
from mynamo.writer.queue.replay import discard as discard_dead_letter
from mynamo.writer.queue.replay import replay as replay_dead_letter


@click.group(cls=Group)
def dlq() -> None:
    """Show, replay and discard what could not be applied: the dead letters.

    A dead letter is open until it is replayed or discarded. If its message fails again, it is
    open again.
    """


@dlq.command("list")
@click.option("--all", "everything", is_flag=True, help="Also those replayed or discarded.")
@click.option("--limit", type=click.IntRange(1), help="The newest so many.")
@as_json
def list_dead_letters(everything: bool, limit: int | None, as_json: bool) -> None:
    """List the open dead letters, oldest first, each with its reason.

    \b
    Examples:
      mynamo dlq list
      mynamo dlq list --all --limit 20
    """
    dead_letters = [
        x for x in read_dead_letter_entries(load_config().kafka) if everything or x.state == "open"
    ]
    dead_letters = dead_letters[-limit:] if limit else dead_letters
    if as_json:
        print_json([_shown(one) for one in dead_letters])
    elif dead_letters:
        print_grid(
            ["id", "kind", "state", "failed at (UTC)", "times", "reason"],
            [_row(entry) for entry in dead_letters],
            right=["times"],
        )  # fmt: skip
    else:
        say(f"there are no {'' if everything else 'open '}dead letters")


@dlq.command()
@click.argument("letter_id", metavar="ID")
@as_json
def show(letter_id: str, as_json: bool) -> None:
    """Show all of one dead letter: its message, why it failed, and where it came from.

    \b
    Example:
      mynamo dlq show mynamo.writes/3/1204
    """
    (found,) = _chosen((letter_id,), everything=False)
    shown = _shown(found)
    if as_json:
        print_json(shown)
        return
    message = found.dead_letter
    print_grid(
        ["of the dead letter", ""],
        [
            ("id", message.letter_id),
            ("kind", "queued write" if message.kind == "command" else "change event"),
            ("reason", message.reason),
            (
                "read from",
                f"{message.topic}, partition {message.partition}, offset {message.offset}",
            ),
            ("written at (UTC)", _when(message.written_at)),
            ("failed at (UTC)", _when(message.failed_at)),
            ("times failed", found.attempts),
            ("state", " ".join(filter(None, (found.state, _when(found.marked_at))))),
        ],
    )
    if shown["message"] is not None:
        print_json(shown["message"])
    else:
        click.echo(message.message.decode("utf-8", "backslashreplace"))


ids = click.argument("letter_ids", metavar="[ID]...", nargs=-1)


@dlq.command()
@ids
@click.option("--all", "everything", is_flag=True, help="All that are open.")
def replay(letter_ids: tuple[str, ...], everything: bool) -> None:
    """Try dead letters again, once their cause is mended.

    A queued write keeps its id, so it is applied at most once, however often its dead letter is
    replayed. For a change event the GSIs are made to say what the table says now.

    \b
    Examples:
      mynamo dlq replay 0b0e7d64-8f35-4a8e-9f0c-6d5f4d1c2b3a
      mynamo dlq replay --all
    """
    dead_letters = _chosen(letter_ids, everything)
    with _working() as (cluster, publisher):
        failed = _each(
            dead_letters, lambda dead_letter: replay_dead_letter(cluster, dead_letter, publisher)
        )
    click.echo(
        f"{len(dead_letters) - failed} handed to the workers again, {failed} failed; "
        "what is refused once more comes back to `mynamo dlq list`"
    )
    if failed:
        raise SystemExit(1)


@dlq.command()
@ids
@click.option("--all", "everything", is_flag=True, help="All that are open.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def discard(letter_ids: tuple[str, ...], everything: bool, yes: bool) -> None:
    """Give dead letters up: their messages will have no effect, even if they come again.

    They stay in the topic, and `mynamo dlq list --all` shows them.

    \b
    Example:
      mynamo dlq discard mynamo.writes/3/1204
    """
    dead_letters = _chosen(letter_ids, everything)
    if not yes:
        click.confirm(f"Discard {len(dead_letters)} dead letters?", abort=True)

    def give_up(dead_letter: DeadLetter) -> None:
        if not discard_dead_letter(cluster, dead_letter, publisher):
            say(f"{dead_letter.letter_id}: it had been applied already")

    with _working() as (cluster, publisher):
        failed = _each(dead_letters, give_up)
    click.echo(f"{len(dead_letters) - failed} discarded")
    if failed:
        raise SystemExit(1)


def _chosen(letter_ids: Sequence[str], everything: bool) -> list[DeadLetterEntry]:
    """The dead letters with these ids, whatever became of them, or all that are open."""
    if bool(letter_ids) == everything:
        raise click.UsageError("give the IDs of dead letters (see `mynamo dlq list`), or --all")
    dead_letters = read_dead_letter_entries(load_config().kafka)
    if everything:
        return [one for one in dead_letters if one.state == "open"]
    known = {one.dead_letter.letter_id: one for one in dead_letters}
    for letter_id in letter_ids:
        if letter_id not in known:
            raise click.ClickException(
                f"there is no dead letter {letter_id!r}; see `mynamo dlq list --all`"
            )
    return [known[letter_id] for letter_id in dict.fromkeys(letter_ids)]


@contextmanager
def _working() -> Iterator[tuple[Cluster, Publisher]]:
    with opened() as cluster:
        publisher = Publisher(cluster.config.kafka)
        try:
            yield cluster, publisher
        finally:
            publisher.close()


def _each(dead_letters: Sequence[DeadLetterEntry], work: Callable[[DeadLetter], None]) -> int:
    """Do something with each dead letter; report those with which it failed.

    Returns:
        How many those are.
    """
    failed = 0
    for entry in dead_letters:
        try:
            work(entry.dead_letter)
        except Unavailable:
            raise
        except MynamoError as error:
            failed += 1
            say(f"{entry.dead_letter.letter_id}: {wording(error)}")
    return failed


def _row(entry: DeadLetterEntry) -> tuple[str, str, str, str, int, str]:
    """A dead letter in the list."""
    found = entry.dead_letter
    failed_at = _when(found.failed_at)
    return found.letter_id, found.kind, entry.state, failed_at, entry.attempts, found.reason


def _when(microseconds: int | None) -> str:
    if microseconds is None:
        return ""
    return f"{datetime.fromtimestamp(microseconds / 1e6, UTC):%Y-%m-%d %H:%M:%S}"


def _iso(microseconds: int | None) -> str | None:
    if microseconds is None:
        return None
    return datetime.fromtimestamp(microseconds / 1e6, UTC).isoformat()


def _shown(entry: DeadLetterEntry) -> dict[str, Any]:
    """A dead letter for scripts; its message as JSON, or None if it is no JSON."""
    try:
        message = orjson.loads(entry.dead_letter.message)
    except orjson.JSONDecodeError:
        message = None
    return {
        **entry.dead_letter.model_dump(),
        "failed_at": _iso(entry.dead_letter.failed_at),
        "written_at": _iso(entry.dead_letter.written_at),
        "state": entry.state,
        "marked_at": _iso(entry.marked_at),
        "attempts": entry.attempts,
        "message": message,
    }
