"""Kafka clients, configured so that nothing acknowledged is lost or reordered."""

from __future__ import annotations

import atexit
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import CoordinatorNotAvailableError, KafkaError

from mynamo.errors import LogUnavailable, MynamoError
from mynamo.runtime import forks
from mynamo.schemas.config import KafkaConfig

MAX_MESSAGE = 16 * 1024 * 1024
"""Bytes of the largest message: both images of a 400 KB item whose JSON is many times that."""

_DELIVERY_MS = 30_000

Message = tuple[str, int | None, bytes | None, bytes, list[tuple[str, bytes]]]
"""Topic, partition (None: by key), key, value, headers."""


@contextmanager
def kafka_errors(config: KafkaConfig) -> Iterator[None]:
    """Turn the client library's exceptions into ours.

    Raises:
        LogUnavailable: in place of any of them.
    """
    try:
        yield
    except MynamoError:
        raise
    except (KafkaError, OSError) as error:
        text = str(error) or type(error).__name__
        raise LogUnavailable(
            f"Kafka at {config.bootstrap_servers} does not answer or refuses: {text}; "
            "check that it runs and that kafka.bootstrap_servers is right"
        ) from None


_inherited: list[Any] = []
"""Producers of the parent's, which a child must not even delete: that would close them."""


class _Producer(KafkaProducer):  # type: ignore[misc]
    """A KafkaProducer that a child of a fork leaves to its parent, with all that waits in it."""

    def __init__(self, **options: Any) -> None:
        self._client: Any = None
        forks.note(self)
        super().__init__(kafka_client=self._connect, **options)

    def _connect(self, **options: Any) -> Any:
        self._client = KafkaProducer.DEFAULT_CONFIG["kafka_client"](**options)
        return self._client

    def renew_after_fork(self) -> None:
        """Let go of the sockets, and keep whatever ends here from closing it with its parent's
        locks. The selector is the parent's too: what is taken out of it is taken from both."""
        _inherited.append(self)
        self._closed = True
        if cleanup := getattr(self, "_cleanup", None):
            atexit.unregister(cleanup)
        if self._client is None:
            return
        for connection in list(self._client._manager._conns.values()):
            sock = connection.transport and connection.transport._sock
            if sock is not None:
                forks.let_go(sock)


def open_producer(config: KafkaConfig) -> Any:
    """A KafkaProducer: idempotent, acknowledged by all in-sync replicas.

    Raises:
        LogUnavailable: no broker answers.
    """
    with kafka_errors(config):
        return _Producer(
            **_connection(config),
            enable_idempotence=True,
            acks="all",
            delivery_timeout_ms=_DELIVERY_MS,
            request_timeout_ms=_DELIVERY_MS // 2,
            max_block_ms=_DELIVERY_MS,
            linger_ms=2,
            batch_size=256 * 1024,
            compression_type="lz4",
            max_request_size=MAX_MESSAGE,
            allow_auto_create_topics=False,
        )


