"""Pages about the whole cluster: overview, lag, transactions, streams."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from starlette.responses import Response

from mynamo.catalog.cluster import Cluster
from mynamo.console.dead_letter_pages import DEAD_LETTERS, entries_of
from mynamo.console.page_parts import Part
from mynamo.console.refused import Refused
from mynamo.console.rendering import page
from mynamo.console.visits import Visit
from mynamo.gateway.policies.iam_actions import DESCRIBE_CLUSTER, LIST_DEAD_LETTERS
from mynamo.operations.lag import IndexLag, ShardLags, consumers_lag, shard_lags
from mynamo.operations.open_transactions import open_transactions
from mynamo.operations.shard_list import list_shards
from mynamo.schemas.keys import SLOTS

_STREAMS_SHOWN = 50


@dataclass(frozen=True, slots=True)
class WholeIndexLag:
    """How far one GSI is behind, on all shards.

    Attributes:
        events: that are not applied yet; some may not concern the index.
        seconds: of the shard from which it is furthest behind.
    """

    table: str
    index: str
    status: str
    events: int
    seconds: float


def whole_lags(indexes: Iterable[IndexLag]) -> list[WholeIndexLag]:
    """One figure for each index."""
    by_index: dict[tuple[str, str], list[IndexLag]] = {}
    for one in indexes:
        by_index.setdefault((one.table, one.index), []).append(one)
    return [
        WholeIndexLag(
            table, index, some[0].status, sum(each.events for each in some),
            max(each.seconds for each in some),
        )
        for (table, index), some in by_index.items()
    ]  # fmt: skip


def overview(visit: Visit) -> Response:
    """The cluster: its shards and main figures."""
    return page(visit, "overview.html", **_overview(visit))


def overview_figures(visit: Visit) -> Response:
    """The part of it that changes."""
    return page(visit, "overview_figures.html", **_overview(visit))


def _overview(visit: Visit) -> dict[str, Any]:
    cluster = visit.console.cluster
    if not visit.has_right(DESCRIBE_CLUSTER):
        return {"allowed": False}
    works: dict[str, Callable[[], Any]] = {
        "shards": partial(list_shards, cluster),
        "lag": partial(_shard_lags, cluster),
        "consumers": partial(_consumers, cluster),
        "transactions": partial(open_transactions, cluster),
    }
    shows_letters = visit.has_right(LIST_DEAD_LETTERS)
    if shows_letters:
        works[DEAD_LETTERS] = partial(entries_of, visit.console)
    parts = visit.parts(works)
    letters = parts.get(DEAD_LETTERS, Part())
    return {
        "allowed": True,
        "shards": parts["shards"],
        "lag": parts["lag"],
        "indexes": _indexes(parts["lag"]),
        "consumers": parts["consumers"],
        "transactions": parts["transactions"],
        "shows_letters": shows_letters,
        "letters": letters,
        "open_letters": sum(one.state == "open" for one in letters.value or ()),
        "slots": SLOTS,
    }


def lag(visit: Visit) -> Response:
    """How far everything is behind."""
    visit.check_right(DESCRIBE_CLUSTER)
    return page(visit, "lag.html", **_lag(visit))


def lag_figures(visit: Visit) -> Response:
    """The part of it that changes."""
    visit.check_right(DESCRIBE_CLUSTER)
    return page(visit, "lag_figures.html", **_lag(visit))


def _lag(visit: Visit) -> dict[str, Any]:
    cluster = visit.console.cluster
    parts = visit.parts(
        {"lag": partial(_shard_lags, cluster), "consumers": partial(_consumers, cluster)}
    )
    return parts | {"indexes": _indexes(parts["lag"])}


def _indexes(part: Part) -> list[WholeIndexLag]:
    return whole_lags(part.value.indexes) if part.value is not None else []


def _shard_lags(cluster: Cluster) -> ShardLags:
    cluster.refresh()
    return shard_lags(cluster)


def _consumers(cluster: Cluster) -> tuple[int, int]:
    """Queued writes, and indexers at work."""
    return consumers_lag(cluster.config.kafka, indexed=False)


def transactions(visit: Visit) -> Response:
    """Transactions over several shards that are not finished."""
    visit.check_right(DESCRIBE_CLUSTER)
    part = visit.parts({"transactions": partial(open_transactions, visit.console.cluster)})
    return page(visit, "transactions.html", transactions=part["transactions"], uuid=_uuid)


def _uuid(data: bytes) -> str:
    return str(UUID(bytes=data))


def streams(visit: Visit) -> Response:
    """Streams of tables, as far as they may be listed and described."""
    asked: dict[str, Any] = {"Limit": _STREAMS_SHOWN}
    if visit.query.get("after"):
        asked["ExclusiveStartStreamArn"] = visit.query["after"]
    listed = visit.call("ListStreams", **asked).body
    shown = []
    for one in listed["Streams"]:
        try:
            described = visit.call("DescribeStream", StreamArn=one["StreamArn"]).body
            shown.append({"trouble": "", **one, **described["StreamDescription"]})
        except Refused as refusal:
            shown.append({"trouble": str(refusal), **one})
    after = listed.get("LastEvaluatedStreamArn", "")
    return page(visit, "streams.html", streams=shown, after=after)
