"""Conditions: what holds for which items, and what is refused before any item is seen."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from mynamo.errors import InvalidExpression
from mynamo.expressions import Placeholders, parse_condition
from mynamo.schemas.items import to_stored
from tests.unit.expressing import NAMES, condition, holds, refusal

ITEM: dict[str, Any] = {
    "n": 5,
    "s": "größe",
    "b": b"\x00\xff",
    "yes": True,
    "nul": None,
    "l": [1, "x", {"deep": [b"y"]}],
    "m": {"k": 1, "l": [2, 3]},
    "ss": {"a", "b"},
    "ns": {1, Decimal("2.50")},
    "bs": {b"a", b"b"},
    "el": [],
    "em": {},
}


@pytest.mark.parametrize(
    "text",
    [
        "n = :five",
        "n = :five_and_zeros",
        "n <> :s",
        "absent <> :five",
        "absent <> absent2",
        "l[2].deep[0] = :y",
        "m.l[1] > m.l[0]",
        "l = :l",
        "m = :m",
        "ss = :ss",
        "ns = :ns",
        "l <> :m",
        "n < :six AND n <= :five AND n >= :five AND n > :m10",
        "s < :z",
        "b > :zero",
        "n BETWEEN :m10 AND :six",
        "s between :g and :z",
        "n IN (:s, :six, :five)",
        "l in (m, :l)",
        "attribute_exists(m.l[0])",
        "attribute_not_exists(m.l[2])",
        "attribute_not_exists(n.x)",
        "attribute_not_exists(l.x)",
        "attribute_exists(nul)",
        "attribute_type(m, :M)",
        "attribute_type(:five, :N)",
        "begins_with(s, :g)",
        "begins_with(b, :zero)",
        "begins_with(s, :empty)",
        "contains(s, :oe)",
        "contains(b, :ff)",
        "contains(ss, :a)",
        "contains(ns, :two_and_half)",
        "contains(bs, :ba)",
        "contains(l, :x)",
        "contains(l, l[2])",
        "contains(:ss, ss2) or n = :five",
        "size(s) = :five",
        "size(:clef) = :three",
        "size(b) = :two",
        "size(l) = :three",
        "size(m) = :two",
        "size(ss) = :two",
        "size(el) = :null_size and size(em) = :null_size",
        "size(:s) = :one",
        "NOT (n = :six OR n = :m10)",
        "NOT n = :six AND NOT s = :z",
        "not not n = :five",
    ],
)
def test_these_hold(text: str) -> None:
    assert holds(text, ITEM, **_values(text))
    assert not holds(f"NOT ({text})", ITEM, **_values(text))


@pytest.mark.parametrize(
    "text",
    [
        "n = :s",
        "absent = :five",
        "absent = absent2",
        "absent < :six",
        "not absent <> :six",
        "n < :s",
        "yes = :one",
        "l = :shuffled",
        "n BETWEEN :g AND :z",
        "l BETWEEN m AND ss",
        "absent IN (:five)",
        "absent in (absent2)",
        "attribute_exists(l[3])",
        "attribute_type(absent, :N)",
        "attribute_type(m, :N)",
        "begins_with(n, :g)",
        "begins_with(b, :g)",
        "contains(n, :five)",
        "contains(s, :five)",
        "contains(ss, :five)",
        "contains(ns, :a)",
        "contains(l, :two)",
        "contains(m, :k)",
        "contains(absent, :a)",
        "contains(l, absent)",
        "contains(nul, nul2)",
        "size(n) >= :null_size",
        "size(yes) >= :null_size",
        "size(nul) >= :null_size",
        "size(absent) >= :null_size",
        "size(l) = :x",
        "n = :five AND n = :six",
        "n = :six OR n = :m10",
    ],
)
def test_these_do_not(text: str) -> None:
    assert not holds(text, ITEM, **_values(text))
    assert holds(f"NOT ({text})", ITEM, **_values(text))


VALUES: dict[str, Any] = {
    "five": 5,
    "five_and_zeros": Decimal("5.000"),
    "six": 6,
    "m10": -10,
    "one": 1,
    "two": 2,
    "three": 3,
    "two_and_half": Decimal("2.5"),
    "null_size": 0,
    "s": "s",
    "g": "g",
    "z": "z",
    "x": "x",
    "a": "a",
    "k": "k",
    "oe": "öß",
    "clef": "é\U0001d11e",
    "empty": "",
    "N": "N",
    "M": "M",
    "y": b"y",
    "zero": b"\x00",
    "ff": b"\xff",
    "ba": b"a",
    "l": [1, "x", {"deep": [b"y"]}],
    "shuffled": ["x", 1, {"deep": [b"y"]}],
    "m": {"l": [2, Decimal("3.0")], "k": 1},
    "ss": {"b", "a"},
    "ns": {Decimal("2.5"), 1},
}


def _values(text: str) -> dict[str, Any]:
    words = text.replace(")", " ").replace("(", " ").replace(",", " ").split()
    return {word[1:]: VALUES[word[1:]] for word in words if word[0] == ":"}


def test_numbers_compare_by_value_text_by_bytes_and_binary_by_bytes() -> None:
    assert holds("a < :b", {"a": 9}, b=10)
    assert holds("a < :b", {"a": Decimal("-1E-130")}, b=0)
    assert holds("a < :b", {"a": "10"}, b="9")
    assert holds("a < :b", {"a": "\uffff"}, b="\U00010000")  # in UTF-16 it would not
    assert holds("a < :b", {"a": b"\x7f"}, b=b"\x80")
    assert holds("a < :b", {"a": b"z"}, b=b"zz")  # base64 text would not tell


def test_no_item_is_like_one_without_attributes() -> None:
    assert holds("attribute_not_exists(a) and a <> :n", None, n=1)
    assert not holds("attribute_exists(a)", None)


def test_the_names_are_the_top_level_attributes() -> None:
    text = "#a.x = b[0] or not (size(c) in (d, :n) or attribute_exists(e)) and begins_with(f, g)"
    assert condition(text, NAMES, n=1).names == set("abcdefg")


def test_and_binds_tighter_than_or_and_not_tightest() -> None:
    item: dict[str, Any] = {"t": 1, "f": 0}
    assert holds("t = :n or t = :n and f = :n", item, n=1)
    assert not holds("(t = :n or t = :n) and f = :n", item, n=1)
    assert holds("not f = :n or t = :n and f = :n", item, n=1)
    assert not holds("not (f = :n or t = :n) and t = :n", item, n=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "attribute_exists(a, b)",
            "Incorrect number of operands for operator or function; "
            "operator or function: attribute_exists, number of operands: 2",
        ),
        (
            "attribute_exists(:n)",
            "Operator or function requires a document path; operator or function: attribute_exists",
        ),
        (
            "begins_with(a, :n)",
            "Incorrect operand type for operator or function; "
            "operator or function: begins_with, operand type: N",
        ),
        (
            "begins_with(a, size(b))",
            "Incorrect operand type for operator or function; "
            "operator or function: begins_with, operand type: N",
        ),
        (
            "size(:yes) = :n",
            "Incorrect operand type for operator or function; "
            "operator or function: size, operand type: BOOL",
        ),
        (
            "size(size(a)) = :n",
            "Incorrect operand type for operator or function; "
            "operator or function: size, operand type: N",
        ),
        (
            "a < :l",
            "Incorrect operand type for operator or function; "
            "operator or function: <, operand type: L",
        ),
        (
            "a between :ss and :n",
            "Incorrect operand type for operator or function; "
            "operator or function: BETWEEN, operand type: SS",
        ),
        (
            "attribute_type(a, :s)",
            "Invalid attribute type name found; type: x, "
            "valid types: {B,NULL,SS,BOOL,L,BS,N,NS,S,M}",
        ),
        (
            "attribute_type(a, :n)",
            "Incorrect operand type for operator or function; "
            "operator or function: attribute_type, operand type: N",
        ),
        (
            "attribute_type(a, b)",
            "Incorrect operand type for operator or function; operator or function: "
            "attribute_type, operand type: {NS,SS,L,BS,N,M,B,BOOL,NULL,S}",
        ),
        (
            "a = #a",
            "The first operand must be distinct from the remaining operands for this operator "
            "or function; operator: =, first operand: [a]",
        ),
        (
            "a.b[0] in (:n, a.b[0])",
            "The first operand must be distinct from the remaining operands for this operator "
            "or function; operator: IN, first operand: [a, b, [0]]",
        ),
        (
            "contains(a, a)",
            "The first operand must be distinct from the remaining operands for this operator "
            "or function; operator: contains, first operand: [a]",
        ),
        (
            "a between :two and :n",
            "The BETWEEN operator requires upper bound to be greater than or equal to lower "
            "bound; lower bound operand: AttributeValue: {N:2}, "
            "upper bound operand: AttributeValue: {N:1}",
        ),
        (
            "a between :n and :s",
            "The BETWEEN operator requires same data type for lower and upper bounds; lower "
            "bound operand: AttributeValue: {N:1}, upper bound operand: AttributeValue: {S:x}",
        ),
        (
            "a in (" + ",".join([":n"] * 101) + ")",
            "The IN operator is provided with too many operands; number of operands: 101",
        ),
        (
            "#zz = :n",
            "An expression attribute name used in the document path is not defined; "
            "attribute name: #zz",
        ),
        (
            "a = :zz",
            "An expression attribute value used in expression is not defined; attribute value: :zz",
        ),
    ],
)
def test_what_is_refused_before_any_item_is_seen(text: str, message: str) -> None:
    values = {"n": 1, "two": 2, "s": "x", "l": [1], "ss": {"x"}, "yes": True}
    assert refusal(condition, text, NAMES, **values) == message


def test_operands_are_looked_up_before_they_are_checked_and_in_the_order_of_the_text() -> None:
    undefined = "An expression attribute value used in expression is not defined; "
    assert refusal(condition, "begins_with(:n, :zz)", n=1).startswith(undefined)
    assert refusal(condition, "a < :l and b = :zz", l=[1]).startswith("Incorrect operand type")
    assert refusal(condition, "b = :zz and a < :l", l=[1]).startswith(undefined)


def test_the_kind_of_expression_is_named() -> None:
    with pytest.raises(InvalidExpression, match=r"^Invalid FilterExpression: The expression can"):
        parse_condition("", Placeholders(), "FilterExpression")


def test_in_takes_100_operands() -> None:
    assert holds("a in (" + ",".join([":m"] * 99 + [":n"]) + ")", {"a": 1}, n=1, m=2)


def test_evaluation_leaves_the_item_alone() -> None:
    stored = to_stored(ITEM)
    condition("contains(l, :x) or m = :m and size(s) > :n", x=7, m={}, n=1).holds(stored)
    assert stored == to_stored(ITEM)
