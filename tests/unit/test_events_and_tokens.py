"""Change events, write commands and consistency tokens: round trips and refusals."""

import uuid
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mynamo.errors import CorruptData, InvalidToken, NewerFormat
from mynamo.schemas.commands import MUST_EXIST, Condition, WriteCommand, load_command, version_is
from mynamo.schemas.events import (
    ConsistencyToken,
    PlainEvent,
    complete_event,
    head_of,
    load_event,
    outbox_payload,
    read_event,
)
from mynamo.schemas.values import StoredItem
from tests.strategies import stored_items


@given(stored_items(), st.integers(1, 2**63), st.booleans())
def test_an_event_is_what_was_put_into_it(item: StoredItem, sequence: int, feeds: bool) -> None:
    payload = outbox_payload(
        table_id=7,
        table="orders",
        schema_version=3,
        operation="MODIFY",
        keys={"id": {"S": "1"}},
        old_image=None,
        new_image=item,
    )
    message = complete_event(
        payload,
        shard=2,
        outbox_id=41,
        version=40,
        partition=5,
        sequence=sequence,
        previous=sequence - 1,
        feeds=feeds,
        committed_at=1_700_000_000_000_000,
    )
    event = load_event(message)
    assert event.new_image == item
    assert (event.event_id, event.version, event.sequence) == ("2-41", 40, sequence)
    assert (event.feeds, event.origin, event.index_id) == (feeds, "write", None)


STRANGE = (
    "old_image",
    "keys",
    'x"}},"old_image":',
    "\\",
    "",
    "}}",
    '","table":"',
    "\u00e9\U0001f600",
)


@given(
    st.dictionaries(
        st.sampled_from(STRANGE) | st.text(),
        st.fixed_dictionaries({}, optional={"S": st.sampled_from(STRANGE) | st.text()}).filter(len),
        min_size=1,
        max_size=2,
    ),
    stored_items(),
    st.sampled_from([None, 12]),
)
def test_the_head_of_a_payload_is_what_it_says(
    keys: StoredItem, item: StoredItem, index_id: int | None
) -> None:
    payload = outbox_payload(
        table_id=7, table="or-ders.1", schema_version=3, operation="MODIFY", index_id=index_id,
        keys=keys, old_image={**item, **keys}, new_image=item,
    )  # fmt: skip
    assert head_of(payload) == ("or-ders.1", 7, "MODIFY", orjson.dumps(keys))


def test_a_payload_of_another_form_has_no_head() -> None:
    with pytest.raises(CorruptData, match="not in the order"):
        head_of(b'{"table":"orders","table_id":7}')


READERS = pytest.mark.parametrize("read", [load_event, read_event])


@READERS
@pytest.mark.parametrize("message", [b"", b"[]", b"{", b'{"format": 2}', b"\xff", b"null"])
def test_what_is_no_event_is_refused(message: bytes, read: Callable[[bytes], object]) -> None:
    with pytest.raises(CorruptData, match="not a change event"):
        read(message)


def outcome(read: Callable[[bytes], Any], message: bytes) -> object:
    """What an indexer sees of an event, or why there is none."""
    try:
        event = read(message)
    except (CorruptData, NewerFormat) as failure:
        return type(failure), str(failure)
    return [getattr(event, name) for name in PlainEvent.__slots__]


EVENT = complete_event(
    outbox_payload(
        table_id=7, table="orders", schema_version=3, operation="MODIFY",
        keys={"id": {"S": "1"}}, old_image={"id": {"S": "1"}}, new_image={"id": {"S": "1"}},
    ),
    shard=2, outbox_id=41, version=40, partition=5, sequence=9, previous=8, feeds=True,
    committed_at=1_700_000_000_000_000,
)  # fmt: skip
STRANGE_VALUES: list[Any] = [
    None, True, 0, -1, 1, 2, 2**64 - 1, 1.0, "", "5", "write", "REMOVE", [], {}, {"a": {}},
    {"a": 1}, {"a": {"S": "x"}, "b": []},
]  # fmt: skip


def test_both_readers_see_the_same_of_any_event() -> None:
    """Every member absent, or of any kind; and that the quick one is used where it may be."""
    members = orjson.loads(EVENT)
    assert type(read_event(EVENT)) is PlainEvent
    assert outcome(read_event, EVENT) == outcome(load_event, EVENT)
    for name in members:
        others = {key: value for key, value in members.items() if key != name}
        for changed in (others, *({**members, name: value} for value in STRANGE_VALUES)):
            message = orjson.dumps(changed)
            assert outcome(read_event, message) == outcome(load_event, message), message


@pytest.mark.parametrize("load", [load_event, read_event, load_command])
def test_what_a_newer_version_wrote_is_not_damaged(load: Callable[[bytes], object]) -> None:
    message = {"event_id": "1-1", "command_id": str(uuid.uuid4()), "format": 2, "unknown": {}}
    with pytest.raises(NewerFormat, match=r"of format 2, .*upgrade"):
        load(orjson.dumps(message))


def test_a_command_survives_the_topic() -> None:
    command = WriteCommand(
        table="orders",
        operation="UPDATE",
        key={"id": {"S": "1"}},
        set={"n": {"N": "1"}},
        remove=("gone",),
        condition=version_is(4),
    )
    assert load_command(command.dump()) == command


@pytest.mark.parametrize(
    "change",
    [
        {"operation": "DELETE"},
        {"item": None},
        {"key": {"id": {"S": "1"}}},
        {"remove": ["x"]},
        {"unknown": 1},
        {"condition": {"exists": False, "version": 3}},
        {"condition": {"version": 0}},
    ],
)
def test_commands_that_do_not_fit_together_are_refused(change: dict[str, object]) -> None:
    good = WriteCommand(table="orders", operation="PUT", item={"id": {"S": "1"}})
    message = orjson.dumps({**orjson.loads(good.dump()), **change})
    with pytest.raises(CorruptData, match="not a write command"):
        load_command(message)


def test_conditions_say_one_thing() -> None:
    assert Condition(exists=True) == MUST_EXIST


@given(
    st.integers(0, 2**32 - 1), st.integers(1, 4096), st.integers(0, 1023), st.integers(0, 2**64 - 1)
)
def test_tokens_round_trip(cluster: int, shard: int, partition: int, version: int) -> None:
    token = ConsistencyToken(cluster, shard, partition, version)
    assert ConsistencyToken.parse(str(token)) == token


@given(st.data())
def test_a_damaged_token_is_refused(data: st.DataObject) -> None:
    text = str(ConsistencyToken(1, 2, 3, 4))
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from("ABCDEFabcdef0123").filter(lambda c: c != text[place]))
    with pytest.raises(InvalidToken):
        ConsistencyToken.parse(text[:place] + other + text[place + 1 :])


@pytest.mark.parametrize("text", ["", "x", "ü", "AAAA", "a b c", "=" * 9])
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(InvalidToken):
        ConsistencyToken.parse(text)
