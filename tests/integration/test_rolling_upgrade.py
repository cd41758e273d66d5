"""The release before this one and this one at work beside each other, under load."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.enabling import MOVES, TRANSACTIONS, Feature, enable
from mynamo.local import EngineKind
from mynamo.operations import verify
from mynamo.schemas.config import ClusterConfig
from tests.amounts import nightly
from tests.faults import checking, newer_format, workload
from tests.faults.checking import check_all, final_of, wait_until_quiet
from tests.faults.cluster import FaultCluster
from tests.faults.history import Operation, load
from tests.faults.journal import changes, keep_changes
from tests.faults.model import TABLE, has_written
from tests.faults.releases import FORMAT_2, FORMAT_3, PREVIOUS, make_table, why_no_release
from tests.rows import everywhere
from tests.waiting import eventually
from tests.workers import all_held

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]

OLD, NEW = 1, 2
"""Numbers of the workers of the two releases."""
PARTS = ("writer", "indexer")


class Releases:
    """A cluster that the earlier release has set up, and processes of both releases.

    Attributes:
        histories: of the clients, by their number.
    """

    def __init__(self, servers: FaultCluster) -> None:
        assert servers.earlier is not None
        self.config = servers.config
        self.histories: dict[int, Path] = {}
        self._servers = servers
        self._root = servers.earlier
        make_table(self._root, servers.config_file("clients"))

    def start(self, release: int, *parts: str, newer: bool = False) -> None:
        """Start a release's workers.

        Args:
            newer: of a release after this one, in place of this one.
        """
        for part in parts:
            name = f"{part}-{release}"
            self._servers.add(
                name, name, "mynamo", part,
                root=self._root if release == OLD else None,
                launcher=newer_format.launcher if newer else None,
            )  # fmt: skip

    def stop(self, release: int, *parts: str) -> None:
        """Let workers end in good order."""
        self._servers.stop(f"{part}-{release}" for part in parts)

    def load(self, release: int, *modes: str, newer: bool = False) -> None:
        """Start clients of a release, which write from now on."""
        for mode in modes:
            number = len(self.histories) + 1
            self.histories[number] = self._servers.folder / f"history-{number}.jsonl"
            self._servers.add(
                f"client-{number}", "clients", "tests.faults.workload",
                "--history", str(self.histories[number]), "--client", str(number),
                "--seed", str(number), "--mode", mode, "--rate", "20",
                root=self._root if release == OLD else None,
                launcher=newer_format.launcher if newer else None,
            )  # fmt: skip

    def stop_load(self) -> None:
        """Let all clients end in good order."""
        self._servers.stop(f"client-{number}" for number in self.histories)

    def relayed_by(self, release: int) -> bool:
        """Whether a release's writer has the leases of all shards."""
        pid = self._servers.members[f"writer-{release}"].pid
        with Cluster(self.config) as cluster:
            return pid is not None and all_held(cluster, pid)

    def applied(self) -> int:
        """How far the indexes are, as a sum that grows."""
        with Cluster(self.config) as cluster:
            rows = everywhere(cluster, "SELECT SUM(applied_seq) FROM mynamo_stream")
        return sum(int(applied or 0) for (applied,) in rows)

    def go_on(self, *clients: int) -> None:
        """See that clients' writes succeed, and indexes take changes in, from now on.

        Args:
            clients: their numbers; none: all.
        """
        now, before = time.monotonic_ns(), self.applied()
        eventually(
            lambda: (
                all(has_written(self.histories[n], now) for n in clients or self.histories)
                and self.applied() > before
            ),
            60,
        )


@pytest.fixture
def releases(
    request: pytest.FixtureRequest, fault_engine: EngineKind, tmp_path: Path
) -> Iterator[Releases]:
    """Those of `PREVIOUS` and this one, unless a test names another earlier one."""
    earlier: str = getattr(request, "param", PREVIOUS)
    if reason := why_no_release(earlier):
        pytest.skip(f"the release before this one comes from git: {reason}")
    with FaultCluster(tmp_path / "cluster", fault_engine, earlier=earlier) as servers:
        yield Releases(servers)


