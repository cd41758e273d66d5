"""A mover dies, or stands still and goes on late, at each of its steps."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mynamo.catalog import moves
from mynamo.catalog.cluster import Cluster
from mynamo.operations import wait_until_applied
from mynamo.operations.resharding import mover, rebalance
from mynamo.operations.resharding.mover import Mover, open_moves
from mynamo.producer import Producer
from mynamo.runtime.crash_points import COMMAND_LABELS, VARIABLE
from mynamo.schemas.config import ClusterConfig
from tests.amounts import one_of
from tests.comparing import gsi_damage
from tests.integration.test_moves import COUNT, all_items, item, rows_on, slots_of
from tests.integration.test_moves import filled as filled
from tests.rows import everywhere
from tests.waiting import eventually
from tests.workers import pipeline

pytestmark = pytest.mark.slow

STEPS = [label for label in COMMAND_LABELS if label.startswith("move.")]


@pytest.fixture(autouse=True)
def quick_cleaning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mover, "CLEAN_AFTER", 0.1)


@contextmanager
def moving(config_file: Path, at: str, first: int, last: int) -> Iterator[subprocess.Popen[str]]:
    """A mover of shard 1's slots to shard 2, in a process of its own.

    Args:
        at: where it ends or freezes.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.moving_process",
         str(config_file), str(first), str(last), "2"],
        cwd=Path(__file__).parents[2], env=os.environ | {VARIABLE: at},
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def is_stopped(process: subprocess.Popen[str]) -> bool:
    return Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"


def check(cluster: Cluster, producer: Producer, owner: int, first: int, last: int) -> None:
    """Everything is there once, on the owner alone, and can be written."""
    other = 3 - owner
    assert open_moves(cluster) == []
    assert everywhere(cluster, "SELECT * FROM mynamo_move_log") == []
    assert not any(rows_on(cluster, other, first, last).values())
    expected = sorted(map(item, range(COUNT)), key=lambda each: each["id"])
    assert all_items(cluster) == expected
    for number in range(0, COUNT, 10):
        producer.put("orders", item(number, name="new"))
    assert wait_until_applied(cluster)
    assert gsi_damage(cluster, "orders") == []


@pytest.mark.parametrize("step", one_of(3, STEPS))
def test_whoever_resumes_a_move_that_died_ends_it(
    config: ClusterConfig, config_file: Path, filled: Cluster, producer: Producer, step: str
) -> None:
    first, last = slots_of(filled, 1)
    with pipeline(config):
        with moving(config_file, step, first, last) as process:
            assert process.wait(60) == -signal.SIGKILL
        rebalance.resume(filled)
        check(filled, producer, 2, first, last)


@pytest.mark.parametrize("step", one_of(3, STEPS, 1))
def test_a_mover_that_wakes_up_late_does_no_harm(
    config: ClusterConfig, config_file: Path, filled: Cluster, producer: Producer, step: str
) -> None:
    """Others have ended its move meanwhile, and moved the slots back."""
    first, last = slots_of(filled, 1)
    with pipeline(config), moving(config_file, f"{step}:1:freeze", first, last) as process:
        eventually(lambda: is_stopped(process), 60)
        rebalance.resume(filled)
        Mover(filled).move(first, last, 1)
        process.send_signal(signal.SIGCONT)
        process.wait(60)
        check(filled, producer, 1, first, last)


@pytest.mark.parametrize("step", one_of(2, STEPS[6:10]))
def test_a_switch_that_stands_still_is_taken_back(
    config: ClusterConfig, config_file: Path, filled: Cluster, producer: Producer, step: str
) -> None:
    """The slots are written where they were, and the mover tries again."""
    first, last = slots_of(filled, 1)
    with pipeline(config), moving(config_file, f"{step}:1:freeze", first, last) as process:
        eventually(lambda: is_stopped(process), 60)
        (move,) = open_moves(filled)
        assert move.state in ("STOPPED", "CLOSED")
        assert moves.take_back(filled.catalog, move)
        process.send_signal(signal.SIGCONT)
        assert process.wait(60) == 0
        check(filled, producer, 2, first, last)
