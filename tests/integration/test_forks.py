"""A manager that was made before a fork works in the child, and in the parent as before."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from kafka import TopicPartition

from mynamo import HashBasedShardManager
from mynamo.local.state import config_toml
from mynamo.log import ensure_topics, open_consumer
from mynamo.schemas.config import ClusterConfig, KafkaConfig

pytestmark = pytest.mark.slow

SECONDS = 180.0
"""For all of it, on a slow machine; a child that hangs takes for ever."""
FOUND = 10.0
"""In which the control must have found something, or hang."""


def run(config: ClusterConfig, folder: Path, *how: str, seconds: float) -> dict[str, Any] | None:
    """Run the program; None: it hung, and was killed with its children."""
    path = folder / "cluster.toml"
    path.write_text(config_toml(config))
    with HashBasedShardManager(config) as manager:
        manager.create_table({"table": "orders", "hash_key": "id"})
    ensure_topics(config.kafka)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.forking_process", *how],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"MYNAMO_CONFIG": str(path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    if how[1:]:
        return json.loads(out) if out.startswith("{") else {"failed": err}
    assert process.returncode == 0, err
    assert out, err
    return dict(json.loads(out))


def queued(config: KafkaConfig) -> list[bytes]:
    """The keys of all queued writes, as often as they are there."""
    consumer = open_consumer(config, None)
    try:
        parts = [TopicPartition(config.writes_topic, p) for p in range(config.partitions)]
        consumer.assign(parts)
        ends = consumer.end_offsets(parts)
        found: list[bytes] = []
        while any(consumer.position(part) < ends[part] for part in parts):
            for records in consumer.poll(timeout_ms=200).values():
                found += [record.value for record in records]
        return found
    finally:
        consumer.close()


@pytest.mark.parametrize("how", ["fork", "os", "spawn", "forkserver"])
def test_children_and_their_parent_have_their_own(
    config: ClusterConfig, tmp_path: Path, how: str
) -> None:
    seen = run(config, tmp_path, how, seconds=SECONDS)
    assert seen is not None, "a process hung"
    assert seen["children"] == {"fork": 8, "os": 4}.get(how, 2)
    assert (seen["foreign"], seen["failed"], seen["parent"]) == (0, 0, [])
    assert seen["counter"] == seen["added"] > 0
    assert seen["lost"] == 0, "the parent lost connections"
    writes = queued(config.kafka)
    assert len(writes) == len(set(writes)) == seen["published"]


def test_control_without_renewal_children_take_their_parents_answers_or_hang(
    config: ClusterConfig, tmp_path: Path
) -> None:
    seen = run(config, tmp_path, "fork", "broken", seconds=FOUND)
    assert (
        seen is None
        or seen.get("failed")
        or seen["foreign"]
        or seen["parent"]
        or seen["counter"] != seen["added"]
    )
