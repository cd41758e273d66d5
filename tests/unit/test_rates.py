"""Token buckets of users and tables, with a clock of their own."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mynamo.errors import ConfigError
from mynamo.gateway.context import Context
from mynamo.gateway.rates import RateLimits, check_users, rate_limits
from mynamo.gateway.service_errors import ServiceError
from mynamo.schemas.gateway_config import GatewayConfig, RequestRate

SECOND = 1_000_000_000
CONTEXT = cast(Context, SimpleNamespace(region="us-east-1", account_id="000000000000"))
ARN = "arn:aws:dynamodb:us-east-1:000000000000:table/"
KEY = {"id": {"S": "1"}}


class Clock:
    """Stands still unless a test moves it.

    Attributes:
        now: in ns.
    """

    def __init__(self) -> None:
        self.now = 1_000_000 * SECOND

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def of_user(user: str, rate: float, burst: int | None = None) -> RequestRate:
    return RequestRate(user=user, requests_per_second=rate, burst=burst)


def of_table(table: str, rate: float, burst: int | None = None) -> RequestRate:
    return RequestRate(table=table, requests_per_second=rate, burst=burst)


def admitted(limits: RateLimits, user: str | None, tries: int) -> int:
    """How many of some requests at one moment are taken."""
    taken = 0
    for _ in range(tries):
        try:
            limits.check_user(user)
            taken += 1
        except ServiceError as error:
            if error.kind != "ThrottlingException":
                raise
    return taken


def test_a_burst_and_then_as_many_as_the_time_allows(clock: Clock) -> None:
    limits = RateLimits([of_user("ann", 10, burst=5)], clock)
    assert admitted(limits, "ann", 20) == 5
    clock.now += SECOND // 10 - 1
    assert admitted(limits, "ann", 20) == 0
    clock.now += 1
    assert admitted(limits, "ann", 20) == 1
    clock.now += SECOND // 5
    assert admitted(limits, "ann", 20) == 2


def test_a_pause_saves_up_one_burst_and_no_more(clock: Clock) -> None:
    limits = RateLimits([of_user("ann", 10, burst=5)], clock)
    for _ in range(3):
        assert admitted(limits, "ann", 20) == 5
        clock.now += 3600 * SECOND


def test_the_rate_in_the_long_run(clock: Clock) -> None:
    limits = RateLimits([of_user("ann", 7, burst=3)], clock)
    taken = 0
    for _ in range(10_000):
        taken += admitted(limits, "ann", 1)
        clock.now += SECOND // 1000
    assert 3 + 69 <= taken <= 3 + 70


@pytest.mark.parametrize(("rate", "burst"), [(10, 10), (2.4, 2), (0.01, 1)])
def test_the_burst_is_what_a_second_has(clock: Clock, rate: float, burst: int) -> None:
    assert admitted(RateLimits([of_user("ann", rate)], clock), "ann", 50) == burst


def test_a_user_pays_for_no_other(clock: Clock) -> None:
    limits = RateLimits([of_user("ann", 1, 2), of_user("bob", 1, 3)], clock)
    assert admitted(limits, "ann", 50) == 2
    assert admitted(limits, "bob", 50) == 3
    assert admitted(limits, "carl", 50) == 50  # no rate is given
    assert admitted(limits, None, 50) == 50


def test_what_the_client_hears(clock: Clock) -> None:
    limits = RateLimits([of_user("ann", 2.5, 1)], clock)
    limits.check_user("ann")
    with pytest.raises(ServiceError) as caught:
        limits.check_user("ann")
    assert caught.value.status == 400
    assert caught.value.body() == {
        "__type": "com.amazon.coral.availability#ThrottlingException",
        "message": "Rate of requests exceeds the allowed throughput. (user ann: 2.5 a second)",
    }


def on_tables(limits: RateLimits, operation: str, request: dict[str, Any]) -> bool:
    """Whether a request is taken."""
    try:
        limits.check_tables(CONTEXT, operation, request)
    except ServiceError as error:
        if error.kind != "ThrottlingException":
            raise
        return False
    return True


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("GetItem", {"TableName": "orders", "Key": KEY}),
        ("Query", {"TableName": "orders", "IndexName": "by_date"}),
        ("CreateTable", {"TableName": "orders", "Tags": [{"Key": "a", "Value": "b"}]}),
        ("BatchGetItem", {"RequestItems": {"orders": {"Keys": [KEY, KEY]}}}),
        ("TransactWriteItems", {"TransactItems": [
            {"Put": {"TableName": "other", "Item": KEY}},
            {"Delete": {"TableName": "orders", "Key": KEY}}]}),
        ("TagResource", {"ResourceArn": ARN + "orders", "Tags": []}),
        ("ListStreams", {"TableName": "orders"}),
        ("DescribeStream", {"StreamArn": ARN + "orders/stream/2026-01-02T03:04:05.678"}),
    ],
)  # fmt: skip
def test_what_counts_for_a_table(clock: Clock, operation: str, request_: dict[str, Any]) -> None:
    """Once, however many items it is about."""
    limits = RateLimits([of_table("orders", 1, 2)], clock)
    taken = [on_tables(limits, operation, request_) for _ in range(3)]
    assert taken == [True, True, False]


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("GetItem", {"TableName": "other", "Key": KEY}),
        ("ListTables", {}),
        ("ListStreams", {}),
        ("DescribeLimits", {}),
    ],
)
def test_what_does_not(clock: Clock, operation: str, request_: dict[str, Any]) -> None:
    limits = RateLimits([of_table("orders", 1, 1)], clock)
    assert all(on_tables(limits, operation, request_) for _ in range(3))


def test_a_request_that_is_refused_for_one_table_counts_for_none(clock: Clock) -> None:
    limits = RateLimits([of_table("orders", 1, 1), of_table("other", 1, 1)], clock)
    both = {"RequestItems": {name: {"Keys": [KEY]} for name in ("other", "orders")}}
    assert on_tables(limits, "GetItem", {"TableName": "orders", "Key": KEY})
    assert not on_tables(limits, "BatchGetItem", both)
    assert on_tables(limits, "GetItem", {"TableName": "other", "Key": KEY})
    assert not on_tables(limits, "GetItem", {"TableName": "other", "Key": KEY})


class Crowded(Clock):
    """Lets other threads come while one looks at it.

    Attributes:
        most: that looked at it at one moment.
    """

    def __init__(self) -> None:
        super().__init__()
        self.most = 0
        self._inside = 0

    def __call__(self) -> int:
        self._inside += 1
        self.most = max(self.most, self._inside)
        time.sleep(0.001)
        self._inside -= 1
        return self.now


def test_one_thread_at_a_time_takes_tokens() -> None:
    crowded = Crowded()
    limits = RateLimits([of_user("ann", 1, 12)], crowded)
    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(lambda _: admitted(limits, "ann", 5), range(4)))
    assert sum(taken) == 12
    assert crowded.most == 1


def test_processes_share_a_bucket(clock: Clock) -> None:
    limits = RateLimits([of_user("ann", 1, 5)], clock)
    child = os.fork()
    if child == 0:
        os._exit(admitted(limits, "ann", 3))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 3
    assert admitted(limits, "ann", 20) == 2


def test_without_rates_there_is_nothing_to_check() -> None:
    assert rate_limits(GatewayConfig()) is None
    assert rate_limits(GatewayConfig(rates=(of_user("ann", 1),))) is not None


def test_a_user_that_does_not_exist_is_a_mistake() -> None:
    config = GatewayConfig.model_validate({
        "credentials": [
            {"access_key_id": "AKIAANN", "secret_access_key": "a-long-secret", "name": "ann"},
            {"access_key_id": "AKIABOB", "secret_access_key": "a-long-secret"},
        ],
        "rates": [{"user": name, "requests_per_second": 1} for name in ("ann", "AKIABOB")],
    })  # fmt: skip
    check_users(config)
    wrong = config.model_copy(update={"rates": (of_user("AKIAANN", 1),)})
    with pytest.raises(ConfigError, match="no credential has the name AKIAANN; write the name"):
        check_users(wrong)
