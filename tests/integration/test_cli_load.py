"""`mynamo load` against real servers: what it writes, how, and what it says of that."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.cli.loading import Loader
from mynamo.cli.records import FilePosition, Record
from mynamo.errors import IndexBehind, MynamoError
from mynamo.local.state import config_toml
from mynamo.producer import Delete, Producer, Put, Receipt
from mynamo.schemas.config import ClusterConfig
from tests.commands import CREATE_ORDERS, run, start
from tests.rows import in_catalog
from tests.waiting import eventually

pytestmark = pytest.mark.slow

Mynamo = Callable[..., Result]


@pytest.fixture
def mynamo(config_file: Path) -> Mynamo:
    """Run a command in this process, with a table of orders."""
    run(config_file, *CREATE_ORDERS)
    return partial(run, config_file)


def stored(mynamo: Mynamo) -> list[dict[str, Any]]:
    lines = mynamo("scan", "orders", "--lines").stdout.splitlines()
    return sorted(map(json.loads, lines), key=lambda item: (item["customer"], item["at"]))


def test_files_of_an_export_and_their_mistakes(mynamo: Mynamo, tmp_path: Path) -> None:
    for part in range(2):
        lines = [
            {"Item": {"customer": {"S": f"c{n}"}, "at": {"N": str(n)}}}
            for n in range(part * 10, part * 10 + 10)
        ]
        text = "".join(f"{json.dumps(line)}\n" for line in lines) + '{"Item": {}}\n'
        (tmp_path / f"part{part}.json.gz").write_bytes(gzip.compress(text.encode()))
    files = [str(tmp_path / f"part{part}.json.gz") for part in range(2)]
    done = mynamo("load", "orders", *files, status=1)
    assert "20 items written, 2 failed" in done.stdout
    assert f"{files[1]}: line 11: " in done.stderr
    assert done.stderr.count('DynamoDB JSON, an object per line, each {"Item": ...}, gzip') == 2
    assert [item["at"] for item in stored(mynamo)] == sorted(range(20), key=lambda n: f"c{n}")


def test_the_output_of_aws_from_stdin_and_a_batch_that_deletes(mynamo: Mynamo) -> None:
    items = [{"customer": {"S": "ann"}, "at": {"N": str(n)}} for n in range(3)]
    page = json.dumps({"Items": items, "Count": 3, "ScannedCount": 3}, indent=4)
    done = mynamo("load", "orders", "-", input=page)
    assert done.stderr.startswith("took stdin for: DynamoDB JSON, the answer of a scan")
    assert len(stored(mynamo)) == 3
    requests = [
        {"DeleteRequest": {"Key": items[0]}},
        {"PutRequest": {"Item": {**items[1], "price": {"N": "5"}}}},
    ]
    mynamo("load", "orders", "-", input=json.dumps({"orders": requests}))
    assert stored(mynamo) == [
        {"customer": "ann", "at": 1, "price": 5}, {"customer": "ann", "at": 2},
    ]  # fmt: skip


def test_csv_has_the_types_of_the_table_and_its_indexes(mynamo: Mynamo, tmp_path: Path) -> None:
    file = tmp_path / "orders.csv"
    file.write_text("customer,at,price,zip\nann,1,9.90,0150\nbob,2,,0151\n")
    mynamo("load", "orders", str(file))
    assert stored(mynamo) == [
        {"customer": "ann", "at": 1, "price": 9.9, "zip": "0150"},
        {"customer": "bob", "at": 2, "zip": "0151"},
    ]


def test_a_file_that_ends_in_the_middle_says_how_much_is_written(
    mynamo: Mynamo, tmp_path: Path
) -> None:
    file = tmp_path / "orders.json"
    file.write_text('[{"customer": "ann", "at": 1},\n {"customer": "ann", "at": 2},\n {"cust')
    done = mynamo("load", "orders", str(file), status=1)
    assert "2 items written, 0 failed" in done.stdout
    assert f"{file}: line 3, column 8: the JSON ends in the middle" in done.stderr
    assert "is safe" in done.stderr
    assert [item["at"] for item in stored(mynamo)] == [1, 2]


def test_the_old_spelling_still_works(mynamo: Mynamo, tmp_path: Path) -> None:
    file = tmp_path / "items.jsonl"
    file.write_text('{"customer": "ann", "at": 1}\n')
    done = mynamo("load", str(file), "--table", "orders")
    assert "--table is deprecated; write: mynamo load TABLE FILE" in done.stderr
    assert len(stored(mynamo)) == 1


def test_records_are_written_in_batches_of_one_shard(
    config: ClusterConfig, monkeypatch: pytest.MonkeyPatch, mynamo: Mynamo
) -> None:
    """What makes it fast: hundreds of records are no hundreds of transactions."""
    batches: list[set[int]] = []

    def counted(self: Producer, writes: Sequence[Put | Delete]) -> list[Receipt | MynamoError]:
        outcomes = write_batch(self, writes)
        batches.append({one.shard for one in outcomes if isinstance(one, Receipt)})
        return outcomes

    write_batch = Producer.write_batch
    monkeypatch.setattr(Producer, "write_batch", counted)
    with Cluster(config) as cluster:
        loader = Loader(cluster, cluster.table("orders"), threads=2)
        for n in range(1000):
            loader.add(Record(FilePosition(n, 1, n), {"customer": f"c{n}", "at": n}))
        loader.finish()
    assert loader.counts.acknowledged == 1000
    assert len(batches) < 100
    assert all(len(shards) == 1 for shards in batches)


def test_large_records_wait_for_room(
    config: ClusterConfig, monkeypatch: pytest.MonkeyPatch, mynamo: Mynamo
) -> None:
    """What waits in memory is bounded in bytes, not only in records."""
    monkeypatch.setattr("mynamo.cli.loading.WAITING_BYTES", 10_000)
    waited: list[int] = []

    def counted(self: Producer, writes: Sequence[Put | Delete]) -> list[Receipt | MynamoError]:
        waited.append(len(writes))
        return write_batch(self, writes)

    write_batch = Producer.write_batch
    monkeypatch.setattr(Producer, "write_batch", counted)
    with Cluster(config) as cluster:
        loader = Loader(cluster, cluster.table("orders"), threads=1)
        for n in range(100):
            loader.add(Record(FilePosition(n, 1, n), {"customer": "ann", "at": n}, size=5_000))
        loader.finish()
    assert loader.counts.acknowledged == 100
    assert max(waited) <= 3  # 10,000 bytes and one more record


def test_loading_waits_for_indexes_that_are_behind(
    config: ClusterConfig, monkeypatch: pytest.MonkeyPatch, mynamo: Mynamo
) -> None:
    refusals = 2

    def behind(self: Producer, writes: Sequence[Put | Delete]) -> list[Receipt | MynamoError]:
        nonlocal refusals
        if refusals and len(writes) > 1:
            refusals -= 1
            return [IndexBehind("too far"), *write_batch(self, writes[1:])]
        return write_batch(self, writes)

    write_batch = Producer.write_batch
    monkeypatch.setattr(Producer, "write_batch", behind)
    with Cluster(config) as cluster:
        loader = Loader(cluster, cluster.table("orders"), threads=1)
        for n in range(300):
            loader.add(Record(FilePosition(n, 1, n), {"customer": "ann", "at": n % 100, "n": n}))
        loader.finish()
    assert (loader.counts.acknowledged, loader.counts.failed, refusals) == (300, 0, 0)
    assert sorted(item["n"] for item in stored(mynamo)) == list(range(200, 300))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_receipts_that_cannot_be_written_end_the_command(mynamo: Mynamo, tmp_path: Path) -> None:
    file = tmp_path / "items.jsonl"
    file.write_text("".join(f'{{"customer": "ann", "at": {n}}}\n' for n in range(10_000)))
    done = mynamo("load", "orders", str(file), "--receipts", "/dev/full", status=1)
    assert "Error: the output could not be written: No space left on device" in done.stderr


def test_an_interrupted_load_says_that_it_may_be_repeated(
    mynamo: Mynamo, config_file: Path, tmp_path: Path
) -> None:
    fifo, receipts = tmp_path / "items.jsonl", tmp_path / "receipts.jsonl"
    os.mkfifo(fifo)
    words = ("load", "orders", str(fifo), "--receipts", str(receipts), "--config", str(config_file))
    loading = start(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with loading, fifo.open("w") as feed:
        feed.writelines(f'{{"customer": "ann", "at": {n}}}\n' for n in range(20))
        feed.flush()
        eventually(lambda: receipts.exists() and receipts.read_text().count("\n") == 20, 60)
        loading.send_signal(signal.SIGTERM)
        out, said = loading.communicate(timeout=60)
    assert loading.returncode == 143
    assert out.startswith("interrupted: 20 items written")
    assert "Loading the same files again is safe" in said


def test_databases_of_others_are_left_alone(config: ClusterConfig, tmp_path: Path) -> None:
    shard = config.shards[0]
    file = tmp_path / "mynamo.toml"
    file.write_text(config_toml(config))
    with Cluster(config) as cluster:
        cluster.shards[shard.id].run(("CREATE TABLE wp_posts (id INT PRIMARY KEY)", ()))
        cluster.shards[shard.id].run(*((f"DROP TABLE {name}", ()) for name in control_tables()))
    in_catalog(config, "DROP TABLE mynamo_cluster")
    refused = run(file, "table", "list", status=1).stderr
    assert f"{shard.database}): this database holds tables of another program (wp_posts)" in refused
    assert refused.count("\n") == 1


def test_an_empty_database_is_said_to_have_been_empty(
    config: ClusterConfig, tmp_path: Path
) -> None:
    file = tmp_path / "mynamo.toml"
    file.write_text(config_toml(config))
    assert "was empty: a new cluster was set up in it" in run(file, "table", "list").stderr
    assert "was empty" not in run(file, "table", "list").stderr
    gone = config.catalog.model_copy(update={"database": "not_there"})
    file.write_text(config_toml(config.model_copy(update={"catalog": gone})))
    said = run(file, "table", "list", status=1).stderr
    assert "not_there" in said
    assert said.count("\n") == 1


def control_tables() -> list[str]:
    return [text.split("(")[0].split()[-1] for text in sql.CONTROL_TABLES]
