"""What the tests of alert rules and dashboards ask of PromQL, without a parser of it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mynamo.metrics import names

OF_TARGETS = {"job", "instance"}
"""Labels that Prometheus gives to all that it scrapes."""
OF_PROCESSES = {
    "up", "process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds",
    "process_max_fds", "process_start_time_seconds",
}  # fmt: skip
WORDS = {
    "absent", "and", "avg", "bool", "by", "count", "deriv", "histogram_quantile", "max", "min",
    "min_over_time", "on", "or", "rate", "sum", "time", "unless", "vector",
}  # fmt: skip
"""Of PromQL; a query that uses others adds them here."""

SELECTOR = re.compile(r"(\w+)\{([^}]*)\}")
MATCHER = re.compile(r'(\w+)\s*(?:=|!=|=~|!~)\s*"[^"]*"')
GROUPING = re.compile(r"\b(?:by|on) \(([^)]*)\)")
WORD = re.compile(r"\b[a-z_]\w*")


def known_metrics() -> dict[str, set[str]]:
    """The labels of every series that a process has, by its name."""
    found = {one: set(OF_TARGETS) for one in OF_PROCESSES}
    for one in names.ALL:
        labels = {*one.labels, *OF_TARGETS}
        if one.kind == "histogram":
            found |= {f"{one.name}_bucket": {*labels, "le"}}
            found |= {f"{one.name}_{part}": labels for part in ("sum", "count")}
        else:
            found[one.name] = labels
    return found


def metrics_of(query: str) -> set[str]:
    """The names in a query that are no words of PromQL."""
    bare = re.sub(r'"[^"]*"', '""', query)  # labels' values
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", bare)  # matchers and ranges
    return set(WORD.findall(GROUPING.sub("", bare))) - WORDS


def grouped_by(query: str) -> set[str]:
    """The labels that its aggregations name."""
    return {label for group in GROUPING.findall(query) for label in re.split(r",\s*", group)}


def mistakes(query: str, known: Mapping[str, set[str]]) -> list[str]:
    """What a query asks for that no process has."""
    found = [f"no metric is {name}" for name in sorted(metrics_of(query) - known.keys())]
    if found:
        return found
    for name, matchers in SELECTOR.findall(query):
        wrong = set(MATCHER.findall(matchers)) - known[name]
        found += [f"{name} has no label {label}" for label in sorted(wrong)]
    labels = set().union(*(known[name] for name in metrics_of(query)))
    return found + [f"no label is {label}" for label in sorted(grouped_by(query) - labels)]


def series_of(name: str) -> str:
    """A metric's name without what a histogram's series have behind it."""
    histograms = [one.name for one in names.ALL if one.kind == "histogram"]
    return next((one for one in histograms if name.startswith(f"{one}_")), name)
