"""Damage of every kind to the indexes of `ORDERS`, and what a comparison must find of it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from mynamo.catalog.cluster import Cluster
from mynamo.operations import Finding, Verdict, lag, wait_until_applied
from mynamo.schemas.config import ClusterConfig
from tests.operations import Damage, fill, in_slot, order
from tests.workers import pipeline

FIRST, LAST = in_slot(0, "first-"), in_slot(4095, "last-")
ITEMS = [order(number) for number in range(40)] + [
    order(40, order_id=LAST, line=0),
    order(41, name=LAST, city=LAST),
    order(42, order_id=FIRST, line=0),
    order(43, name=FIRST, city=FIRST),
]
"""The last four: at the very ends of a main table and of the GSI tables."""


def to_damage(config: ClusterConfig, cluster: Cluster) -> Damage:
    """A table of `ITEMS` whose indexes are complete; nothing runs any more."""
    table = fill(cluster, ITEMS)
    with pipeline(config):
        assert wait_until_applied(cluster, 60), str(lag(cluster))
    return Damage(cluster, table)


Location = tuple[str, str, str]
"""Kind of finding, index, item."""


def locations(verdict: Verdict) -> Counter[Location]:
    return Counter(
        (example.kind, index.name, name_of(example))
        for index in verdict.indexes
        for example in index.examples
    )


def name_of(finding: Finding) -> str:
    if finding.keys is None:
        return "unknown"
    return f"{finding.keys['order_id']['S']}/{finding.keys['line']['N']}"


def item_name(item: dict[str, Any]) -> str:
    return f"{item['order_id']}/{item['line']}"


def do_all_damage(damage: Damage) -> Counter[Location]:
    """Damage of every kind, each to items of its own; returns what must be found."""
    found: list[tuple[str, str, dict[str, Any] | None]] = []
    # Rows of a GSI that are gone, among them the very first and last ones of a shard.
    for item in (ITEMS[0], ITEMS[1], *ITEMS[40:44]):
        damage.on_row("by_name", item, "DELETE FROM {table}")
        found.append(("missing", "by_name", item))
    # Rows of an older version, of a newer one, with other content.
    damage.on_row("by_name", ITEMS[2], "UPDATE {table} SET version = version - 1")
    damage.on_row("by_name", ITEMS[3], "UPDATE {table} SET version = version + 100000")
    damage.on_row("by_city", ITEMS[4], "UPDATE {table} SET item = '{{}}'")
    damage.on_main(ITEMS[6], "UPDATE {table} SET item = REPLACE(item, 'xxx', 'yyy')")
    found += [("stale", "by_name", ITEMS[n]) for n in (2, 3, 6)]
    found += [("stale", "by_city", ITEMS[4])]
    # Rows of no item: of one that never was, and under keys that an item does not have.
    nobody, renamed = order(90), ITEMS[7] | {"name": "other"}
    ends = [order(n, name=name, order_id=name) for n, name in ((92, LAST), (93, FIRST))]
    for item in (nobody, renamed, *ends):
        damage.insert_row("by_name", item, version=10**9)
        found.append(("ghost", "by_name", item))
    # Rows that their own content does not lead to.
    damage.insert_row("by_name", ITEMS[8] | {"name": "lost"}, content=b"junk")
    damage.insert_row("by_city", order(94), content=b"{}")
    found += [("ghost", "by_name", ITEMS[8]), ("ghost", "by_city", None)]
    # Rows on a shard that does not own them: beside the right one, and in its stead.
    for item in (ITEMS[9], ITEMS[11]):
        owner, _ = damage.location("by_city", item)
        damage.insert_row("by_city", item, damage.other(owner))
        found.append(("ghost", "by_city", item))
    damage.on_row("by_city", ITEMS[11], "DELETE FROM {table}")
    found.append(("missing", "by_city", ITEMS[11]))
    # An item that is gone, and one that came, past all indexes.
    damage.on_main(ITEMS[12], "DELETE FROM {table}")
    found += [("ghost", "by_name", ITEMS[12]), ("ghost", "by_city", ITEMS[12])]
    found += [("ghost", "by_price", None)]
    damage.insert_main(order(95))
    found += [("missing", "by_name", order(95)), ("missing", "by_price", order(95))]
    # LSI rows: gone, of no item, and under a key that the item does not have.
    for item in (ITEMS[13], ITEMS[40], ITEMS[42]):
        damage.delete_local(item)
        found.append(("missing", "by_price", item))
    damage.insert_local(order(96))
    damage.insert_local(ITEMS[14] | {"price": 777})
    found += [("ghost", "by_price", None), ("ghost", "by_price", ITEMS[14])]
    return Counter((k, i, item_name(item) if item else "unknown") for k, i, item in found)
