"""What `mynamo demo-watch` tells of alerts and figures while it is at work."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console

from mynamo.cli.demo_requests import RequestLoad
from mynamo.cli.demo_threads import WhileInside
from mynamo.cli.output import print_grid
from mynamo.dashboards.picture_marks import Mark, minutes
from mynamo.dashboards.prometheus_api import ActiveAlert, PrometheusApi
from mynamo.errors import LocalServerError

EVERY = 1.0
FIGURES_EVERY = 15.0
LAG = "max(mynamo_index_lag_seconds)"
HIDDEN = ("job",)
"""Labels that are the same for all."""


@dataclass(slots=True)
class Course:
    """What became of an alert.

    Attributes:
        alert: as it was at first.
        held: for how many seconds its condition has held.
        fired, ended: seconds since 1970; None: it did not.
    """

    alert: ActiveAlert
    held: float = 0.0
    fired: float | None = None
    ended: float | None = None


class AlertWatch(WhileInside):
    """Tells each second which alerts change, and the main figures now and then.

    Attributes:
        began, ended: when, in seconds since 1970.
        marks: what `happened`.
        courses: of the alerts.
        trouble: why alerts could not be read any more, if so.
    """

    def __init__(self, prometheus: PrometheusApi, load: RequestLoad, screen: Console) -> None:
        self.began = self.ended = time.time()
        self.marks: list[Mark] = []
        self.courses: list[Course] = []
        self.trouble: LocalServerError | None = None
        self._prometheus = prometheus
        self._lasting = prometheus.lasting()
        self._load = load
        self._screen = screen
        self._figures_at = self.began
        super().__init__(self._run)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        self.ended = time.time()

    def happened(self, mark: str, more: str = "") -> None:
        """Tell of an event, which the pictures show."""
        self.marks.append(Mark(time.time(), mark))
        self._say(f">>> {mark}{f': {more}' if more else ''}")

    def show(self) -> None:
        """All alerts of the run as a table, and what could not fire in its time."""
        self._screen.print()
        print_grid(
            ["alert", "of", "pending from", "fired", "ended", "fires after"],
            [(c.alert.name, _subject(c.alert), self._minutes(c.alert.since),
              self._minutes(c.fired) if c.fired else f"no: it held for {minutes(c.held)}",
              self._minutes(c.ended) if c.ended else "not yet",
              minutes(self._lasting[c.alert.name]))
             for c in self.courses],
            title="Alerts that were pending or fired",
        )  # fmt: skip
        whole = self.ended - self.began
        late = [f"{name} ({minutes(s)})" for name, s in self._lasting.items() if s >= whole]
        if late:
            self._screen.print(
                f"No run of {minutes(whole)} can make these fire, whose conditions must hold for "
                f"longer: {', '.join(late)}"
            )

    def _run(self) -> None:
        while not self._stop.wait(EVERY):
            try:
                self._look(self._prometheus.alerts())
                if time.time() - self._figures_at >= FIGURES_EVERY:
                    self._tell_figures()
            except LocalServerError as trouble:
                self.trouble = trouble
                self._say(str(trouble))
                return

    def _look(self, found: list[ActiveAlert]) -> None:
        now = time.time()
        known = {_identity(c.alert): c for c in self.courses if c.ended is None}
        active = {_identity(alert): alert for alert in found}
        for key, alert in active.items():
            course = known.get(key)
            if course is None:
                course = Course(alert)
                self.courses.append(course)
                if not alert.firing:
                    lasting = minutes(self._lasting[alert.name])
                    self._say(f"alert pending: {_named(alert)}; it fires if this lasts {lasting}")
            course.held = now - alert.since
            if alert.firing and course.fired is None:
                course.fired = now
                self._say(f"ALERT FIRES: {_named(alert)}")
        for key, course in known.items():
            if key not in active:
                course.ended = now
                what = "alert resolved" if course.fired else "alert no longer pending"
                self._say(f"{what}: {_named(course.alert)}")

    def _tell_figures(self) -> None:
        now = time.time()
        requests, failed, p99 = self._load.recent()
        lag = self._prometheus.now(LAG)
        self._say(
            f"{requests / (now - self._figures_at):,.0f} requests/s, p99 {1000 * p99:,.0f} ms, "
            f"{failed:,} failed; GSI lag {'unknown' if lag is None else f'{lag:.1f} s'}"
        )
        self._figures_at = now

    def _minutes(self, at: float) -> str:
        return minutes(max(0.0, at - self.began))

    def _say(self, line: str) -> None:
        self._screen.print(f"[{self._minutes(time.time()):>5}] {line}")


def _identity(alert: ActiveAlert) -> tuple[str, tuple[tuple[str, str], ...]]:
    return alert.name, alert.labels


def _named(alert: ActiveAlert) -> str:
    return f"{alert.name} {_subject(alert)}".strip()


def _subject(alert: ActiveAlert) -> str:
    labels: Mapping[str, str] = dict(alert.labels)
    return " ".join(f"{name}={value}" for name, value in labels.items() if name not in HIDDEN)
