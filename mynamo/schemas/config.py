"""Where the servers are: `ClusterConfig`, from a TOML file and the environment."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FilePath,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from mynamo.errors import ConfigError
from mynamo.schemas.gateway_config import GatewayConfig
from mynamo.schemas.validation import explain

DEFAULT_FILES = ("mynamo.toml", ".mynamo/mynamo.toml")
"""Where a configuration is looked for when neither an argument nor MYNAMO_CONFIG names one."""

MAX_TIMEOUT = 86_400.0
MAX_OUTCOME_TIMEOUT = 48.0
"""Seconds. The outbox keeps for 60 what tells the outcome of a commit."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MySQLTLS(_Strict):
    """TLS to MySQL; the server's certificate is always verified against `ca`.

    Attributes:
        ca: path of the PEM file with the authority's certificates; it must exist.
        cert: path of the client's own certificate, for mutual TLS.
        key: path of that certificate's private key.
        verify_identity: check that the certificate names the host as well.
    """

    ca: FilePath
    cert: FilePath | None = None
    key: FilePath | None = None
    verify_identity: bool = True


class DatabaseConfig(_Strict):
    """One MySQL database and how to log in to it."""

    host: str = "127.0.0.1"
    port: int = Field(3306, ge=1, le=65535)
    user: str = "mynamo"
    password: SecretStr = SecretStr("")
    database: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")
    tls: MySQLTLS | None = None


class ShardConfig(DatabaseConfig):
    """One shard: a MySQL database with a number of its own, which never changes.

    Attributes:
        id: 1 to 4096; the catalog's slot map and every consistency token name shards by it.
    """

    id: int = Field(ge=1, le=4096)


class KafkaConfig(_Strict):
    """The Kafka cluster and the topics on it.

    Attributes:
        bootstrap_servers: `host:port`, several joined by commas.
        changes_topic: the change events of all tables.
        writes_topic: queued writes.
        dead_letter_topic: what could not be applied, with the reason.
        indexer_group: consumer group of the indexers.
        writer_group: consumer group of the writers.
        partitions: partitions of `changes` and `writes`; fixed once the cluster exists.
        replication_factor: replicas of each topic, used when mynamo creates them.
        session_timeout_ms: after this long without a heartbeat a worker is replaced.
        cloud_events: change events have the headers of CloudEvents (binary mode) besides.
        security_protocol, sasl_*, ssl_*: as kafka-python names them.
    """

    bootstrap_servers: str = "127.0.0.1:9092"
    changes_topic: str = "mynamo.changes"
    writes_topic: str = "mynamo.writes"
    dead_letter_topic: str = "mynamo.dead-letters"
    indexer_group: str = "mynamo.indexer"
    writer_group: str = "mynamo.writer"
    partitions: int = Field(8, ge=1, le=1024)
    replication_factor: int = Field(1, ge=1)
    session_timeout_ms: int = Field(10_000, ge=1_000)
    cloud_events: bool = False
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: str | None = None
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    ssl_cafile: FilePath | None = None
    ssl_certfile: FilePath | None = None
    ssl_keyfile: FilePath | None = None


class PoolConfig(_Strict):
    """Connections that one process keeps to each database.

    Attributes:
        size: at most so many at a time; further callers wait.
        connect_timeout: seconds until a server counts as not answering.
        read_timeout: seconds until a statement counts as lost, 40 at the most.
        wait_timeout: seconds that a caller waits for a connection.
        breaker_opens_after: seconds without any answer, while connections are refused or not
            taken, after which the database's circuit breaker opens: calls fail at once.
        breaker_probe_after: seconds from then on, and from each probe that fails, until one caller
            asks the database again.
    """

    size: int = Field(16, ge=2, le=1000)
    connect_timeout: float = Field(5.0, gt=0)
    read_timeout: float = Field(30.0, gt=0, le=40)
    wait_timeout: float = Field(30.0, gt=0)
    breaker_opens_after: float = Field(5.0, gt=0)
    breaker_probe_after: float = Field(1.0, gt=0)


class IndexLimits(_Strict):
    """How far a GSI may be behind.

    Attributes:
        events: changes of one shard that it has not applied.
        seconds: age of the oldest of them.
    """

    events: int | None = Field(None, ge=1)
    seconds: float | None = Field(None, gt=0)


