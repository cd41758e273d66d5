"""Transactions of several processes at once on the same items, without faults, checked as the
fault harness checks them (`tests/faults`)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from mynamo.catalog.cluster import Cluster
from mynamo.schemas.config import ClusterConfig
from tests.amounts import amount
from tests.faults import sabotage, transactions, workload
from tests.faults.access import LibraryAccess
from tests.faults.history import Key, Operation, Recorder, load
from tests.faults.leftovers import leftovers
from tests.faults.transacting import Known
from tests.faults.transactions import ACCOUNT_KEYS, ACCOUNTS, LISTS

PROCESSES = 2
THREADS = 3
STEPS = 120
"""Of each thread."""

TRIES = 5
"""Of a control, each of other random transactions."""
ON_ACCOUNTS = {"move": 5, "sum": 5, "note": 2}
ON_LISTS = {"append_all": 6, "get_all": 4, "append": 2, "get_one": 2}


@pytest.fixture
def config(engine_config: ClusterConfig) -> ClusterConfig:
    """Each engine in turn."""
    return engine_config


def run(config: ClusterConfig, folder: Path, mix: Mapping[str, int], seed: int) -> list[Operation]:
    """Let the threads of several processes do so; returns what they did, and what is there then."""
    workload.ensure_table(config)
    workload.ensure_transactions(config)
    path = folder / "history.jsonl"
    with Recorder(path) as recorder, ExitStack() as stack:
        workers = []
        for process in range(PROCESSES):
            access = LibraryAccess(stack.enter_context(Cluster(config)))
            known: dict[Key, Known] = {}
            for thread in range(THREADS):
                number = 100 * (process + 1) + thread
                workers.append(
                    workload.Worker(
                        number, recorder, lambda a=access: a, dict(mix), known, 0.0, seed  # type: ignore[misc]
                    )
                )  # fmt: skip
        meeting = threading.Barrier(len(workers))

        def work(worker: workload.Worker) -> None:
            meeting.wait(30)
            for _ in range(amount(STEPS)):
                worker.step()

        with ThreadPoolExecutor(len(workers)) as pool:
            for done in [pool.submit(work, worker) for worker in workers]:
                done.result()
    last = folder / "last.jsonl"
    places = {(ACCOUNTS, key) for key in ACCOUNT_KEYS}
    workload.final_reads(config, last, places | workload.all_keys(load([path])))
    return load([path, last])


Checker = Callable[[Sequence[Operation]], tuple[int, list[str]]]


def checked(
    config: ClusterConfig,
    operations: Sequence[Operation],
    table: str,
    checker: Checker,
    least: int,
) -> None:
    """Assert that nothing is wrong or left behind, and that enough was done."""
    assert [o for o in operations if o.outcome in ("crash", "unknown")] == []
    with Cluster(config) as cluster:
        assert leftovers(cluster) == []
    own = [o for o in operations if o.table == table]
    done = {(o.kind, o.outcome) for o in own}
    assert {("transact_write", "ok"), ("transact_get", "ok")} <= done, done
    checks, problems = checker(own)
    assert problems == []
    others = [o for o in own if o.kind == "transact_other"]
    assert transactions.check_tokens(transactions.requests_of(own, table), others, {})[1] == []
    assert checks > least


def test_the_sum_of_accounts_never_changes(config: ClusterConfig, tmp_path: Path) -> None:
    operations = run(config, tmp_path, ON_ACCOUNTS, seed=1)
    checked(config, operations, ACCOUNTS, transactions.check_accounts, least=20)


def test_lists_look_as_if_one_transaction_came_after_the_other(
    config: ClusterConfig, tmp_path: Path
) -> None:
    operations = run(config, tmp_path, ON_LISTS, seed=2)
    checked(config, operations, LISTS, transactions.check_lists, least=100)


CONTROLS = ("intents", "deletion", "second-look")
"""Of the harness's mechanisms those that are missed without faults too."""


@pytest.mark.parametrize("name", CONTROLS)
def test_they_find_that_a_mechanism_is_missing(
    engine_config: ClusterConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(sabotage, "_put", monkeypatch.setattr)
    take_out = sabotage.MECHANISMS[name].take_out
    assert take_out is not None
    take_out()
    for seed in range(TRIES):
        folder = tmp_path / str(seed)
        folder.mkdir()
        operations = run(engine_config, folder, ON_LISTS, seed)
        if transactions.check_lists([o for o in operations if o.table == LISTS])[1]:
            return
    pytest.fail(f"nothing was wrong in {TRIES} runs")
