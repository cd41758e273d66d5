"""What each panel of a dashboard shows of a span of time."""

from __future__ import annotations

from dataclasses import dataclass

from mynamo.dashboards.dashboard_files import Dashboard, Panel
from mynamo.dashboards.prometheus_api import PrometheusApi

JOB_METRIC = "mynamo_build_info"
"""Its jobs are those that the dashboards' variable has: `label_values(mynamo_build_info, job)`."""
POINTS = 800
"""A panel has so many at most, which is its width."""


@dataclass(frozen=True, slots=True)
class Span:
    """A span of time.

    Attributes:
        start, end: seconds since 1970.
        every: seconds between two scrapes, as Grafana's data source is told.
    """

    start: float
    end: float
    every: float

    @property
    def step(self) -> float:
        """Seconds between two points: Grafana's `$__interval`."""
        return max(self.every, (self.end - self.start) / POINTS)

    @property
    def rate_interval(self) -> float:
        """Seconds of Grafana's `$__rate_interval`."""
        return max(self.step + self.every, 4 * self.every)


@dataclass(frozen=True, slots=True)
class Line:
    """A series of a panel.

    Attributes:
        name: in the legend.
        points: seconds since 1970 and values.
    """

    name: str
    points: tuple[tuple[float, float], ...]


Lines = dict[Panel, list[Line]]


def lines_of(dashboard: Dashboard, prometheus: PrometheusApi, span: Span) -> Lines:
    """The series of each panel, with "All" chosen as the jobs.

    Raises:
        LocalServerError: Prometheus does not answer, or refuses a query.
        ConfigError: a query has a variable that is not known.
    """
    jobs = prometheus.values_of("job", JOB_METRIC)
    variables = {
        "job": f"({'|'.join(jobs)})",
        "__rate_interval": f"{span.rate_interval * 1000:.0f}ms",
        "__interval": f"{span.step * 1000:.0f}ms",
    }
    start = span.start // span.step * span.step  # as Grafana aligns it
    found: Lines = {}
    for panel in dashboard.panels:
        found[panel] = [
            Line(target.name(series.labels), series.points)
            for target in panel.targets
            for series in prometheus.over_time(target.filled(variables), start, span.end, span.step)
        ]
    return found


def without_data(lines: Lines) -> list[Panel]:
    """The panels that show nothing: no series, or none with a number."""
    return [
        panel
        for panel, each in lines.items()
        if not any(value == value for line in each for _, value in line.points)
    ]
