"""Random operations of several clients: the gateway answers as the model of DynamoDB does."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.amounts import amount
from tests.gateway import (
    model_expressions,
    model_indexes,
    model_reads,
    model_transactions,
    model_updates,
)
from tests.gateway.calling import Caller
from tests.gateway.differential import Comparison, Difference
from tests.gateway.generating_keys import TABLES
from tests.gateway.model_operations import Index, Table
from tests.gateway.model_requests import Reason, Refused

pytestmark = pytest.mark.slow

SEED = 20260101
CLIENTS = 4
OPERATIONS = amount(1_000)
"""Of each client."""
WAIT = 20.0


def create(dynamodb: Any, table: Table) -> None:
    """Create a table and wait until it is there."""
    indexes: dict[str, list[Any]] = {"Local": [], "Global": []}
    for index in table.indexes:
        indexes["Local" if index.is_local else "Global"].append(
            {
                "IndexName": index.name,
                "KeySchema": key_schema(index),
                "Projection": projection(index),
            }
        )
    dynamodb.create_table(
        TableName=table.name,
        AttributeDefinitions=[
            {"AttributeName": name, "AttributeType": kind} for name, kind in table.types.items()
        ],
        KeySchema=key_schema(table),
        BillingMode="PAY_PER_REQUEST",
        **{f"{kind}SecondaryIndexes": some for kind, some in indexes.items() if some},
    )
    dynamodb.get_waiter("table_exists").wait(
        TableName=table.name, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )


def key_schema(keyed: Table | Index) -> list[dict[str, str]]:
    return [
        {"AttributeName": name, "KeyType": kind}
        for name, kind in zip(keyed.keys, ("HASH", "RANGE"), strict=False)
    ]


def projection(index: Index) -> dict[str, Any]:
    if index.included is None:
        return {"ProjectionType": "ALL"}
    return {"ProjectionType": "INCLUDE", "NonKeyAttributes": sorted(index.included)}


def compare(url: str, client: int, operations: int, wait: float = WAIT) -> Comparison:
    """Run one client's operations. Raises Difference."""
    with Caller(url) as caller:
        comparison = Comparison(caller, SEED, client, wait)
        comparison.run(operations)
    return comparison


@pytest.fixture(scope="module")
def tables(shared_dynamodb: Any) -> None:
    for table in TABLES:
        create(shared_dynamodb, table)


@pytest.mark.usefixtures("tables")
def test_the_gateway_answers_as_dynamodb_would(shared_url: str) -> None:
    with ThreadPoolExecutor(CLIENTS) as pool:
        compared = list(
            pool.map(lambda client: compare(shared_url, client, OPERATIONS), range(CLIENTS))
        )
    asked = sum(comparison.done - comparison.skipped for comparison in compared)
    assert asked >= CLIENTS * OPERATIONS * 0.96
    assert all(comparison.shown for comparison in compared)  # tokens were used


Rule = Callable[[pytest.MonkeyPatch], None]


def begins_with_anywhere(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(model_expressions, "begins_with", model_expressions.contains)


def delete_keeps_empty_sets(patch: pytest.MonkeyPatch) -> None:
    real = model_updates.change

    def change(action: Any, old: Any, item: Any) -> Any:
        changed = real(action, old, item)
        if changed == model_updates.GONE and action[0] == "DELETE" and old:
            return old[0], frozenset()
        return changed

    patch.setattr(model_updates, "change", change)


def removed_elements_leave_holes(patch: pytest.MonkeyPatch) -> None:
    def clean_up(value: Any) -> None:
        if value[0] == "L":
            value[1][:] = [("NULL", True) if m[0] == "GONE" else m for m in value[1]]
        else:
            for name in [n for n, member in value[1].items() if member[0] == "GONE"]:
                del value[1][name]
        for member in value[1].values() if value[0] == "M" else value[1]:
            if member[0] in ("L", "M"):
                clean_up(member)

    patch.setattr(model_updates, "clean_up", clean_up)


def local_index_in_order_of_the_table(patch: pytest.MonkeyPatch) -> None:
    real = model_indexes.sort_value

    def sort_value(table: Any, index: Any, item: Any) -> Any:
        return real(table, None if index and index.is_local else index, item)

    patch.setattr(model_reads, "sort_value", sort_value)


def index_holds_everything(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(model_reads, "index_item", lambda table, index, item: item)


def global_index_stays_empty(patch: pytest.MonkeyPatch) -> None:
    real = model_indexes.in_index
    patch.setattr(
        model_reads, "in_index", lambda index, item: index.name != "by_g" and real(index, item)
    )


def transactions_cost_as_single_writes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(model_transactions, "twice", lambda units: units)


def first_failed_condition_is_the_only_reason(patch: pytest.MonkeyPatch) -> None:
    real = model_transactions.cancelled

    def cancelled(reasons: list[Reason]) -> Refused:
        first = next(n for n, reason in enumerate(reasons) if reason != model_transactions.NONE)
        others = [model_transactions.NONE] * len(reasons)
        return real([*others[:first], reasons[first], *others[first + 1 :]])

    patch.setattr(model_transactions, "cancelled", cancelled)


RULES = (
    begins_with_anywhere,
    delete_keeps_empty_sets,
    removed_elements_leave_holes,
    local_index_in_order_of_the_table,
    index_holds_everything,
    global_index_stays_empty,
    transactions_cost_as_single_writes,
    first_failed_condition_is_the_only_reason,
)


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize("rule", RULES)
def test_a_model_with_one_wrong_rule_is_found_out(
    rule: Rule, shared_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A negative control: the same comparison, and the gateway is right."""
    rule(monkeypatch)
    client = 100 + RULES.index(rule)  # items that no other test has
    with pytest.raises(Difference):
        compare(shared_url, client, 3_000, wait=1.0)
