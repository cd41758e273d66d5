"""`Reader`: items by key, by index, or all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Unpack, overload

from mynamo.catalog.cluster import Cluster
from mynamo.reader import read_page
from mynamo.reader.arguments import (
    Arguments,
    Projected,
    QueryOptions,
    ScanOptions,
    keys_by_table,
    reusable,
)
from mynamo.reader.read_plans import ready_table
from mynamo.reader.read_requests import (
    INDEX_TIMEOUT,
    Explanation,
    Get,
    Page,
    Query,
    Scan,
    StoredPage,
)
from mynamo.reader.sort_conditions import Sort
from mynamo.reader.stored import StoredReader, by_newest_catalog
from mynamo.reader.transact_gets import Resolve
from mynamo.reader.waiting import After
from mynamo.runtime import forks
from mynamo.runtime.deadlines import check_timeout, within
from mynamo.runtime.tracing import traced
from mynamo.schemas.config import MAX_TIMEOUT
from mynamo.schemas.items import from_stored, to_stored


class Reader:
    """Reads items. Safe to share between threads.

    Reads by primary key and by LSI are consistent: they see every write that has returned.
    A GSI is applied a moment later; `after` waits for the writes that matter.

    Items are dictionaries: numbers come as Decimal, binary as Binary, sets as sets. In
    expressions, `:value` stands for what `values` has for it, in the same form, and `#name`
    for what `names` has, as in DynamoDB.

    timeout, of every call: seconds after which it is given up: a `ShardUnavailable`. By default
        `ClusterConfig.timeout`, which is 30 s unless set. Where a call waits for an index
        (`after`), the index has as long, and then the shard.

    Args:
        cluster: where from.
        resolve: finishes transactions that `transact_get` meets, where this process may write;
            None: others do.
    """

    def __init__(self, cluster: Cluster, resolve: Resolve | None = None) -> None:
        self._cluster = cluster
        self._stored = StoredReader(cluster, resolve)

    __reduce__ = forks.not_picklable

    def get(
        self,
        table: str,
        key: Mapping[str, Any],
        *,
        projection: Projected = None,
        names: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any] | None:
        """Read an item by its key, from the one shard that has it.

        Args:
            table: the table's name.
            key: the key attributes, and no others.
            projection: what to answer with, as for `query`; by default all attributes.
            names: what the projection's placeholders stand for.
            timeout: see `Reader`.

        Returns:
            The item, or None if there is none.

        Raises:
            TableNotFound: there is no such table.
            InvalidItem, InvalidRequest: the key or the projection is not valid.
            ShardUnavailable: the shard does not answer.
        """
        wanted = Arguments(projection=projection, names=names).projection
        return self._get_each("get", table, [Get(table, to_stored(key), wanted)], timeout)[0]

    @overload
    def batch_get(
        self,
        table: str,
        keys: Iterable[Mapping[str, Any]],
        *,
        projection: Projected = None,
        names: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> list[dict[str, Any] | None]: ...

    @overload
    def batch_get(
        self,
        table: Mapping[str, Iterable[Mapping[str, Any]]],
        *,
        projection: Projected = None,
        names: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> dict[str, list[dict[str, Any] | None]]: ...

    def batch_get(
        self,
        table: str | Mapping[str, Iterable[Mapping[str, Any]]],
        keys: Iterable[Mapping[str, Any]] | None = None,
        *,
        projection: Projected = None,
        names: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> list[dict[str, Any] | None] | dict[str, list[dict[str, Any] | None]]:
        """Read items of one table or several by their keys, with one round trip to each shard
        they are on.

        Args:
            table: the table's name; or the keys of several tables by their names.
            keys: of the one table.
            projection, names: as for `get`, of the items of all tables.
            timeout: see `Reader`.

        Returns:
            For each key the item, or None if there is none; of several tables by their names.

        Raises:
            See `get`.
        """
        wanted = Arguments(projection=projection, names=names).projection
        tables = keys_by_table(table, keys)
        gets = [Get(name, to_stored(key), wanted) for name, some in tables.items() for key in some]
        found = iter(self._get_each("batch_get", table, gets, timeout))
        items = {name: list(islice(found, len(some))) for name, some in tables.items()}
        return items[table] if isinstance(table, str) else items

    def transact_get(
        self,
        items: Iterable[tuple[str, Mapping[str, Any]]],
        *,
        projection: Projected = None,
        names: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> list[dict[str, Any] | None]:
        """Read items of one table or several by their keys, all as of one moment: of a transaction
        it sees all or nothing.

        Items of one shard, as those of one hash key are, take one round trip; others take two or
        more to each of their shards.

        Args:
            items: for each the table's name and the key, none twice.
            projection, names: as for `get`, of all items.
            timeout: see `Reader`.

        Returns:
            For each the item, or None if there is none.

        Raises:
            InvalidRequest: an item is named twice.
            TransactionCanceled: items on several shards changed so often, or a transaction
                took so long, that they could not be read as of one moment in five seconds.
            MynamoError: see `get`.
        """
        wanted = Arguments(projection=projection, names=names).projection
        gets = [Get(name, to_stored(key), wanted) for name, key in items]
        found = traced(
            self._cluster.tracer,
            "transact_get",
            None,
            lambda: within(timeout, None, lambda: self._stored.transact_get(gets)),
        )
        return [None if got.item is None else from_stored(got.item) for got in found]

    def query(
        self,
        table: str,
        hash_value: Any = None,
        *,
        key_condition: str | None = None,
        index: str | None = None,
        sort: Sort = None,
        filter: str | None = None,  # noqa: A002
        names: Mapping[str, str] | None = None,
        values: Mapping[str, Any] | None = None,
        projection: Projected = None,
        count: bool = False,
        descending: bool = False,
        limit: int | None = None,
        page_token: str | None = None,
        after: After = None,
        timeout: float | None = None,
    ) -> Page:
        """Read the items of one hash key, in the order of the sort key, from one shard.

        Args:
            table: the table's name.
            hash_value: of the table's hash key or, with `index`, of the index's; a dictionary
                of its attributes and their values where it has several.
            key_condition: in place of `hash_value` and `sort`, an expression such as
                "customer = :c AND price > :p".
            index: name of an LSI or GSI, which must be ACTIVE.
            sort: a condition on the sort key, such as `between(1, 5)`; where the key has
                several attributes, a dictionary of the first ones and a value for each, or
                for the last of them a condition.
            filter: an expression that decides which of the items that are read are in the
                page; not on the attributes of the key.
            names, values: what the placeholders in the expressions stand for.
            projection: an expression; or paths of attributes in a list; `ALL_ATTRIBUTES`;
                by default all that the table or index has. Asking an LSI for more than it
                projects is allowed.
            count: no items, only how many there are.
            descending: highest sort key first.
            limit: items to read at most, whether the filter lets them pass or not; a page
                also ends once they make up 1 MB.
            page_token: of the page before, of the same query.
            after: receipts or tokens of writes that a GSI must have applied. Reads of the
                table or an LSI always see them, and need not wait.
            timeout: see `Reader`; and seconds to wait for that, by default 5.

        Raises:
            TableNotFound, IndexNotFound: there is no such table or index.
            IndexNotReady: the index is still being backfilled.
            InvalidItem, InvalidRequest, InvalidToken: an argument is not valid.
            ConsistencyTimeout: the index did not apply the awaited writes in time.
            ShardUnavailable: the shard does not answer.
        """
        ask = self._asking(
            table, hash_value, key_condition=key_condition, index=index, sort=sort, filter=filter,
            names=names, values=values, projection=projection, count=count, descending=descending,
            limit=limit, after=after, timeout=timeout,
        )  # fmt: skip
        return self._read(
            "query", table, timeout,
            lambda: read_page.read_by_token(self._cluster, ask(), page_token),
        )  # fmt: skip

    def scan(
        self,
        table: str,
        *,
        index: str | None = None,
        filter: str | None = None,  # noqa: A002
        names: Mapping[str, str] | None = None,
        values: Mapping[str, Any] | None = None,
        projection: Projected = None,
        count: bool = False,
        limit: int | None = None,
        page_token: str | None = None,
        segment: int | None = None,
        total_segments: int | None = None,
        after: After = None,
        timeout: float | None = None,
    ) -> Page:
        """Read all items of a table or an index, or one segment of them, from all shards.

        Items come in no order that means anything to a caller, those of one hash key by
        their sort key. Segments share the items evenly, each item in exactly one.

        Args:
            table: the table's name.
            index: name of an LSI or GSI, which must be ACTIVE.
            filter: as for `query`; on any attributes.
            names, values, projection, count, limit: as for `query`.
            page_token: of the page before, of the same scan and segment.
            segment: which segment, from 0.
            total_segments: how many there are, up to 1,000,000.
            after, timeout: as for `query`.

        Raises:
            See `query`.
        """
        given = Arguments(
            filter=filter, names=names, values=values, projection=projection, count=count
        )
        scan = Scan(
            table, index, given.filter, projection=given.projection, select=given.select,
            limit=limit, segment=segment, total_segments=total_segments, after=after,
            timeout=INDEX_TIMEOUT if timeout is None else timeout,
        )  # fmt: skip
        return self._read(
            "scan", table, timeout,
            lambda: read_page.read_by_token(self._cluster, scan, page_token),
        )  # fmt: skip

    def query_all(
        self, table: str, hash_value: Any = None, **options: Unpack[QueryOptions]
    ) -> Iterator[dict[str, Any]]:
        """Read all items of a query, page by page as they are wanted; see `query`."""
        return _each(
            options, lambda token: self.query(table, hash_value, page_token=token, **options)
        )

    def scan_all(self, table: str, **options: Unpack[ScanOptions]) -> Iterator[dict[str, Any]]:
        """Read all items of a scan, page by page as they are wanted; see `scan`."""
        return _each(options, lambda token: self.scan(table, page_token=token, **options))

    def explain(
        self,
        table: str,
        hash_value: Any = None,
        *,
        limit: int | None = None,
        page_token: str | None = None,
        **options: Unpack[QueryOptions],
    ) -> Explanation:
        """Say how a query with these arguments is answered, without answering it or waiting.

        Raises:
            See `query`.
        """
        ask = self._asking(table, hash_value, limit=limit, **options)
        return by_newest_catalog(
            self._cluster, [table], lambda: read_page.explain(self._cluster, ask(), page_token)
        )

    def _get_each(
        self, operation: str, table: object, gets: Sequence[Get], timeout: float | None
    ) -> list[dict[str, Any] | None]:
        found = traced(
            self._cluster.tracer,
            operation,
            table,
            lambda: within(timeout, None, lambda: self._stored.get_each(gets)),
        )
        return [None if got.item is None else from_stored(got.item) for got in found]

    def _read(
        self,
        operation: str,
        table: str,
        timeout: float | None,
        read: Callable[[], tuple[StoredPage, str | None]],
    ) -> Page:
        check_timeout("timeout", timeout, least=0.0)
        # 0 is not to wait for an index. An answer of a shard takes some time in any case.
        limit = timeout if timeout and timeout <= MAX_TIMEOUT else None
        return traced(
            self._cluster.tracer,
            operation,
            table,
            lambda: within(
                limit, None, lambda: _page(*by_newest_catalog(self._cluster, [table], read))
            ),
        )

    def _asking(
        self,
        table: str,
        hash_value: Any,
        *,
        key_condition: str | None = None,
        index: str | None = None,
        sort: Sort = None,
        filter: str | None = None,  # noqa: A002
        names: Mapping[str, str] | None = None,
        values: Mapping[str, Any] | None = None,
        projection: Projected = None,
        count: bool = False,
        descending: bool = False,
        limit: int | None = None,
        after: After = None,
        timeout: float | None = None,
    ) -> Callable[[], Query]:
        """A function that makes the query in stored form, by the catalog as it is when called."""
        given = Arguments(
            key_condition=key_condition, filter=filter, names=names, values=values,
            projection=projection, count=count,
        )  # fmt: skip

        def ask() -> Query:
            known, at = ready_table(self._cluster, table, index)
            return Query(
                table, index, given.filter, projection=given.projection, select=given.select,
                limit=limit, key_conditions=given.key_conditions(at or known, hash_value, sort),
                descending=descending, after=after,
                timeout=INDEX_TIMEOUT if timeout is None else timeout,
            )  # fmt: skip

        return ask


def _each(
    options: QueryOptions | ScanOptions, read: Callable[[str | None], Page]
) -> Iterator[dict[str, Any]]:
    """The items of all pages, the first of which waits for what `after` names.

    Args:
        options: what `read` reads by, changed here.
        read: the page that a token names.
    """
    options["projection"] = reusable(options.get("projection"))
    token: str | None = None
    while True:
        page = read(token)
        yield from page.items
        token, options["after"] = page.page_token, None
        if token is None:
            return


def _page(found: StoredPage, page_token: str | None) -> Page:
    return Page(
        items=[from_stored(item) for item in found.items],
        page_token=page_token,
        plan=found.plan,
        count=found.count,
        scanned_count=found.scanned_count,
    )
