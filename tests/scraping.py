"""What a registry says at a scrape."""

from __future__ import annotations

from prometheus_client import CollectorRegistry


def values(registry: CollectorRegistry, name: str) -> dict[tuple[str, ...], float]:
    """A metric's values by those of its labels."""
    return {
        tuple(sample.labels.values()): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == name
    }
