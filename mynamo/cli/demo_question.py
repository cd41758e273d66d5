"""One question, asked in four ways: what each of them reads, and how long it takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from rich.console import Console

from mynamo.cli.demo_orders import TABLE
from mynamo.cli.output import print_grid
from mynamo.reader import Page, Reader, equal

CUSTOMER = "customer-00003"
STATUS = "returned"
ROUNDS = 5

NextPage = Callable[[str | None], Page]


@dataclass(frozen=True)
class Answer:
    """What one way of asking came to.

    Attributes:
        found: the order ids, in order.
        read: items that had to be fetched.
        plan: how they were found.
        seconds: the median of some rounds.
    """

    found: list[str]
    read: int
    plan: str
    seconds: float


def ask(reader: Reader, screen: Console) -> bool:
    """Ask by primary key, LSI, GSI and scan, and print what each took.

    Returns:
        Whether the answers were the same.
    """
    ways: dict[str, NextPage] = {
        "primary key": lambda token: reader.query(TABLE, CUSTOMER, page_token=token),
        "LSI": lambda token: reader.query(
            TABLE, CUSTOMER, index="by_customer_status", sort=equal(STATUS), page_token=token
        ),
        "GSI": lambda token: reader.query(
            TABLE, STATUS, index="by_status", sort=equal(CUSTOMER), page_token=token
        ),
        "scan": lambda token: reader.scan(TABLE, page_token=token),
    }
    answers = {name: _answer(way, 1 if name == "scan" else ROUNDS) for name, way in ways.items()}
    screen.print()
    print_grid(
        ["by", "found", "items read", "time", "plan"],
        [(name, len(a.found), f"{a.read:,}", f"{a.seconds * 1000:,.1f} ms", a.plan)
         for name, a in answers.items()],
        title=f"Which orders of {CUSTOMER} are {STATUS}?",
        right=["found", "items read", "time"],
    )  # fmt: skip
    first, *others = (answer.found for answer in answers.values())
    return bool(first) and all(other == first for other in others)


def _answer(way: NextPage, rounds: int) -> Answer:
    took = []
    for _ in range(rounds):
        started = time.perf_counter()
        items, plan = _all_items(way)
        found = sorted(item["order_id"] for item in items if _fits(item))
        took.append(time.perf_counter() - started)
    return Answer(found, len(items), plan, median(took))


def _all_items(way: NextPage) -> tuple[list[dict[str, Any]], str]:
    page = way(None)
    items, plan, shards = page.items, page.plan, {*page.plan.shards}
    while page.page_token is not None:
        page = way(page.page_token)
        items = items + page.items
        shards |= {*page.plan.shards}
    return items, str(replace(plan, shards=tuple(sorted(shards))))


def _fits(item: dict[str, Any]) -> bool:
    return (item["customer_id"], item["status"]) == (CUSTOMER, STATUS)
