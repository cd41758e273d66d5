"""Properties of expressions, whatever the text and the item."""

from __future__ import annotations

import copy
import sys
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from mynamo.errors import InvalidExpression, MynamoError
from mynamo.expressions import (
    Placeholders,
    grammar,
    parse_condition,
    parse_key_condition,
    parse_projection,
    parse_update,
)
from mynamo.schemas.items import normalise, to_stored
from mynamo.schemas.values import StoredItem
from tests.amounts import amount
from tests.strategies import stored_items

NAMES = {"#a": "a", "#n": "name"}
VALUES = to_stored(
    {":n": 1, ":s": "x", ":l": [1], ":m": {"a": 1}, ":p": {"x"}, ":q": {1}, ":b": b"x", ":o": True}
)
PARSERS = (parse_condition, parse_update, parse_projection, parse_key_condition)

_WORDS = """
a b c name #a #n #zz :n :s :l :m :p :q :b :o :zz = <> < <= > >= ( ) [ ] . , + - 0 1 99999999999
and or not between in set remove add delete size( contains( begins_with( attribute_exists(
attribute_type( if_not_exists( list_append( foo( a.b a[0] @ é
"""
WORDS = st.sampled_from(_WORDS.split())
TEXTS = st.one_of(
    st.text(max_size=60),
    st.builds(" ".join, st.lists(WORDS, max_size=14)),
    st.builds("".join, st.lists(WORDS, max_size=14)),
)


@settings(max_examples=amount(200))
@given(TEXTS)
def test_parsing_raises_nothing_but_invalid_expression(text: str) -> None:
    for parse in PARSERS:
        with suppress(InvalidExpression):
            parse(text, Placeholders(NAMES, VALUES))


def paths() -> SearchStrategy[str]:
    parts = st.lists(st.sampled_from([".a", ".b", "[0]", "[1]", "[7]"]), max_size=3)
    return st.builds(lambda name, rest: name + "".join(rest), st.sampled_from("abc"), parts)


def operands() -> SearchStrategy[str]:
    return st.one_of(
        paths(), st.sampled_from(sorted(VALUES)), st.builds("size({})".format, paths())
    )


def single_tests() -> SearchStrategy[str]:
    return st.one_of(
        st.builds(
            "{} {} {}".format, operands(), st.sampled_from(["=", "<>", "<", ">="]), operands()
        ),
        st.builds("{} BETWEEN {} AND {}".format, operands(), operands(), operands()),
        st.builds("{} IN ({}, {})".format, operands(), operands(), operands()),
        st.builds("contains({}, {})".format, operands(), operands()),
        st.builds("begins_with({}, {})".format, operands(), operands()),
        st.builds("attribute_exists({})".format, paths()),
    )


def conditions() -> SearchStrategy[str]:
    return st.recursive(
        single_tests(),
        lambda inner: st.one_of(
            st.builds("{} AND {}".format, inner, inner),
            st.builds("NOT {}".format, inner),
            st.builds("({} OR {})".format, inner, inner),
        ),
        max_leaves=8,
    )


def actions() -> SearchStrategy[str]:
    sums = st.builds("{} {} {}".format, paths(), st.sampled_from("+-"), operands())
    lists = st.builds("list_append({}, {})".format, paths(), st.just(":l"))
    defaults = st.builds("if_not_exists({}, {})".format, paths(), st.sampled_from(sorted(VALUES)))
    values = st.one_of(paths(), st.sampled_from(sorted(VALUES)), sums, lists, defaults)
    return st.one_of(
        st.builds("SET {} = {}".format, paths(), values),
        st.builds("REMOVE {}, {}".format, paths(), paths()),
        st.builds("ADD {} {}".format, paths(), st.sampled_from([":n", ":p", ":q"])),
        st.builds("DELETE {} {}".format, paths(), st.sampled_from([":p", ":q"])),
        st.builds("SET {} = {} REMOVE {}".format, paths(), values, paths()),
    )


