"""Write the dashboards of `deploy/grafana/` for Grafana 9.5 or later.

    python -m tools.grafana_dashboards

To show a metric, add it to a panel of a dashboard below and write the files anew; a test compares
them, and wants every metric of `mynamo/metrics/names.py` on a dashboard.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

FOLDER = Path(__file__).resolve().parents[1] / "deploy" / "grafana"
COLUMNS, PER_ROW, HEIGHT = 24, 2, 8
SOURCE = {"type": "prometheus", "uid": "${datasource}"}

Unit = Literal["bool_yes_no", "bytes", "ops", "percentunit", "reqps", "s", "short"]
"""Grafana's own names; `ops` and `reqps` are operations and requests per second."""


@dataclass(frozen=True, slots=True)
class Panel:
    """A graph over time.

    Attributes:
        title: above it.
        text: what it shows, and what is wrong if it looks wrong.
        unit: of its values.
        queries: PromQL by legend. `JOB` stands for the choice of jobs.
        well: None for lines; for a bar of states, the one of 0 and 1 that is good.
    """

    title: str
    text: str
    unit: Unit
    queries: Mapping[str, str]
    well: Literal[0, 1] | None = None


def _quantile(quantile: float) -> str:
    buckets = "rate(mynamo_request_seconds_bucket{JOB}[$__rate_interval])"
    return f"histogram_quantile({quantile}, sum by (le, operation) ({buckets}))"


TRAFFIC = (
    Panel(
        "Requests by operation", "Requests that were answered, whatever the answer.", "reqps",
        {"{{operation}}":
         "sum by (operation) (rate(mynamo_requests_total{JOB}[$__rate_interval]))"},
    ),
    Panel(
        "Requests by table",
        "Requests that name one table. Tables beyond the first 100 of a process are `other`.",
        "reqps",
        {"{{table}}":
         'sum by (table) (rate(mynamo_requests_total{JOB, table!=""}[$__rate_interval]))'},
    ),
    Panel(
        "Share of server errors",
        "Requests that were answered with 5xx. MynamoErrors fires above 1 %.", "percentunit",
        {"5xx":
         '(sum(rate(mynamo_requests_total{JOB, status=~"5.."}[$__rate_interval])) or vector(0))'
         " / sum(rate(mynamo_requests_total{JOB}[$__rate_interval]))"},
    ),
    Panel(
        "Errors", "Answers that are no success, by status and exception. 4xx are the clients' own:"
        " conditions that do not hold, requests that are wrong.", "reqps",
        {"{{status}} {{error}}":
         "sum by (status, error)"
         ' (rate(mynamo_requests_total{JOB, error!=""}[$__rate_interval]))'},
    ),
    Panel(
        "Throttled by provisioned throughput", "Requests, and items of batches, that found no"
        " capacity units. Only with `gateway.enforce_provisioned_throughput`.", "reqps",
        {"{{table}} {{index}} {{access}}":
         "sum by (table, index, access)"
         " (rate(mynamo_throttle_events_total{JOB}[$__rate_interval]))"},
    ),
    Panel(
        "Median time by operation",
        "From a request's last byte to its answer, without that of the network.", "s",
        {"{{operation}}": _quantile(0.5)},
    ),
    Panel(
        "p99 by operation",
        "One request in a hundred takes longer. MynamoRequestsSlow fires above 1 s.", "s",
        {"{{operation}}": _quantile(0.99)},
    ),
    Panel(
        "Permits", "Small requests that each process takes before it refuses one with HTTP 503."
        " Near 0: more gateways, or a shard that is slow.", "short",
        {"{{instance}}": "min by (instance) (mynamo_request_permits_free{JOB})"},
    ),
    Panel(
        "Event loop delay", "How late the event loop of each process was for its timer, at the"
        " most. Above 0.1 s the machine has too little CPU.", "s",
        {"{{instance}}": "max by (instance) (mynamo_event_loop_delay_seconds{JOB})"},
    ),
)  # fmt: skip