def damage(config: ClusterConfig) -> list[str]:
    """Dead letters, and what verify finds."""
    with Cluster(config) as cluster:
        verdict = verify(cluster, TABLE)
    return final_of(config).dead_letters + ([] if verdict.ok else [str(verdict)])


def wait_until_at_rest(config: ClusterConfig) -> None:
    waiting = wait_until_quiet(config, 60)
    assert not waiting


def test_workers_are_upgraded_one_by_one_and_back(releases: Releases, tmp_path: Path) -> None:
    releases.start(OLD, *PARTS)
    releases.load(OLD, "library", "queue")
    keep_changes(releases.config)  # the first process of this release, which migrates the shards
    releases.go_on()
    releases.start(NEW, *PARTS)
    releases.load(NEW, "library", "queue")
    releases.go_on()
    releases.stop(OLD, "writer")
    eventually(lambda: releases.relayed_by(NEW))
    releases.stop(OLD, "indexer")
    releases.go_on()
    releases.start(OLD, *PARTS)
    releases.stop(NEW, *PARTS)
    eventually(lambda: releases.relayed_by(OLD))
    releases.go_on()
    releases.start(NEW, *PARTS)
    releases.stop(OLD, *PARTS)
    eventually(lambda: releases.relayed_by(NEW))
    releases.go_on()
    releases.stop_load()
    wait_until_at_rest(releases.config)
    assert damage(releases.config) == []
    histories = [*releases.histories.values(), tmp_path / "last.jsonl"]
    workload.final_reads(releases.config, histories[-1], workload.all_keys(load(histories[:-1])))
    report = check_all(histories, releases.config, events=changes(releases.config, TABLE))
    assert report.violations == [], str(report)


@pytest.mark.parametrize(
    ("releases", "feature"),
    [
        pytest.param(FORMAT_2, TRANSACTIONS, id="transactions over several shards", marks=nightly),
        pytest.param(FORMAT_3, MOVES, id="moves of slots"),
    ],
    indirect=["releases"],
)
def test_a_format_is_enabled_under_load(
    releases: Releases, feature: Feature, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client of the earlier release that nobody has stopped does nothing any more."""
    monkeypatch.setattr(checking, "MAX_TOLD", sys.maxsize)  # its refusals are many
    releases.start(OLD, *PARTS)
    releases.load(OLD, "library")
    keep_changes(releases.config)
    releases.start(NEW, *PARTS)
    releases.load(NEW, "library", "queue")
    releases.go_on()
    releases.stop(OLD, *PARTS)
    eventually(lambda: releases.relayed_by(NEW))
    with Cluster(releases.config) as cluster:
        assert cluster.snapshot.format == feature.catalog - 1
        enable(cluster, lambda line: None, feature)
    enabled_at = time.monotonic_ns()
    old, *new = releases.histories

    def later(outcome: str) -> list[Operation]:
        """What the client of the earlier release has begun since then, and how it ended."""
        found = load([releases.histories[old]])
        return [each for each in found if each.start > enabled_at and each.outcome == outcome]

    releases.go_on(*new)
    eventually(lambda: later("crash"), 60.0)
    releases.stop_load()
    assert later("ok") == []
    refusal = f"of format {feature.catalog}, which this version"
    assert [each for each in later("crash") if refusal not in each.result["error"]] == []
    wait_until_at_rest(releases.config)
    assert damage(releases.config) == []
    histories = [*releases.histories.values(), tmp_path / "last.jsonl"]
    workload.final_reads(releases.config, histories[-1], workload.all_keys(load(histories[:-1])))
    report = check_all(histories, releases.config, events=changes(releases.config, TABLE))
    found = [each for each in report.violations if refusal not in each]
    assert found == [], str(report)


def test_control_what_the_old_release_cannot_read_is_found(releases: Releases) -> None:
    """A release that writes another format before all workers know that there are formats."""
    releases.start(OLD, *PARTS)
    releases.load(NEW, "library", newer=True)
    releases.go_on()
    releases.stop_load()
    wait_until_at_rest(releases.config)
    found = damage(releases.config)
    assert any("format" in one for one in found)
