"""Updates: what becomes of items, what is refused, and that the item itself stays as it was."""

from __future__ import annotations

import copy
import decimal
import re
from decimal import Decimal
from typing import Any

import pytest

from mynamo.errors import InvalidItem
from mynamo.expressions import Update, actions, updates
from mynamo.schemas.items import from_stored, to_stored
from mynamo.schemas.values import StoredItem
from tests.unit.expressing import NAMES, applied, refusal, update

ITEM: dict[str, Any] = {
    "n": 5,
    "s": "text",
    "l": [0, 1, 2, {"x": "y"}],
    "m": {"a": 1, "k": ["q"]},
    "ss": {"a", "b"},
    "ns": {1, 2},
    "bs": {b"a"},
    "yes": True,
}
VALUES: dict[str, Any] = {
    "one": 1,
    "s": "new",
    "l": ["z"],
    "a": {"a"},
    "ab": {"a", "b"},
    "cd": {"c", "d"},
    "n12": {1, 2},
    "n3": {3},
    "ba": {b"a"},
    "bb": {b"b"},
}


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("SET a = :s", {"a": "new"}),
        ("set a = n", {"a": 5}),
        ("set s = n, n = s", {"s": 5, "n": "text"}),
        ("set n = n + :one, a = n - :one", {"n": 6, "a": 4}),
        ("set a = (:one + n)", {"a": 6}),
        ("set a = :one - :one", {"a": 0}),
        ("set m.b = :s, m.a = :s", {"m": {"a": "new", "b": "new", "k": ["q"]}}),
        ("set m.k[0] = :s", {"m": {"a": 1, "k": ["new"]}}),
        ("set m.k = m", {"m": {"a": 1, "k": {"a": 1, "k": ["q"]}}}),
        ("set l[1] = :s, l[3].x = :s", {"l": [0, "new", 2, {"x": "new"}]}),
        ("set l[9] = :s, l[7] = :one", {"l": [0, 1, 2, {"x": "y"}, 1, "new"]}),
        ("set a = if_not_exists(a, :s)", {"a": "new"}),
        ("set n = if_not_exists(n, :s)", {}),
        ("set a = if_not_exists(a, if_not_exists(b, n)) + :one", {"a": 6}),
        ("set l = list_append(l, :l)", {"l": [0, 1, 2, {"x": "y"}, "z"]}),
        ("set a = list_append(:l, if_not_exists(a, :l))", {"a": ["z", "z"]}),
        ("REMOVE n, absent, m.absent, l[7]", {"n": None}),
        ("remove l[0], l[2]", {"l": [1, {"x": "y"}]}),
        ("remove l[2], l[0]", {"l": [1, {"x": "y"}]}),
        ("remove l[3].x, m.k[0]", {"l": [0, 1, 2, {}], "m": {"a": 1, "k": []}}),
        ("remove l[0] set l[1] = :s, l[8] = :one", {"l": ["new", 2, {"x": "y"}, 1]}),
        ("ADD n :one, a :one, m.a :one", {"n": 6, "a": 1, "m": {"a": 2, "k": ["q"]}}),
        ("add l[1] :one, l[9] :one", {"l": [0, 2, 2, {"x": "y"}, 1]}),
        ("add ss :cd, ns :n3, bs :bb", {"ss": set("abcd"), "ns": {1, 2, 3}, "bs": {b"a", b"b"}}),
        ("add a :ab, ss :ab", {"a": {"a", "b"}}),
        ("DELETE ss :a, ns :n3, absent :a, m.absent :a", {"ss": {"b"}}),
        ("delete ss :ab, ns :n12, bs :ba", {"ss": None, "ns": None, "bs": None}),
        ("delete ss :cd add n :one remove s set a = :s", {"n": 6, "s": None, "a": "new"}),
    ],
)
def test_items_after_updates(text: str, changed: dict[str, Any]) -> None:
    values = {name: value for name, value in VALUES.items() if re.search(rf":{name}\b", text)}
    expected = {k: v for k, v in {**ITEM, **changed}.items() if v is not None}
    stored = to_stored(ITEM)
    change = update(text, **values)
    assert from_stored(change.apply(stored)) == expected
    assert stored == to_stored(ITEM)
    assert change.names >= set(changed)


