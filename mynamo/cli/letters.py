"""`mynamo dlq`: what could not be applied, and trying it again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click
import orjson

from mynamo.cli.app import wording
from mynamo.cli.context import as_json, load_config, opened
from mynamo.cli.output import print_grid, print_json, say
from mynamo.errors import MynamoError, Unavailable
from mynamo.log.dead_letters import read_letters
from mynamo.schemas.dead_letters import DeadLetter
from mynamo.writer.replay import replay as replay_letter


@click.group()
def dlq() -> None:
    """Show and replay what could not be applied: the dead letters."""


@dlq.command("list")
@click.option("--limit", type=click.IntRange(1), help="The newest so many.")
@as_json
def list_letters(limit: int | None, as_json: bool) -> None:
    """List dead letters, oldest first, each with its reason."""
    letters = read_letters(load_config().kafka, limit)
    if as_json:
        print_json([_shown(letter) for letter in letters])
    elif letters:
        print_grid(
            ["id", "kind", "failed at (UTC)", "reason"],
            [(x.letter_id, x.kind, f"{_when(x):%Y-%m-%d %H:%M:%S}", x.reason) for x in letters],
        )
    else:
        say("there are no dead letters")


@dlq.command()
@click.argument("letter_id", metavar="[ID]", required=False)
@click.option("--all", "everything", is_flag=True, help="All of them.")
def replay(letter_id: str | None, everything: bool) -> None:
    """Try dead letters again, once their cause is mended.

    A queued write is applied at most once however often its letter is replayed. Letters
    stay in the topic until Kafka's retention removes them.

    \b
    Examples:
      mynamo dlq replay 0b0e7d64-8f35-4a8e-9f0c-6d5f4d1c2b3a
      mynamo dlq replay --all
    """
    if (letter_id is None) != everything:
        raise click.UsageError("give the ID of one letter (see `mynamo dlq list`), or --all")
    letters = read_letters(load_config().kafka)
    chosen = [x for x in letters if everything or x.letter_id == letter_id]
    if letter_id is not None and not chosen:
        raise click.ClickException(f"there is no dead letter {letter_id}; see `mynamo dlq list`")
    failed = 0
    with opened() as cluster:
        for letter in chosen:
            try:
                replay_letter(cluster, letter)
            except Unavailable:
                raise
            except MynamoError as error:
                failed += 1
                say(f"{letter.letter_id}: {wording(error)}")
    click.echo(
        f"{len(chosen) - failed} handed to the workers again, {failed} failed; "
        "what is refused once more comes back to `mynamo dlq list`, under a new id"
    )
    if failed:
        raise SystemExit(1)


def _when(letter: DeadLetter) -> datetime:
    return datetime.fromtimestamp(letter.failed_at / 1e6, UTC)


def _shown(letter: DeadLetter) -> dict[str, Any]:
    """A letter for scripts, its message as JSON if it is that."""
    try:
        message = orjson.loads(letter.message)
    except orjson.JSONDecodeError:
        message = None
    return {**letter.model_dump(), "failed_at": _when(letter).isoformat(), "message": message}
