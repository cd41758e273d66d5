"""`HashBasedShardManager`: one object that makes tables, writes to them and reads them.

It composes a `Cluster`, a `Producer` and a `Reader`, which do more and are there as its
properties; its own calls are the short ones, and choose by themselves how to read.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mynamo.catalog import definitions, table_streams, time_to_live
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.index_status import ACTIVE_TIMEOUT, described, wait_until_active
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.tables import Index, Table
from mynamo.errors import (
    ConditionFailed,
    ConfigError,
    ConsistencyTimeout,
    IndexNotFound,
    IndexNotReady,
    InvalidItem,
    InvalidSchema,
)
from mynamo.producer import (
    MUST_NOT_EXIST,
    Check,
    Delete,
    Producer,
    Put,
    Receipt,
    TransactionReceipt,
    Update,
)
from mynamo.reader import ALL_ATTRIBUTES, Reader
from mynamo.reader.choosing import SCAN, Choice, choose
from mynamo.reader.streams.follower import StreamFollower
from mynamo.reader.streams.stream_reader import StreamReader
from mynamo.reader.waiting import OwnWrites, tokens_of
from mynamo.runtime import forks
from mynamo.schemas.config import ClusterConfig, DatabaseConfig
from mynamo.schemas.events import ConsistencyToken
from mynamo.schemas.item_changes import Change
from mynamo.schemas.items import to_stored
from mynamo.schemas.simple import SimpleIndex, SimpleTable
from mynamo.schemas.table import GlobalIndexSchema, LocalIndexSchema, TableSchema
from mynamo.schemas.table_settings import StreamView
from mynamo.schemas.validation import explain
from mynamo.schemas.values import StoredItem
from mynamo.writer.backfill import indexes

log = logging.getLogger(__name__)

Item = dict[str, Any]

OWN_WRITES_TIMEOUT = 5.0
"""Seconds for which a read by a GSI waits for this manager's own writes."""
_CATALOG_AGE = 1.0
"""Seconds: before a scan, a catalog older than that is read again, for there may be an index."""


