"""`Producer`: writes that are on disk when they return, and writes that wait in Kafka."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any

from mynamo.errors import InvalidItem, InvalidRequest
from mynamo.log import ensure_topics, open_producer, send_all
from mynamo.producer.receipt import Receipt
from mynamo.schemas.commands import Condition, WriteCommand
from mynamo.schemas.items import from_stored, to_stored
from mynamo.shards.cluster import Cluster
from mynamo.writer import Refused, WriteRequest, apply, command_message


class Producer:
    """Writes items. Safe to share between threads.

    Items are dictionaries of the Python types that boto3's resource layer uses: str, int
    or Decimal, bytes or Binary, bool, None, dict, list, and sets of str, numbers or bytes.

    Args:
        cluster: where to.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._kafka: Any = None
        self._opening = threading.Lock()

    def __enter__(self) -> Producer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection to Kafka; the cluster stays open."""
        with self._opening:
            if self._kafka is not None:
                self._kafka.close()
                self._kafka = None

    def put(
        self, table: str, item: Mapping[str, Any], *, condition: Condition | None = None
    ) -> Receipt:
        """Write an item, in place of the one with the same key.

        Main row, LSI rows and change event are committed before this returns.

        Args:
            table: the table's name.
            item: all its attributes.
            condition: `MUST_NOT_EXIST`, `MUST_EXIST` or `version_is(n)`.

        Raises:
            InvalidItem: nothing was written; the message says what to change.
            TableNotFound: there is no such table.
            ConditionFailed: nothing was written.
            ShardUnavailable: nothing was written; try again.
            WriteOutcomeUnknown: read the item to see whether it was.
        """
        return self._write(WriteRequest(table, "PUT", to_stored(item), condition=condition))

    def delete(
        self, table: str, key: Mapping[str, Any], *, condition: Condition | None = None
    ) -> Receipt:
        """Delete an item; that it does not exist is no error.

        Args:
            table: the table's name.
            key: the key attributes, and no others.
            condition: as for `put`.

        Raises:
            See `put`.
        """
        return self._write(WriteRequest(table, "DELETE", to_stored(key), condition=condition))

    def update(
        self,
        table: str,
        key: Mapping[str, Any],
        *,
        set: Mapping[str, Any] | None = None,  # noqa: A002 -- the field's own word
        remove: Iterable[str] = (),
        condition: Condition | None = None,
    ) -> Receipt:
        """Set and remove attributes of an item, creating it if it does not exist.

        Args:
            table: the table's name.
            key: the key attributes, and no others.
            set: attributes and their new values.
            remove: names of attributes to remove; missing ones are no error.
            condition: as for `put`.

        Raises:
            See `put`.
        """
        return self._write(_update(table, key, set or {}, remove, condition))

    def publish(self, *commands: WriteCommand) -> None:
        """Queue writes in Kafka, for the writer workers to apply.

        Returns once Kafka has all of them. Each is applied exactly once, those of one item
        in the order they were published; one that cannot be applied goes to the dead-letter
        topic. Make commands with `queued_put`, `queued_delete` and `queued_update`.

        Raises:
            InvalidItem, TableNotFound: nothing was published.
            LogUnavailable: some of them may not have reached Kafka; publishing the same
                commands again is safe.
        """
        for command in commands:
            if not isinstance(command, WriteCommand):
                raise InvalidRequest(
                    "publish takes commands: make them with queued_put, queued_delete or "
                    f"queued_update, not {type(command).__name__}"
                )
        messages = [command_message(self._cluster, command) for command in commands]
        send_all(self._producer(), self._cluster.config.kafka, messages)

    def queued_put(
        self, table: str, item: Mapping[str, Any], *, condition: Condition | None = None
    ) -> WriteCommand:
        """The command for `publish` that does what `put` does."""
        _check_condition(condition)
        return WriteCommand(
            table=table, operation="PUT", item=to_stored(item), condition=condition or Condition()
        )

    def queued_delete(
        self, table: str, key: Mapping[str, Any], *, condition: Condition | None = None
    ) -> WriteCommand:
        """The command for `publish` that does what `delete` does."""
        _check_condition(condition)
        return WriteCommand(
            table=table, operation="DELETE", key=to_stored(key), condition=condition or Condition()
        )

    def queued_update(
        self,
        table: str,
        key: Mapping[str, Any],
        *,
        set: Mapping[str, Any] | None = None,  # noqa: A002 -- the field's own word
        remove: Iterable[str] = (),
        condition: Condition | None = None,
    ) -> WriteCommand:
        """The command for `publish` that does what `update` does."""
        _check_condition(condition)
        request = _update(table, key, set or {}, remove, condition)
        return WriteCommand(
            table=table,
            operation="UPDATE",
            key=request.item,
            set=request.set,
            remove=request.remove,
            condition=condition or Condition(),
        )

    def _write(self, request: WriteRequest) -> Receipt:
        _check_condition(request.condition)
        ((shard_id, outcome),) = apply(self._cluster, [request])
        if isinstance(outcome, Refused):
            raise outcome.error
        return Receipt(
            table=request.table,
            shard=shard_id,
            version=outcome.version,
            token=str(self._cluster.token(shard_id, outcome.partition, outcome.version)),
            old=from_stored(outcome.old) if outcome.old is not None else None,
        )

    def _producer(self) -> Any:
        with self._opening:
            if self._kafka is None:
                ensure_topics(self._cluster.config.kafka)
                self._kafka = open_producer(self._cluster.config.kafka)
            return self._kafka


def _check_condition(condition: object) -> None:
    if condition is not None and not isinstance(condition, Condition):
        raise InvalidRequest(
            "a condition is MUST_EXIST, MUST_NOT_EXIST or version_is(n), not "
            f"{condition!r}; expressions are not supported yet"
        )


def _update(
    table: str,
    key: Mapping[str, Any],
    changes: Mapping[str, Any],
    remove: Iterable[str],
    condition: Condition | None,
) -> WriteRequest:
    if isinstance(remove, str):
        raise InvalidItem(f"remove must be names of attributes, not one string: [{remove!r}]")
    names = tuple(remove)
    both = set(names) & set(changes)
    if both:
        raise InvalidItem(f"attributes cannot be both set and removed: {', '.join(sorted(both))}")
    return WriteRequest(table, "UPDATE", to_stored(key), to_stored(changes), names, condition)