def nested() -> SearchStrategy[Any]:
    leaves = st.sampled_from([1, 2, "x", "xy", b"x", True, None, {"x"}, {1, 2}])
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
        ),
        max_leaves=8,
    )


def small_items() -> SearchStrategy[StoredItem]:
    return st.builds(to_stored, st.dictionaries(st.sampled_from("abc"), nested(), max_size=3))


@settings(max_examples=amount(150))
@given(conditions(), st.one_of(small_items(), stored_items()))
def test_conditions_give_an_answer_for_every_item(text: str, item: StoredItem) -> None:
    try:
        condition = parse_condition(text, Placeholders(None, VALUES))
    except InvalidExpression:
        return
    before = copy.deepcopy(item)
    opposite = parse_condition(f"NOT ({text} AND :n = :n)", Placeholders(None, VALUES))
    assert condition.holds(item) is not opposite.holds(item)
    assert item == before


@settings(max_examples=amount(200))
@given(actions(), small_items())
def test_updates_leave_the_item_alone_and_make_items_in_stored_form(
    text: str, item: StoredItem
) -> None:
    before = copy.deepcopy(item)
    try:
        update = parse_update(text, Placeholders(None, VALUES))
        new = update.apply(item)
        touched = update.touched(new)
    except MynamoError:
        new = touched = {}
    assert item == before
    assert normalise(new) == new
    assert normalise(touched) == touched


@settings(max_examples=amount(150))
@given(st.builds(", ".join, st.lists(paths(), min_size=1, max_size=3)), small_items())
def test_projections_show_parts_in_stored_form(text: str, item: StoredItem) -> None:
    try:
        projection = parse_projection(text, Placeholders())
    except InvalidExpression:
        return
    shown = projection.of(item)
    assert normalise(shown) == shown
    assert shown.keys() <= projection.names & item.keys()


BOOLEANS = st.recursive(
    st.sampled_from(["t = :n", "f = :n"]),
    lambda inner: st.one_of(
        st.builds("{} and {}".format, inner, inner),
        st.builds("{} or {}".format, inner, inner),
        st.builds("not {}".format, inner),
        # Parentheses around more than one thing only, or they would be redundant.
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
    ),
    max_leaves=12,
)
TRUTH: StoredItem = {"t": {"N": "1"}, "f": {"N": "0"}}


def agrees_with_python(text: str) -> bool:
    """Whether a condition binds its operators as Python binds its own."""
    try:
        condition = parse_condition(text, Placeholders(None, {":n": {"N": "1"}}))
    except InvalidExpression as error:
        return "redundant" in str(error)
    python = text.replace("t = :n", "True").replace("f = :n", "False")
    return condition.holds(TRUTH) is eval(python)  # noqa: S307


@settings(max_examples=amount(150))
@given(BOOLEANS)
def test_and_or_not_bind_as_in_python(text: str) -> None:
    assert agrees_with_python(text)


def test_control_with_other_precedences_they_would_not(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "t = :n or t = :n and f = :n"
    grammar.condition_syntax.cache_clear()
    monkeypatch.setattr(grammar, "PRECEDENCE", {"AND": 1, "OR": 2, "NOT": 3})
    assert not agrees_with_python(text)
    grammar.condition_syntax.cache_clear()
    monkeypatch.undo()
    assert agrees_with_python(text)


def test_depth_of_trees_needs_little_of_the_stack() -> None:
    text = "a = :n"
    while len(text) < 3900 and text.count("=") < 75:
        text = f"NOT ({text} AND b = :n)" if len(text) % 2 else f"(a = :n OR {text})"
    condition = parse_condition(text, Placeholders(None, {":n": {"N": "1"}}))
    frame, depth = sys._getframe(), 0
    while frame is not None:
        frame, depth = frame.f_back, depth + 1  # type: ignore[assignment]
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(depth + 400)
    try:
        parse_condition(f"{text} ", Placeholders(None, {":n": {"N": "1"}}))
        assert condition.holds({"b": {"N": "1"}}) in (True, False)
        assert condition.names == {"a", "b"} or condition.names == {"a"}
    finally:
        sys.setrecursionlimit(limit)
