"""A writer worker in a process of its own, for tests that kill or freeze it.

Run as `python -m tests.worker_process CONFIG.toml relay queue`, with the parts it shall have.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mynamo.catalog.cluster import Cluster
from mynamo.local.state import config_toml
from mynamo.schemas.config import ClusterConfig
from mynamo.writer.worker import run_writer


@contextmanager
def worker_process(
    config: ClusterConfig, folder: Path, *parts: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker until the block ends; the block may kill it before."""
    path = folder / "worker.toml"
    path.write_text(config_toml(config))
    command = [sys.executable, "-m", "tests.worker_process", str(path), *parts]
    process = subprocess.Popen(command, cwd=Path(__file__).parent.parent)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


def main() -> None:
    """Work until killed."""
    path, *parts = sys.argv[1:]
    with Cluster(ClusterConfig.load(path)) as cluster:
        run_writer(cluster, threading.Event(), relay="relay" in parts, queue="queue" in parts)


if __name__ == "__main__":
    main()
