"""Grafana's dashboards: they show every metric, and ask for nothing that is not there."""

from __future__ import annotations

import json
import re
from typing import Any, get_args

import pytest

from mynamo.metrics import names
from tests.promql import grouped_by, known_metrics, metrics_of, mistakes, series_of
from tools.grafana_dashboards import FOLDER, Unit, written

FILES = sorted(FOLDER.glob("*.json"))
LEFT_OUT: dict[str, str] = {}
"""Metrics that no dashboard shows, and why."""

boards = pytest.mark.parametrize(
    "board", [json.loads(file.read_text()) for file in FILES], ids=[file.stem for file in FILES]
)


def targets(board: dict[str, Any]) -> list[dict[str, str]]:
    return [target for panel in board["panels"] for target in panel["targets"]]


def unshown(left_out: dict[str, str]) -> set[str]:
    """The metrics that are neither on a dashboard nor left out."""
    queries = [t["expr"] for file in FILES for t in targets(json.loads(file.read_text()))]
    shown = {series_of(name) for query in queries for name in metrics_of(query)}
    return {one.name for one in names.ALL} - shown - left_out.keys()


def test_files_are_as_the_script_writes_them() -> None:
    found = {file.name: file.read_text() for file in FILES}
    assert found == written(), "run `python -m tools.grafana_dashboards`"


def test_every_metric_is_on_a_dashboard() -> None:
    lacking = sorted(unshown(LEFT_OUT))
    assert not lacking, (
        f"no dashboard shows {', '.join(lacking)}: add a panel to tools/grafana_dashboards.py and"
        " run `python -m tools.grafana_dashboards`, or say in LEFT_OUT of this file why not"
    )
    assert LEFT_OUT.keys() <= {one.name for one in names.ALL}


def test_control_a_metric_that_is_on_none(monkeypatch: pytest.MonkeyPatch) -> None:
    another = names.Metric("mynamo_made_up_total", "counter", "Nothing.", (), "serve")
    monkeypatch.setattr(names, "ALL", (*names.ALL, another))
    assert "mynamo_made_up_total" in unshown(LEFT_OUT)
    assert "mynamo_made_up_total" not in unshown({"mynamo_made_up_total": "it is made up"})


def test_uids_are_distinct_and_stay() -> None:
    """Links to a dashboard have its uid."""
    assert [json.loads(file.read_text())["uid"] for file in FILES] == [
        "mynamo-pipeline", "mynamo-processes", "mynamo-shards", "mynamo-traffic", "mynamo-workers",
        "mynamo-writes",
    ]  # fmt: skip


@boards
def test_what_it_asks_for_is_there(board: dict[str, Any]) -> None:
    for target in targets(board):
        query = target["expr"]
        # A file of verify has the job of whatever node exporter reads it.
        assert ('job=~"$job"' in query) is ("mynamo_verify" not in query)
        assert mistakes(query, known_metrics()) == [], query
        legend = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        assert legend <= grouped_by(query)


@boards
def test_panels_say_what_they_show(board: dict[str, Any]) -> None:
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids) > 5
    for panel in board["panels"]:
        assert panel["type"] in ("timeseries", "state-timeline")  # of Grafana itself
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"] in get_args(Unit)
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert all(target["legendFormat"] for target in panel["targets"])


@boards
def test_it_is_for_any_prometheus_and_refreshes(board: dict[str, Any]) -> None:
    assert [one["name"] for one in board["templating"]["list"]] == ["datasource", "job"]
    assert board["refresh"] == "10s"
    assert "id" not in board  # a number that Grafana gives


@boards
def test_panels_do_not_overlap(board: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
