"""Metrics as Prometheus' client takes them from a collector."""

from __future__ import annotations

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from mynamo.metrics.names import Metric


def gauge(metric: Metric) -> GaugeMetricFamily:
    """A gauge without values yet."""
    return GaugeMetricFamily(metric.name, metric.text, labels=metric.labels)


def counter(metric: Metric) -> CounterMetricFamily:
    """A counter without values yet."""
    return CounterMetricFamily(metric.name, metric.text, labels=metric.labels)


def histogram(metric: Metric) -> HistogramMetricFamily:
    """A histogram without values yet."""
    return HistogramMetricFamily(metric.name, metric.text, labels=metric.labels)
