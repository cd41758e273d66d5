"""`verify` and `repair` beside intents: they find and mend the same as without them."""

from __future__ import annotations

import pytest

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.intents import Intent
from mynamo.operations import checksum_pass, comparison_statements, repair, verify
from mynamo.schemas.config import ClusterConfig
from mynamo.writer.transaction import sweeper
from tests.comparing import gsi_damage
from tests.damages import FIRST, ITEMS, do_all_damage, locations
from tests.intents import place, placed
from tests.operations import Damage, order
from tests.small_chunks import small_chunks
from tests.workers import pipeline

pytestmark = pytest.mark.slow

ABSENT = [order(90), order(93, order_id=FIRST), order(94), order(96)]
"""Of whom `do_all_damage` makes rows in indexes."""


@pytest.fixture
def intents(damage: Damage) -> list[Intent]:
    """On all items but the one that `do_all_damage` deletes, and on some that are absent."""
    items = [item for item in (*ITEMS, *ABSENT) if item is not ITEMS[12]]
    return [place(damage.cluster, damage.table, item) for item in items]


@pytest.mark.parametrize(("rows", "size"), [(500, 4 << 20), (3, 4 << 20), (500, 400)])
def test_every_kind_of_damage_is_found_and_mended(
    config: ClusterConfig,
    cluster: Cluster,
    damage: Damage,
    intents: list[Intent],
    rows: int,
    size: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sweeper, "SEEN_FOR", 1e9)  # the pipeline's writer worker leaves them there
    small_chunks(monkeypatch.setattr, rows, size)
    verdict = verify(cluster, "orders")
    assert verdict.ok, str(verdict)
    assert verdict.items == len(ITEMS)
    expected = do_all_damage(damage)
    assert locations(verify(cluster, "orders")) == expected
    with pipeline(config):
        report = repair(cluster, "orders")
    assert report.ok, str(report)
    assert verify(cluster, "orders").ok
    assert gsi_damage(cluster, "orders") == []
    assert placed(cluster, intents)


@pytest.mark.usefixtures("intents")
def test_control_marks_are_taken_for_versions(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison_statements, "OWN_VERSION", "version")
    monkeypatch.setattr(checksum_pass, "unmarked", lambda version: version)
    verdict = verify(cluster, "orders")
    assert [index.stale for index in verdict.indexes if index.kind == "GSI"] == [43, 34]


@pytest.mark.usefixtures("intents")
def test_control_placeholders_are_read(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checksum_pass, "is_item", lambda _: True)
    assert verify(cluster, "orders").unreadable == len(ABSENT)
