"""ReturnValues: what each kind of write answers with.

The answers are DynamoDB's: its documentation, and what its own local version answers.
"""

from __future__ import annotations

from typing import Any

import pytest

from mynamo.errors import InvalidRequest
from mynamo.schemas.values import StoredItem
from mynamo.writer import (
    Done,
    ReturnValues,
    WriteRequest,
    check_return_values,
    parse_texts,
    returned,
)

KEY: StoredItem = {"id": {"S": "a"}}
KINDS: tuple[ReturnValues, ...] = ("NONE", "ALL_OLD", "UPDATED_OLD", "ALL_NEW", "UPDATED_NEW")


def number(value: int) -> dict[str, Any]:
    return {"N": str(value)}


def answers(
    text: str | None, old: StoredItem | None, **values: dict[str, Any]
) -> dict[str, StoredItem | None]:
    """What an update of an item returns, by kind."""
    named = {f":{name}": value for name, value in values.items()}
    update = parse_texts(update=text, values=named)[0]
    request = WriteRequest("orders", "UPDATE", KEY, update)
    new = update.apply(old or KEY) if update else old or KEY
    return {kind: returned(kind, request, Done(1, old, new)) for kind in KINDS}


def test_an_update_of_an_item() -> None:
    old = {**KEY, "a": number(1), "b": number(2), "c": number(3)}
    assert answers("SET a = :v, d = :v REMOVE b, nothing", old, v=number(9)) == {
        "NONE": None,
        "ALL_OLD": old,
        "UPDATED_OLD": {"a": number(1), "b": number(2)},
        "ALL_NEW": {**KEY, "a": number(9), "c": number(3), "d": number(9)},
        "UPDATED_NEW": {"a": number(9), "d": number(9)},
    }


def test_an_update_that_makes_an_item() -> None:
    assert answers("SET a = :v REMOVE b", None, v=number(9)) == {
        "NONE": None,
        "ALL_OLD": None,
        "UPDATED_OLD": None,
        "ALL_NEW": {**KEY, "a": number(9)},
        "UPDATED_NEW": {"a": number(9)},
    }


def test_an_update_whose_paths_have_nothing_before_or_after() -> None:
    old = {**KEY, "tags": {"SS": ["x"]}}
    found = answers("DELETE tags :t", old, t={"SS": ["x"]})
    assert (found["UPDATED_OLD"], found["UPDATED_NEW"]) == ({"tags": {"SS": ["x"]}}, None)
    found = answers("REMOVE nothing", KEY)
    assert (found["UPDATED_OLD"], found["UPDATED_NEW"]) == (None, None)
    assert (found["ALL_OLD"], found["ALL_NEW"]) == (KEY, KEY)


def test_an_update_without_a_change() -> None:
    found = answers(None, None)
    assert (found["ALL_OLD"], found["ALL_NEW"]) == (None, KEY)
    assert (found["UPDATED_OLD"], found["UPDATED_NEW"]) == (None, None)


def test_paths_within_attributes() -> None:
    old = {**KEY, "m": {"M": {"a": number(1), "b": number(2), "c": number(3)}}}
    found = answers("SET m.a = :v REMOVE m.b", old, v=number(9))
    assert found["UPDATED_OLD"] == {"m": {"M": {"a": number(1), "b": number(2)}}}
    assert found["UPDATED_NEW"] == {"m": {"M": {"a": number(9)}}}


@pytest.mark.parametrize("old", [None, {**KEY, "x": number(1)}])
def test_puts_and_deletes(old: StoredItem | None) -> None:
    put = WriteRequest("orders", "PUT", KEY)
    delete = WriteRequest("orders", "DELETE", KEY)
    assert returned("ALL_OLD", put, Done(1, old, KEY)) == old
    assert returned("ALL_OLD", delete, Done(1, old, None)) == old
    assert returned("NONE", put, Done(1, old, KEY)) is None


def test_kinds_that_an_operation_does_not_have() -> None:
    for kind in KINDS:
        check_return_values(kind, "UPDATE")
    wrong: tuple[Any, ...] = ("UPDATED_OLD", "ALL_NEW", "UPDATED_NEW", "all_old", "", None)
    for kind in wrong:
        with pytest.raises(InvalidRequest, match="Return values set to invalid value"):
            check_return_values(kind, "PUT")


LISTED: StoredItem = {**KEY, "l": {"L": [number(each) for each in range(4)]}}


@pytest.mark.parametrize(
    ("text", "before", "after"),
    [
        ("REMOVE l[1]", [1], [2]),
        ("REMOVE l[3]", [3], []),
        ("REMOVE l[9]", [], []),
        ("REMOVE l[1], l[2]", [1, 2], [3]),
        ("REMOVE l[0], l[1], l[2], l[3]", [0, 1, 2, 3], []),
        ("SET l[0] = :v REMOVE l[2]", [0, 2], [9, 3]),
        ("SET l[2] = :v REMOVE l[0]", [0, 2], [1, 3]),
    ],
)
def test_what_stands_where_list_elements_were(text: str, before: Any, after: Any) -> None:
    values = {"v": number(9)} if ":v" in text else {}
    found = answers(text, LISTED, **values)
    for kind, elements in (("UPDATED_OLD", before), ("UPDATED_NEW", after)):
        shown = {"l": {"L": [number(each) for each in elements]}} if elements else None
        assert found[kind] == shown


def test_what_stands_where_elements_of_nested_lists_were() -> None:
    sets = [{"SS": ["x"]}, {"SS": ["y"]}]
    old = {**KEY, "m": {"M": {"l": {"L": [{"L": sets}, number(1)]}, "c": number(4)}}}
    found = answers("DELETE m.l[0][0] :v", old, v={"SS": ["x"]})
    assert found["UPDATED_OLD"] == {"m": {"M": {"l": {"L": [{"L": [{"SS": ["x"]}]}]}}}}
    assert found["UPDATED_NEW"] == {"m": {"M": {"l": {"L": [{"L": [{"SS": ["y"]}]}]}}}}
    found = answers("REMOVE m.l[0] SET m.c = :v", old, v=number(9))
    assert found["UPDATED_NEW"] == {"m": {"M": {"l": {"L": [number(1)]}, "c": number(9)}}}
