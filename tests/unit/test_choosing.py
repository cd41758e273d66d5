"""The reading that is chosen finds every item that is looked for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mynamo.catalog.tables import Index, Table
from mynamo.reader import choosing
from mynamo.reader.choosing import Choice, choose
from mynamo.schemas.items import to_stored
from mynamo.schemas.table import Projection
from mynamo.schemas.values import StoredItem
from tests.made_up import index_of, table_of

KEYS_ONLY = Projection(type="KEYS_ONLY")


def indexes(draw: Any) -> list[Index]:
    made = []
    for number in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(["LSI", "GSI"]))
        names = ["a", "b", "a:N", "b:N"]
        hash_key = "h" if kind == "LSI" else draw(st.sampled_from([*names, "a+c", "c+b:N"]))
        free = [n for n in names if n[0] not in hash_key]
        sort_key = draw(st.sampled_from(free if kind == "LSI" else [*free, None]))
        made.append(
            index_of(
                kind, hash_key, sort_key, number=number,
                status=draw(st.sampled_from(["ACTIVE", "CREATING", "DELETING"])),
                projection=draw(st.sampled_from([Projection(), KEYS_ONLY])),
            )
        )  # fmt: skip
    return made


@st.composite
def situations(draw: Any) -> tuple[Table, list[StoredItem], StoredItem]:
    """A table, its items (index keys missing or of any type), and a filter."""
    value = st.sampled_from(["1", "2", 1, 2, True, None, ""])
    attributes = {"a": value, "b": value, "c": value}
    items = draw(
        st.lists(
            st.fixed_dictionaries(
                {"h": st.sampled_from(["1", "2"]), "s": st.sampled_from(["1", "2", "3"])},
                optional=attributes,
            ),
            unique_by=lambda item: (item["h"], item["s"]),
            max_size=6,
        )
    )
    given_ = draw(
        st.fixed_dictionaries({}, optional={"h": st.just("1"), "s": st.just("2"), **attributes})
    )
    table = table_of(*indexes(draw))
    return table, [to_stored(item) for item in items], to_stored(given_)


def found(choice: Choice, items: list[StoredItem], given_: StoredItem) -> list[StoredItem]:
    """What the chosen reading answers: an index has only the items that have its keys."""
    if choice.index:
        items = [item for item in items if choice.index.key_of(item) is not None]
    return [item for item in items if all(item[n] == given_[n] for n in choice.satisfied)]


def looked_for(items: list[StoredItem], given_: StoredItem) -> list[StoredItem]:
    return [item for item in items if all(item.get(n) == v for n, v in given_.items())]


@given(situations())
def test_no_item_is_missed(situation: tuple[Table, list[StoredItem], StoredItem]) -> None:
    table, items, given_ = situation
    choice = choose(table, given_)
    rest = {n: v for n, v in given_.items() if n not in choice.satisfied}
    assert looked_for(found(choice, items, given_), rest) == looked_for(items, given_)
    if choice.index:
        assert choice.index.status == "ACTIVE"
        assert choice.index.kind == "LSI" or choice.index.projection.type == "ALL"


def test_half_of_an_index_key_would_miss_items(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: a sparse index chosen by its hash key alone."""
    monkeypatch.setattr(choosing, "serves", lambda index, given: index.hash_keys[0].name in given)
    monkeypatch.setattr(choosing, "keys_of", lambda index: frozenset({index.hash_keys[0].name}))
    items = [to_stored({"h": "1", "s": "1", "g": "x"})]
    given_ = to_stored({"g": "x"})
    choice = choose(table_of(index_of("GSI", "g", "a")), given_)
    assert looked_for(items, given_)
    assert not found(choice, items, given_)


LSI = index_of("LSI", "h", "a", number=1)
GSI = index_of("GSI", "g", None, number=2)
GSI_SORTED = index_of("GSI", "g", "a", number=3)
SEVERAL = index_of("GSI", "g+x", "y:N+z", number=5)
NUMBERS = index_of("GSI", "g:N", None, number=4)


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ({"h": "1", "s": "2", "a": "x", "g": "y"}, "item"),
        ({"h": "1", "a": "x", "g": "y"}, "local index index_1"),
        ({"h": "1", "g": "y"}, "primary key"),
        ({"s": "2", "g": "y"}, "global index index_2"),
        ({"g": "y", "a": "x"}, "global index index_3"),
        ({"g": 5}, "scan"),
        ({"h": "1", "a": 5}, "primary key"),
        ({"s": "2"}, "scan"),
        ({}, "scan"),
    ],
)
def test_the_cheapest_is_chosen(given_: dict[str, Any], expected: str) -> None:
    table = table_of(LSI, GSI, GSI_SORTED)
    assert str(choose(table, to_stored(given_))) == expected


def test_a_table_without_sort_key_finds_its_item_by_the_hash_key() -> None:
    assert str(choose(table_of(sort_key=None), to_stored({"h": "1", "c": "x"}))) == "item"


def test_an_index_with_several_attributes_in_its_keys_serves_only_all_of_them() -> None:
    table = table_of(GSI, SEVERAL)
    whole = {"g": "1", "x": "2", "y": 3, "z": "4"}
    choice = choose(table, to_stored(whole))
    assert (choice.index, choice.satisfied) == (SEVERAL, frozenset(whole))
    for name in ("x", "y", "z"):
        part = {other: value for other, value in whole.items() if other != name}
        assert str(choose(table, to_stored(part))) == "global index index_2"


def test_the_type_of_a_value_decides() -> None:
    assert str(choose(table_of(NUMBERS), to_stored({"g": 5}))) == "global index index_4"
    assert str(choose(table_of(NUMBERS), to_stored({"g": "5"}))) == "scan"
