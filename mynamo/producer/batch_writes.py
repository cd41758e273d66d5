"""Many puts and deletes at once, each with an outcome of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.tables import RowKey, Table
from mynamo.errors import InvalidRequest, MynamoError
from mynamo.producer.receipt import Receipt, receipt_of
from mynamo.producer.requests import check_table_name
from mynamo.schemas.items import to_stored
from mynamo.writer import Refused, WriteRequest, apply_each

DUPLICATES = "Provided list of item keys contains duplicates"


@dataclass(frozen=True, slots=True)
class Put:
    """Write an item, in place of the one with the same key.

    Attributes:
        table: the table's name.
        item: all its attributes.
    """

    table: str
    item: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete an item; that it does not exist is no error.

    Attributes:
        table: the table's name.
        key: the key attributes, and no others.
    """

    table: str
    key: Mapping[str, Any]


def write_batch(cluster: Cluster, writes: Sequence[Put | Delete]) -> list[Receipt | MynamoError]:
    """See `Producer.write_batch`."""
    check_batch(writes)
    outcomes: dict[int, Receipt | MynamoError] = {}
    requests: dict[int, WriteRequest] = {}
    rows: set[tuple[int, RowKey]] = set()
    tables: dict[str, Table | MynamoError] = {}
    for position, write in enumerate(writes):
        try:
            request = _request(write)
            table = _table(cluster, request.table, tables)
            row = table.id, table.key_of(request.item)
        except MynamoError as error:
            outcomes[position] = error
            continue
        if row in rows:
            raise InvalidRequest(DUPLICATES)
        rows.add(row)
        requests[position] = request
    answers = apply_each(cluster, list(requests.values()))
    for (position, request), (shard_id, outcome) in zip(requests.items(), answers, strict=True):
        if isinstance(outcome, Refused):
            outcomes[position] = outcome.error
        else:
            outcomes[position] = receipt_of(cluster, request, shard_id, outcome)
    return [outcomes[position] for position in range(len(writes))]


def _table(cluster: Cluster, name: str, tables: dict[str, Table | MynamoError]) -> Table:
    """A table, looked up once for the batch: a catalog that does not answer costs its
    patience once, not for every write."""
    if name not in tables:
        try:
            tables[name] = cluster.table(name)
        except MynamoError as error:
            tables[name] = error
    found = tables[name]
    if isinstance(found, MynamoError):
        raise found
    return found


def check_batch(writes: object) -> None:
    """Refuse what is not a list of puts and deletes.

    Raises:
        InvalidRequest: with what it is.
    """
    if not isinstance(writes, list | tuple):
        raise InvalidRequest(f"a batch is a list of Put and Delete, not {type(writes).__name__}")
    for write in writes:
        if not isinstance(write, Put | Delete):
            raise InvalidRequest(
                "a batch is a list of Put(table, item) and Delete(table, key), which has no "
                f"{type(write).__name__}"
            )


def _request(write: Put | Delete) -> WriteRequest:
    check_table_name(write.table)
    if isinstance(write, Put):
        return WriteRequest(write.table, "PUT", to_stored(write.item))
    return WriteRequest(write.table, "DELETE", to_stored(write.key))
