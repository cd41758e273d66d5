"""The pictures of `mynamo demo-watch`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console

from mynamo.dashboards.dashboard_files import Panel, load_dashboard
from mynamo.dashboards.panel_data import Span, lines_of, without_data
from mynamo.dashboards.picture_marks import Mark
from mynamo.dashboards.prometheus_api import PrometheusApi

REASONS = {
    "mynamo_slot_moves_copied_rows": "no slots are moved",
    "mynamo_throttle_events_total": "provisioned throughput is not enforced",
    "mynamo_backfill_done_ratio": "the backfill was over before Prometheus asked",
}
"""Why a panel may show nothing, by a metric that it asks for."""


def draw_dashboards(
    files: Iterable[Path],
    prometheus: PrometheusApi,
    span: Span,
    marks: Sequence[Mark],
    folder: Path,
    screen: Console,
) -> bool:
    """Draw dashboards, and tell which of their panels show nothing.

    Args:
        files: the dashboards.
        folder: of the pictures.

    Returns:
        Whether there is a reason for each of these.

    Raises:
        LocalServerError: Prometheus does not answer, or refuses a query.
        ConfigError: a dashboard cannot be drawn.
        OSError: a picture cannot be written.
    """
    from mynamo.dashboards.picture import draw  # which needs an extra

    unexplained = 0
    screen.print()
    for file in files:
        dashboard = load_dashboard(file)
        lines = lines_of(dashboard, prometheus, span)
        picture = folder / f"{dashboard.name}.png"
        draw(dashboard, lines, span, marks, picture)
        screen.print(f"{picture}: {len(dashboard.panels)} panels of {file.name}")
        for panel in without_data(lines):
            reason = _reason(panel)
            unexplained += not reason
            screen.print(f"  no data in '{panel.title}': {reason or 'THIS SHOULD NOT BE'}")
    return not unexplained


def _reason(panel: Panel) -> str:
    queries = " ".join(target.query for target in panel.targets)
    return next((reason for metric, reason in REASONS.items() if metric in queries), "")