MISSING = "The provided expression refers to an attribute that does not exist in the item"
WRONG_TYPE = "An operand in the update expression has an incorrect data type"
NOWHERE = "The document path provided in the update expression is invalid for update"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("set a = absent", MISSING),
        ("set a = absent + :one", MISSING),
        ("set a = list_append(absent, l)", MISSING),
        ("set a = if_not_exists(absent, absent2)", MISSING),
        ("set a = if_not_exists(n, absent)", MISSING),
        ("set a = :one, b = a", MISSING),
        ("set a = s + :one", WRONG_TYPE),
        ("set a = :one - s", WRONG_TYPE),
        ("set a = list_append(l, s)", WRONG_TYPE),
        ("add s :one", WRONG_TYPE),
        ("add yes :one", WRONG_TYPE),
        ("add l :one", WRONG_TYPE),
        ("add ns :a", WRONG_TYPE),
        ("add n :a", WRONG_TYPE),
        ("add ss :one", WRONG_TYPE),
        ("delete ns :a", WRONG_TYPE),
        ("delete n :a", WRONG_TYPE),
        ("delete l[0] :a", WRONG_TYPE),
        ("set absent.a = :one", NOWHERE),
        ("set absent[0] = :one", NOWHERE),
        ("set s.a = :one", NOWHERE),
        ("set l.a = :one", NOWHERE),
        ("set m[0] = :one", NOWHERE),
        ("set l[9].a = :one", NOWHERE),
        ("remove absent.a", NOWHERE),
        ("remove m.absent.a", NOWHERE),
        ("add absent.a :one", NOWHERE),
        ("delete absent.a :a", NOWHERE),
    ],
)
def test_what_an_item_refuses(text: str, message: str) -> None:
    values = {name: value for name, value in VALUES.items() if re.search(rf":{name}\b", text)}
    with pytest.raises(InvalidItem) as caught:
        applied(text, ITEM, **values)
    assert str(caught.value) == message


OVERLAP = "overlap with each other; must remove or rewrite one of these paths"
CONFLICT = "conflict with each other; must remove or rewrite one of these paths"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("set a = :n, a = :n", f"Two document paths {OVERLAP}; path one: [a], path two: [a]"),
        ("set a = :n remove a.b", f"Two document paths {OVERLAP}; path one: [a], path two: [a, b]"),
        ("set #a.b = :n, a = :n", f"Two document paths {OVERLAP}; path one: [a, b], path two: [a]"),
        (
            "remove a[0] add a[0] :n",
            f"Two document paths {OVERLAP}; path one: [a, [0]], path two: [a, [0]]",
        ),
        (
            "set a.x.b = :n, a.x[1] = :n",
            f"Two document paths {CONFLICT}; path one: [a, x, b], path two: [a, x, [1]]",
        ),
        (
            "set a = list_append(a, :n)",
            "Incorrect operand type for operator or function; "
            "operator or function: list_append, operand type: N",
        ),
        (
            "set a = :s + :n",
            "Incorrect operand type for operator or function; "
            "operator or function: +, operand type: S",
        ),
        (
            "set a = if_not_exists(:n, :n)",
            "Operator or function requires a document path; operator or function: if_not_exists",
        ),
        (
            "set a = if_not_exists(b, b)",
            "The first operand must be distinct from the remaining operands for this operator "
            "or function; operator: if_not_exists, first operand: [b]",
        ),
        (
            "set a = list_append(b)",
            "Incorrect number of operands for operator or function; "
            "operator or function: list_append, number of operands: 1",
        ),
        (
            "add a :s",
            "Incorrect operand type for operator or function; operator: ADD, "
            "operand type: STRING, typeSet: ALLOWED_FOR_ADD_OPERAND",
        ),
        (
            "delete a :n",
            "Incorrect operand type for operator or function; operator: DELETE, "
            "operand type: NUMBER, typeSet: ALLOWED_FOR_DELETE_OPERAND",
        ),
    ],
)
def test_what_is_refused_before_any_item_is_seen(text: str, message: str) -> None:
    assert refusal(update, text, NAMES, n=1, s="x") == message


def test_paths_come_before_operands_and_both_from_the_last_to_the_first() -> None:
    assert refusal(update, "set a = :zz, #zz = :n, b = :n", n=1).endswith("name: #zz")
    assert refusal(update, "set #zz = :n, b = :n, b = :n", n=1).startswith("Two document paths")
    assert refusal(update, "set b = :n, b = :n, #zz = :n", n=1).endswith("name: #zz")
    assert refusal(update, "set a = :yy, b = :zz", n=1).endswith("value: :zz")


@pytest.mark.parametrize(
    ("left", "operator", "right", "result"),
    [
        ("0.1", "+", "0.2", "0.3"),
        ("9" * 38, "+", "1", "1" + "0" * 38),
        ("9" * 38, "-", "9" * 38, "0"),
        ("1E-130", "-", "1E-130", "0"),
        ("9.9E+125", "-", "9E+125", "9" + "0" * 124),
        (
            "12345678901234567890123456789",
            "+",
            "0.000000001",
            "12345678901234567890123456789.000000001",
        ),
    ],
)
def test_arithmetic_is_exact(left: str, operator: str, right: str, result: str) -> None:
    item = {"a": Decimal(left), "b": Decimal(right)}
    assert applied(f"set c = a {operator} b", item)["c"] == {"N": result}


