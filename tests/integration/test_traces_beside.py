"""Workers of the release before traces beside a library that stores contexts of traces."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import mynamo
from mynamo.local.state import config_toml
from mynamo.manager import HashBasedShardManager
from mynamo.operations import verify
from mynamo.schemas.config import ClusterConfig, TracingConfig
from tests.collector import of_this_process
from tests.faults.releases import WITHOUT_TRACES, check_out, why_no_release
from tests.integration.test_library_traces import Work, called, item
from tests.rows import everywhere, make_table
from tests.waiting import eventually

pytestmark = pytest.mark.slow

OWN = Path(mynamo.__file__).parents[1]


@contextmanager
def worker(root: Path, config_file: Path, command: str, url: str) -> Iterator[None]:
    """A worker of a release; one of this release traces."""
    traces = {"MYNAMO_TRACING__ENABLED": "true", "MYNAMO_TRACING__ENDPOINT": url}
    log = config_file.with_name(f"log-{command}")
    with (
        log.open("w") as writing,
        subprocess.Popen(
            [sys.executable, "-P", "-m", "mynamo", "--config", str(config_file), command],
            env={**os.environ, "PYTHONPATH": str(root), **(traces if root == OWN else {})},
            cwd=root, stderr=writing,
        ) as process,
    ):  # fmt: skip
        try:
            yield
        finally:
            process.terminate()
            process.wait(60)
    assert "Traceback" not in log.read_text()
    assert "dead letter" not in log.read_text()


@pytest.mark.parametrize("writer", ["old", "new"])
@pytest.mark.parametrize("indexer", ["old", "new"])
def test_workers_of_both_releases_apply_what_is_traced(
    config: ClusterConfig, tmp_path: Path, writer: str, indexer: str
) -> None:
    """The index, the stream and the queue have everything; there are spans of this release's."""
    if reason := why_no_release(WITHOUT_TRACES):
        pytest.skip(reason)
    collector = of_this_process()
    root = {"old": check_out(tmp_path / "old", WITHOUT_TRACES), "new": OWN}
    config_file = tmp_path / "mynamo.toml"
    config_file.write_text(config_toml(config))
    traced = config.model_copy(update={"tracing": TracingConfig(enabled=True)})
    with HashBasedShardManager(traced) as manager:
        make_table(manager.cluster)
        manager.enable_stream("orders", "NEW_IMAGE")
        producer, reader = manager.producer, manager.reader
        with (
            worker(root[writer], config_file, "writer", collector.url),
            worker(root[indexer], config_file, "indexer", collector.url),
        ):
            with Work() as work:
                for key in "abc":
                    producer.put("orders", item(key))
                producer.publish(producer.queued_put("orders", item("queued")))

            def applied() -> bool:
                names = [f"name-{key}" for key in ("a", "b", "c", "queued")]
                return all(reader.query("orders", name, index="by_name").items for name in names)

            eventually(applied, 60)
            assert verify(manager.cluster, "orders").ok
            counts = everywhere(manager.cluster, "SELECT COUNT(*) FROM mynamo_record")
            assert sum(count for (count,) in counts) == 4
    spans = collector.wait_for(work.trace_id, lambda spans: "publish" in called(spans))
    found = [span.name.partition(f" {config.kafka.changes_topic}")[0] for span in spans]
    # That the queued write goes on with its trace is up to the writer too.
    new_writer = 4 if writer == "new" else 0
    assert found.count("put orders") == 3
    assert found.count("send") == new_writer
    assert found.count("process") == (new_writer if indexer == "new" else 0)