def open_consumer(config: KafkaConfig, group: str | None, **options: Any) -> Any:
    """A KafkaConsumer that commits only when told to and starts at the earliest message.

    Args:
        group: None for one that is assigned its partitions by hand.
        options: as kafka-python names them.

    Raises:
        LogUnavailable: no broker answers.
    """
    sizes = {"max_partition_fetch_bytes": MAX_MESSAGE, "fetch_max_bytes": 4 * MAX_MESSAGE}
    with kafka_errors(config):
        consumer = KafkaConsumer(
            **_connection(config),
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=config.session_timeout_ms,
            heartbeat_interval_ms=max(200, config.session_timeout_ms // 6),
            allow_auto_create_topics=False,
            metadata_max_age_ms=5_000,
            **sizes | options,
        )
    if group is not None:
        finish_joining(consumer)
    return consumer


def finish_joining(consumer: Any) -> None:
    """Let a consumer finish joining its group once it has begun.

    kafka-python (3.0.12) loses a join that was caused by new metadata, if the timeout of a `poll`
    interrupts it at the wrong moment: it counts the metadata as handled and never looks at the
    answer, so the consumer never gets partitions.
    """
    coordinator = consumer._coordinator
    wanted = coordinator.need_rejoin
    coordinator.need_rejoin = lambda: wanted() or coordinator.rejoining


def is_joining(consumer: Any) -> bool:
    """Whether a consumer has not joined its group yet; joining takes polls of some length."""
    return bool(consumer._coordinator.need_rejoin()) or not consumer.assignment()


def identity(consumer: Any, topic: str) -> str:
    """The id of a topic, as far as a consumer knows. A later topic of the same name has another
    id, and other offsets. Empty: not known."""
    known = consumer._cluster.topic_id(topic)
    return "" if known is None else str(known)


def subscribe(consumer: Any, config: KafkaConfig, topic: str, **options: Any) -> None:
    """Subscribe to a topic that exists, once the consumer knows its partitions.

    A consumer that joins its group earlier may assign no partitions at all.

    Args:
        options: as kafka-python names them.

    Raises:
        LogUnavailable: the broker does not know the topic.
    """
    with kafka_errors(config):
        deadline = time.monotonic() + 10
        while not consumer.partitions_for_topic(topic):
            if time.monotonic() > deadline:
                raise LogUnavailable(f"Kafka does not say where topic {topic} is; try again")
            time.sleep(0.05)
        consumer.subscribe([topic], **options)


def open_admin(config: KafkaConfig) -> Any:
    """A KafkaAdminClient.

    Raises:
        LogUnavailable: no broker answers.
    """
    with kafka_errors(config):
        return KafkaAdminClient(**_connection(config), request_timeout_ms=_DELIVERY_MS // 2)


def send_all(producer: Any, config: KafkaConfig, messages: Iterable[Message]) -> None:
    """Send messages and wait until Kafka has every one of them.

    Raises:
        LogUnavailable: it does not have them all; some may have been sent.
    """
    with kafka_errors(config):
        futures = [
            producer.send(topic, partition=partition, key=key, value=value, headers=headers)
            for topic, partition, key, value, headers in messages
        ]
        producer.flush(timeout=_DELIVERY_MS / 1000 + 5)
        for future in futures:
            future.get(timeout=5)


def _connection(config: KafkaConfig) -> dict[str, Any]:
    password = config.sasl_password
    return {
        "bootstrap_servers": config.bootstrap_servers.split(","),
        "client_id": "mynamo",
        "security_protocol": config.security_protocol,
        "ssl_cafile": config.ssl_cafile and str(config.ssl_cafile),
        "ssl_certfile": config.ssl_certfile and str(config.ssl_certfile),
        "ssl_keyfile": config.ssl_keyfile and str(config.ssl_keyfile),
        "sasl_mechanism": config.sasl_mechanism,
        "sasl_plain_username": config.sasl_username,
        "sasl_plain_password": password.get_secret_value() if password else None,
        "bootstrap_timeout_ms": 10_000,
        "reconnect_backoff_max_ms": 1_000,
    }


_PATIENCE = 5.0
"""Seconds that a broker may take to make the topic of groups: the first question makes it."""
_PAUSE = 0.1


def group_members(config: KafkaConfig, group: str, wait: float = 0.0) -> int:
    """How many members a consumer group has.

    One that died counts until its session times out.

    Args:
        wait: seconds for a first one to come, if there is none.

    Raises:
        LogUnavailable: Kafka does not answer.
    """
    admin = open_admin(config)
    # The embedded broker tells of permissions that Kafka does not have; nobody asks for them.
    admin._process_acl_operations = lambda described: described
    deadline = time.monotonic() + wait
    try:
        with kafka_errors(config):
            while True:
                count = len(_describe(admin, group)["members"])
                if count or time.monotonic() >= deadline:
                    return count
                time.sleep(_PAUSE)
    finally:
        admin.close()


def _describe(admin: Any, group: str) -> Any:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return admin.describe_groups([group])[group]
        except CoordinatorNotAvailableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE)
