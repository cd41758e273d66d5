"""Metrics for Prometheus: what each process counts, and what it finds out when it is asked.

    names               every metric: its name, unit, labels and text
    endpoint            `GET /metrics` on a port of its own
    registration        `register`, for services that embed mynamo
    request_metrics     requests of the gateway
    server_metrics      pools of connections and circuit breakers of this process
    commit_metrics      group commit of this process
    work_metrics        what this process has counted of its work
    kafka_metrics       Kafka, dead letters, queued writes: asked of Kafka at each scrape
    pipeline_metrics    outboxes, relays, indexes, time to live: asked of the shards at each scrape
    verify_metrics      what `mynamo verify` found, as a file

A process that is not asked for metrics imports nothing of this package. It counts what
`mynamo.runtime.counters` has, and nothing for a single request.
"""

from mynamo.metrics.registration import register

__all__ = ["register"]