class HashBasedShardManager:
    """A cluster with a simple interface. Safe to share between threads.

    Args:
        config: where the servers are; or else
        shards: the shards themselves. The catalog is then in the first one's database, and
            Kafka is where the environment says, or at its default address.
        timeout, outcome_timeout: of all calls that have none of their own, in place of the
            configuration's; see `ClusterConfig`.

    Raises:
        ConfigError: neither or both are given, or they are not the cluster's.
        ShardUnavailable: the catalog's server does not answer.
    """

    def __init__(
        self,
        config: ClusterConfig | None = None,
        *,
        shards: Sequence[DynamoDBShard] = (),
        timeout: float | None = None,
        outcome_timeout: float | None = None,
    ) -> None:
        if config is not None and not isinstance(config, ClusterConfig):
            raise ConfigError("the configuration is a ClusterConfig; give shards as shards=[...]")
        if not isinstance(shards, Sequence) or not all(
            isinstance(shard, DynamoDBShard) for shard in shards
        ):
            raise ConfigError("shards is a list of DynamoDBShard")
        if (config is None) == (not shards):
            raise ConfigError("give a configuration, or at least one shard, and not both")
        config = config or _config_of(shards)
        self._cluster = Cluster(config.with_timeouts(timeout, outcome_timeout), shards)
        self._producer = Producer(self._cluster)
        self._reader = Reader(self._cluster, self._producer.finish_transaction)
        self._own = OwnWrites()

    __reduce__ = forks.not_picklable

    def __enter__(self) -> HashBasedShardManager:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def cluster(self) -> Cluster:
        """The catalog and the shards."""
        return self._cluster

    @property
    def producer(self) -> Producer:
        """For everything that writes more than a new item."""
        return self._producer

    @property
    def reader(self) -> Reader:
        """For queries with conditions, pages, projections and scans."""
        return self._reader

    def close(self) -> None:
        """Close all connections, those of the shards included."""
        self._producer.close()
        self._cluster.close()

    def create_table(self, definition: Mapping[str, Any] | TableSchema) -> Table:
        """Create a table.

        Args:
            definition: `{"table": "orders", "hash_key": "id", "sort_key": "day",
                "columns": ["name", "price"]}`; keys are strings unless written "day:N".
                The columns are for people: items may have any attributes. Or a `TableSchema`,
                which has indexes too.

        Raises:
            InvalidSchema, AlreadyExists: nothing was created.
            ShardUnavailable: a shard does not answer; a writer worker finishes it later.
        """
        if not isinstance(definition, TableSchema):
            definition = SimpleTable.schema_of(definition)
        return definitions.create_table(self._cluster, definition)

    def list_tables(self) -> list[Table]:
        """All tables by their names, those that are being created or dropped too.

        Raises:
            ShardUnavailable: the catalog's server does not answer.
        """
        return sorted(self._cluster.refresh().tables.values(), key=lambda table: table.name)

    def describe_table(self, table: str) -> Table:
        """A table as the catalog has it now, with its indexes, whatever their status.

        Raises:
            TableNotFound: there is none of that name.
            ShardUnavailable: the catalog's server does not answer.
        """
        return described(self._cluster, table)

    def drop_table(self, table: str) -> None:
        """Drop a table with all its items and indexes.

        Raises:
            TableNotFound: there is none of that name.
            TableProtected: its deletion protection is on.
            ShardUnavailable: a shard does not answer; a writer worker finishes it later.
        """
        definitions.drop_table(self._cluster, table)

    def create_index(self, table: str, index: LocalIndexSchema | GlobalIndexSchema) -> Index:
        """Create an index of any kind.

        An LSI has all items and is ACTIVE when this returns. A GSI of a small table may be so too;
        else it is CREATING until the workers have backfilled it: see `wait_until_active`.

        Raises:
            InvalidSchema, AlreadyExists, TableNotFound: nothing was created.
            ShardUnavailable: a shard does not answer; a writer worker finishes it later.
        """
        if not isinstance(index, LocalIndexSchema | GlobalIndexSchema):
            raise InvalidSchema(
                f"an index is a LocalIndexSchema or a GlobalIndexSchema, not {type(index).__name__}"
            )
        made = definitions.add_index(self._cluster, table, index)
        for shard in self._cluster.shards.values():
            while indexes.backfill_chunk(self._cluster, shard, made).more and made.kind == "LSI":
                pass
        indexes.activate_if_backfilled(self._cluster, made)
        return self._cluster.table(table).index(index.name)

    def list_indexes(self, table: str) -> list[Index]:
        """A table's indexes as the catalog has them now, but for those that are being dropped.

        Raises:
            See `describe_table`.
        """
        return list(self.describe_table(table).user_indexes)

    def describe_index(self, table: str, index: str) -> Index:
        """One of a table's indexes, as the catalog has it now.

        Raises:
            IndexNotFound: the table has none of that name.
            TableNotFound, ShardUnavailable: see `describe_table`.
        """
        return self.describe_table(table).index(index)

    def drop_index(self, table: str, index: str) -> None:
        """Drop an index; the table's items stay.

        Raises:
            TableNotFound, IndexNotFound: there is none of that name.
            ShardUnavailable: a shard does not answer; a writer worker finishes it later.
        """
        definitions.drop_index(self._cluster, table, index)

    def enable_time_to_live(self, table: str, attribute: str) -> None:
        """Have a table's items deleted once they have expired, by writer workers, soon after.

        Args:
            attribute: a number, seconds since 1970. Items without it, or with a time that is more
                than five years ago, are left alone.

        Raises:
            TableNotFound: there is no such table.
            InvalidRequest: it has time to live already; or an earlier release has set the cluster
                up, and `mynamo upgrade` was not run.
            ShardUnavailable: a shard does not answer; a writer worker may finish it later.
        """
        time_to_live.enable(self._cluster, table, attribute)

    def disable_time_to_live(self, table: str) -> None:
        """Have a table's items stay, whatever their time is.

        Raises:
            TableNotFound: there is no such table.
            InvalidRequest: it has no time to live.
            ShardUnavailable: a shard does not answer; a writer worker finishes it later.
        """
        time_to_live.disable(self._cluster, table)

    def enable_stream(self, table: str, view: StreamView = "NEW_AND_OLD_IMAGES") -> None:
        """Have each change of a table's items recorded; `follow_stream` reads the records, and so
        do consumers of DynamoDB Streams.

        Args:
            view: what a record shows of an item besides its key: KEYS_ONLY, NEW_IMAGE, OLD_IMAGE,
                or both.

        Raises:
            TableNotFound: there is no such table.
            InvalidRequest: it has a stream already; or an earlier release has set the cluster up,
                and `mynamo upgrade` was not run.
            ShardUnavailable: a shard does not answer; a writer worker may finish it later.
        """
        table_streams.enable(self._cluster, table, view)

    def disable_stream(self, table: str) -> None:
        """Have a table's changes not recorded any more. The records that there are can be read
        until they are a day old.

        Raises:
            TableNotFound: there is no such table.
            InvalidRequest: it has no stream.
            ShardUnavailable: a shard does not answer; a writer worker finishes it later.
        """
        table_streams.disable(self._cluster, table)

    def follow_stream(
        self, table: str, *, from_horizon: bool = False, seconds: float | None = None
    ) -> Iterator[Change]:
        """The changes of a table that has a stream, as they come, each once and an item's in their
        order.

        Args:
            from_horizon: begin with the oldest record that there is; else with what is written
                from now on.
            seconds: ends after so long without any; None: never.

        Raises:
            StreamNotFound: the table has no stream.
            RecordsTrimmed: the caller is too slow: records were deleted that it has not read.
            ShardUnavailable: a shard does not answer.
        """
        reader = StreamReader(self._cluster)
        follower = StreamFollower(reader, reader.stream(table), from_horizon=from_horizon)
        return (Change.of_record(table, record) for record in follower.records(seconds))

    def wait_until_active(
        self, table: str, index: str | None = None, *, timeout: float = ACTIVE_TIMEOUT
    ) -> Table:
        """Wait until a table and its indexes are ACTIVE. Workers finish them: `mynamo writer` and,
        for GSIs, `mynamo indexer`.

        Args:
            index: this one alone, of all the table's indexes.
            timeout: seconds.

        Returns:
            The table.

        Raises:
            IndexNotReady: an index is not ACTIVE by then.
            ShardUnavailable: the table is not, because a shard does not answer; or the catalog's
                server does not.
            TableNotFound, IndexNotFound: there is none of that name, perhaps no longer.
        """
        return wait_until_active(self._cluster, table, index, timeout)

    def create_local_secondary_index(self, definition: Mapping[str, Any]) -> Index:
        """Create an LSI and fill it with the items there are; ACTIVE when this returns.

        Args:
            definition: `{"table": "orders", "index_column": "price"}`, with an "index_name"
                if it shall not be "price_lsi". The column holds strings unless written
                "price:N"; items whose value is of another type are not in the index, and
                writes of such are refused from then on.

        Raises:
            InvalidSchema, AlreadyExists, TableNotFound: nothing was created.
            ShardUnavailable: a shard does not answer; a writer worker finishes it later.
        """
        return self.create_index(*SimpleIndex.local_of(definition))

    def create_global_secondary_index(self, definition: Mapping[str, Any]) -> Index:
        """Create a GSI. On a small table it may be ACTIVE at once; else it is CREATING
        until the workers have backfilled it, and reads do not use it.

        Args:
            definition: `{"table": "orders", "index_column": "price"}`, with an "index_name"
                if it shall not be "price_gsi". The column holds strings unless written
                "price:N", as for an LSI. A list of up to four columns makes an index for
                those who give all of them.

        Raises:
            InvalidSchema, AlreadyExists, TableNotFound: nothing was created.
            ShardUnavailable: a shard does not answer; a writer worker finishes it later.
        """
        return self.create_index(*SimpleIndex.global_of(definition))

    def insert(
        self,
        table: str,
        item: Mapping[str, Any],
        *,
        timeout: float | None = None,
        outcome_timeout: float | None = None,
    ) -> Receipt:
        """Write a new item; it is on disk when this returns.

        Args:
            timeout, outcome_timeout: see `Producer`.

        Raises:
            ConditionFailed: there is an item with this key; nothing was written.
            InvalidItem, TableNotFound: nothing was written.
            ShardUnavailable: nothing was written; try again.
            WriteOutcomeUnknown: read the item to see whether it was.
        """
        mark = self._own.begin(table)
        try:
            receipt = self._producer.put(
                table,
                item,
                condition=MUST_NOT_EXIST,
                timeout=timeout,
                outcome_timeout=outcome_timeout,
            )
        except ConditionFailed:
            raise ConditionFailed(
                f"table {table} has an item with this key already, and insert does not replace "
                "it; to replace an item use Producer.put"
            ) from None
        self._own.end(table, mark, ConsistencyToken.parse(receipt.token))
        return receipt

    def transact(
        self,
        writes: Sequence[Put | Update | Delete | Check],
        *,
        request_token: str | None = None,
        timeout: float | None = None,
        outcome_timeout: float | None = None,
    ) -> TransactionReceipt:
        """Do all of several writes, or none; they are on disk when this returns, and `get` sees
        them.

        Args:
            writes, request_token: as `Producer.transact` takes them.
            timeout, outcome_timeout: see `Producer`.

        Raises:
            TransactionCanceled: nothing was written; its `reasons` say for each write why it was
                refused, or None.
            MynamoError: see `Producer.transact`.
        """
        marks = self._own.begin_all()
        receipt = self._producer.transact(
            writes, request_token=request_token, timeout=timeout, outcome_timeout=outcome_timeout
        )
        tokens = tokens_of(receipt, self._cluster)
        for table in {each.table for each in receipt.receipts}:
            for token in tokens:
                self._own.end(table, marks.get(table, frozenset()), token)
        return receipt

    def transact_get(
        self, items: Iterable[tuple[str, Mapping[str, Any]]], *, timeout: float | None = None
    ) -> list[Item | None]:
        """Read items of one table or several by their keys, all as of one moment: of a transaction
        it sees all or nothing.

        Args:
            items: for each the table's name and the key, none twice.
            timeout: see `Reader`.

        Returns:
            For each the item, or None if there is none.

        Raises:
            MynamoError: see `Reader.transact_get`.
        """
        return self._reader.transact_get(items, timeout=timeout)

    def get(
        self,
        table: str,
        filter: Mapping[str, Any] | None = None,  # noqa: A002
        *,
        timeout: float | None = None,
    ) -> list[Item]:
        """Read the items whose attributes have all the values that `filter` names.

        The cheapest reading that finds them all is chosen and logged: by the whole primary
        key, an LSI, the hash key, a GSI, or else a scan of all shards. The items that this
        manager inserted before are among those it looks at, whichever it is.

        Args:
            table: the table's name.
            filter: attributes and their values; by default nothing, hence all items.
            timeout: seconds after which a server that does not answer is given up; by default
                `ClusterConfig.timeout`.

        Returns:
            All of the items at once: for large answers use `reader`, which has pages.

        Raises:
            TableNotFound: there is no such table.
            InvalidItem: a value is not one that the attribute can have.
            ShardUnavailable: a shard does not answer.
        """
        if filter is not None and not isinstance(filter, Mapping):
            raise InvalidItem(
                f"a filter is a dictionary of attributes and their values, not {filter!r}"
            )
        given = dict(filter or {})
        wanted = to_stored(given)
        choice = self._choose(table, wanted)
        try:
            items = self._read(table, choice, given, timeout)
        except (ConsistencyTimeout, IndexNotFound, IndexNotReady) as failure:
            # The index is behind, or was dropped since the catalog was read.
            log.info("get from %s: scan after all: %s", table, failure)
            choice, items = SCAN, self._read(table, SCAN, given, timeout)
        rest = {name: value for name, value in wanted.items() if name not in choice.satisfied}
        return [item for item in items if _has(item, rest)]

    def _choose(self, table: str, wanted: StoredItem) -> Choice:
        choice = choose(self._cluster.table(table), wanted)
        if choice is SCAN and wanted:
            self._cluster.refresh(if_older_than=_CATALOG_AGE)
            choice = choose(self._cluster.table(table), wanted)
        filtered = ", ".join(sorted(wanted.keys() - choice.satisfied)) or "nothing more"
        log.info("get from %s: %s, then filter by %s", table, choice, filtered)
        return choice

    def _read(
        self, table: str, choice: Choice, given: Item, timeout: float | None
    ) -> Iterator[Item] | list[Item]:
        known = self._cluster.table(table)
        if choice.kind == "item":
            key = {name: given[name] for name in known.key_names}
            found = self._reader.get(table, key, timeout=timeout)
            return [] if found is None else [found]
        if choice.kind == "primary key":
            return self._reader.query_all(table, given[known.hash_key.name], timeout=timeout)
        if choice.index is None:
            return self._reader.scan_all(table, timeout=timeout)
        return self._read_index(table, choice.index, given, timeout)

    def _read_index(
        self, table: str, index: Index, given: Item, timeout: float | None
    ) -> list[Item]:
        tokens = self._own.waiting(table) if index.kind == "GSI" else frozenset()
        items = list(
            self._reader.query_all(
                table,
                {key.name: given[key.name] for key in index.hash_keys},
                index=index.name,
                sort={key.name: given[key.name] for key in index.sort_keys} or None,
                projection=ALL_ATTRIBUTES,
                after=[str(token) for token in tokens],
                timeout=OWN_WRITES_TIMEOUT if timeout is None and tokens else timeout,
            )
        )
        self._own.applied(table, tokens)
        return items


