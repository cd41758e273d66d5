"""The commands that need workers: lag, verify, repair, GSI backfill, queued writes, dlq."""

from __future__ import annotations

import json
import time
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.cli.statuses import FAILED, WRONG
from mynamo.producer import MUST_NOT_EXIST, Producer
from mynamo.schemas.config import ClusterConfig
from tests.commands import WORKER_SECONDS, Dev, run
from tests.waiting import eventually


def create(dev: Dev, name: str) -> None:
    dev.run(
        "table", "create", name, "--hash-key", "customer", "--sort-key", "at:N",
        "--gsi", "by_status=status,at:N",
    )  # fmt: skip


def test_verify_and_repair_tell_damage_by_their_status(dev: Dev) -> None:
    create(dev, "damaged")
    dev.open_orders(dev.put(1, "damaged"), "damaged")
    assert "CLEAN: damaged, 1 items on 2 shards" in dev.run("verify", "damaged")
    with Cluster(ClusterConfig.load(dev.config)) as cluster:  # behind mynamo's back
        index = cluster.table("damaged").index("by_status")
        for shard in cluster.shards.values():
            shard.run((f"DELETE FROM {sql.index_table(index)}", ()))
    assert json.loads(dev.run("verify", "damaged", "--json", status=WRONG))["findings"] == 1
    assert "DAMAGED: damaged" in dev.run("verify", "damaged", status=WRONG)
    planned = dev.run("repair", "damaged", "--plan", status=WRONG)
    assert "plan: 1 index rows would be mended" in planned
    assert "mended 1 of 1" in dev.run("repair", "damaged")
    assert json.loads(dev.run("repair", "damaged", "--json"))["verdict"]["ok"] is True
    assert "CLEAN" in dev.run("verify", "damaged")


def test_every_finding_is_said_and_logged(dev: Dev, tmp_path: Path) -> None:
    create(dev, "logged")
    for at in range(3):
        dev.open_orders(dev.put(at, "logged"), "logged")
    with Cluster(ClusterConfig.load(dev.config)) as cluster:  # behind mynamo's back
        index = cluster.table("logged").index("by_status")
        for shard in cluster.shards.values():
            shard.run((f"DELETE FROM {sql.index_table(index)}", ()))
    log, state = tmp_path / "log", tmp_path / "state"
    more = ("--log", str(log), "--resume", str(state), "--parallel", "3", "--rate", "5000")
    dev.run("verify", "logged", *more, status=WRONG)
    found = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["kind"] for line in found] == ["missing"] * 3
    planned = run(dev.config, "repair", "logged", "--plan", *more, status=WRONG)
    assert planned.stderr.count("planned: by_status: missing: item") == 3
    assert run(dev.config, "repair", "logged", *more).stderr.count("mended: by_status") == 3
    fates = [json.loads(line).get("fate") for line in log.read_text().splitlines()]
    assert fates == [None] * 3 + ["planned"] * 3 + ["mended"] * 3
    assert not state.exists()


def test_findings_are_metrics(dev: Dev, tmp_path: Path) -> None:
    create(dev, "counted")
    dev.open_orders(dev.put(1, "counted"), "counted")
    file = tmp_path / "counted.prom"
    dev.run("verify", "counted", "--metrics", str(file))
    clean = metrics_in(file)
    findings = {
        (labels["index"], labels["kind"]): value
        for name, labels, value in clean if name == "mynamo_verify_findings"
    }  # fmt: skip
    assert findings == dict.fromkeys(
        [("by_status", kind) for kind in ("missing", "stale", "ghost")]
        + [("", kind) for kind in ("damaged", "mark", "intent")], 0.0,
    )  # fmt: skip
    others = {name: value for name, _, value in clean if name != "mynamo_verify_findings"}
    assert others["mynamo_verify_items"] == 1
    assert others["mynamo_verify_undecided"] == 0
    assert 0 < others["mynamo_verify_seconds"] < 60
    assert abs(others["mynamo_verify_end_timestamp_seconds"] - time.time()) < 120
    assert {labels["table"] for _, labels, _ in clean} == {"counted"}
    with Cluster(ClusterConfig.load(dev.config)) as cluster:  # behind mynamo's back
        index = cluster.table("counted").index("by_status")
        for shard in cluster.shards.values():
            shard.run((f"DELETE FROM {sql.index_table(index)}", ()))
    dev.run("verify", "counted", "--metrics", str(file), status=WRONG)
    wrong = [(labels["index"], labels["kind"]) for name, labels, value in metrics_in(file)
             if name == "mynamo_verify_findings" and value]  # fmt: skip
    assert wrong == [("by_status", "missing")]
    before = file.read_text()
    dev.run("verify", "not_there", "--metrics", str(file), status=FAILED)
    assert file.read_text() == before  # a run that fails says nothing of the table
    assert [path.name for path in tmp_path.iterdir()] == ["counted.prom"]


