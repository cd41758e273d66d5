"""Dead letters: their list, one of them, and replaying it."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from urllib.parse import urlencode

import orjson
from starlette.responses import RedirectResponse, Response

from mynamo.console.refused import Refused
from mynamo.console.rendering import page
from mynamo.console.visits import Console, Visit
from mynamo.errors import MynamoError, Unavailable
from mynamo.gateway.policies.iam_actions import LIST_DEAD_LETTERS, REPLAY_DEAD_LETTERS
from mynamo.log import Publisher
from mynamo.log.clients import open_consumer
from mynamo.log.dead_letter_topic import DeadLetterEntry, read_dead_letter_entry
from mynamo.writer.queue.replay import replay as replay_dead_letter

DEAD_LETTERS = "dead letters"
"""The part of pages that has them."""
_SHOWN = 200
_REPLAY_SECONDS = 5.0
"""That Kafka may take to answer a replay."""


def entries_of(console: Console) -> list[DeadLetterEntry]:
    """All dead letters without their messages, the newest first."""
    with console.dead_letters_lock:
        consumer = open_consumer(console.cluster.config.kafka, None)
        try:
            return console.dead_letters.look(consumer)[::-1]
        finally:
            consumer.close()


def dead_letters(visit: Visit) -> Response:
    """Those that are open, or all."""
    visit.check_right(LIST_DEAD_LETTERS)
    everything = visit.query.get("show") == "all"
    part = visit.parts({DEAD_LETTERS: partial(entries_of, visit.console)})[DEAD_LETTERS]
    found = [one for one in part.value or () if everything or one.state == "open"]
    return page(
        visit, "dead_letters.html", trouble=part.trouble, entries=found[:_SHOWN],
        count=len(found), everything=everything,
    )  # fmt: skip


def dead_letter(visit: Visit) -> Response:
    """One, with its message."""
    visit.check_right(LIST_DEAD_LETTERS)
    entry = _entry(visit, visit.query.get("id", ""))
    try:
        message = orjson.dumps(
            orjson.loads(entry.dead_letter.message), option=orjson.OPT_INDENT_2
        ).decode()
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):  # no JSON, or nested too deeply
        message = entry.dead_letter.message.decode("utf-8", "backslashreplace")
    return page(
        visit, "dead_letter.html", entry=entry, message=message,
        may_replay=visit.may_write and visit.has_right(REPLAY_DEAD_LETTERS),
        replayed="replayed" in visit.query,
    )  # fmt: skip


def _entry(visit: Visit, letter_id: str) -> DeadLetterEntry:
    name = f"dead letter {letter_id}"
    work = partial(read_dead_letter_entry, visit.console.cluster.config.kafka, letter_id)
    part = visit.parts({name: work})[name]
    visit.console.parts.forget(name)  # it may be large
    if part.trouble:
        raise Refused(part.trouble, HTTPStatus.SERVICE_UNAVAILABLE)
    entry: DeadLetterEntry | None = part.value
    if entry is None:
        raise Refused("there is no dead letter of this id", HTTPStatus.NOT_FOUND)
    return entry


def replay(visit: Visit) -> Response:
    """Try the message of one again."""
    visit.check_writes()
    visit.check_right(LIST_DEAD_LETTERS)
    visit.check_right(REPLAY_DEAD_LETTERS)
    letter_id = visit.form.get("id", "")
    entry = _entry(visit, letter_id)
    if entry.state != "open":
        raise Refused(f"it is {entry.state} already, so nothing was done", HTTPStatus.CONFLICT)
    publisher = Publisher(visit.console.cluster.config.kafka, _REPLAY_SECONDS)
    try:
        replay_dead_letter(visit.console.cluster, entry.dead_letter, publisher)
    except MynamoError as error:
        visit.note_done(REPLAY_DEAD_LETTERS, dead_letter=letter_id, error=type(error).__name__)
        if isinstance(error, Unavailable):
            raise
        raise Refused(f"it was not replayed: {error}", HTTPStatus.CONFLICT) from None
    finally:
        publisher.close()
    visit.note_done(REPLAY_DEAD_LETTERS, dead_letter=letter_id)
    visit.console.parts.forget(DEAD_LETTERS)
    path = f"/dead-letter?{urlencode({'id': letter_id, 'replayed': 1})}"
    return RedirectResponse(path, HTTPStatus.SEE_OTHER)