class LimitsConfig(_Strict):
    """How far GSIs may be behind a shard before writes to their table there are refused.

    Attributes:
        index_events: of every GSI, see `IndexLimits`; None: any number.
        index_seconds: likewise.
        indexes: of single GSIs, by "table.index", in place of the general ones.
    """

    index_events: int | None = Field(None, ge=1)
    index_seconds: float | None = Field(None, gt=0)
    indexes: dict[str, IndexLimits] = {}

    def of(self, table: str, index: str) -> IndexLimits:
        """The limits of one GSI."""
        own = self.indexes.get(f"{table}.{index}", _NO_LIMITS)
        return IndexLimits(
            events=self.index_events if own.events is None else own.events,
            seconds=self.index_seconds if own.seconds is None else own.seconds,
        )


_NO_LIMITS = IndexLimits()


class ExpiryConfig(_Strict):
    """Deleting items whose time to live has ended.

    Attributes:
        rate: items per second that all tables of one shard lose by it, at most. Less while indexers
            are behind.
    """

    rate: float = Field(1000.0, gt=0)


class StreamsConfig(_Strict):
    """Streams of tables.

    Attributes:
        retention: seconds for which a record of a change can be read; DynamoDB's is a day.
    """

    retention: float = Field(86_400.0, gt=0)


class MetricsConfig(_Strict):
    """Metrics of processes that have `--metrics-port`.

    Attributes:
        host: address on which they are served.
        tables: that have a label of their own among the gateway's requests; all others are
            together in `other`.
    """

    host: str = "127.0.0.1"
    tables: int = Field(100, ge=0, le=10_000)


class TracingConfig(_Strict):
    """Traces, by OpenTelemetry; they need the extra `tracing`.

    What is None is as OpenTelemetry's environment variables say. A service that embeds the library
    has an exporter of its own: of these only `enabled` is for it.

    Attributes:
        enabled: requests and calls have spans.
        endpoint: address of an OTLP collector's HTTP port; `/v1/traces` is added unless it has a
            path. None: OTEL_EXPORTER_OTLP_ENDPOINT, or else http://localhost:4318.
        sampling_ratio: of the traces that begin here, how many are recorded, 0 to 1; one that a
            client has begun is recorded if the client records it. None: OTEL_TRACES_SAMPLER, or
            else all.
        service_name: None: OTEL_SERVICE_NAME, or else mynamo-gateway, mynamo-writer and
            mynamo-indexer.
    """

    enabled: bool = False
    endpoint: str | None = Field(None, pattern=r"^https?://[^/@\s]+(/[^@\s]*)?$")
    sampling_ratio: float | None = Field(None, ge=0, le=1)
    service_name: str | None = Field(None, min_length=1)


AUDIT_LOGGER = "mynamo.audit"


class LogConfig(_Strict):
    """Logs of workers and of the gateway, on stderr.

    Attributes:
        format: "text", a line for people; "json": an object in each line.
        slow_request_seconds: that a request to the gateway takes to be logged; 0: none is.
        audit: the gateway logs who changed tables and their settings, and who was refused for
            lack of rights, whatever `--log-level` says.
    """

    format: Literal["text", "json"] = "text"
    slow_request_seconds: float = Field(1.0, ge=0)
    audit: bool = True


