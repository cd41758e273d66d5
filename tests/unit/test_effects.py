"""What an event does to GSI rows."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mynamo.catalog.gsi_rows import GsiRow, RowChange
from mynamo.catalog.tables import Table
from mynamo.errors import InvalidItem
from mynamo.gsi_indexer.apply import changes_of, net_effect
from mynamo.schemas.items import StoredItem, dump_item
from mynamo.schemas.table import Projection
from tests.unit.histories import KEYS_ONLY, event, index, item, table

BY_GROUP = index(1)
BY_GROUP_AND_PRICE = index(2, sort_key="price")


def row(of: Table, stored: StoredItem, number: int = 0) -> GsiRow:
    """Where an item lies in an index."""
    place, key = of.indexes[number].key_of(stored), of.key_of({"id": stored["id"]})
    assert place is not None
    return GsiRow(place.hash, place.sort, key.hash, key.sort)


def outcome(changes: list[RowChange]) -> list[tuple[int, GsiRow, bytes | None]]:
    """Changes without their index's details."""
    return [(change.index.id, change.row, change.item) for change in changes]


def test_a_new_item_gets_a_row_in_each_index_whose_key_it_has() -> None:
    things = table(BY_GROUP, BY_GROUP_AND_PRICE)
    new = item("a", group="x")
    changes = changes_of(event(None, new, 7), things)
    assert outcome(changes) == [(1, row(things, new), dump_item(new))]
    assert changes[0].version == 7


def test_a_new_index_key_moves_the_row() -> None:
    things = table(BY_GROUP)
    old, new = item("a", group="x"), item("a", group="y")
    assert outcome(changes_of(event(old, new), things)) == [
        (1, row(things, old), None),
        (1, row(things, new), dump_item(new)),
    ]


def test_a_new_sort_key_of_the_index_moves_the_row() -> None:
    things = table(BY_GROUP_AND_PRICE)
    old, new = item("a", group="x", price=2), item("a", group="x", price=10)
    before, after = row(things, old), row(things, new)
    assert before < after  # by number, not by text
    assert [change[1] for change in outcome(changes_of(event(old, new), things))] == [before, after]


def test_the_same_index_key_again_deletes_nothing() -> None:
    things = table(BY_GROUP)
    old, new = item("a", group="x", note="1"), item("a", group="x", note="2")
    assert outcome(changes_of(event(old, new), things)) == [(1, row(things, new), dump_item(new))]
    assert outcome(changes_of(event(new, new), things)) == [(1, row(things, new), dump_item(new))]


def test_an_equal_number_written_differently_is_the_same_index_key() -> None:
    things = table(BY_GROUP_AND_PRICE)
    old = item("a", group="x", price=10)
    new = {**old, "price": {"N": "10.0"}}
    assert [change.item is None for change in changes_of(event(old, new), things)] == [False]


def test_a_key_changed_and_changed_back_leaves_the_row() -> None:
    things = table(BY_GROUP)
    x, y = item("a", group="x"), item("a", group="y")
    changes = changes_of(event(x, y, 1), things) + changes_of(event(y, x, 2), things)
    net = net_effect(changes)
    assert {key: change.item for key, change in net.items()} == {
        (1, row(things, x)): dump_item(x),
        (1, row(things, y)): None,
    }


def test_an_item_that_loses_its_index_key_leaves_the_index() -> None:
    things = table(BY_GROUP)
    old, new = item("a", group="x"), item("a")
    assert outcome(changes_of(event(old, new), things)) == [(1, row(things, old), None)]


@pytest.mark.parametrize("wrong", [{"N": "1"}, {"S": ""}, {"S": "x" * 2049}, {"M": {}}, {}])
def test_an_unfit_index_key_counts_as_none(wrong: dict[str, Any]) -> None:
    things = table(BY_GROUP)
    unfit = {**item("a"), "group": wrong}
    fit = item("a", group="x")
    assert changes_of(event(None, unfit), things) == []
    assert outcome(changes_of(event(fit, unfit), things)) == [(1, row(things, fit), None)]
    assert outcome(changes_of(event(unfit, fit), things)) == [(1, row(things, fit), dump_item(fit))]


def test_a_deleted_item_leaves_every_index() -> None:
    things = table(BY_GROUP, BY_GROUP_AND_PRICE)
    old = item("a", group="x", price=1)
    assert outcome(changes_of(event(old, None), things)) == [
        (1, row(things, old, 0), None),
        (2, row(things, old, 1), None),
    ]


def test_items_with_equal_index_keys_have_rows_of_their_own() -> None:
    things = table(BY_GROUP)
    changes = [changes_of(event(None, item(key, group="x")), things)[0] for key in "abc"]
    assert len(net_effect(changes)) == 3
    assert len({change.row.index_hash for change in changes}) == 1


