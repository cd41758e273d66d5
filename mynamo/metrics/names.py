"""Every metric: its name, with the unit, its labels and what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from mynamo.runtime.counters import Counted

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        name: as Prometheus has it.
        kind: of its values.
        text: what it says, in a line.
        labels: names of its labels.
        source: the processes that have it.
    """

    name: str
    kind: Kind
    text: str
    labels: tuple[str, ...]
    source: str

    @property
    def counted(self) -> str:
        """Its name in `runtime.counters`; empty: it does not come from there."""
        name = self.name.removeprefix("mynamo_").removesuffix("_total")
        return name if name in get_args(Counted) else ""

    def is_of(self, role: str) -> bool:
        """Whether a process of this role has it."""
        return role in self.source.split(", ")


LATENCY_BUCKETS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
"""Upper bounds in seconds."""

_ALL = "serve, writer, indexer, library"
_WORKERS = "writer, indexer"
_WRITING = "serve, writer, library"

REQUESTS = Metric(
    "mynamo_requests_total", "counter",
    "Requests that were answered. `table` is empty for requests that name none, several or one that"
    " does not exist; `error` is the exception's name, empty for success.",
    ("operation", "table", "status", "error"), "serve",
)  # fmt: skip
REQUEST_SECONDS = Metric(
    "mynamo_request_seconds", "histogram",
    "Time from a request's last byte to its answer, without that of the network. Requests that were"
    " refused before their operation began are left out.",
    ("operation",), "serve",
)  # fmt: skip
THROTTLE_EVENTS = Metric(
    "mynamo_throttle_events_total", "counter",
    "Requests, and items of batches, that were throttled since the provisioned throughput of the"
    " table, or of an index of it, was used up. `access` is `read` or `write`.",
    ("table", "index", "access"), "serve",
)  # fmt: skip
FREE_PERMITS = Metric(
    "mynamo_request_permits_free", "gauge",
    "Small requests that are taken at this moment before one is refused (HTTP 503).", (), "serve",
)  # fmt: skip
LOOP_DELAY = Metric(
    "mynamo_event_loop_delay_seconds", "gauge",
    "How late the event loop was for its timer of every second; the longest of the last 15.",
    (), "serve",
)  # fmt: skip
BREAKER_OPEN = Metric(
    "mynamo_breaker_open", "gauge",
    "1: this process has found that the server does not answer, and requests for it fail at once."
    " `server` is `catalog` or a shard's number, here and below.",
    ("server",), _ALL,
)  # fmt: skip
POOL_IN_USE = Metric(
    "mynamo_pool_connections_in_use", "gauge",
    "Connections of this process to the server that a call has at the moment.",
    ("server",), _ALL,
)  # fmt: skip
POOL_IDLE = Metric(
    "mynamo_pool_connections_idle", "gauge",
    "Connections of this process to the server that are open and that no call has.",
    ("server",), _ALL,
)  # fmt: skip
POOL_WAITS = Metric(
    "mynamo_pool_waits_total", "counter",
    "Calls that had to wait for a connection, because all were in use.", ("server",), _ALL,
)  # fmt: skip
GROUP_BATCHES = Metric(
    "mynamo_group_commit_batches_total", "counter",
    "Transactions of group commit: concurrent writes of this process to the shard share them.",
    ("shard",), _WRITING,
)  # fmt: skip
GROUP_WRITES = Metric(
    "mynamo_group_commit_writes_total", "counter",
    "Writes in these transactions.", ("shard",), _WRITING,
)  # fmt: skip
GROUP_WAITS = Metric(
    "mynamo_group_commit_waits_total", "counter",
    "Calls that waited for rows that somebody else held, with those who write the same rows.",
    ("shard",), _WRITING,
)  # fmt: skip
RETRIES = Metric(
    "mynamo_retries_total", "counter",
    "Attempts that failed and were followed by another one. `reason` is `deadlock`, `lock_wait`,"
    " `duplicate_key` (another process inserted the row first), `lost_connection`, `circuit_open`"
    " or `other`.",
    ("reason",), _ALL,
)  # fmt: skip
COMMIT_LOOKUPS = Metric(
    "mynamo_commit_lookups_total", "counter",
    "Commits whose answer was lost with the connection, so that the shard was asked what became of"
    " them.",
    ("shard",), _WRITING,
)  # fmt: skip
TRANSACTION_WAITS = Metric(
    "mynamo_transaction_waits_total", "counter",
    "How often a write or a transaction found an item in another transaction, and waited for that.",
    (), _WRITING,
)  # fmt: skip
TRANSACTION_CONFLICTS = Metric(
    "mynamo_transaction_conflicts_total", "counter",
    "How often that took too long: the caller heard TransactionConflict.", (), _WRITING,
)  # fmt: skip
TRANSACTION_ABORTS = Metric(
    "mynamo_transaction_aborts_total", "counter",
    "Attempts of transactions over several shards that another transaction aborted, or whose answer"
    " was lost. Each is followed by another attempt, or a conflict.",
    (), _WRITING,
)  # fmt: skip
KAFKA_UP = Metric(
    "mynamo_kafka_up", "gauge",
    "1: Kafka has answered this process at this scrape.", (), _WORKERS,
)  # fmt: skip
DEAD_LETTERS = Metric(
    "mynamo_dead_letters", "gauge",
    "Dead letters that are open: neither replayed nor discarded. Left out if Kafka does not"
    " answer.",
    (), "writer",
)  # fmt: skip
DEAD_LETTERS_WRITTEN = Metric(
    "mynamo_dead_letters_written_total", "counter",
    "Messages that could not be applied and that this process put into the dead-letter topic.",
    (), _WORKERS,
)  # fmt: skip
QUEUED_WRITES = Metric(
    "mynamo_queued_writes", "gauge",
    "Queued writes in Kafka that no writer is done with. Left out if Kafka does not answer.",
    (), "writer",
)  # fmt: skip
QUEUED_WRITES_DONE = Metric(
    "mynamo_queued_writes_done_total", "counter",
    "Queued writes that this process has applied or refused.", (), "writer",
)  # fmt: skip
SHARD_AWAY = Metric(
    "mynamo_shard_away", "gauge",
    "1: the shard does not answer this process, which passes over the events and queued writes for"
    " it, and does them once it is back.",
    ("shard",), _WORKERS,
)  # fmt: skip
RELAY_EVENTS = Metric(
    "mynamo_relay_events_total", "counter",
    "Changes that this process sent from the shard's outbox to Kafka; some more than once, after a"
    " failure.",
    ("shard",), "writer",
)  # fmt: skip
RELAY_BATCHES = Metric(
    "mynamo_relay_batches_total", "counter",
    "Batches in which it sent them.", ("shard",), "writer",
)  # fmt: skip
RELAY_SECONDS = Metric(
    "mynamo_relay_seconds_total", "counter",
    "Time for these batches: to number them, to send them and to wait until Kafka had them.",
    ("shard",), "writer",
)  # fmt: skip
RELAY_LEASES = Metric(
    "mynamo_relay_leases_taken_total", "counter",
    "How often this process took the lease of the shard's relay: at its start, or from another"
    " process.",
    ("shard",), "writer",
)  # fmt: skip
STREAM_RECORDS = Metric(
    "mynamo_stream_records_total", "counter",
    "Records that this process wrote for the streams of tables.", ("shard",), "writer",
)  # fmt: skip
EXPIRED_ITEMS = Metric(
    "mynamo_expiry_deleted_items_total", "counter",
    "Items that this process deleted as they had expired.", ("table",), "writer",
)  # fmt: skip
BACKFILL_ROWS = Metric(
    "mynamo_backfill_rows_total", "counter",
    "Items that this process looked at to put them into an index that is being created.",
    ("table", "index"), "writer",
)  # fmt: skip
BACKFILL_DONE = Metric(
    "mynamo_backfill_done_ratio", "gauge",
    "Share of the shard's slots whose items have been looked at for an index that is being created,"
    " 0 to 1. Left out once the index is ACTIVE.",
    ("table", "index", "shard"), "writer",
)  # fmt: skip
INDEXER_EVENTS = Metric(
    "mynamo_indexer_events_total", "counter",
    "Changes that this process applied to GSIs.", (), "indexer",
)  # fmt: skip
INDEXER_BATCHES = Metric(
    "mynamo_indexer_batches_total", "counter",
    "Batches in which it applied them.", (), "indexer",
)  # fmt: skip
INDEXER_SECONDS = Metric(
    "mynamo_indexer_seconds_total", "counter",
    "Time for these batches.", (), "indexer",
)  # fmt: skip
INDEXER_KNOWN = Metric(
    "mynamo_indexer_known_events_total", "counter",
    "Changes that were left out because they had been applied: they came again, or reading began at"
    " an earlier place.",
    (), "indexer",
)  # fmt: skip
INDEXER_EARLY = Metric(
    "mynamo_indexer_early_events_total", "counter",
    "Changes that were left out because one before them was missing; they come again.",
    (), "indexer",
)  # fmt: skip
INDEXER_LOST = Metric(
    "mynamo_indexer_lost_events_total", "counter",
    "How often Kafka had lost what a stream of events waited for, so that the relay was to send it"
    " again.",
    (), "indexer",
)  # fmt: skip
SHARD_UP = Metric(
    "mynamo_shard_up", "gauge",
    "1: the shard has answered this scrape. Of one that has not, the metrics below are left out.",
    ("shard",), "writer",
)  # fmt: skip
OUTBOX_ROWS = Metric(
    "mynamo_outbox_rows", "gauge",
    "Rows of the shard's outbox; those that are done stay for a minute.", ("shard",), "writer",
)  # fmt: skip
OUTBOX_BYTES = Metric(
    "mynamo_outbox_bytes", "gauge",
    "Size of their payloads, estimated from a sample.", ("shard",), "writer",
)  # fmt: skip
OUTBOX_OLDEST = Metric(
    "mynamo_outbox_oldest_seconds", "gauge",
    "Age of the oldest row; 0: there is none.", ("shard",), "writer",
)  # fmt: skip
OUTBOX_UNPUBLISHED = Metric(
    "mynamo_outbox_unpublished_rows", "gauge",
    "Changes that are not in Kafka yet.", ("shard",), "writer",
)  # fmt: skip
OUTBOX_UNAPPLIED = Metric(
    "mynamo_outbox_unapplied_rows", "gauge",
    "Changes that an index waits for.", ("shard",), "writer",
)  # fmt: skip
RELAY_LEASE = Metric(
    "mynamo_relay_lease_seconds", "gauge",
    "For how long the lease of the shard's relay still holds; 0: nobody relays its changes.",
    ("shard",), "writer",
)  # fmt: skip
INTENTS = Metric(
    "mynamo_transaction_intents", "gauge",
    "Items that a transaction over several shards has at the moment.", ("shard",), "writer",
)  # fmt: skip
INTENTS_OLDEST = Metric(
    "mynamo_transaction_intents_oldest_seconds", "gauge",
    "Age of the oldest of these intents; 0: there is none.", ("shard",), "writer",
)  # fmt: skip
INDEX_EVENTS = Metric(
    "mynamo_index_lag_events", "gauge",
    "Changes of the table's items on the shard that are not applied yet; some may not concern this"
    " index.",
    ("table", "index", "shard"), "writer",
)  # fmt: skip
INDEX_SECONDS = Metric(
    "mynamo_index_lag_seconds", "gauge",
    "Age of the oldest of these changes: how far the GSI is behind; 0: it is not.",
    ("table", "index", "shard"), "writer",
)  # fmt: skip
INDEX_ACTIVE = Metric(
    "mynamo_index_active", "gauge",
    "1: the index is ACTIVE; 0: it is being created.", ("table", "index"), "writer",
)  # fmt: skip
DUE_ITEMS = Metric(
    "mynamo_expiry_due_items", "gauge",
    "Items on the shard that have expired and are not deleted yet; at most 100,000 are counted.",
    ("table", "shard"), "writer",
)  # fmt: skip
DUE_SECONDS = Metric(
    "mynamo_expiry_behind_seconds", "gauge",
    "Since when the first of them has expired; 0: there is none.", ("table", "shard"), "writer",
)  # fmt: skip
OPEN_MOVES = Metric(
    "mynamo_slot_moves_open", "gauge", "Moves of slots that have not ended.", (), "writer",
)  # fmt: skip
MOVED_ROWS = Metric(
    "mynamo_slot_moves_copied_rows", "gauge",
    "Rows that moves of slots have copied to the shard so far, of moves that have not switched.",
    ("shard",), "writer",
)  # fmt: skip
SCRAPE_SECONDS = Metric(
    "mynamo_pipeline_scrape_seconds", "gauge",
    "How long it took to ask the shards for the metrics above.", (), "writer",
)  # fmt: skip
VERIFY_FINDINGS = Metric(
    "mynamo_verify_findings", "gauge",
    "What the last verify of the table found: index rows that are `missing`, `stale` or a `ghost`;"
    " with an empty `index`, items that are `damaged` and a `mark` or an `intent` of no"
    " transaction.",
    ("table", "index", "kind"), "verify",
)  # fmt: skip
VERIFY_UNDECIDED = Metric(
    "mynamo_verify_undecided", "gauge",
    "Differences that it could not decide, as the indexers were behind.", ("table",), "verify",
)  # fmt: skip
VERIFY_ITEMS = Metric(
    "mynamo_verify_items", "gauge", "Items that the table had.", ("table",), "verify",
)  # fmt: skip
VERIFY_SECONDS = Metric(
    "mynamo_verify_seconds", "gauge", "How long it took.", ("table",), "verify",
)  # fmt: skip
VERIFY_END = Metric(
    "mynamo_verify_end_timestamp_seconds", "gauge",
    "When it ended, in seconds since 1970. A run that fails changes nothing of these metrics.",
    ("table",), "verify",
)  # fmt: skip
BUILD_INFO = Metric(
    "mynamo_build_info", "gauge", "1, with the release as a label.", ("version", "role"), _ALL,
)  # fmt: skip

ALL = tuple(one for one in list(globals().values()) if isinstance(one, Metric))
"""All of them, in the order of the documentation."""
