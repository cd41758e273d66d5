"""`Producer`: writes that are on disk when they return, and writes that wait in Kafka."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.intents import Intent
from mynamo.errors import ConditionFailed, InvalidRequest, MynamoError
from mynamo.log import Publisher
from mynamo.log.message_spans import send_spans
from mynamo.producer.batch_writes import Delete, Put, write_batch
from mynamo.producer.receipt import Receipt, TransactionReceipt, in_python_form, receipt_of
from mynamo.producer.requests import Asked, ask
from mynamo.producer.transactions import Check, Update, transact_writes
from mynamo.runtime import forks
from mynamo.runtime.deadlines import within
from mynamo.runtime.tracing import ended, traced
from mynamo.schemas.commands import Condition, WriteCommand
from mynamo.writer import (
    Refused,
    ReturnValues,
    apply,
    check_return_values,
    command_message,
    finish_transaction,
)


class Producer:
    """Writes items. Safe to share between threads.

    Items are dictionaries of the Python types that boto3's resource layer uses: str, int
    or Decimal, bytes or Binary, bool, None, dict, list, and sets of str, numbers or bytes.

    Every write takes the same words for what must hold and what it returns:

    condition: a DynamoDB condition expression, such as
        "attribute_not_exists(id) OR price < :max"; or one of `MUST_EXIST`,
        `MUST_NOT_EXIST` and `version_is(n)`. It is evaluated under the item's lock, in the
        transaction of the write.
    names: what `#placeholders` in expressions stand for: {"#s": "status"}.
    values: what `:placeholders` stand for: {":max": 10}.
    return_values: "NONE", "ALL_OLD", and for updates "ALL_NEW", "UPDATED_OLD" and
        "UPDATED_NEW": what the receipt's `attributes` are.
    timeout: seconds after which the call is given up: a `ShardUnavailable`, and nothing was
        written. By default `ClusterConfig.timeout`, which is 30 s unless set.
    outcome_timeout: seconds for which, where the connection is lost during commit, the server is
        asked what became of the write; then it is a `WriteOutcomeUnknown`. They come after
        `timeout`. By default `ClusterConfig.outcome_timeout`, which is 48 s unless set.

    Args:
        cluster: where to.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._publisher = Publisher(cluster.config.kafka, cluster.config.timeout)

    __reduce__ = forks.not_picklable

    def __enter__(self) -> Producer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection to Kafka; the cluster stays open."""
        self._publisher.close()

    def put(
        self,
        table: str,
        item: Mapping[str, Any],
        *,
        condition: Condition | str | None = None,
        names: Mapping[str, str] | None = None,
        values: Mapping[str, Any] | None = None,
        return_values: ReturnValues = "NONE",
        timeout: float | None = None,
        outcome_timeout: float | None = None,
    ) -> Receipt:
        """Write an item, in place of the one with the same key.

        Main row, LSI rows and change event are committed before this returns.

        Args:
            table: the table's name.
            item: all its attributes.
            condition, names, values, return_values, timeout, outcome_timeout: see `Producer`.

        Raises:
            InvalidItem, InvalidExpression: nothing was written; the message says what to
                change.
            TableNotFound: there is no such table.
            ConditionFailed: nothing was written; its `item` is the item as it was found, or
                None.
            ShardUnavailable: nothing was written; try again.
            WriteOutcomeUnknown: read the item to see whether it was.
        """
        asked = ask(table, "PUT", item, condition=condition, names=names, values=values)
        return self._write(asked, return_values, timeout, outcome_timeout)

    def delete(
        self,
        table: str,
        key: Mapping[str, Any],
        *,
        condition: Condition | str | None = None,
        names: Mapping[str, str] | None = None,
        values: Mapping[str, Any] | None = None,
        return_values: ReturnValues = "NONE",
        timeout: float | None = None,
        outcome_timeout: float | None = None,
    ) -> Receipt:
        """Delete an item; that it does not exist is no error.

        Args:
            table: the table's name.
            key: the key attributes, and no others.
            condition, names, values, return_values, timeout, outcome_timeout: see `Producer`.

        Raises:
            See `put`.
        """
        asked = ask(table, "DELETE", key, condition=condition, names=names, values=values)
        return self._write(asked, return_values, timeout, outcome_timeout)

    def update(
        self,
        table: str,
        key: Mapping[str, Any],
        *,
        expression: str | None = None,
        set: Mapping[str, Any] | None = None,  # noqa: A002 -- the field's own word
        remove: Iterable[str] = (),
        condition: Condition | str | None = None,
        names: Mapping[str, str] | None = None,
        values: Mapping[str, Any] | None = None,
        return_values: ReturnValues = "NONE",
        timeout: float | None = None,
        outcome_timeout: float | None = None,
    ) -> Receipt:
        """Change an item, creating it if it does not exist, unless the update only removes.

        Args:
            table: the table's name.
            key: the key attributes, and no others.
            expression: DynamoDB's update expression, such as
                "SET price = :p, tags[0] = :t REMOVE note ADD views :one".
            set: in place of an expression: attributes and their new values.
            remove: likewise: names of attributes to remove; missing ones are no error.
            condition, names, values, return_values, timeout, outcome_timeout: see `Producer`.

        Raises:
            See `put`; InvalidItem also if the expression does not fit the item that is
            there, as when it adds a number to a string.
        """
        asked = ask(
            table, "UPDATE", key, expression=expression, set=set, remove=remove,
            condition=condition, names=names, values=values,
        )  # fmt: skip
        return self._write(asked, return_values, timeout, outcome_timeout)

    def write_batch(
        self,
        writes: Sequence[Put | Delete],
        *,
        timeout: float | None = None,
        outcome_timeout: float | None = None,
    ) -> list[Receipt | MynamoError]:
        """Write any number of items of any tables, at far less cost than one by one.

        The writes of one shard are committed together, in transactions of a bounded size;
        the whole is not one transaction. One that fails leaves the others alone.

        Args:
            writes: `Put(table, item)` and `Delete(table, key)`, at most one for each item, with
                conditions if need be.
            timeout, outcome_timeout: of the whole batch; see `Producer`.

        Returns:
            For each write, in order, its receipt, or the error that `put` or `delete` would
            have raised.

        Raises:
            InvalidRequest: nothing was written: two writes are for the same item, or it is
                not a list of writes.
        """
        return traced(
            self._cluster.tracer,
            "write_batch",
            None,
            lambda: within(timeout, outcome_timeout, lambda: write_batch(self._cluster, writes)),
        )

    def transact(
        self,
        writes: Sequence[Put | Update | Delete | Check],
        *,
        request_token: str | None = None,
        timeout: float | None = None,
        outcome_timeout: float | None = None,
    ) -> TransactionReceipt:
        """Do all of several writes, or none.

        They may be on several shards. A transaction on one shard, as items of one hash key are,
        is one commit; one on several has three, one after another.

        Args:
            writes: up to 100 of `Put(table, item)`, `Update(table, key)`, `Delete(table, key)` and
                `Check(table, key, condition)`, of any tables, at most one for each item.
            request_token: up to 36 characters: the same request, sent again with the same token
                within ten minutes, happens once.
            timeout, outcome_timeout: see `Producer`.

        Raises:
            TransactionCanceled: nothing was written; its `reasons` say for each write why it was
                refused, or None.
            IdempotentParameterMismatch: nothing was written; another request had this token.
            InvalidRequest: nothing was written: there are two writes for one item, or too many, or
                the cluster does not allow several shards yet (`mynamo transaction enable`).
            TransactionInProgress: an earlier attempt with the token is under way.
            TableNotFound: there is no such table.
            ShardUnavailable: nothing was written; try again.
            WriteOutcomeUnknown: try again with the same token, or read the items.
        """
        return traced(
            self._cluster.tracer,
            "transact",
            None,
            lambda: within(
                timeout,
                outcome_timeout,
                lambda: transact_writes(self._cluster, writes, request_token),
            ),
        )

    def finish_transaction(self, intent: Intent) -> None:
        """Finish a transaction that `Reader.transact_get` meets: `Reader(cluster,
        resolve=producer.finish_transaction)`. Otherwise such a reader waits for others to do it.

        Raises:
            ShardUnavailable: a shard of the transaction does not answer.
        """
        finish_transaction(self._cluster, intent)

    def publish(self, *commands: WriteCommand, timeout: float | None = None) -> None:
        """Queue writes in Kafka, for the writer workers to apply.

        Returns once Kafka has all of them. Each is applied exactly once, those of one item
        in the order they were published; one that cannot be applied goes to the dead-letter
        topic. Make commands with `queued_put`, `queued_delete` and `queued_update`.

        Args:
            timeout: seconds after which messages that Kafka has not acknowledged count as not
                sent; by default 20, or `ClusterConfig.timeout` if that is less. To connect to
                Kafka for the first time takes up to 10 more.

        Raises:
            InvalidItem, InvalidExpression, TableNotFound: nothing was published.
            LogUnavailable: some of them may not have reached Kafka; publishing the same
                commands again is safe.
        """
        for command in commands:
            if not isinstance(command, WriteCommand):
                raise InvalidRequest(
                    "publish takes commands: make them with queued_put, queued_delete or "
                    f"queued_update, not {type(command).__name__}"
                )
        traced(
            self._cluster.tracer,
            "publish",
            None,
            lambda: within(timeout, None, lambda: self._publish(commands, timeout)),
        )

    def _publish(self, commands: Sequence[WriteCommand], timeout: float | None) -> None:
        messages = [command_message(self._cluster, command) for command in commands]
        with ended(send_spans(self._cluster.tracer, messages, {})):
            self._publisher.send(messages, timeout=timeout)

    def queued_put(
        self,
        table: str,
        item: Mapping[str, Any],
        *,
        condition: Condition | str | None = None,
        names: Mapping[str, str] | None = None,
        values: Mapping[str, Any] | None = None,
    ) -> WriteCommand:
        """The command for `publish` that does what `put` does."""
        asked = ask(table, "PUT", item, condition=condition, names=names, values=values)
        return asked.command()

    def queued_delete(
        self,
        table: str,
        key: Mapping[str, Any],
        *,
        condition: Condition | str | None = None,
        names: Mapping[str, str] | None = None,
        values: Mapping[str, Any] | None = None,
    ) -> WriteCommand:
        """The command for `publish` that does what `delete` does."""
        asked = ask(table, "DELETE", key, condition=condition, names=names, values=values)
        return asked.command()

    def queued_update(
        self,
        table: str,
        key: Mapping[str, Any],
        *,
        expression: str | None = None,
        set: Mapping[str, Any] | None = None,  # noqa: A002 -- the field's own word
        remove: Iterable[str] = (),
        condition: Condition | str | None = None,
        names: Mapping[str, str] | None = None,
        values: Mapping[str, Any] | None = None,
    ) -> WriteCommand:
        """The command for `publish` that does what `update` does."""
        asked = ask(
            table, "UPDATE", key, expression=expression, set=set, remove=remove,
            condition=condition, names=names, values=values,
        )  # fmt: skip
        return asked.command()

    def _write(
        self,
        asked: Asked,
        return_values: ReturnValues,
        timeout: float | None,
        outcome_timeout: float | None,
    ) -> Receipt:
        return traced(
            self._cluster.tracer,
            asked.operation.lower(),
            asked.table,
            lambda: within(
                timeout, outcome_timeout, lambda: self._write_within(asked, return_values)
            ),
        )

    def _write_within(self, asked: Asked, return_values: ReturnValues) -> Receipt:
        check_return_values(return_values, asked.operation)
        request = asked.request()
        ((shard_id, outcome),) = apply(self._cluster, [request])
        if not isinstance(outcome, Refused):
            return receipt_of(self._cluster, request, shard_id, outcome, return_values)
        if isinstance(outcome.error, ConditionFailed):
            raise in_python_form(outcome.error)
        raise outcome.error