def test_an_index_answers_with_its_projection() -> None:
    included = Projection(type="INCLUDE", attributes=("note",))
    things = table(index(1, projection=KEYS_ONLY), index(2, projection=included))
    new = item("a", group="x", note="n", other="o")
    items = [orjson.loads(c.item or b"") for c in changes_of(event(None, new), things)]
    assert items == [item("a", group="x"), item("a", group="x", note="n")]


def test_a_re_emitted_event_is_for_one_index_only() -> None:
    things = table(BY_GROUP, index(2))
    new = item("a", group="x")
    changes = changes_of(event(None, new, index_id=2, origin="backfill", version=3), things)
    assert [(change.index.id, change.version) for change in changes] == [(2, 3)]
    assert changes_of(event(None, new, index_id=9, origin="backfill"), things) == []


def test_a_repair_deletes_an_orphaned_row_and_re_emits_the_item() -> None:
    things = table(BY_GROUP)
    ghost, now = item("a", group="old"), item("a", group="new")
    changes = changes_of(event(ghost, now, index_id=1, origin="repair"), things)
    assert outcome(changes) == [
        (1, row(things, ghost), None),
        (1, row(things, now), dump_item(now)),
    ]
    gone = changes_of(event(ghost, None, index_id=1, origin="repair"), things)
    assert outcome(gone) == [(1, row(things, ghost), None)]
    stale = changes_of(event(item("a", group="new", note="old"), now, index_id=1), things)
    assert outcome(stale) == [(1, row(things, now), dump_item(now))]


def test_an_event_never_touches_an_index_that_is_younger() -> None:
    things = table(BY_GROUP, index(2, since=3), version=3)
    old, new = item("a", group="x"), item("a", group="y")
    assert {c.index.id for c in changes_of(event(old, new, schema_version=2), things)} == {1}
    assert {c.index.id for c in changes_of(event(old, new, schema_version=3), things)} == {1, 2}


def test_a_young_index_would_keep_orphaned_rows_if_old_events_touched_it() -> None:
    """Why: two indexers work alternately; one of them does not know of the new index yet."""
    x, y = item("a", group="x"), item("a", group="y")
    knows, does_not = table(index(2, since=1), version=2), table(version=1)
    changes = changes_of(event(None, x, 1), knows)
    changes += changes_of(event(x, y, 2), does_not)
    changes += changes_of(event(None, y, 3, index_id=2, origin="backfill"), knows)
    rows = {key[1] for key, change in net_effect(changes).items() if change.item is not None}
    assert rows == {row(knows, x), row(knows, y)}  # x is a ghost
    knows = table(index(2, since=2), version=2)
    changes = changes_of(event(None, x, 1), knows)
    changes += changes_of(event(x, y, 2), does_not)
    changes += changes_of(event(None, y, 3, index_id=2, origin="backfill"), knows)
    rows = {key[1] for key, change in net_effect(changes).items() if change.item is not None}
    assert rows == {row(knows, y)}


def test_an_index_that_is_being_dropped_is_left_alone() -> None:
    things = table(index(1, status="DELETING"))
    assert changes_of(event(None, item("a", group="x")), things) == []


@pytest.mark.parametrize("keys", [{}, {"id": {"N": "1"}}, {"id": {"S": ""}}])
def test_an_event_with_a_damaged_key_is_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(InvalidItem):
        changes_of(event(None, item("a", group="x"), keys=keys), table(BY_GROUP))


IMAGES = st.one_of(
    st.none(),
    st.builds(
        lambda group, price, note: item(
            "a",
            **({"group": group} if group else {}),
            **({"price": price} if price is not None else {}),
            note=note,
        ),
        st.sampled_from(["", "x", "y"]),
        st.one_of(st.none(), st.integers(1, 2)),
        st.sampled_from(["1", "2"]),
    ),
)


@given(st.lists(IMAGES, min_size=1, max_size=8), st.integers(0, 8))
def test_a_history_in_any_two_batches_ends_in_the_last_image(
    images: list[StoredItem | None], cut: int
) -> None:
    """The rows are the function of the item: one per index that has it, no other."""
    things = table(BY_GROUP, BY_GROUP_AND_PRICE)
    changes: list[list[RowChange]] = []
    before: StoredItem | None = None
    for sequence, image in enumerate(images, 1):
        if before is not None or image is not None:
            changes.append(changes_of(event(before, image, sequence), things))
        before = image
    rows: dict[tuple[int, GsiRow], bytes] = {}
    for batch in (changes[:cut], changes[cut:]):
        for key, change in net_effect(c for some in batch for c in some).items():
            rows.pop(key, None)
            if change.item is not None:
                rows[key] = change.item
    expected = {}
    last = images[-1]
    if last is not None:
        for number, one in enumerate(things.indexes):
            if one.key_of(last) is not None:
                expected[one.id, row(things, last, number)] = dump_item(last)
    assert rows == expected
