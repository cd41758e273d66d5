"""The whole pipeline against a plain dictionary, by random rules.

Writer and indexer run in threads while the rules write, add an index and query; whatever
the order, the answers are those of a dictionary in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from mynamo.catalog import definitions
from mynamo.catalog.cluster import Cluster
from mynamo.producer import Producer
from mynamo.reader import Reader
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.table import GlobalIndexSchema, TableSchema
from tests.amounts import amount
from tests.comparing import gsi_damage
from tests.fake_log import waiting_events
from tests.waiting import eventually
from tests.workers import pipeline

KEYS = st.sampled_from(["a", "b", "c"])
PARTS = st.integers(0, 1)
GROUPS = st.sampled_from(["x", "y"])
ATTRIBUTES = st.fixed_dictionaries(
    {}, optional={"group": GROUPS, "price": st.integers(-1, 1), "note": st.sampled_from("mn")}
)


@pytest.fixture
def cluster(config: ClusterConfig) -> Iterator[Cluster]:
    """A cluster at work."""
    with Cluster(config) as cluster, pipeline(config):
        yield cluster


class Pipeline(RuleBasedStateMachine):
    """Items by key, and what the indexes must say of them."""

    cluster: Cluster
    number = 0

    def __init__(self) -> None:
        super().__init__()
        self.items: dict[tuple[str, int], dict[str, Any]] = {}
        self.has_late_index = False
        self.producer, self.reader = Producer(self.cluster), Reader(self.cluster)

    @initialize()
    def create(self) -> None:
        type(self).number += 1
        self.name = f"model{self.number}"
        schema = {
            "name": self.name,
            "hash_key": "id",
            "sort_key": "part:N",
            "global_indexes": [
                {"name": "by_group", "hash_key": "group"},
                {"name": "by_price", "hash_key": "group", "sort_key": "price:N"},
            ],
        }
        definitions.create_table(self.cluster, TableSchema.parse(schema))

    @rule(key=KEYS, part=PARTS, attributes=ATTRIBUTES)
    def put(self, key: str, part: int, attributes: dict[str, Any]) -> None:
        item = {"id": key, "part": part, **attributes}
        self.producer.put(self.name, item)
        self.items[key, part] = item

    @rule(key=KEYS, part=PARTS)
    def delete(self, key: str, part: int) -> None:
        self.producer.delete(self.name, {"id": key, "part": part})
        self.items.pop((key, part), None)

    @rule(key=KEYS, part=PARTS, attributes=ATTRIBUTES, remove=st.sets(st.sampled_from(["group"])))
    def update(self, key: str, part: int, attributes: dict[str, Any], remove: set[str]) -> None:
        attributes = {n: v for n, v in attributes.items() if n not in remove}
        place = {"id": key, "part": part}
        self.producer.update(self.name, place, set=attributes, remove=sorted(remove))
        item = {**self.items.get((key, part), place), **attributes}
        self.items[key, part] = {n: v for n, v in item.items() if n not in remove}

    @precondition(lambda self: not self.has_late_index)
    @rule()
    def add_index(self) -> None:
        """A writer worker fills it while the other rules go on."""
        index = GlobalIndexSchema(name="by_note", hash_key="note", sort_key="price:N")
        definitions.add_index(self.cluster, self.name, index)
        self.has_late_index = True

    @rule(group=GROUPS)
    def query(self, group: str) -> None:
        """What an index answers once it has caught up, in its order."""
        self.catch_up()
        answer = self.reader.query(self.name, group, index="by_price")
        found = [(item["price"], item["id"], item["part"]) for item in answer.items]
        wanted = [
            (item["price"], *key)
            for key, item in self.items.items()
            if item.get("group") == group and "price" in item
        ]
        assert sorted(found) == sorted(wanted)
        assert [price for price, *_ in found] == sorted(price for price, *_ in wanted)

    @rule(key=KEYS, part=PARTS)
    def get(self, key: str, part: int) -> None:
        item = self.reader.get(self.name, {"id": key, "part": part})
        assert item == self.items.get((key, part))

    def catch_up(self) -> None:
        eventually(lambda: waiting_events(self.cluster) == 0, 30, "the indexers")

    @invariant()
    def model_has_its_keys(self) -> None:
        assert all((item["id"], item["part"]) == key for key, item in self.items.items())

    def teardown(self) -> None:
        """In the end every index is the function of the items, the late one too."""
        if not hasattr(self, "name"):  # Hypothesis stopped before the first step
            return
        with ExitStack() as stack:
            stack.callback(definitions.drop_table, self.cluster, self.name)
            eventually(self.is_filled, 30, "the new index")
            self.catch_up()
            assert gsi_damage(self.cluster, self.name) == []

    def is_filled(self) -> bool:
        self.cluster.refresh()
        return all(i.status == "ACTIVE" for i in self.cluster.table(self.name).indexes)


def test_the_pipeline_answers_like_a_dictionary(cluster: Cluster) -> None:
    machine = type("Machine", (Pipeline,), {"cluster": cluster})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=amount(12),
            stateful_step_count=20,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