SHARDS = (
    Panel(
        "Shard answers", "Whether each shard answers all writers.", "bool_yes_no",
        {"shard {{shard}}": "min by (shard) (mynamo_shard_up{JOB})"}, well=1,
    ),
    Panel(
        "Circuit breakers", "Whether a process has found that a server does not answer, and fails"
        " requests for it at once.", "bool_yes_no",
        {"server {{server}}": "max by (server) (mynamo_breaker_open{JOB})"}, well=0,
    ),
    Panel(
        "Connections in use", "Connections to each server that calls have, of all processes."
        " A process has `pool.size` of them at most.", "short",
        {"server {{server}}": "sum by (server) (mynamo_pool_connections_in_use{JOB})"},
    ),
    Panel(
        "Idle connections", "Connections to each server that are open and that no call has, of all"
        " processes.", "short",
        {"server {{server}}": "sum by (server) (mynamo_pool_connections_idle{JOB})"},
    ),
    Panel(
        "Waits for a connection", "Calls that had to wait, because all connections were in use."
        " Often: a larger `pool.size`, or a server that is slow.", "ops",
        {"server {{server}}":
         "sum by (server) (rate(mynamo_pool_waits_total{JOB}[$__rate_interval]))"},
    ),
    Panel(
        "Outbox rows", "Rows of each shard's outbox. Those that are done stay for a minute.",
        "short",
        {"shard {{shard}}": "max by (shard) (mynamo_outbox_rows{JOB})"},
    ),
    Panel(
        "Outbox size", "Payloads of these rows, estimated: room on the shard's disk.", "bytes",
        {"shard {{shard}}": "max by (shard) (mynamo_outbox_bytes{JOB})"},
    ),
    Panel(
        "Oldest outbox row", "Age of the oldest row. MynamoOutboxOld fires above five minutes.",
        "s",
        {"shard {{shard}}": "max by (shard) (mynamo_outbox_oldest_seconds{JOB})"},
    ),
    Panel(
        "Intents", "Items that transactions over several shards have at the moment.", "short",
        {"shard {{shard}}": "max by (shard) (mynamo_transaction_intents{JOB})"},
    ),
    Panel(
        "Oldest intent", "Age of the oldest intent. MynamoIntentsOld fires above a minute.", "s",
        {"shard {{shard}}": "max by (shard) (mynamo_transaction_intents_oldest_seconds{JOB})"},
    ),
)  # fmt: skip

PIPELINE = (
    Panel(
        "Kafka answers", "Whether Kafka answers all writers and indexers.", "bool_yes_no",
        {"Kafka": "min(mynamo_kafka_up{JOB})"}, well=1,
    ),
    Panel(
        "Queued writes", "Queued writes in Kafka that no writer is done with.", "short",
        {"writes": "max(mynamo_queued_writes{JOB})"},
    ),
    Panel(
        "Relay has a lease", "Whether a writer relays the changes of each shard.", "bool_yes_no",
        {"shard {{shard}}": "max by (shard) (mynamo_relay_lease_seconds{JOB}) > bool 0"}, well=1,
    ),
    Panel(
        "Unpublished changes", "Changes of each shard that are not in Kafka yet: its relay is slow,"
        " or Kafka refuses them.", "short",
        {"shard {{shard}}": "max by (shard) (mynamo_outbox_unpublished_rows{JOB})"},
    ),
    Panel(
        "Unapplied changes", "Changes of each shard that an index waits for: indexers are too few,"
        " or wait for a shard.", "short",
        {"shard {{shard}}": "max by (shard) (mynamo_outbox_unapplied_rows{JOB})"},
    ),
    Panel(
        "GSI lag", "How far each global index is behind. MynamoIndexBehind fires above a minute.",
        "s",
        {"{{table}}.{{index}}": "max by (table, index) (mynamo_index_lag_seconds{JOB})"},
    ),
    Panel(
        "GSI lag in changes", "Changes of the table's items that are not applied, on all shards"
        " together; some may not concern the index.", "short",
        {"{{table}}.{{index}}":
         "sum by (table, index) (max by (table, index, shard) (mynamo_index_lag_events{JOB}))"},
    ),
    Panel(
        "Index is active", "Whether each index is ACTIVE. One that is not is being created.",
        "bool_yes_no",
        {"{{table}}.{{index}}": "min by (table, index) (mynamo_index_active{JOB})"}, well=1,
    ),
    Panel(
        "Dead letters", "Dead letters that nobody has replayed or discarded: `mynamo dlq list`.",
        "short",
        {"open": "max(mynamo_dead_letters{JOB})"},
    ),
    Panel(
        "Open moves", "Moves of slots that have not ended.", "short",
        {"moves": "max(mynamo_slot_moves_open{JOB})"},
    ),
    Panel(
        "Items that are due", "Items that have expired and are not deleted yet, on all shards"
        " together.", "short",
        {"{{table}}":
         "sum by (table) (max by (table, shard) (mynamo_expiry_due_items{JOB}))"},
    ),
    Panel(
        "Time to live is behind", "Since when the first of them has expired. MynamoExpiryBehind"
        " fires above an hour.", "s",
        {"{{table}}": "max by (table) (mynamo_expiry_behind_seconds{JOB})"},
    ),
    Panel(
        "Findings of verify", "What the last `mynamo verify --metrics` of each table found,"
        " whatever job has its file. MynamoVerifyFindings fires above 0.", "short",
        {"{{table}} {{index}}": "sum by (table, index)"
         " (max by (table, index, kind) (mynamo_verify_findings))"},
    ),
    Panel(
        "Last verify", "Since when the last `mynamo verify --metrics` of each table has ended."
        " MynamoVerifyOld fires above eight days.", "s",
        {"{{table}}": "time() - max by (table) (mynamo_verify_end_timestamp_seconds)"},
    ),
    Panel(
        "Undecided differences", "Differences that it could not decide, as indexers were behind.",
        "short",
        {"{{table}}": "max by (table) (mynamo_verify_undecided)"},
    ),
    Panel(
        "Time of verify", "How long it took.", "s",
        {"{{table}}": "max by (table) (mynamo_verify_seconds)"},
    ),
    Panel(
        "Items that were verified", "Items that the table had.", "short",
        {"{{table}}": "max by (table) (mynamo_verify_items)"},
    ),
)  # fmt: skip

