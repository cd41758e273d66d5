"""Workers and gateways on signals, and on databases that are not what they should be."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from mynamo.catalog.cluster import Cluster
from mynamo.local.state import config_toml
from mynamo.schemas.config import ClusterConfig
from tests.commands import WORKER_SECONDS, run, start
from tests.servers import log_in
from tests.waiting import eventually


@pytest.fixture
def file(config: ClusterConfig, tmp_path: Path) -> Path:
    """The configuration, of a cluster that is set up."""
    path = tmp_path / "mynamo.toml"
    path.write_text(config_toml(config))
    with Cluster(config):
        pass
    return path


def test_an_empty_database_is_named(config: ClusterConfig, file: Path) -> None:
    shard = config.shards[1]
    with log_in(shard) as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE `{shard.database}`.mynamo_shard")
    said = run(file, "lag", status=1).output
    assert f"{shard.database}): this database is no shard; correct the configuration" in said


def test_a_database_of_another_cluster_is_named(config: ClusterConfig, file: Path) -> None:
    first, second = config.shards
    swapped = (
        second.model_copy(update={"id": first.id}),
        first.model_copy(update={"id": second.id}),
    )
    file.write_text(config_toml(config.model_copy(update={"shards": swapped})))
    said = run(file, "lag", status=1).output
    assert "of another order or cluster; correct the configuration" in said


@pytest.mark.parametrize(
    "words",
    [["indexer"], ["serve", "--no-auth", "--port", "0", "--workers", "1"],
     ["serve", "--no-auth", "--port", "0", "--workers", "2"]],
)  # fmt: skip
def test_a_hangup_is_ignored_with_a_line(file: Path, words: list[str], tmp_path: Path) -> None:
    log = tmp_path / "log"
    ready = "partition" if words == ["indexer"] else "DynamoDB's API on"
    with log.open("wb") as out, start("--config", str(file), *words, stdout=out, stderr=out) as one:
        try:
            eventually(lambda: ready in log.read_text(), WORKER_SECONDS)
            one.send_signal(signal.SIGHUP)
            eventually(lambda: "SIGHUP is ignored" in log.read_text(), WORKER_SECONDS)
            assert one.poll() is None
            one.send_signal(signal.SIGTERM)
            assert one.wait(60) == 0
        finally:
            one.kill()


def test_ctrl_c_while_a_worker_waits_for_its_catalog_is_130(
    config: ClusterConfig, tmp_path: Path
) -> None:
    catalog = config.catalog.model_copy(update={"port": 1})
    file = tmp_path / "mynamo.toml"
    file.write_text(config_toml(config.model_copy(update={"catalog": catalog})))
    with start(
        "--config", str(file), "writer", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as worker:
        assert worker.stdout is not None
        line = worker.stdout.readline()
        worker.send_signal(signal.SIGINT)
        said, _ = worker.communicate(timeout=60)
    assert "does not answer" in line
    assert worker.returncode == 130
    assert "Traceback" not in line + said