def test_a_file_of_metrics_that_cannot_be_had_is_refused_before(dev: Dev, tmp_path: Path) -> None:
    create(dev, "refused")
    for wrong in (tmp_path / "a.txt", tmp_path / "nowhere" / "a.prom"):
        dev.run("verify", "refused", "--metrics", str(wrong), status=2)
    assert list(tmp_path.iterdir()) == []


def metrics_in(file: Path) -> list[tuple[str, dict[str, str], float]]:
    """Its samples, as Prometheus reads them."""
    return [
        (sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(file.read_text())
        for sample in family.samples
    ]


def test_what_cannot_be_looked_at_is_not_called_damaged(dev: Dev, tmp_path: Path) -> None:
    create(dev, "looked_at")
    dev.run("verify", "nothing", status=FAILED)
    dev.run("repair", "nothing", status=FAILED)
    (tmp_path / "state").write_text("something else")
    dev.run("verify", "looked_at", "--resume", str(tmp_path / "state"), status=FAILED)
    dev.run("verify", "looked_at", "--parallel", "0", status=2)
    dev.run("verify", "looked_at", "--log", str(tmp_path), status=2)


def test_lag_for_people_and_for_scripts(dev: Dev) -> None:
    create(dev, "followed")
    dev.open_orders(dev.put(1, "followed"), "followed")
    report = json.loads(dev.run("lag", "--json"))
    assert (report["events"], report["queued_writes"]) == (0, 0)
    assert [shard["shard"] for shard in report["shards"]] == [1, 2]
    shown = dev.run("lag")
    assert "by_status" in shown
    assert "queued writes that wait: 0" in shown
    assert all(shard["oldest_seconds"] < 600 for shard in report["shards"])
    assert (report["indexers"], report["indexer_missing"], report["standstill"]) == (
        1,
        False,
        False,
    )


def test_a_global_index_is_added_with_its_items(dev: Dev) -> None:
    create(dev, "grown")
    for at in range(3):
        dev.put(at, "grown")
    added = dev.run("index", "add", "grown", "--gsi", "by_price=price:N:KEYS_ONLY")
    assert added == "index by_price is ACTIVE: 3 items\n"
    page = json.loads(dev.run("query", "grown", "2", "--index", "by_price", "--json"))
    assert page["items"] == [{"customer": "ann", "at": 2, "price": 2}]
    shown = dev.run("table", "describe", "grown")
    assert "KEYS_ONLY" in shown


def test_queued_writes_and_dead_letters(dev: Dev, tmp_path: Path) -> None:
    create(dev, "queued")
    assert "no open dead letters" in run(dev.config, "dlq", "list").stderr
    file = tmp_path / "items.jsonl"
    file.write_text(
        "".join(f'{{"customer": "ann", "at": {n}}}\n' for n in range(300)) + '{"customer": 1}\n'
    )
    words = ("load", "queued", str(file), "--queued", "--json")
    loaded = json.loads(dev.run(*words, status=1))
    assert (loaded["acknowledged"], [e["line"] for e in loaded["errors"]]) == (300, [301])
    eventually(lambda: count(dev, "queued") == 300, WORKER_SECONDS)
    with Cluster(ClusterConfig.load(dev.config)) as cluster, Producer(cluster) as producer:
        item = {"customer": "ann", "at": 7}
        producer.publish(producer.queued_put("queued", item, condition=MUST_NOT_EXIST))
    (dead_letter,) = eventually(
        lambda: json.loads(dev.run("dlq", "list", "--json")), WORKER_SECONDS
    )
    assert "the item exists" in dead_letter["reason"]
    assert dead_letter["message"]["table"] == "queued"
    assert dead_letter["letter_id"] in dev.run("dlq", "list")
    dev.run("dlq", "replay", "nobody", status=1)
    dev.run("dlq", "replay", status=2)
    dev.run("delete", "queued", "customer=ann", "at=7")
    shown = dev.run("dlq", "show", dead_letter["letter_id"])
    assert "mynamo.writes, partition" in shown
    assert '"operation": "PUT"' in shown
    dev.run("dlq", "show", "nobody", status=1)
    assert dev.run("dlq", "replay", dead_letter["letter_id"]).startswith("1 handed to")
    assert "no open dead letters" in run(dev.config, "dlq", "list").stderr
    (replayed,) = json.loads(dev.run("dlq", "list", "--all", "--json"))
    assert (replayed["state"], replayed["attempts"]) == ("replayed", 1)
    eventually(lambda: count(dev, "queued") == 300, WORKER_SECONDS)
    dev.run("dlq", "discard", status=2)
    assert run(dev.config, "dlq", "discard", dead_letter["letter_id"], input="n\n", status=1)
    discarded = run(dev.config, "dlq", "discard", dead_letter["letter_id"], "--yes")
    assert "it had been applied already" in discarded.stderr
    assert (
        json.loads(dev.run("dlq", "show", dead_letter["letter_id"], "--json"))["state"]
        == "discarded"
    )


def count(dev: Dev, table: str) -> int:
    return len(dev.run("scan", table, "--lines", "--limit", "1000").splitlines())
