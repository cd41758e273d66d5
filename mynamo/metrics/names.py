"""Every metric: its name, with the unit, its labels and what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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


LATENCY_BUCKETS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
"""Upper bounds in seconds."""

_ALL = "serve, writer, indexer"

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
SCRAPE_SECONDS = Metric(
    "mynamo_pipeline_scrape_seconds", "gauge",
    "How long it took to ask the shards for the metrics above.", (), "writer",
)  # fmt: skip
BUILD_INFO = Metric(
    "mynamo_build_info", "gauge", "1, with the release as a label.", ("version", "role"), _ALL,
)  # fmt: skip

ALL = tuple(one for one in list(globals().values()) if isinstance(one, Metric))
"""All of them, in the order of the documentation."""
