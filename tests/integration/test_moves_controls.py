"""What each mechanism of a move is there for: with it nothing happens, without it something does.

The mechanisms are taken out as the fault harness takes them out. Indexers, relays and the mover are
held at the one place where it matters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.tables import Table
from mynamo.errors import ShardUnavailable
from mynamo.gsi_indexer import apply
from mynamo.operations.resharding import mover as mover_module
from mynamo.operations.resharding import switch
from mynamo.operations.resharding.mover import Mover, Report
from mynamo.producer import Producer
from mynamo.reader import Reader
from mynamo.schemas.items import to_stored
from mynamo.schemas.keys import slot_of
from tests.comparing import gsi_damage
from tests.fake_log import Bench
from tests.faults import sabotage
from tests.rows import make_table

MIDDLE = 1024
"""Slots from here on that shard 1 has go to shard 2."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mover_module, "CLEAN_AFTER", 0.0)
    monkeypatch.setattr(mover_module, "_AFTER_TAKEN_BACK", 0.0)
    monkeypatch.setattr(switch, "lag_after", lambda _: 60.0)  # the test holds the indexers


@pytest.fixture(params=["whole", "without"])
def whole(request: pytest.FixtureRequest) -> bool:
    """Whether the mechanism is there."""
    return str(request.param) == "whole"


@pytest.fixture
def take_out(monkeypatch: pytest.MonkeyPatch, whole: bool) -> Callable[[str], None]:
    """Takes a mechanism out until the test ends, in the control."""

    def replace(where: Any, name: str, by: Any) -> None:
        monkeypatch.setattr(where, name, by)

    monkeypatch.setattr(sabotage, "_put", replace)

    def take_out(mechanism: str) -> None:
        if not whole:
            sabotage._import_all()
            taking: Any = sabotage.MECHANISMS[mechanism].take_out
            taking()

    return take_out


@pytest.fixture
def own(bench: Bench) -> Table:
    """A table with a global index."""
    return make_table(bench.cluster, "own", local_indexes=[])


def a_name(table: Table, first: int, last: int) -> str:
    """The hash key of an item whose slot is between two."""
    names = (f"i{number}" for number in range(100_000))
    return next(
        name
        for name in names
        if first <= slot_of(table.key_of(to_stored({"id": name, "at": "1"})).hash) <= last
    )


def a_value(table: Table, first: int, last: int) -> str:
    """The value of the index's hash key whose slot is between two."""
    values = (f"v{number}" for number in range(100_000))
    for value in values:
        place = table.index("by_name").key_of(to_stored({"id": "i", "at": "1", "name": value}))
        if place is not None and first <= slot_of(place.hash) <= last:
            return value
    raise AssertionError


def item(id_: str, name: str) -> dict[str, Any]:
    return {"id": id_, "at": "1", "name": name}


MOVING = (MIDDLE, 2047)
SOURCES = (0, MIDDLE - 1)
TARGETS = (2048, 4095)


def move(cluster: Cluster, tell: Callable[[Report], None] = lambda _: None) -> None:
    Mover(cluster, on_progress=tell).move(*MOVING, 2)


def test_who_has_an_old_slot_map_writes_where_the_slots_are_now(
    bench: Bench, own: Table, whole: bool, take_out: Callable[[str], None]
) -> None:
    """Without slot guards the write goes where nobody reads it."""
    id_ = a_name(own, *MOVING)
    other = Producer(bench.open_cluster())
    other.put("own", item(id_, "before"))
    bench.catch_up(bench.indexer())
    take_out("slot_guard")
    move(bench.cluster)
    other.put("own", item(id_, "after"))
    found = Reader(bench.cluster).get("own", {"id": id_, "at": "1"})
    assert found == item(id_, "after" if whole else "before")


def test_a_switch_waits_for_events_of_the_source(
    bench: Bench, own: Table, whole: bool, take_out: Callable[[str], None]
) -> None:
    """Without M8 b an event of the source comes behind a later one of the target."""
    id_ = a_name(own, *MOVING)
    indexer = bench.indexer()
    bench.producer.put("own", item(id_, a_value(own, *TARGETS)))
    bench.catch_up(indexer)
    bench.producer.put("own", item(id_, a_value(own, *SOURCES)))  # its relay stands still
    take_out("drain")
    waited: list[str] = []

    def tell(report: Report) -> None:
        if report.doing == "waits for the indexes":
            waited.append(report.doing)
            bench.catch_up(indexer)

    move(bench.cluster, tell)
    assert bool(waited) == whole
    bench.producer.put("own", item(id_, a_value(own, *MOVING)))
    bench.relays[1].step()
    indexer.step(0)
    bench.catch_up(indexer)
    assert (gsi_damage(bench.cluster, "own") == []) == whole


def test_versions_grow_on_the_target(
    bench: Bench, own: Table, whole: bool, take_out: Callable[[str], None]
) -> None:
    """Without M8 c the target gives an item a version below the one that it had."""
    id_ = a_name(own, *MOVING)
    indexer = bench.indexer()
    for _ in range(20):
        before = bench.producer.put("own", item(id_, "n"))
    bench.catch_up(indexer)
    take_out("outbox_ids")
    move(bench.cluster)
    assert (bench.producer.put("own", item(id_, "m")).version > before.version) == whole


def test_checkpoints_speak_for_the_rows_that_come(
    bench: Bench,
    own: Table,
    whole: bool,
    take_out: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The target has applied an event and the source has not, so the row that the event deletes is
    there yet. Without M10 b and c nobody deletes it any more."""
    id_ = a_name(own, *TARGETS)  # the source's own events are all applied
    indexer = bench.indexer()
    bench.producer.put("own", item(id_, a_value(own, *MOVING)))
    bench.catch_up(indexer)
    bench.producer.put("own", item(id_, a_value(own, *TARGETS)))
    bench.publish()
    apply_on_shard = apply.apply_on_shard

    def not_on_source(owner: Any, *more: Any) -> None:
        if owner.shard.id == 1:
            raise ShardUnavailable("away")
        apply_on_shard(owner, *more)

    with monkeypatch.context() as patch:
        patch.setattr(apply, "apply_on_shard", not_on_source)
        indexer.step(0)
    take_out("checkpoints")
    move(bench.cluster)
    bench.catch_up(bench.indexer())
    assert (gsi_damage(bench.cluster, "own") == []) == whole


def test_index_rows_that_change_are_copied_again(
    bench: Bench,
    own: Table,
    whole: bool,
    take_out: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without entries of kind 2 a row that changes behind the comparison stays as it was."""
    id_ = a_name(own, *TARGETS)
    indexer = bench.indexer()
    bench.producer.put("own", item(id_, a_value(own, *MOVING)))
    bench.catch_up(indexer)
    take_out("move_log")

    def change(label: str) -> None:
        if label == "move.6":
            bench.producer.delete("own", {"id": id_, "at": "1"})
            bench.catch_up(indexer)

    monkeypatch.setattr(mover_module, "crash_point", change)
    move(bench.cluster)
    assert (gsi_damage(bench.cluster, "own") == []) == whole
