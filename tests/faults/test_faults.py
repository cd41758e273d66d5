"""A short run of the fault harness; `make test-faults` makes longer ones."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from pathlib import Path

import pytest

import mynamo
from mynamo.local import EngineKind, LocalMySQL, find_engine, free_port
from mynamo.runtime.crash_points import COMMAND_LABELS, LABELS
from tests.faults.clocks import make_clocks
from tests.faults.plan import MOVE_LABELS, Cast, draw
from tests.faults.run import Settings, run

pytestmark = pytest.mark.slow

SOURCES = Path(mynamo.__file__).parent
CAST = Cast(
    workers=["writer-1", "writer-2", "indexer-1", "indexer-2"],
    clients=["client-1", "client-2"],
    shards=["shard-1", "shard-2"],
    brokers=["broker-1"],
    coordinators=["gateway", "client-1"],
    cleaning=True,
    movers=["mover-1", "mover-2"],
)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_everything_holds_while_everything_fails(fault_engine: EngineKind, tmp_path: Path) -> None:
    outcome = run(Settings(seed=3768, seconds=30, engine=fault_engine, folder=tmp_path / "run"))
    assert outcome.violations == [], outcome.text()
    assert outcome.faults.total() >= 5, outcome.text()
    assert min(outcome.checks.values()) > 0, outcome.text()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_harness_sees_that_a_mechanism_is_missing(
    fault_engine: EngineKind, tmp_path: Path
) -> None:
    """The control of controls; the others: `python -m tests.faults.run --without MECHANISM`."""
    settings = Settings(
        seed=3, seconds=10, engine=fault_engine, folder=tmp_path / "run", without="outbox"
    )
    outcome = run(settings)
    assert any("[index equals table]" in found for found in outcome.violations), outcome.text()


def test_a_seed_gives_the_same_plan_again() -> None:
    assert draw(7, 120, CAST) == draw(7, 120, CAST) != draw(8, 120, CAST)


def test_a_plan_can_be_of_some_faults_only() -> None:
    plan = draw(1, 60, CAST, ["freeze indexer", "link cut"])
    assert {fault.what.split()[0] for fault in plan} == {"freeze", "link"}


def test_some_time_has_every_kind_of_fault_and_every_point() -> None:
    plan = draw(1, 30_000, replace(CAST, restores=["shard-2"], upgrades=CAST.workers))
    assert {fault.kind for fault in plan} == {
        "kill", "stop", "freeze", "crash", "halt", "link", "wipe", "topic", "disk", "clock", "away",
        "restore", "upgrade", "strand",
    }  # fmt: skip
    for kind in ("crash", "halt"):
        points = {fault.detail.partition(":")[0] for fault in plan if fault.kind == kind}
        assert points == {*LABELS, *MOVE_LABELS}, kind
    weathers = {fault.detail.partition(":")[0] for fault in plan if fault.kind == "link"}
    assert weathers == {"cut", "reset", "forgetful", "delay", "throttle", "late", "half-open"}


def test_nothing_else_is_harmed_while_a_shard_is_away() -> None:
    plan = draw(1, 3_000, CAST)
    away = [fault for fault in plan if fault.kind == "away"]
    assert {fault.detail for fault in away} == {"dead", "frozen"}
    assert all(fault.seconds == 120 for fault in away)
    for fault in away:
        others = [other for other in plan if other is not fault]
        assert all(
            other.at + other.seconds <= fault.at or other.at >= fault.at + fault.seconds
            for other in others
        )
    assert not any(fault.kind == "away" for fault in draw(1, 60, CAST))


def test_one_mover_is_harmed_at_a_time() -> None:
    plan = [fault for fault in draw(1, 3_000, CAST) if fault.target in CAST.movers]
    assert len(plan) > 50
    for one, other in itertools.pairwise(plan):
        assert one.at + one.seconds <= other.at


def test_clocks_jump_by_seconds_up_to_an_hour_where_they_can() -> None:
    plan = draw(1, 600, CAST, ["clock"])
    jumps = [int(fault.detail) for fault in plan]
    assert -3_600 <= min(jumps) < -1_000
    assert 1_000 < max(jumps) <= 3_600
    assert 1 <= min(abs(jump) for jump in jumps) < 60
    assert {fault.target for fault in plan} == {
        *CAST.workers, *CAST.movers, "gateway", *CAST.clients, *CAST.shards,
    }  # fmt: skip
    fixed = draw(1, 3_000, replace(CAST, clocks=False))
    assert not any(fault.kind == "clock" for fault in fixed)


def test_a_servers_clock_jumps_and_its_waits_do_not(
    fault_engine: EngineKind, tmp_path: Path
) -> None:
    clocks = make_clocks(tmp_path / "clocks")
    if clocks is None:
        pytest.skip("clocks that jump take Linux, glibc and a C compiler")
    server = LocalMySQL(
        find_engine(fault_engine), tmp_path / "server", free_port(), buffer_pool="64M",
        env=clocks.environment("server"),
    )  # fmt: skip
    with server, server.connect() as connection, connection.cursor() as cursor:
        for jump in (0, 37, -3_600, 3_600, 0):
            clocks.set("server", jump)
            assert _ahead(server) == pytest.approx(jump, abs=1)
            began = time.monotonic()
            cursor.execute("SELECT SLEEP(0.3)")
            assert 0.3 <= time.monotonic() - began < 5
        clocks.set("server", 3_600)
        server.kill()
        server.start()
        assert _ahead(server) == pytest.approx(3_600, abs=1)


def _ahead(server: LocalMySQL) -> float:
    """Seconds by which a server's clock is ahead of ours."""
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT UNIX_TIMESTAMP(NOW(6))")
        ((now,),) = cursor.fetchall()
        return float(now) - time.time()


def test_every_label_is_in_the_code_once() -> None:
    text = "".join(
        path.read_text() for path in SOURCES.rglob("*.py") if path.name != "crash_points.py"
    )
    labels = LABELS + COMMAND_LABELS
    assert {label: text.count(f'crash_point("{label}")') for label in labels} == dict.fromkeys(
        labels, 1
    )
    assert text.count("crash_point(") == len(labels)
