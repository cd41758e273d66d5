"""The steps of `mynamo demo-watch`: what goes wrong, and what is well again."""

from __future__ import annotations

import time
from pathlib import Path

from mynamo.catalog.cluster import Cluster
from mynamo.cli.children import Workers
from mynamo.cli.demo_alerts import LAG, AlertWatch
from mynamo.cli.demo_console import ShownConsole
from mynamo.cli.demo_orders import TABLE
from mynamo.cli.demo_requests import EXPIRY, Api
from mynamo.dashboards.prometheus_api import PrometheusApi
from mynamo.errors import MynamoError
from mynamo.local import LocalCluster
from mynamo.metrics.verify_metrics import write_verdict
from mynamo.operations.findings import Verdict
from mynamo.operations.verify import verify

STEADY, AWAY, BACK, AFTER_INDEX, FROZEN, AFTER = 45.0, 100.0, 50.0, 20.0, 210.0, 40.0
"""Seconds of the steps in a run of `USUAL_MINUTES`."""
USUAL_MINUTES = 9.0
QUIET = 25.0
"""Likewise, before the first request: rates of the loading before are over then."""
LEAST = 20.0
"""Seconds of a failure, at least: until Prometheus has asked, timed out and looked at its rules."""
KILLED = 2
PATIENCE = 300.0
VERDICT_FILE = "order_table.prom"


def create_orders(api: Api) -> None:
    """Make the table: an LSI, a GSI, a stream and time to live.

    Raises:
        MynamoError: it could not be made.
    """
    names = ("customer_id", "order_id", "status")
    whole = {"ProjectionType": "ALL"}
    api.must("CreateTable", {
        "TableName": TABLE, "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": n, "AttributeType": "S"} for n in names],
        "KeySchema": _keys("customer_id", "order_id"),
        "LocalSecondaryIndexes": [{
            "IndexName": "by_customer_status", "Projection": whole,
            "KeySchema": _keys("customer_id", "status"),
        }],
        "GlobalSecondaryIndexes": [{
            "IndexName": "by_status", "KeySchema": _keys("status", "customer_id"),
            "Projection": whole,
        }],
        "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    })  # fmt: skip
    _await_active(api, "by_status")
    live = {"AttributeName": EXPIRY, "Enabled": True}
    api.must("UpdateTimeToLive", {"TableName": TABLE, "TimeToLiveSpecification": live})


def await_metrics(prometheus: PrometheusApi) -> None:
    """Wait until Prometheus has asked all processes, and no alert is left of the time before.

    Raises:
        MynamoError: it has not.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        answered = prometheus.now("min(up)") == 1 and prometheus.now(LAG) is not None
        alerts = prometheus.alerts()
        if answered and not alerts:
            return
        if time.monotonic() > deadline:
            what = ", ".join(alert.name for alert in alerts) or "a process does not answer it"
            raise MynamoError(f"Prometheus is not ready after {PATIENCE:.0f} s: {what}")
        time.sleep(0.5)


class Failures:
    """One run, beside the load.

    Args:
        scale: of the steps' lengths.
        textfiles: the folder of files with metrics.
        console: of which pictures are taken while something fails.
    """

    def __init__(
        self,
        local: LocalCluster,
        cluster: Cluster,
        workers: Workers,
        api: Api,
        prometheus: PrometheusApi,
        watch: AlertWatch,
        scale: float,
        textfiles: Path,
        console: ShownConsole,
    ) -> None:
        self._local = local
        self._cluster = cluster
        self._workers = workers
        self._api = api
        self._prometheus = prometheus
        self._watch = watch
        self._scale = scale
        self._textfiles = textfiles
        self._console = console

    def run(self) -> None:
        """All steps.

        Raises:
            MynamoError: something did not come back.
        """
        self._rest(STEADY)
        self._local.kill_shard(KILLED)
        self._watch.happened(
            f"shard {KILLED} killed", "requests for its items fail with 503, all others go on"
        )
        self._rest(AWAY, LEAST)
        self._console.picture("/", "console-shard-away.png")
        self._local.start_shard(KILLED)
        self._watch.happened(f"shard {KILLED} back")
        self._rest(BACK)
        self._add_index()
        self._rest(AFTER_INDEX)
        self._watch.happened("verify", "its findings go to Prometheus as a file")
        self.verify()
        self._rest(AFTER_INDEX)
        self._freeze_indexer()
        self._rest(AFTER)

    def verify(self) -> Verdict:
        """Verify the table, and write the metrics of it."""
        began = time.monotonic()
        verdict = verify(self._cluster, TABLE)
        write_verdict(verdict, time.monotonic() - began, self._textfiles / VERDICT_FILE)
        return verdict

    def _rest(self, seconds: float, least: float = 0.0) -> None:
        time.sleep(max(least, seconds * self._scale))

    def _add_index(self) -> None:
        index = {
            "IndexName": "by_product", "KeySchema": _keys("product", "price"),
            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["quantity"]},
        }  # fmt: skip
        types = {"product": "S", "price": "N"}
        self._api.must("UpdateTable", {
            "TableName": TABLE,
            "AttributeDefinitions": [
                {"AttributeName": name, "AttributeType": type_} for name, type_ in types.items()
            ],
            "GlobalSecondaryIndexUpdates": [{"Create": index}],
        })  # fmt: skip
        self._watch.happened(
            "GSI by_product added", "writers put all items into it (backfill) under load"
        )
        _await_active(self._api, "by_product")
        self._watch.happened("by_product ACTIVE")

    def _freeze_indexer(self) -> None:
        self._workers.indexer.freeze()
        try:
            self._watch.happened(
                "indexer frozen (SIGSTOP)", "writes go on, GSIs show them later and later"
            )
            self._rest(FROZEN, LEAST)
            self._console.picture("/lag", "console-index-behind.png")
        finally:
            self._workers.indexer.thaw()
        self._watch.happened("indexer goes on")
        deadline = time.monotonic() + PATIENCE
        time.sleep(3)  # until the lag is looked at again
        while (self._prometheus.now(LAG) or 0) > 2:
            if time.monotonic() > deadline:
                raise MynamoError(f"the indexes did not catch up in {PATIENCE:.0f} s")
            time.sleep(1)
        self._watch.happened("GSIs have caught up")


def _keys(hash_key: str, sort_key: str) -> list[dict[str, str]]:
    return [
        {"AttributeName": hash_key, "KeyType": "HASH"},
        {"AttributeName": sort_key, "KeyType": "RANGE"},
    ]


def _await_active(api: Api, index: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        table = api.must("DescribeTable", {"TableName": TABLE})["Table"]
        found = {one["IndexName"]: one["IndexStatus"] for one in table["GlobalSecondaryIndexes"]}
        if found.get(index) == "ACTIVE" == table["TableStatus"]:
            return
        if time.monotonic() > deadline:
            raise MynamoError(f"index {index} was not ACTIVE after {PATIENCE:.0f} s: {found}")
        time.sleep(0.2)
