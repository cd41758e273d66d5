"""Metrics for Prometheus: what each process counts, and what it finds out when it is asked.

    names               every metric: its name, unit, labels and text
    endpoint            `GET /metrics` on a port of its own
    request_metrics     requests of the gateway
    server_metrics      pools of connections and circuit breakers of this process
    pipeline_metrics    outboxes, relays, indexes, time to live: asked of the shards at each scrape

A process that is not asked for metrics imports nothing of this package and counts nothing.
"""
