"""Projections: the parts of items they show, and the paths they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from mynamo.expressions import Projection
from mynamo.schemas.items import from_stored, to_stored
from tests.unit.expressing import NAMES, projection, refusal

ITEM: dict[str, Any] = {
    "a": {"b": 1, "c": [0, {"d": 1, "e": 2}, [5, 6]], "z": {}},
    "l": [0, 1, 2, 3],
    "s": "x",
    "el": [],
    "name": "n",
}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s, el", {"s": "x", "el": []}),
        ("a.b", {"a": {"b": 1}}),
        ("#a.#b, #name", {"a": {"b": 1}, "name": "n"}),
        ("l[2], l[0]", {"l": [0, 2]}),
        ("l[9], l[3]", {"l": [3]}),
        ("a.c[1].e, a.c[1].d", {"a": {"c": [{"d": 1, "e": 2}]}}),
        ("a.c[2][1], a.c[0]", {"a": {"c": [0, [6]]}}),
        ("a.z", {"a": {"z": {}}}),
        ("a.b, a.absent, a.z.y", {"a": {"b": 1}}),
        ("absent, a.absent, a.z.y, l[9], s.x, el[0]", {}),
        ("a[0], l.x, s[0], el.x", {}),
    ],
)
def test_parts_of_items(text: str, shown: dict[str, Any]) -> None:
    stored = to_stored(ITEM)
    assert from_stored(projection(text, NAMES).of(stored)) == shown
    assert stored == to_stored(ITEM)


def test_the_names_are_the_top_level_attributes() -> None:
    assert projection("#a.#b, l[0], l[1]", NAMES).names == {"a", "l"}


def test_projections_of_whole_attributes() -> None:
    shown = Projection.naming(["s", "absent", "s"])
    assert shown.names == {"s", "absent"}
    assert shown.of(to_stored(ITEM)) == to_stored({"s": "x"})


OVERLAP = "Two document paths overlap with each other; must remove or rewrite one of these paths"
CONFLICT = "Two document paths conflict with each other; must remove or rewrite one of these paths"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a, a", f"{OVERLAP}; path one: [a], path two: [a]"),
        ("a, a.b", f"{OVERLAP}; path one: [a], path two: [a, b]"),
        ("a.c[1].d, a.c[1]", f"{OVERLAP}; path one: [a, c, [1], d], path two: [a, c, [1]]"),
        ("a.b, a.b.c, a", f"{OVERLAP}; path one: [a, b, c], path two: [a]"),
        ("#a, a", f"{OVERLAP}; path one: [a], path two: [a]"),
        ("a[0], a.b", f"{CONFLICT}; path one: [a, [0]], path two: [a, b]"),
        (
            "#zz",
            "An expression attribute name used in the document path is not defined; "
            "attribute name: #zz",
        ),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    assert refusal(projection, text, NAMES) == message