@pytest.mark.parametrize(
    ("left", "operator", "right", "message"),
    [
        ("9" * 38, "+", "0.1", "Attempting to store more than 38 significant digits in a Number"),
        ("1E+125", "-", "1E-130", "Attempting to store more than 38 significant digits"),
        ("9.9E+125", "+", "1E+124", "Number overflow. Attempting to store a number"),
        ("-9.9E+125", "-", "1E+124", "Number overflow. Attempting to store a number"),
        ("1.00001E-126", "-", "1E-126", "Number underflow. Attempting to store a number"),
    ],
)
def test_what_cannot_be_stored_exactly_is_refused(
    left: str, operator: str, right: str, message: str
) -> None:
    item = {"a": Decimal(left), "b": Decimal(right)}
    with pytest.raises(InvalidItem, match=re.escape(message)):
        applied(f"set c = a {operator} b", item)
    sign = "" if operator == "+" else "-"
    number = Decimal(right).copy_negate() if sign else Decimal(right)
    with pytest.raises(InvalidItem, match=re.escape(message)):
        applied("add a :n", item, n=number)


def test_control_with_an_ordinary_decimal_context_sums_would_be_rounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(actions, "EXACT", decimal.Context(prec=28))
    item = {"a": Decimal("9" * 38), "b": Decimal("0.1")}
    assert applied("set c = a + b", item)["c"] == {"N": "1" + "0" * 38}


def test_nesting_of_more_than_32_levels_is_refused() -> None:
    value: Any = 1
    for _ in range(30):
        value = [value]
    assert applied("set a.b = :v", {"a": {}}, v=value)
    with pytest.raises(InvalidItem, match="Nesting Levels have exceeded supported limits"):
        applied("set a.b.c = :v", {"a": {"b": {}}}, v=value)
    with pytest.raises(InvalidItem, match="Nesting Levels have exceeded supported limits"):
        applied("set a = list_append(a, :v)", {"a": []}, v=[[value]])


def test_only_what_changes_is_copied() -> None:
    item = to_stored({"m": {"a": {"x": 1}, "b": {"y": 2}}, "l": [[1], [2]], "other": {"z": 3}})
    before = copy.deepcopy(item)
    new = update("set m.a.x = :n, l[0][0] = :n", n=9).apply(item)
    assert item == before
    assert from_stored(new)["m"]["a"] == {"x": 9}
    assert new["other"] is item["other"]
    assert new["m"]["M"]["b"] is item["m"]["M"]["b"]
    assert new["l"]["L"][1] is item["l"]["L"][1]


def test_control_an_update_in_place_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def in_place(members: Any, tree: Any, item: StoredItem, level: int) -> Any:
        for name, branch in tree.items():
            members[name] = updates.changed_value(members.get(name), branch, item, level)
        return members

    monkeypatch.setattr(updates, "changed_members", in_place)
    item = to_stored({"m": {"a": 1}})
    update("set m.a = :n", n=9).apply(item)
    assert item != to_stored({"m": {"a": 1}})


def test_what_an_update_touched() -> None:
    item = to_stored(ITEM)
    change = update("set m.a = :n, l[9] = :n, a = :n remove s add l[0] :n", n=9)
    assert from_stored(change.touched(item)) == {"m": {"a": 1}, "l": [0], "s": "text"}
    new = change.apply(item)
    assert from_stored(change.touched(new)) == {"m": {"a": 9}, "l": [9], "a": 9}


def test_updates_of_whole_attributes() -> None:
    item: StoredItem = to_stored({"a": 1, "b": 2, "c": 3})
    change = Update.setting(to_stored({"a": 9, "d": 4}), ["b"])
    assert change.names == {"a", "b", "d"}
    assert from_stored(change.apply(item)) == {"a": 9, "c": 3, "d": 4}
    assert from_stored(change.touched(item)) == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("text", "removes"),
    [
        ("remove a", True),
        ("remove a.b[0], c delete d.e :s, f :s", True),
        ("set a = :s", False),
        ("add a :s", False),
        ("remove a.b, a.c[1] add a.c[2] :s", False),
    ],
)
def test_updates_that_only_remove(text: str, removes: bool) -> None:
    values = {"s": {"x"}} if ":s" in text else {}
    assert update(text, **values).only_removes() is removes


def test_an_update_that_says_nothing_does_not_only_remove() -> None:
    assert not Update.of([]).only_removes()
    assert not Update.setting({}).only_removes()
    assert Update.setting({}, ["a"]).only_removes()
    assert not Update.setting(to_stored({"b": 1}), ["a"]).only_removes()


def test_nothing_is_left_of_equal_numbers_however_small() -> None:
    least = "1." + "1" * 37 + "E-130"
    item = {"a": Decimal(least)}
    assert applied("set a = a - a", item) == {"a": {"N": "0"}}
    assert applied("add a :n", item, n=Decimal(least).copy_negate()) == {"a": {"N": "0"}}