WRITES = (
    Panel(
        "Writes in group commit", "Writes in transactions that concurrent writes of a process to"
        " the same shard share.", "ops",
        {"shard {{shard}}":
         "sum by (shard) (rate(mynamo_group_commit_writes_total{JOB}[$__rate_interval]))"},
    ),
    Panel(
        "Writes in one transaction", "How many share a transaction, on average. The more, the less"
        " each costs.", "short",
        {"shard {{shard}}":
         "sum by (shard) (rate(mynamo_group_commit_writes_total{JOB}[$__rate_interval]))"
         " / sum by (shard) (rate(mynamo_group_commit_batches_total{JOB}[$__rate_interval]))"},
    ),
    Panel(
        "Waits for rows", "Calls that waited for rows that somebody else held. Many: many"
        " writers of the same items.", "ops",
        {"shard {{shard}}":
         "sum by (shard) (rate(mynamo_group_commit_waits_total{JOB}[$__rate_interval]))"},
    ),
    Panel(
        "Retries", "Attempts that failed and were followed by another one, by reason.", "ops",
        {"{{reason}}": "sum by (reason) (rate(mynamo_retries_total{JOB}[$__rate_interval]))"},
    ),
    Panel(
        "Commits whose answer was lost", "Commits of which the shard was asked what became of them,"
        " as the connection was lost.", "ops",
        {"shard {{shard}}":
         "sum by (shard) (rate(mynamo_commit_lookups_total{JOB}[$__rate_interval]))"},
    ),
    Panel(
        "Transactions that meet", "Waits for an item that another transaction has; those that took"
        " too long, so that the caller heard of a conflict; attempts that another one aborted.",
        "ops",
        {"waits": "sum(rate(mynamo_transaction_waits_total{JOB}[$__rate_interval]))",
         "conflicts": "sum(rate(mynamo_transaction_conflicts_total{JOB}[$__rate_interval]))",
         "aborts": "sum(rate(mynamo_transaction_aborts_total{JOB}[$__rate_interval]))"},
    ),
)  # fmt: skip

