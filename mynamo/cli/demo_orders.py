"""The orders of `mynamo demo`: the same ones each time, without any randomness."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from mynamo.schemas.table import TableSchema

TABLE = "order_table"
SCHEMA = TableSchema.parse(
    {
        "name": TABLE,
        "hash_key": "customer_id",
        "sort_key": "order_id",
        "local_indexes": [{"name": "by_customer_status", "sort_key": "status"}],
        "global_indexes": [
            {"name": "by_status", "hash_key": "status", "sort_key": "customer_id"},
            {
                "name": "by_product",
                "hash_key": "product",
                "sort_key": "price:N",
                "projection": {"type": "INCLUDE", "attributes": ["status"]},
            },
        ],
    }
)

STATUSES = ("delivered", "delivered", "delivered", "delivered", "shipped", "paid", "returned")
ORDERS_PER_CUSTOMER = 40
PRODUCTS = 250


def order(number: int) -> dict[str, Any]:
    """The order of that number, from 0; some 300 bytes."""
    mixed = number * 2_654_435_761 % 2**32  # spreads neighbours
    return {
        **order_key(number),
        "status": STATUSES[mixed % len(STATUSES)],
        "product": f"product-{mixed // 7 % PRODUCTS:03d}",
        "price": Decimal(99 + mixed % 50_000) / 100,
        "quantity": 1 + mixed % 5,
        "ordered_at": f"2026-{1 + number % 12:02d}-{1 + number % 28:02d}T12:00:00Z",
        "address": {"street": f"{mixed % 900} Long Street", "city": f"City {mixed % 60}"},
    }


def order_key(number: int) -> dict[str, Any]:
    """The key of that order."""
    return {
        "customer_id": f"customer-{number // ORDERS_PER_CUSTOMER:05d}",
        "order_id": f"order-{number:07d}",
    }


def orders(first: int, last: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """The orders from `first` to below `last`, with their numbers."""
    for number in range(first, last):
        yield number, order(number)
