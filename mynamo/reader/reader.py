"""`Reader`: items by key, by index, or all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from mynamo.errors import InvalidRequest, TableNotFound
from mynamo.reader.access import select
from mynamo.reader.conditions import SortCondition, stored_value
from mynamo.reader.explaining import explain_statement
from mynamo.reader.fetching import FIRST_CHUNK, fetch
from mynamo.reader.page_tokens import dump_page_token, parse_page_token
from mynamo.reader.pages import Explanation, Page
from mynamo.reader.projections import Projected, View, frozen, view_of
from mynamo.reader.requests import Resolved, ready_table, resolve_query, resolve_scan
from mynamo.reader.waiting import After, tokens_of, wait_until_applied
from mynamo.schemas.items import from_stored, load_item, to_stored
from mynamo.shards import sql
from mynamo.shards.cluster import Cluster
from mynamo.shards.failures import MissingTable

Answer = TypeVar("Answer")


class Reader:
    """Reads items. Safe to share between threads.

    Reads by primary key and by LSI are consistent: they see every write that has returned.
    A GSI is applied a moment later; `after` waits for the writes that matter.

    Items are dictionaries: numbers come as Decimal, binary as Binary, sets as sets.

    Args:
        cluster: where from.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def get(
        self, table: str, key: Mapping[str, Any], *, projection: Projected = None
    ) -> dict[str, Any] | None:
        """Read an item by its key, from the one shard that has it.

        Args:
            table: the table's name.
            key: the key attributes, and no others.
            projection: names of the attributes to answer with; by default all.

        Returns:
            The item, or None if there is none.

        Raises:
            TableNotFound: there is no such table.
            InvalidItem, InvalidRequest: the key or the projection is not valid.
            ShardUnavailable: the shard does not answer.
        """
        stored = to_stored(key)
        view = view_of(None, frozen(projection))

        def read() -> dict[str, Any] | None:
            known = self._cluster.table(table)
            row = known.key_only(stored)
            found = self._cluster.shard_of(row.hash).run(
                (f"SELECT item FROM {sql.main_table(known.id)} WHERE hash = %s AND sort = %s", row)
            )[0].rows  # fmt: skip
            return from_stored(view.answer(load_item(found[0][0]))) if found else None

        return self._by_newest_catalog(table, read)

    def query(
        self,
        table: str,
        hash_value: Any,
        *,
        index: str | None = None,
        sort: SortCondition | None = None,
        descending: bool = False,
        limit: int | None = None,
        page_token: str | None = None,
        projection: Projected = None,
        after: After = None,
        timeout: float = 5.0,
    ) -> Page:
        """Read the items of one hash key, in the order of the sort key, from one shard.

        Args:
            table: the table's name.
            hash_value: of the table's hash key or, with `index`, of the index's.
            index: name of an LSI or GSI, which must be ACTIVE.
            sort: a condition on the sort key, such as `between(1, 5)`.
            descending: highest sort key first.
            limit: items, at most; a page also ends at 1 MB.
            page_token: of the page before, of the same query.
            projection: names of attributes; `ALL_ATTRIBUTES`; by default all that the table
                or index has. Asking an LSI for more than it projects is allowed.
            after: receipts or tokens of writes that a GSI must have applied. Reads of the
                table or an LSI always see them, and need not wait.
            timeout: seconds to wait for that.

        Raises:
            TableNotFound, IndexNotFound: there is no such table or index.
            IndexNotReady: the index is still being filled.
            InvalidItem, InvalidRequest, InvalidToken: an argument is not valid.
            ConsistencyTimeout: the index did not apply the awaited writes in time.
            ShardUnavailable: the shard does not answer.
        """
        stored = stored_value(hash_value)
        names = frozen(projection)
        _check_limit(limit)
        tokens = tokens_of(after, self._cluster)

        def read() -> Page:
            known, at = ready_table(self._cluster, table, index)
            view = view_of(at, names)
            resolved = resolve_query(self._cluster, known, at, stored, sort, descending)
            position = _position(resolved, page_token)
            if at is not None and at.kind == "GSI":
                wait_until_applied(self._cluster, at, tokens, timeout)
            fetched = fetch(
                resolved.access, resolved.stretches, position,
                view=view.source, descending=descending, limit=limit,
            )  # fmt: skip
            return _page(resolved, view, fetched.items, fetched.position, fetched.shards)

        return self._by_newest_catalog(table, read)

    def scan(
        self,
        table: str,
        *,
        index: str | None = None,
        limit: int | None = None,
        page_token: str | None = None,
        segment: int | None = None,
        total_segments: int | None = None,
        projection: Projected = None,
    ) -> Page:
        """Read all items of a table or an index, or one segment of them, from all shards.

        Items come in no order that means anything to a caller, those of one hash key by
        their sort key. Segments share the items evenly, each item in exactly one.

        Args:
            table: the table's name.
            index: name of an LSI or GSI, which must be ACTIVE.
            limit: items, at most; a page also ends at 1 MB.
            page_token: of the page before, of the same scan and segment.
            segment: which segment, from 0.
            total_segments: how many there are, up to 1,000,000.
            projection: as for `query`.

        Raises:
            See `query`.
        """
        names = frozen(projection)
        _check_limit(limit)

        def read() -> Page:
            known, at = ready_table(self._cluster, table, index)
            view = view_of(at, names)
            resolved = resolve_scan(self._cluster, known, at, segment, total_segments)
            position = _position(resolved, page_token)
            fetched = fetch(
                resolved.access, resolved.behind(position), position,
                view=view.source, limit=limit,
            )  # fmt: skip
            return _page(resolved, view, fetched.items, fetched.position, fetched.shards)

        return self._by_newest_catalog(table, read)

    def query_all(
        self,
        table: str,
        hash_value: Any,
        *,
        index: str | None = None,
        sort: SortCondition | None = None,
        descending: bool = False,
        projection: Projected = None,
        after: After = None,
        timeout: float = 5.0,
    ) -> Iterator[dict[str, Any]]:
        """Read all items of a query, page by page as they are wanted; see `query`."""
        names = frozen(projection)
        token: str | None = None
        while True:
            page = self.query(
                table, hash_value, index=index, sort=sort, descending=descending,
                page_token=token, projection=names, after=after, timeout=timeout,
            )  # fmt: skip
            yield from page.items
            token, after = page.page_token, None
            if token is None:
                return

    def scan_all(
        self,
        table: str,
        *,
        index: str | None = None,
        segment: int | None = None,
        total_segments: int | None = None,
        projection: Projected = None,
    ) -> Iterator[dict[str, Any]]:
        """Read all items of a scan, page by page as they are wanted; see `scan`."""
        names = frozen(projection)
        token: str | None = None
        while True:
            page = self.scan(
                table, index=index, page_token=token, segment=segment,
                total_segments=total_segments, projection=names,
            )  # fmt: skip
            yield from page.items
            token = page.page_token
            if token is None:
                return

    def explain(
        self,
        table: str,
        hash_value: Any,
        *,
        index: str | None = None,
        sort: SortCondition | None = None,
        descending: bool = False,
        limit: int | None = None,
        page_token: str | None = None,
        projection: Projected = None,
        after: After = None,
        timeout: float = 5.0,
    ) -> Explanation:
        """Say how a query with these arguments is answered, without answering it or waiting.

        Raises:
            See `query`.
        """
        stored = stored_value(hash_value)
        names = frozen(projection)
        _check_limit(limit)
        tokens_of(after, self._cluster)

        def read() -> Explanation:
            known, at = ready_table(self._cluster, table, index)
            view_of(at, names)
            resolved = resolve_query(self._cluster, known, at, stored, sort, descending)
            position = _position(resolved, page_token)
            (stretch,) = resolved.stretches
            rows = FIRST_CHUNK if limit is None else min(FIRST_CHUNK, limit + 1)
            statement = select(resolved.access, stretch.bounds, position, descending, rows)
            return Explanation(
                plan=resolved.plan([stretch.shard.id]),
                statement=statement[0],
                rows=explain_statement(stretch.shard, statement),
            )

        return self._by_newest_catalog(table, read)

    def _by_newest_catalog(self, table: str, read: Callable[[], Answer]) -> Answer:
        """Read; once more, by the catalog as it is now, if a table is not where it was.

        Raises:
            TableNotFound: it is being created or dropped at this moment.
        """
        try:
            return read()
        except MissingTable:
            self._cluster.refresh()
        try:
            return read()
        except MissingTable:
            raise TableNotFound(
                f"table {table}, or its index, is being dropped at this moment"
            ) from None


def _page(
    resolved: Resolved,
    view: View,
    items: list[Any],
    position: tuple[bytes, ...] | None,
    shards: list[int],
) -> Page:
    return Page(
        items=[from_stored(view.answer(item)) for item in items],
        page_token=None if position is None else dump_page_token(resolved.reading, position),
        plan=resolved.plan(shards),
    )


def _position(resolved: Resolved, page_token: str | None) -> tuple[bytes, ...] | None:
    if page_token is None:
        return None
    return parse_page_token(page_token, resolved.reading, len(resolved.access.columns))


def _check_limit(limit: int | None) -> None:
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise InvalidRequest(f"limit must be a whole number of 1 or more, not {limit!r}")
