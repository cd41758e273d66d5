"""The folder of `mynamo dev`: a refused or interrupted command leaves it as it was, or mendable."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from mynamo.catalog.cluster import Cluster
from mynamo.cli.app import root
from mynamo.errors import LocalServerError
from mynamo.local import EngineKind, LocalCluster, LocalMySQL, find_engine, free_port
from mynamo.local import local_cluster as cluster_module
from mynamo.local.cache import cache_folder
from mynamo.local.ports import is_listening
from tests.commands import processes_of, start
from tests.servers import why_no_engine
from tests.waiting import eventually

pytestmark = pytest.mark.slow

OTHER: dict[EngineKind, EngineKind] = {"mysql": "mariadb", "mariadb": "mysql"}


def contents(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Mode, size and hash of every file, by its path."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mode,
            path.lstat().st_size,
            hashlib.blake2b(path.read_bytes()).digest() if path.is_file() else b"",
        )
        for path in sorted(folder.rglob("*"))
        if not path.is_socket()
    }


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of its own, of 40 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(folder)], capture_output=True
    )
    if done.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.decode()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def new_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No data folder is there yet that the first start could copy."""
    cache = tmp_path / "cache"
    cache.mkdir()
    for each in cache_folder().iterdir():
        if not each.name.startswith("data-"):
            (cache / each.name).symlink_to(each)
    monkeypatch.setenv("MYNAMO_CACHE", str(cache))


def refused(folder: Path, *options: str) -> str:
    """Run `mynamo dev`, which must refuse; returns what it says."""
    result = CliRunner().invoke(root, ["dev", "--data", str(folder), *options])
    assert result.exit_code == 1, (result.output, result.exc_info)
    assert "Traceback" not in result.output
    return result.output


def test_a_refused_command_changes_nothing(private_cluster: Callable[..., LocalCluster]) -> None:
    cluster = private_cluster(2)
    folder, engine = cluster.data_dir, cluster.engine.kind
    with Cluster(cluster.config):
        pass
    cluster.stop()
    before = contents(folder)
    free = ("--port", str(free_port()))
    assert "holds 2 shards" in refused(folder, *free, "--shards", "4")
    assert "holds 2 shards" in refused(folder, *free, "--shards", "1")
    assert f"holds data of {engine}" in refused(folder, *free, "--engine", OTHER[engine])
    assert "no Kafka broker answers" in refused(folder, *free, "--kafka", f"127.0.0.1:{free[1]}")
    assert "HOST:PORT of a running broker" in refused(folder, *free, "--kafka", "nonsense")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"port {port} is taken" in refused(folder, "--port", port)
    assert contents(folder) == before
    with LocalCluster(folder) as again, Cluster(again.config) as opened:
        assert len(opened.shards) == 2
        running = {name: contents(folder)[name] for name in ("lock", "state.json", "mynamo.toml")}
        assert f"process {os.getpid()} runs a cluster" in refused(folder, *free)
        assert {name: contents(folder)[name] for name in running} == running


def test_a_folder_of_a_newer_server_is_refused_and_left(
    private_cluster: Callable[..., LocalCluster],
) -> None:
    cluster = private_cluster(1)
    cluster.stop()
    note = cluster.data_dir / "shard-1" / "engine.json"
    note.write_text(note.read_text().replace(cluster.engine.version, "99.1.0"))
    before = contents(cluster.data_dir)
    with pytest.raises(LocalServerError, match=r"holds data of \w+ 99\.1\.0"):
        LocalCluster(cluster.data_dir).start()
    assert contents(cluster.data_dir) == before


@pytest.mark.usefixtures("new_servers")
def test_a_first_start_that_was_killed_leaves_a_folder_for_any_other(
    tmp_path: Path, chosen_engine: EngineKind | None
) -> None:
    """Also one with other shards and the other engine: nobody has ever been served from it."""
    engine = find_engine(chosen_engine).kind
    data = tmp_path / "data"
    with start(
        "dev", "--data", str(data), "--port", "0", "--engine", engine, stdout=subprocess.DEVNULL
    ) as dev:
        eventually(lambda: any((data / "shard-2" / "data.new").glob("ib*")), 120)
        dev.send_signal(signal.SIGKILL)
    eventually(lambda: processes_of(data) == [], 30)
    assert not (data / "state.json").exists()
    assert not (data / "mynamo.toml").exists()
    other = OTHER[engine] if why_no_engine(OTHER[engine]) is None else engine
    with LocalCluster(data, 1, other) as cluster:
        assert cluster.running
        assert sorted(path.name for path in data.glob("shard-*")) == ["shard-1"]
        assert not (data / "shard-1" / "unfinished").exists()


@pytest.mark.usefixtures("new_servers")
def test_a_first_start_that_is_interrupted_ends_soon_and_with_130(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with start(
        "dev", "--data", str(data), "--port", "0",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as dev:  # fmt: skip
        eventually(lambda: any((data / "shard-1").glob("data.new/ib*")), 120)
        dev.send_signal(signal.SIGINT)
        said, _ = dev.communicate(timeout=60)
    assert dev.returncode == 130
    assert "Traceback" not in said
    assert processes_of(data) == []
    assert not (data / "shard-1" / "data").exists()  # it was given up, not awaited


def test_a_folder_that_cannot_be_written_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = refused(tmp_path / "file" / "below", "--port", "0")
    assert f"the folder {tmp_path / 'file' / 'below'} cannot be used" in said


def test_a_read_only_folder_is_refused_in_a_sentence(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    said = refused(small_disk / "data", "--port", "0", "--shards", "1")
    assert "Read-only file system" in said or "is full" in said


def test_a_disk_that_is_too_small_is_refused_at_once(small_disk: Path) -> None:
    said = refused(small_disk / "data", "--port", "0")
    assert f"the disk of {small_disk / 'data'} is full: 40 MB are free, and 600 MB" in said
    assert list(small_disk.iterdir()) == []


def test_a_disk_that_fills_up_during_the_start_is_named(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "NEW_SHARD_BYTES", 0)
    cluster = LocalCluster(small_disk / "data", 1)
    with pytest.raises(LocalServerError, match=r"the disk of .* is full"):
        cluster.start()
    assert not (small_disk / "data" / "state.json").exists()
    assert processes_of(small_disk) == []


def test_what_a_run_writes_is_there_only_once_its_servers_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = LocalCluster(tmp_path / "data", 1)

    def fail(self: LocalMySQL, timeout: float = 0) -> LocalMySQL:
        raise LocalServerError("the server is out of order")

    monkeypatch.setattr(LocalMySQL, "start", fail)
    with pytest.raises(LocalServerError, match="out of order"):
        cluster.start()
    assert not (cluster.data_dir / "state.json").exists()
    assert not cluster.config_file.exists()
    monkeypatch.undo()
    with cluster:
        assert is_listening(cluster.shards[1].port)
