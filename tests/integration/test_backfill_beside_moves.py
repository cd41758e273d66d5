"""An index that is added while slots move ends complete, at whatever step it comes."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.definitions import add_index
from mynamo.operations import wait_until_applied
from mynamo.operations.resharding import changed_rows, copying, switch
from mynamo.operations.resharding import mover as mover_module
from mynamo.operations.resharding.mover import Mover, open_moves
from mynamo.operations.resharding.switch import Switch
from mynamo.producer import Producer
from mynamo.runtime.crash_points import COMMAND_LABELS
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.table import GlobalIndexSchema
from mynamo.writer.backfill import backfiller
from mynamo.writer.backfill.indexes import activate_if_backfilled, backfill_chunk
from tests.amounts import one_of
from tests.comparing import gsi_damage
from tests.integration.test_moves import COUNT, item, slots_of
from tests.integration.test_moves import filled as filled
from tests.waiting import eventually
from tests.workers import pipeline

pytestmark = pytest.mark.slow

STEPS = [label for label in COMMAND_LABELS if label.startswith("move.")]
BY_PRICE = GlobalIndexSchema.model_validate({"name": "by_cost", "hash_key": "price:N"})


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mover_module, "CLEAN_AFTER", 0.1)
    monkeypatch.setattr(mover_module, "_AFTER_TAKEN_BACK", 0.1)
    monkeypatch.setattr(backfiller, "_LONGEST_REST", 0.0)
    monkeypatch.setattr(switch, "LAG", 1.0)
    monkeypatch.setattr(switch, "FIRST_ATTEMPT", 1.0)


@pytest.mark.parametrize("step", one_of(3, STEPS, 2))
def test_an_index_that_is_added_at_a_step(
    config: ClusterConfig, filled: Cluster, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    added: list[str] = []
    stop = threading.Event()

    def at(label: str) -> None:
        if label == step and not added:
            added.append(label)
            with Cluster(config) as other:
                add_index(other, "orders", BY_PRICE)

    def write() -> None:
        chance = Random(step)
        with Cluster(config) as own, Producer(own) as producer:
            while not stop.wait(0.01):
                producer.put("orders", item(chance.randrange(COUNT), price=chance.randrange(20)))

    for module in (mover_module, switch, copying, changed_rows):
        monkeypatch.setattr(module, "crash_point", at)
    first, last = slots_of(filled, 1)
    with pipeline(config), ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        try:
            Mover(filled).move(first, last, 2)
            filled.refresh()
            eventually(lambda: is_active(filled), 60)
        finally:
            stop.set()
        writing.result(60)
        assert wait_until_applied(filled)
    assert added == [step]
    assert open_moves(filled) == []
    assert {owned.shard_id for owned in filled.refresh().slots} == {2}
    assert gsi_damage(filled, "orders") == []


def test_an_index_that_the_mover_hears_of_before_it_compares(
    config: ClusterConfig, filled: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows are compared before they are copied; what the log said of them is forgotten."""
    steps: list[str] = []

    def at(label: str) -> None:
        if label == "move.4" and label not in steps:
            with Cluster(config) as other:
                index = add_index(other, "orders", BY_PRICE)
                for shard in other.shards.values():
                    while backfill_chunk(other, shard, index).more:
                        pass
        if label == "move.5" and "move.6" not in steps:
            filled.refresh()
        steps.append(label)

    for module in (mover_module, switch, copying, changed_rows):
        monkeypatch.setattr(module, "crash_point", at)
    first, last = slots_of(filled, 1)
    with pipeline(config):
        Mover(filled).move(first, last, 2)
        eventually(lambda: is_active(filled), 60)
    assert open_moves(filled) == []
    assert gsi_damage(filled, "orders") == []


def is_active(cluster: Cluster) -> bool:
    return cluster.refresh().names["orders"].index("by_cost").status == "ACTIVE"


def test_control_a_switch_before_the_backfill_is_past(
    config: ClusterConfig, filled: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The target's backfill has passed the slots, the source's comes too late."""
    first, last = slots_of(filled, 1)
    index = add_index(filled, "orders", BY_PRICE)
    monkeypatch.setattr(Switch, "_backfills", lambda _: None)
    monkeypatch.setattr("mynamo.writer.backfill.backfiller.Backfiller.work", lambda *_: False)
    with pipeline(config):
        while backfill_chunk(filled, filled.shards[2], index).more:
            pass
        Mover(filled).move(first, last, 2)
        while backfill_chunk(filled, filled.shards[1], index).more:
            pass
        activate_if_backfilled(filled, index)
        assert wait_until_applied(filled)
    assert any("missing" in line for line in gsi_damage(filled, "orders"))
