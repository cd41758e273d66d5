"""Take the pictures of docs/console.md: python -m tests.console.pictures FOLDER

A cluster of its own is started, filled, damaged in one place, and written to meanwhile. It needs
what `make fetch` and `make clients` install.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mynamo.catalog import table_streams
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.definitions import create_table
from mynamo.catalog.time_to_live import enable
from mynamo.local import LocalCluster
from mynamo.operations import wait_until_applied
from mynamo.producer import Producer
from mynamo.schemas.table import TableSchema
from tests.console.conftest import SECRET, gateway_config, key_of, running
from tests.operations import Damage
from tests.workers import pipeline

HERE = Path(__file__).parent
CUSTOMERS = ("ann", "bob", "carla", "dimitri", "eve")
STATES = ("open", "paid", "shipped", "cancelled")
ORDERS = {
    "name": "orders",
    "hash_key": "customer",
    "sort_key": "ordered_at:N",
    "local_indexes": [{"name": "by_price", "sort_key": "price:N"}],
    "global_indexes": [
        {
            "name": "by_status",
            "hash_key": "status",
            "sort_key": "ordered_at:N",
            "projection": {"type": "INCLUDE", "attributes": ["price"]},
        }
    ],
}
SESSIONS = {"name": "sessions", "hash_key": "token"}


def order(number: int) -> dict[str, Any]:
    """An order."""
    return {
        "customer": CUSTOMERS[number % 5],
        "ordered_at": 1_760_000_000 + 977 * number,
        "price": 5 + number * 37 % 195,
        "status": STATES[number * 7 % 4],
        "lines": [{"sku": f"SKU-{number % 37}", "count": 1 + number % 4}],
        "gift": number % 7 == 0,
    }


def main(folder: Path) -> None:
    """Take them all."""
    cache = Path(os.environ.get("MYNAMO_CACHE", ".cache")) / "clients" / "js"
    for script in HERE.glob("*.mjs"):
        shutil.copy(script, cache)
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as temporary,
        LocalCluster(Path(temporary) / "servers", 2) as servers,
        Cluster(servers.config) as cluster,
        Producer(cluster) as producer,
    ):
        table = create_table(cluster, TableSchema.parse(ORDERS))
        create_table(cluster, TableSchema.parse(SESSIONS))
        for number in range(400):
            producer.put("orders", order(number))
        with pipeline(servers.config):
            table_streams.enable(cluster, "orders", "NEW_AND_OLD_IMAGES")
            enable(cluster, "sessions", "expires_at")
            for number in (1, 2):  # there is no such item, so they are refused
                key = {"customer": "frank", "ordered_at": number}
                write = producer.queued_update("orders", key, set={"x": 1}, condition="price > x")
                producer.publish(write)
            assert wait_until_applied(cluster, 60)
            damage = Damage(cluster, cluster.table(table.name))
            damage.on_row("by_status", order(3), "DELETE FROM {table}")
            gateway = gateway_config(Path(temporary))
            with _writing(producer), running(servers.config, gateway) as (site, _):
                _take(site, folder.resolve(), cache)


@contextmanager
def _writing(producer: Producer) -> Iterator[None]:
    """Write orders meanwhile, in bursts."""
    stop = threading.Event()

    def write() -> None:
        for number in itertools.count(400):
            producer.put("orders", order(number))
            if stop.wait(1.5 if number % 60 == 0 else 0.005):
                return

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _take(site: str, folder: Path, cache: Path) -> None:
    """Take the pictures."""
    environment = {
        **os.environ, "CONSOLE_SITE": site, "CONSOLE_KEY": key_of("admin"),
        "CONSOLE_SECRET": SECRET,
        "CONSOLE_CHROMIUM": shutil.which("chromium") or shutil.which("google-chrome") or "",
    }  # fmt: skip
    subprocess.run(["node", "pictures.mjs", str(folder)], cwd=cache, env=environment, check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
