"""Change events, write commands and consistency tokens: round trips and refusals."""

from collections.abc import Callable

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mynamo.errors import CorruptData, InvalidToken, NewerFormat
from mynamo.schemas.commands import MUST_EXIST, Condition, WriteCommand, load_command, version_is
from mynamo.schemas.events import ConsistencyToken, complete_event, load_event, outbox_payload
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


@pytest.mark.parametrize("message", [b"", b"[]", b"{", b'{"format": 0}', b"\xff", b"null"])
def test_what_is_no_event_is_refused(message: bytes) -> None:
    with pytest.raises(CorruptData, match="not a change event"):
        load_event(message)


@pytest.mark.parametrize("load", [load_event, load_command])
def test_a_later_format_is_told_apart_from_damage(load: Callable[[bytes], object]) -> None:
    with pytest.raises(NewerFormat, match=r"is of format 2.* up to 1; upgrade"):
        load(b'{"format": 2, "whatever": "that is"}')
    for number in (b"0", b"-1", b"1.5", b'"2"', b"true", b"null"):
        with pytest.raises(CorruptData):
            load(b'{"format": %s}' % number)


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