WORKERS = (
    Panel(
        "Relayed changes", "Changes that went from each shard's outbox to Kafka.", "ops",
        {"shard {{shard}}":
         "sum by (shard) (rate(mynamo_relay_events_total{JOB}[$__rate_interval]))"},
    ),
    Panel(
        "Time of a batch to Kafka", "How long a batch of changes takes, on average, until Kafka has"
        " it and that is noted.", "s",
        {"shard {{shard}}":
         "sum by (shard) (rate(mynamo_relay_seconds_total{JOB}[$__rate_interval]))"
         " / sum by (shard) (rate(mynamo_relay_batches_total{JOB}[$__rate_interval]))"},
    ),
    Panel(
        "Relays that change their process", "Leases that were taken, a second. Again and again:"
        " Kafka or the shard does not answer, or writers die.", "ops",
        {"shard {{shard}}":
         "sum by (shard) (rate(mynamo_relay_leases_taken_total{JOB}[$__rate_interval]))"},
    ),
    Panel(
        "Shards that are passed over", "Whether a worker leaves events and queued writes for a"
        " shard until it answers again.", "bool_yes_no",
        {"shard {{shard}}": "max by (shard) (mynamo_shard_away{JOB})"}, well=0,
    ),
    Panel(
        "Applied changes", "Changes that each indexer applied to GSIs.", "ops",
        {"{{instance}}":
         "sum by (instance) (rate(mynamo_indexer_events_total{JOB}[$__rate_interval]))"},
    ),
    Panel(
        "Time of a batch in the indexer", "How long a batch of changes takes, on average.", "s",
        {"{{instance}}":
         "sum by (instance) (rate(mynamo_indexer_seconds_total{JOB}[$__rate_interval]))"
         " / sum by (instance) (rate(mynamo_indexer_batches_total{JOB}[$__rate_interval]))"},
    ),
    Panel(
        "Changes that were left out", "Known: applied already. Early: one before them was missing,"
        " they come again. Lost: Kafka did not have them, the relay sends them again.", "ops",
        {"known": "sum(rate(mynamo_indexer_known_events_total{JOB}[$__rate_interval]))",
         "early": "sum(rate(mynamo_indexer_early_events_total{JOB}[$__rate_interval]))",
         "lost": "sum(rate(mynamo_indexer_lost_events_total{JOB}[$__rate_interval]))"},
    ),
    Panel(
        "Queued writes done", "Queued writes that were applied or refused, and messages that became"
        " dead letters.", "ops",
        {"done": "sum(rate(mynamo_queued_writes_done_total{JOB}[$__rate_interval]))",
         "dead letters": "sum(rate(mynamo_dead_letters_written_total{JOB}[$__rate_interval]))"},
    ),
    Panel(
        "Stream records", "Records that were written for the streams of tables.", "ops",
        {"shard {{shard}}":
         "sum by (shard) (rate(mynamo_stream_records_total{JOB}[$__rate_interval]))"},
    ),
    Panel(
        "Deleted items", "Items that were deleted as they had expired. `expiry.rate` bounds it.",
        "ops",
        {"{{table}}":
         "sum by (table) (rate(mynamo_expiry_deleted_items_total{JOB}[$__rate_interval]))"},
    ),
    Panel(
        "Backfill", "Items that were looked at for an index that is being created.", "ops",
        {"{{table}}.{{index}}":
         "sum by (table, index) (rate(mynamo_backfill_rows_total{JOB}[$__rate_interval]))"},
    ),
    Panel(
        "Progress of backfill", "How much of the table has been looked at for an index that is"
        " being created, on average of the shards.", "percentunit",
        {"{{table}}.{{index}}": "avg by (table, index)"
         " (max by (table, index, shard) (mynamo_backfill_done_ratio{JOB}))"},
    ),
    Panel(
        "Rows that moves have copied", "Rows that open moves of slots have copied.", "short",
        {"shard {{shard}}": "max by (shard) (mynamo_slot_moves_copied_rows{JOB})"},
    ),
)  # fmt: skip