class ClusterConfig(BaseSettings):
    """A whole cluster: the catalog, the shards, Kafka, and the gateway in front.

    The environment overrides the file: `MYNAMO_` and the path, parts joined by two
    underscores (`MYNAMO_KAFKA__BOOTSTRAP_SERVERS`, `MYNAMO_CATALOG__PASSWORD`); the list
    of shards is given whole as JSON in `MYNAMO_SHARDS`. `MYNAMO_SHARD_PASSWORD` is the
    password of every shard that has none in the file, and of the catalog likewise.

    Attributes:
        timeout: seconds after which a call is given up, while a server does not answer or others
            hold an item; None: 30, and for a single answer `pool`'s limits alone. Each call of
            `Producer`, `Reader` and the manager may have its own.
        outcome_timeout: seconds for which a server is asked what became of a write, once its
            connection was lost during commit; None: 48, which is also the most.
        local_wakeups: relays and indexers take wake-ups from processes of their own machine;
            without them they wait as they do for work of other machines: relays look at least
            every 50 ms, indexers ask the broker.
    """

    model_config = SettingsConfigDict(
        env_prefix="MYNAMO_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    timeout: float | None = Field(None, gt=0, le=MAX_TIMEOUT)
    outcome_timeout: float | None = Field(None, gt=0, le=MAX_OUTCOME_TIMEOUT)
    local_wakeups: bool = True
    catalog: DatabaseConfig
    shards: tuple[ShardConfig, ...] = Field(min_length=1)
    kafka: KafkaConfig = KafkaConfig()
    pool: PoolConfig = PoolConfig()
    limits: LimitsConfig = LimitsConfig()
    expiry: ExpiryConfig = ExpiryConfig()
    streams: StreamsConfig = StreamsConfig()
    metrics: MetricsConfig = MetricsConfig()
    tracing: TracingConfig = TracingConfig()
    log: LogConfig = LogConfig()
    gateway: GatewayConfig = GatewayConfig()

    @model_validator(mode="after")
    def _shard_ids_are_unique(self) -> ClusterConfig:
        ids = [shard.id for shard in self.shards]
        if len(set(ids)) != len(ids):
            raise ValueError(f"shard ids must be unique, but are {sorted(ids)}")
        databases = [(s.host, s.port, s.database) for s in self.shards]
        if len(set(databases)) != len(databases):
            raise ValueError("two shards name the same database; each needs one of its own")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment first, then what `load` read from the file."""
        return (EnvSettingsSource(settings_cls), init_settings)

    @classmethod
    def load(cls, path: str | Path | None = None) -> ClusterConfig:
        """Read the configuration.

        Args:
            path: a TOML file; by default `MYNAMO_CONFIG`, then `mynamo.toml`, then
                `.mynamo/mynamo.toml` (which `mynamo dev` writes).

        Raises:
            ConfigError: there is no such file, or what it or the environment says is not valid.
        """
        if path is not None and not isinstance(path, str | Path):
            raise ConfigError(f"the configuration is named by a path, not {path!r}")
        found = find_file(path)
        values = _read(found) if found else {}
        password = os.environ.get("MYNAMO_SHARD_PASSWORD")
        if password is not None:
            for database in (values.get("catalog"), *values.get("shards", ())):
                if isinstance(database, dict):
                    database.setdefault("password", password)
        try:
            return cls(**values)
        except SettingsError as error:
            raise ConfigError(f"the environment: {_not_json(error)}") from None
        except ValidationError as error:
            if found is None:
                raise ConfigError(
                    "no configuration file was found: run `mynamo dev` here, or write "
                    "mynamo.toml (docs/operations.md). The environment alone does not say: "
                    + explain(error, cls)
                ) from None
            raise ConfigError(f"{found}: {explain(error, cls)}") from None

    def with_timeouts(
        self, timeout: float | None = None, outcome_timeout: float | None = None
    ) -> ClusterConfig:
        """The same with other timeouts; None: as they are.

        Raises:
            ConfigError: one is not valid.
        """
        given = {"timeout": timeout, "outcome_timeout": outcome_timeout}
        changed = {name: seconds for name, seconds in given.items() if seconds is not None}
        try:
            _Timeouts(**changed)
        except ValidationError as error:
            raise ConfigError(explain(error)) from None
        return self.model_copy(update=changed)


class _Timeouts(_Strict):
    model_config = ConfigDict(strict=True)

    timeout: float | None = Field(None, gt=0, le=MAX_TIMEOUT)
    outcome_timeout: float | None = Field(None, gt=0, le=MAX_OUTCOME_TIMEOUT)


def _not_json(error: SettingsError) -> str:
    """Which variable is not JSON, without its value, which may be a secret."""
    field = re.search(r'field "(\w+)"', str(error))
    prefix = f"MYNAMO_{field[1].upper()}" if field else "MYNAMO_"
    names = sorted(name for name in os.environ if name.upper().startswith(prefix))
    return f"not valid JSON in {' or '.join(names) or prefix}; {error.__cause__}"


def find_file(path: str | Path | None) -> Path | None:
    """The file that `ClusterConfig.load` reads; None: there is none.

    Raises:
        ConfigError: the file that is named is not there.
    """
    named = path or os.environ.get("MYNAMO_CONFIG")
    if named:
        if not Path(named).is_file():
            raise ConfigError(f"there is no configuration file {named}")
        return Path(named)
    return next((Path(name) for name in DEFAULT_FILES if Path(name).is_file()), None)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
