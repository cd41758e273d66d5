"""One page of a query or scan, from the request to the items: every step, in its order.

The steps that refuse a request are in DynamoDB's order, which decides the message where a
request has several mistakes: index, consistency, key conditions, starting key, filter,
projection.
"""

from __future__ import annotations

from mynamo.catalog.cluster import Cluster
from mynamo.errors import InvalidRequest
from mynamo.reader.access_paths import Position, select
from mynamo.reader.choosing import explain_statement
from mynamo.reader.fetching import FIRST_CHUNK, LARGE, Fetched, fetch
from mynamo.reader.page_tokens import Order, dump_page_token, parse_page_token
from mynamo.reader.read_plans import Resolved, ready_table, resolve_query, resolve_scan
from mynamo.reader.read_requests import Explanation, Query, Scan, StoredPage
from mynamo.reader.selection import View, check_filter_of_query, view_of
from mynamo.reader.start_keys import is_last, last_key, start_position
from mynamo.reader.waiting import tokens_of, wait_until_applied
from mynamo.runtime import deadlines
from mynamo.runtime.tasks import in_thread
from mynamo.schemas.items import item_size
from mynamo.schemas.values import StoredItem

_READ_UNIT = 4096
"""Bytes. An item that is fetched from the table in addition counts in whole units."""


def read_by_key(cluster: Cluster, request: Query | Scan) -> StoredPage:
    """Read the page behind `request.start`, as DynamoDB does.

    Raises:
        See `StoredReader.query`; and MissingTable: the catalog's knowledge is outdated.
    """
    resolved = _resolve(cluster, request)
    start = None if request.start is None else start_position(resolved, request.start)
    view = _view(request, resolved)
    fetched = _fetch(cluster, request, resolved, view, start, look_ahead=False)
    more = fetched.more and fetched.last is not None and not is_last(resolved, fetched.last)
    last = last_key(resolved.access, fetched.last_item()) if more else None
    page = _page if fetched.weight < LARGE else in_thread(_page)
    return page(resolved, view, fetched, last)


def read_by_token(
    cluster: Cluster, request: Query | Scan, page_token: str | None
) -> tuple[StoredPage, str | None]:
    """Read the page that a token of ours names, and make the token of the next one, which
    is None where there is nothing more.

    Raises:
        See `read_by_key`; and InvalidToken: the token is of another reading, or damaged.
    """
    resolved = _resolve(cluster, request)
    start = _token_position(resolved, page_token)
    view = _view(request, resolved)
    fetched = _fetch(cluster, request, resolved, view, start, look_ahead=True)
    more = fetched.more and fetched.last is not None
    following = dump_page_token(resolved.reading, fetched.last or ()) if more else None
    return _page(resolved, view, fetched, None), following


def explain(cluster: Cluster, query: Query, page_token: str | None) -> Explanation:
    """How the page that a token names would be read, with MySQL's account of it.

    Raises:
        See `read_by_token`.
    """
    resolved = _resolve(cluster, query)
    start = _token_position(resolved, page_token)
    _view(query, resolved)
    (shard_range,) = resolved.shard_ranges
    shard = shard_range.owner.shard
    rows = FIRST_CHUNK if query.limit is None else min(FIRST_CHUNK, query.limit + 1)
    statement = select(resolved.access, shard_range.bounds, start, query.descending, rows)
    return Explanation(
        plan=resolved.plan([shard.id]),
        statement=statement[0],
        rows=explain_statement(shard, statement),
    )


def _resolve(cluster: Cluster, request: Query | Scan) -> Resolved:
    if request.limit is not None and (not isinstance(request.limit, int) or request.limit < 1):
        raise InvalidRequest(f"limit must be a whole number of 1 or more, not {request.limit!r}")
    table, index = ready_table(cluster, request.table, request.index)
    if request.consistent and index is not None and index.kind == "GSI":
        raise InvalidRequest("Consistent reads are not supported on global secondary indexes")
    if isinstance(request, Query):
        return resolve_query(cluster, table, index, request.key_conditions, request.descending)
    return resolve_scan(cluster, table, index, request.segment, request.total_segments)


def _token_position(resolved: Resolved, page_token: str | None) -> Position | None:
    if page_token is None:
        return None
    return parse_page_token(page_token, resolved.reading, len(resolved.access.columns))


def _view(request: Query | Scan, resolved: Resolved) -> View:
    access = resolved.access
    if isinstance(request, Query):
        check_filter_of_query(access.index or access.table, request)
    return view_of(access.index, request)


def _fetch(
    cluster: Cluster,
    request: Query | Scan,
    resolved: Resolved,
    view: View,
    start: Position | None,
    *,
    look_ahead: bool,
) -> Fetched:
    _wait(cluster, request, resolved)
    return fetch(
        resolved.access,
        resolved.behind(start),
        start,
        part=view.part,
        whole=view.fetches,
        raw=request.raw and view.is_plain,
        descending=resolved.order is Order.DESCENDING,
        limit=request.limit,
        look_ahead=look_ahead,
    )


def _wait(cluster: Cluster, request: Query | Scan, resolved: Resolved) -> None:
    """Wait for the writes that a GSI must contain. Tables and LSIs always contain them."""
    tokens = tokens_of(request.after, cluster)
    deadlines.check_timeout("timeout", request.timeout, least=0.0)
    index = resolved.access.index
    if tokens and index is not None and index.kind == "GSI":
        targets = {each.owner.shard for each in resolved.shard_ranges}
        wait_until_applied(cluster, index, tokens, request.timeout, targets)
        deadlines.start_anew()


def _page(resolved: Resolved, view: View, fetched: Fetched, last: StoredItem | None) -> StoredPage:
    shown = [(item, part) for item, part in fetched.items if view.shows(part)]
    return StoredPage(
        items=[] if view.counts else [view.answer(item, part) for item, part in shown],
        raw=fetched.raw,
        count=len(shown) + len(fetched.raw),
        scanned_count=fetched.count,
        last_key=last,
        size=fetched.size,
        table_size=sum(_whole_units(item) for item, _ in fetched.items) if view.fetches else 0,
        plan=resolved.plan(fetched.shards),
    )


def _whole_units(item: StoredItem) -> int:
    return -(-item_size(item) // _READ_UNIT) * _READ_UNIT