PROCESSES = (
    Panel(
        "Process answers", "Whether each process answers Prometheus.", "bool_yes_no",
        {"{{instance}}": "min by (instance) (up{JOB})"}, well=1,
    ),
    Panel(
        "Release", "Processes that run, by release and role.", "short",
        {"{{role}} {{version}}": "count by (role, version) (mynamo_build_info{JOB})"},
    ),
    Panel(
        "CPU", "Share of a core that each process uses. A process with all of one is at its limit.",
        "percentunit",
        {"{{instance}}":
         "max by (instance) (rate(process_cpu_seconds_total{JOB}[$__rate_interval]))"},
    ),
    Panel(
        "Memory", "Memory that each process has (RSS).", "bytes",
        {"{{instance}}": "max by (instance) (process_resident_memory_bytes{JOB})"},
    ),
    Panel(
        "Open files", "Files and connections that each process has open, as a share of those that"
        " it may have.", "percentunit",
        {"{{instance}}":
         "max by (instance) (process_open_fds{JOB}) / max by (instance) (process_max_fds{JOB})"},
    ),
    Panel(
        "Uptime", "Since when each process runs. Sawteeth: it ends again and again.", "s",
        {"{{instance}}": "time() - max by (instance) (process_start_time_seconds{JOB})"},
    ),
    Panel(
        "Scrapes of writers", "How long each writer took to ask the shards. MynamoScrapeSlow fires"
        " above 2 s; beyond 4 s a shard counts as away.", "s",
        {"{{instance}}": "max by (instance) (mynamo_pipeline_scrape_seconds{JOB})"},
    ),
)  # fmt: skip

DASHBOARDS = {
    "traffic": TRAFFIC, "writes": WRITES, "shards": SHARDS, "pipeline": PIPELINE,
    "workers": WORKERS, "processes": PROCESSES,
}  # fmt: skip
"""Panels by the dashboard's name, which its file, its title and its uid have."""


def written() -> dict[str, str]:
    """The files: their texts by their names."""
    return {
        f"{name}.json": json.dumps(_dashboard(name, panels), indent=2) + "\n"
        for name, panels in DASHBOARDS.items()
    }


def _dashboard(name: str, panels: tuple[Panel, ...]) -> dict[str, Any]:
    return {
        "uid": f"mynamo-{name}",
        "title": f"mynamo: {name}",
        "tags": ["mynamo"],
        "schemaVersion": 38,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "graphTooltip": 1,  # the same moment is marked in all panels
        "links": [
            {"type": "dashboards", "title": "mynamo", "tags": ["mynamo"], "keepTime": True,
             "includeVars": True, "asDropdown": True},
        ],
        "templating": {"list": [_datasource(), _jobs()]},
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }  # fmt: skip


def _datasource() -> dict[str, Any]:
    return {
        "type": "datasource",
        "name": "datasource",
        "label": "Prometheus",
        "query": "prometheus",
    }


def _jobs() -> dict[str, Any]:
    return {
        "type": "query", "name": "job", "label": "job", "datasource": SOURCE,
        "query": {"query": "label_values(mynamo_build_info, job)", "refId": "jobs"},
        "refresh": 2, "sort": 1, "multi": True, "includeAll": True,
        "current": {"text": ["All"], "value": ["$__all"]},
    }  # fmt: skip


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    row, column = divmod(number, PER_ROW)
    width = COLUMNS // PER_ROW
    legend = {"displayMode": "list", "placement": "bottom", "showLegend": True}
    defaults: dict[str, Any] = {"unit": panel.unit}
    options: dict[str, Any] = {"legend": legend}
    if panel.well is None:
        kind = "timeseries"
        defaults |= {"min": 0, "custom": {"fillOpacity": 10, "showPoints": "never"}}
        options["tooltip"] = {"mode": "multi", "sort": "desc"}
    else:
        kind = "state-timeline"
        of_0, of_1 = ("red", "green") if panel.well else ("green", "red")
        steps = [{"color": of_0, "value": None}, {"color": of_1, "value": 1}]
        defaults |= {"color": {"mode": "thresholds"}}
        defaults |= {"thresholds": {"mode": "absolute", "steps": steps}}
    return {
        "id": number + 1,
        "type": kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": SOURCE,
        "gridPos": {"x": column * width, "y": row * HEIGHT, "w": width, "h": HEIGHT},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {"refId": chr(ord("A") + place), "datasource": SOURCE, "legendFormat": legend_of,
             "expr": query.replace("JOB", 'job=~"$job"')}
            for place, (legend_of, query) in enumerate(panel.queries.items())
        ],
    }  # fmt: skip


def main() -> None:
    """Write the files."""
    for name, text in written().items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
