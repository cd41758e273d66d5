"""The projections that callers of `Reader` give, in all their forms, right and wrong."""

from __future__ import annotations

from typing import Any

import pytest

from mynamo.errors import InvalidExpression, InvalidRequest
from mynamo.expressions import Projection
from mynamo.reader.arguments import Arguments, reusable
from mynamo.schemas.items import from_stored, to_stored

ITEM: dict[str, Any] = {
    "a": {"b": [{"c": 1, "d": 2}, 3], "status": "x"},
    "#n": "placeholder",
    "with space": 4,
    "other": 5,
}


def projection(given: Any) -> Projection:
    parsed = Arguments(projection=given).projection
    assert parsed is not None
    return parsed


def shown(given: Any) -> dict[str, Any]:
    return from_stored(projection(given).of(to_stored(ITEM)))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["a.b[0].c"], {"a": {"b": [{"c": 1}]}}),
        (["a.b[1]", "a.b[0].d"], {"a": {"b": [{"d": 2}, 3]}}),
        (["a.status", "#n", "with space"], {"a": {"status": "x"}, "#n": "placeholder",
                                            "with space": 4}),
        (["other", "other"], {"other": 5}),
        (iter(["a.status", "a.status"]), {"a": {"status": "x"}}),
        (["none", "a.none", "other[0]", "a.b[2147483647]"], {}),
    ],
)  # fmt: skip
def test_paths_are_shown(given: Any, expected: dict[str, Any]) -> None:
    assert shown(given) == expected


def test_what_is_shown_comes_in_the_order_of_the_paths() -> None:
    assert list(shown(["other", "a.status", "#n"])) == ["other", "a", "#n"]


def test_a_list_may_have_any_number_of_paths() -> None:
    """An expression ends at 4 KB; a list does not."""
    names = [f"attribute{n}" for n in range(10_000)]
    assert projection(names).names == {*names}
    nested = projection([f"a.member{n}.x[{n}]" for n in range(400)])
    assert len(nested.tree["a"]) == 400


@pytest.mark.parametrize(
    "given",
    [
        5, 5.0, True, [], (), {}, iter(()), [5], [None], [[]], [{}], [("a",)], b"a",
        "", [""], ["."], [".a"], ["a."], ["a..b"], ["[0]"], ["a[x]"], ["a[-1]"], ["a[0"], ["a]"],
        ["a[0]b"], ["a[\u0663]"], "a" * 5000, ["a[" + "9" * 5000 + "]"], ["a[99999999999]"],
        ["\ud800"], ["a.\ud800"], ["x" * 65536], ["a." + "x" * 65536],
    ],
)  # fmt: skip
def test_what_is_no_projection_is_refused(given: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        projection(given)
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["a" + "[9]" * 5000], "The document path has too many nesting levels; "
                               "nesting levels: 5001"),
        (["a" + ".b" * 32], "The document path has too many nesting levels; nesting levels: 33"),
        (["a", "a.b"], "Two document paths overlap with each other; must remove or rewrite one of "
                       "these paths; path one: [a, b], path two: [a]"),
        (["a.b[0].c", "x", "a.b"], "Two document paths overlap with each other; must remove or "
                                   "rewrite one of these paths; path one: [a, b], path two: "
                                   "[a, b, [0], c]"),
        (["a.b", "a[0]"], "Two document paths conflict with each other; must remove or rewrite one "
                          "of these paths; path one: [a, [0]], path two: [a, b]"),
    ],
)  # fmt: skip
def test_paths_that_are_too_long_or_do_not_fit_are_refused(given: Any, message: str) -> None:
    with pytest.raises(InvalidExpression) as refused:
        projection(given)
    assert str(refused.value) == message


def test_a_path_may_have_32_parts() -> None:
    assert projection(["a" + "[0]" * 31]).names == {"a"}


@pytest.mark.parametrize("names", [5, [], "#a", {5: "a"}, {"#a": 5}, {"#a": None}])
def test_names_are_texts_by_texts(names: Any) -> None:
    with pytest.raises(InvalidExpression, match=r"names are \{'#placeholder': 'attribute'\}, not"):
        Arguments(projection="#a", names=names)


@pytest.mark.parametrize("given", [5, None, "a"])
def test_what_is_no_list_is_left_to_the_check(given: Any) -> None:
    assert reusable(given) == given


def test_paths_of_an_iterator_are_kept_for_the_next_page() -> None:
    assert reusable(iter(["a", "b"])) == ("a", "b")
