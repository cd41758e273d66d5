"""A comparison that was killed goes on where it was, finds the same, and nothing twice."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.definitions import add_index
from mynamo.errors import InvalidRequest
from mynamo.local.state import config_toml
from mynamo.operations import Progress, repair, verify, wait_until_applied
from mynamo.operations import journal as journals
from mynamo.operations.counts import Counts
from mynamo.operations.journal import Journal
from mynamo.operations.scan_parts import ScanPart, Step
from mynamo.producer import Producer
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.table import GlobalIndexSchema
from tests.comparing import gsi_damage
from tests.damages import do_all_damage, locations
from tests.operations import Damage, fill, order
from tests.small_chunks import small_chunks
from tests.workers import pipeline

pytestmark = pytest.mark.slow


class Killed(BaseException):
    """Stands for the end of the process."""


@contextmanager
def verifying(config: ClusterConfig, state: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that verifies, until the block ends."""
    path = state.with_name("verify.toml")
    path.write_text(config_toml(config))
    command = [sys.executable, "-m", "tests.verifying_process", str(path), str(state)]
    with subprocess.Popen(
        command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def run_until(config: ClusterConfig, state: Path, phase: str, scan_parts: int) -> None:
    """Verify, and kill -9 once the state of so many scan parts is kept, begun or done."""
    with verifying(config, state) as process:
        assert process.stdout is not None
        said = (line.split() for line in process.stdout)
        assert any(now == phase and int(count) >= scan_parts for now, count in said), (
            "it ended before"
        )


@pytest.mark.parametrize(
    ("phase", "scan_parts"), [("survey", 40), ("survey", 300), ("compare", 10), ("compare", 200)]
)
def test_after_kill_9_it_goes_on_and_finds_the_same(
    config: ClusterConfig,
    cluster: Cluster,
    damage: Damage,
    tmp_path: Path,
    phase: str,
    scan_parts: int,
) -> None:
    state = tmp_path / "state"
    expected = do_all_damage(damage)
    whole = verify(cluster, "orders")
    assert locations(whole) == expected
    run_until(config, state, phase, scan_parts)
    kept = orjson.loads(state.read_bytes())
    seen: list[Progress] = []
    verdict = verify(cluster, "orders", resume=state, on_progress=seen.append)
    assert locations(verdict) == expected
    assert verdict.items == whole.items
    assert [i.rows for i in verdict.indexes] == [i.rows for i in whole.indexes]
    assert seen[0].fraction > 0.9 * (kept["phase"] == "compare")
    if kept["phase"] == "compare":  # what the survey read is not read again
        assert seen[-1].rows < 3 * whole.items
    assert not state.exists()
    assert list(tmp_path.glob("state*")) == []


def test_a_state_without_what_was_found_loses_damage(
    config: ClusterConfig,
    cluster: Cluster,
    damage: Damage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The negative control of the test above."""
    state = tmp_path / "state"
    expected = do_all_damage(damage)
    run_until(config, state, "compare", 200)
    monkeypatch.setattr(Counts, "load", lambda *_: Counts())
    assert locations(verify(cluster, "orders", resume=state)) != expected


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_repair_goes_on_and_counts_everything_once(
    config: ClusterConfig,
    cluster: Cluster,
    damage: Damage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dry_run: bool,
) -> None:
    state = tmp_path / "state"
    expected = do_all_damage(damage)
    small_chunks(monkeypatch.setattr, 2)
    monkeypatch.setattr(journals, "SAVE_EVERY", 0.0)
    note = Journal.note
    notes = 0

    def noted(self: Journal, steps: list[tuple[ScanPart, Step]]) -> None:
        nonlocal notes
        note(self, steps)
        notes += self.phase == "compare"
        if notes == 3:
            raise Killed

    with pipeline(config), monkeypatch.context() as killing:
        killing.setattr(Journal, "note", noted)
        with pytest.raises(Killed):
            repair(cluster, "orders", dry_run=dry_run, resume=state, parallel=1)
        killing.setattr(Journal, "note", note)
        report = repair(cluster, "orders", dry_run=dry_run, resume=state)
    assert report.verdict.findings == expected.total()
    assert report.mended == (0 if dry_run else expected.total())
    assert report.ok != dry_run
    assert bool(gsi_damage(cluster, "orders")) == dry_run
    assert not state.exists()


def test_a_state_is_good_for_one_kind_of_comparison(
    config: ClusterConfig, cluster: Cluster, damage: Damage, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    run_until(config, state, "survey", 10)
    with pytest.raises(InvalidRequest, match="another command's"):
        repair(cluster, "orders", resume=state)
    with verifying(config, state) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(InvalidRequest, match="in use by another process"):
            verify(cluster, "orders", resume=state)
    add_index(cluster, "orders", GlobalIndexSchema(name="by_pad", hash_key="pad"))
    with pytest.raises(InvalidRequest, match="definition changed"):
        verify(cluster, "orders", resume=state)
    state.write_text("no state")
    with pytest.raises(InvalidRequest, match="not the state of a comparison"):
        verify(cluster, "orders", resume=state)
    assert state.read_text() == "no state"
    with pytest.raises(InvalidRequest, match="cannot be written"):
        verify(cluster, "orders", resume=tmp_path / "nowhere" / "state")


def test_what_changes_before_it_goes_on_is_no_damage(
    config: ClusterConfig, cluster: Cluster, damage: Damage, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    run_until(config, state, "survey", 100)
    with pipeline(config):
        with Producer(cluster) as producer:
            for number in range(30):
                producer.put("orders", order(number, name=f"changed {number}", price=7))
        assert wait_until_applied(cluster, 60)
        verdict = verify(cluster, "orders", resume=state)
        assert verdict.ok, str(verdict)
        damage.insert_row("by_name", order(90))
        assert verify(cluster, "orders").findings == 1


def test_one_item_collection_is_compared_in_chunks(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every item and every index row under one hash: all in one slot, and still in small parts."""
    same = [order(n, order_id="one", line=n, name="one", price=1, city="one") for n in range(60)]
    table = fill(cluster, same)
    with pipeline(cluster.config):
        assert wait_until_applied(cluster, 60)
    small_chunks(monkeypatch.setattr, 7)
    longest = 0
    note = Journal.note

    def noted(self: Journal, steps: list[tuple[ScanPart, Step]]) -> None:
        nonlocal longest
        longest = max([longest, *(step.rows for _, step in steps)])
        note(self, steps)

    monkeypatch.setattr(Journal, "note", noted)
    assert verify(cluster, "orders").ok
    damage = Damage(cluster, table)
    for item in (same[0], same[6], same[7], same[59]):  # at the borders of chunks
        damage.on_row("by_name", item, "DELETE FROM {table}")
    verdict = verify(cluster, "orders")
    assert (verdict.findings, verdict.index("by_name").missing) == (4, 4)
    assert longest == 7
