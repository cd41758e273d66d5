"""Token buckets of provisioned throughput, with a clock of their own."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mynamo.catalog.tables import Table
from mynamo.errors import ThroughputExceeded
from mynamo.gateway.provisioned_throughput import (
    BURST_SECONDS,
    CapacityBuckets,
    ProvisionedThroughput,
)
from mynamo.schemas.table_settings import Capacity, IndexSettings, TableSettings

SECOND = 1_000_000_000


class Clock:
    """Stands still unless a test moves it; in ns."""

    def __init__(self) -> None:
        self.now = 1_000_000 * SECOND

    def __call__(self) -> int:
        return self.now

    def pass_seconds(self, seconds: float) -> None:
        self.now += round(seconds * SECOND)


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Told:
    """What was throttled."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, str]] = []

    def __call__(self, table: str, index: str, access: str) -> None:
        self.events.append((table, index, access))


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def throughput(clock: Clock, told: Told) -> ProvisionedThroughput:
    return ProvisionedThroughput(CapacityBuckets(clock), told)


def table(
    read: int = 2, write: int = 2, id_: int = 1, mode: str = "PROVISIONED", **indexes: Capacity
) -> Table:
    """A table by a definition of its own, with GSIs."""
    settings = TableSettings(
        billing_mode=cast(Any, mode),
        capacity=Capacity(read=read, write=write),
        indexes={name: IndexSettings(capacity=of) for name, of in indexes.items()},
    )
    made = SimpleNamespace(
        id=id_,
        name="orders",
        settings=settings,
        kept={},
        global_indexes=[SimpleNamespace(id=n, name=name) for n, name in enumerate(indexes)],
    )
    return cast(Table, made)


def admitted(throughput: ProvisionedThroughput, of: Table, tries: int, units: float = 1.0) -> int:
    """How many of some writes at one moment are taken."""
    taken = 0
    for _ in range(tries):
        use = throughput.use(of, "write")
        assert use is not None
        try:
            use.admit(units)
        except ThroughputExceeded:
            continue
        taken += 1
    return taken


def test_a_burst_of_300_seconds_and_then_the_provisioned_rate(
    throughput: ProvisionedThroughput, clock: Clock
) -> None:
    orders = table(write=2)
    assert admitted(throughput, orders, 1000) == 2 * BURST_SECONDS
    assert admitted(throughput, orders, 10) == 0
    clock.pass_seconds(10)
    assert admitted(throughput, orders, 100) == 20
    clock.pass_seconds(10_000)
    assert admitted(throughput, orders, 1000) == 2 * BURST_SECONDS


def test_reads_and_writes_and_tables_have_units_of_their_own(
    throughput: ProvisionedThroughput,
) -> None:
    orders, others = table(write=1), table(write=1, id_=2)
    assert admitted(throughput, orders, 500) == BURST_SECONDS
    reads = throughput.use(orders, "read")
    assert reads is not None
    reads.admit(0.5)
    assert admitted(throughput, others, 500) == BURST_SECONDS


def test_what_a_request_cost_is_paid_back_before_the_next_one_begins(
    throughput: ProvisionedThroughput, clock: Clock
) -> None:
    orders = table(read=1)

    def read(costs: float) -> None:
        use = throughput.use(orders, "read")
        assert use is not None
        use.admit(0.5)
        use.settle({None: costs})

    read(299.5)
    read(60.5)  # half a unit was left: now there are 60 too few
    for seconds in (0, 59):
        clock.pass_seconds(seconds)
        with pytest.raises(ThroughputExceeded):
            read(1)
    clock.pass_seconds(2)
    read(1_000_000)  # no more than a burst has to be paid back
    clock.pass_seconds(BURST_SECONDS - 1)
    with pytest.raises(ThroughputExceeded):
        read(1)
    clock.pass_seconds(2)
    read(1)


def test_an_index_without_units_throttles_all_writes_of_its_table(
    throughput: ProvisionedThroughput, told: Told
) -> None:
    orders = table(write=1000, by_kind=Capacity(read=1, write=1), by_day=Capacity(read=9, write=9))
    use = throughput.use(orders, "write")
    assert use is not None
    use.admit(1)
    use.settle({None: 1, "by_kind": 300, "by_day": 300})
    with pytest.raises(ThroughputExceeded) as caught:
        use.admit(1)
    assert (caught.value.table, caught.value.index, caught.value.access) == (
        "orders", "by_kind", "write",
    )  # fmt: skip
    reads = throughput.use(orders, "read")
    assert reads is not None
    reads.admit(300, "by_kind")
    reads.admit(1)  # the table's own
    with pytest.raises(ThroughputExceeded):
        reads.admit(1, "by_kind")
    assert told.events == [("orders", "by_kind", "write"), ("orders", "by_kind", "read")]


def test_on_demand_and_what_has_no_capacity_set_are_not_limited(
    throughput: ProvisionedThroughput,
) -> None:
    assert throughput.use(table(mode="PAY_PER_REQUEST"), "write") is None
    made_by_a_command = table(write=1000, by_kind=Capacity())
    use = throughput.use(made_by_a_command, "write")
    assert use is not None
    use.settle({"by_kind": 1_000_000})
    use.admit(1)


@pytest.mark.parametrize(("units", "left"), [(10, 100), (1, 100), (2, 100)])
def test_units_stay_when_the_throughput_changes(
    throughput: ProvisionedThroughput, units: int, left: int
) -> None:
    assert admitted(throughput, table(write=2), 500) == 500  # of 600
    assert admitted(throughput, table(write=units), 1000) == left


def test_a_lower_throughput_keeps_no_more_than_its_own_burst(
    throughput: ProvisionedThroughput,
) -> None:
    assert admitted(throughput, table(write=100), 1) == 1
    assert admitted(throughput, table(write=1), 1000) == BURST_SECONDS


def test_more_units_are_there_at_once_for_who_owes_some(
    throughput: ProvisionedThroughput, clock: Clock
) -> None:
    use = throughput.use(table(write=1), "write")
    assert use is not None
    use.settle({None: 400})
    faster = table(write=100)
    assert admitted(throughput, faster, 1) == 0
    clock.pass_seconds(1.1)
    assert admitted(throughput, faster, 100) == 10


def in_child(work: Callable[[], int]) -> int:
    """What a child process returns, below 256."""
    process = os.fork()
    if process == 0:
        os._exit(work())
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_processes_share_the_units(throughput: ProvisionedThroughput) -> None:
    orders = table(write=1)
    assert in_child(lambda: admitted(throughput, orders, 200)) == 200
    assert in_child(lambda: admitted(throughput, orders, 200)) == 100
    assert admitted(throughput, orders, 200) == 0
