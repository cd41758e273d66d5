"""Many puts and deletes at once, each with an outcome of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.tables import RowKey, Table
from mynamo.errors import ConditionFailed, InvalidRequest, MynamoError
from mynamo.producer.receipt import Receipt, in_python_form, receipt_of
from mynamo.producer.requests import ask
from mynamo.schemas.commands import Condition
from mynamo.writer import Operation, Refused, WriteRequest, apply_each

DUPLICATES = "Provided list of item keys contains duplicates"


@dataclass(frozen=True, slots=True)
class Put:
    """Write an item, in place of the one with the same key.

    Attributes:
        table: the table's name.
        item: all its attributes.
        condition, names, values: as `Producer.put` takes them.
    """

    table: str
    item: Mapping[str, Any]
    condition: Condition | str | None = None
    names: Mapping[str, str] | None = None
    values: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete an item; that it does not exist is no error.

    Attributes:
        table: the table's name.
        key: the key attributes, and no others.
        condition, names, values: as `Producer.delete` takes them.
    """

    table: str
    key: Mapping[str, Any]
    condition: Condition | str | None = None
    names: Mapping[str, str] | None = None
    values: Mapping[str, Any] | None = None


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
            failure = outcome.error
            if isinstance(failure, ConditionFailed):
                failure = in_python_form(failure)
            outcomes[position] = failure
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
    operation: Operation = "PUT" if isinstance(write, Put) else "DELETE"
    item = write.item if isinstance(write, Put) else write.key
    return ask(
        write.table, operation, item,
        condition=write.condition, names=write.names, values=write.values,
    ).request()  # fmt: skip