def connect(
    config_path: str | Path | None = None,
    *,
    timeout: float | None = None,
    outcome_timeout: float | None = None,
) -> HashBasedShardManager:
    """Open the cluster that a configuration file describes.

    Args:
        config_path: a TOML file; by default as `ClusterConfig.load` finds one.
        timeout, outcome_timeout: see `HashBasedShardManager`.

    Raises:
        ConfigError, ShardUnavailable: see `HashBasedShardManager`.
    """
    return HashBasedShardManager(
        ClusterConfig.load(config_path), timeout=timeout, outcome_timeout=outcome_timeout
    )


def _config_of(shards: Sequence[DynamoDBShard]) -> ClusterConfig:
    """The configuration whose catalog is in the first shard's database."""
    configs = tuple(shard.config for shard in shards)
    catalog = DatabaseConfig(**configs[0].model_dump(exclude={"id"}))
    try:
        config = ClusterConfig(catalog=catalog, shards=configs)
    except ValidationError as error:
        raise ConfigError(explain(error)) from None
    # What the caller says of the databases goes before what the environment says of them.
    return config.model_copy(update={"catalog": catalog, "shards": configs})


def _has(item: Item, wanted: StoredItem) -> bool:
    """Whether an item has these values; compared as stored, where 1 is not True."""
    return to_stored({name: item[name] for name in wanted if name in item}) == wanted
