"""A program that keeps Celery's results in DynamoDB; `test_python` runs it.

Its worker is a thread of this process and its broker is memory.
"""

from __future__ import annotations

import os
import time
import uuid

from celery import Celery, chord, group, states
from celery.contrib.testing.worker import start_worker

TABLE = f"celery-{uuid.uuid4().hex[:8]}"
app = Celery(
    "results",
    broker="memory://",
    backend=f"dynamodb://any:any@{os.environ['AWS_REGION']}/{TABLE}?ttl_seconds=600",
)
app.conf.update(
    dynamodb_endpoint_url=os.environ["DYNAMO_ENDPOINT"],
    result_extended=True,
    task_track_started=True,
    broker_transport_options={"polling_interval": 0.05},
)
SECONDS = 60


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task
def fails() -> None:
    raise ValueError("on purpose")


def main() -> None:
    with start_worker(app, pool="solo", perform_ping_check=False, loglevel="critical"):
        result = add.delay(2, 3)
        assert result.get(timeout=SECONDS) == 5
        assert (result.state, result.name) == (states.SUCCESS, "results.add")
        failed = fails.delay()
        failed.get(timeout=SECONDS, propagate=False)
        assert failed.state == states.FAILURE
        assert "on purpose" in failed.traceback
        many = group(add.s(n, n) for n in range(10))()
        assert many.get(timeout=SECONDS) == [2 * n for n in range(10)]
        # The header's end is counted by an UpdateItem in the table.
        assert chord((add.s(n, 1) for n in range(10)), total.s())().get(timeout=SECONDS) == 55
        result.forget()
        assert app.AsyncResult(result.id).state == states.PENDING
    has_an_expiry(app.backend.client)
    app.backend.client.delete_table(TableName=TABLE)
    print("all of it works")  # noqa: T201


def has_an_expiry(client: object) -> None:
    ttl = client.describe_time_to_live(TableName=TABLE)["TimeToLiveDescription"]
    assert ttl["AttributeName"] == "ttl", ttl
    for item in client.scan(TableName=TABLE)["Items"]:
        assert 0 < int(item["ttl"]["N"]) - time.time() <= 600, item


main()
