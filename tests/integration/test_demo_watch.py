"""`mynamo demo-watch` as its users run it, in a shortened form; Prometheus itself at work."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Gauge

from mynamo.cli.demo_console import BROWSERS
from mynamo.dashboards.dashboard_files import load_dashboard
from mynamo.dashboards.panel_data import Span, lines_of, without_data
from mynamo.dashboards.prometheus_api import PrometheusApi
from mynamo.errors import LocalServerError
from mynamo.local.ports import free_port
from mynamo.local.prometheus import LocalPrometheus, find_prometheus
from mynamo.metrics.endpoint import new_registry, serving
from tests.alert_rules import RULES
from tests.amounts import nightly
from tests.clients.conftest import missing
from tests.commands import processes_of, start
from tests.waiting import eventually
from tools.grafana_dashboards import FOLDER

EVERY = 1.0


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[LocalPrometheus]:
    """Prometheus, not started."""
    try:
        programs = find_prometheus()
    except LocalServerError as error:
        missing(str(error))
    made = LocalPrometheus(programs, tmp_path / "prometheus", free_port())
    yield made
    made.stop()


def test_panels_and_alerts_of_a_process(prometheus: LocalPrometheus) -> None:
    registry: CollectorRegistry = new_registry("writer")
    up = Gauge("mynamo_shard_up", "-", ["shard"], registry=registry)
    up.labels("1").set(1)
    up.labels("2").set(0)
    began = time.time()
    with serving(registry, "127.0.0.1", 0) as port:
        prometheus.start({"mynamo": {"writer": port}}, RULES, EVERY)
        api = PrometheusApi(prometheus.url)
        eventually(lambda: any(alert.name == "MynamoShardAway" for alert in api.alerts()), 30)
        assert api.lasting()["MynamoShardAway"] == 60
        (away,) = (alert for alert in api.alerts() if alert.name == "MynamoShardAway")
        assert dict(away.labels) == {"job": "mynamo", "shard": "2"}
        assert not away.firing
        board = load_dashboard(FOLDER / "shards.json")
        eventually(lambda: lines_of(board, api, Span(began, time.time(), EVERY))[board.panels[0]])
        lines = lines_of(board, api, Span(began, time.time(), EVERY))
        processes = load_dashboard(FOLDER / "processes.json")
        shown = lines_of(processes, api, Span(began, time.time(), EVERY))
    found = {line.name: line.points[-1][1] for line in lines[board.panels[0]]}
    assert found == {"shard 1": 1.0, "shard 2": 0.0}
    # The control: what no process has shows nothing, and is named.
    empty = {panel.title for panel in without_data(lines)}
    assert empty == {panel.title for panel in board.panels} - {"Shard answers"}
    assert {panel.title for panel in without_data(shown)} <= {"CPU", "Scrapes of writers"}
    assert {line.name for line in shown[processes.panels[0]]} == {"writer"}


def test_prometheus_that_cannot_start_says_why(prometheus: LocalPrometheus, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yml"
    rules.write_text("groups: [{name: a, rules: [{alert: b, expr: 'max('}]}]")
    with pytest.raises(LocalServerError, match="parse expression"):
        prometheus.start({}, rules, EVERY)


@pytest.mark.slow
def test_the_demo_shows_its_failures_and_leaves_pictures_only(
    prometheus: LocalPrometheus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "work"))
    pictures = tmp_path / "pictures"
    words = ("--minutes", "0.5", "--items", "2000", "--pictures", str(pictures))
    with start("demo-watch", *words, stdout=subprocess.PIPE, text=True) as demo:
        out, _ = demo.communicate(timeout=300)
    assert demo.returncode == 0, out
    told = [
        ">>> shard 2 killed", "alert pending: MynamoShardAway shard=2", ">>> shard 2 back",
        "alert no longer pending: MynamoShardAway", ">>> GSI by_product added",
        ">>> by_product ACTIVE", ">>> indexer frozen", "alert pending: MynamoProcessDown",
        ">>> indexer goes on", ">>> GSIs have caught up", "MynamoMovesOpen (3:00:00)",
        "no data in 'Rows that moves have copied': no slots are moved",
        " 0 of them have fewer changes than were acknowledged", "CLEAN: order_table",
    ]  # fmt: skip
    for line in told:
        assert line in out, out
    order = [out.index(line) for line in told if line.startswith(">>>")]
    assert order == sorted(order)
    boards = {file.stem for file in FOLDER.glob("*.json")}
    names = {f"{name}.png" for name in boards}
    if any(map(shutil.which, BROWSERS)):
        names |= {"console-shard-away.png", "console-index-behind.png"}
    assert {file.name for file in pictures.iterdir()} == names
    assert processes_of(tmp_path) == []
    assert list((tmp_path / "work").iterdir()) == []


@nightly
@pytest.mark.slow
def test_a_demo_that_is_interrupted_leaves_nothing_behind(
    prometheus: LocalPrometheus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even while the indexer is frozen."""
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "work"))
    words = ("--minutes", "0.5", "--items", "1000", "--pictures", str(tmp_path / "pictures"))
    with start("demo-watch", *words, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        next(line for line in demo.stdout if "indexer frozen" in line)
        demo.send_signal(signal.SIGINT)
        out, _ = demo.communicate(timeout=90)
    assert demo.returncode == 130, out
    assert "interrupted; everything is stopped" in out
    assert processes_of(tmp_path) == []
    assert list((tmp_path / "work").iterdir()) == []


def test_without_the_dashboards_it_says_what_to_name(tmp_path: Path) -> None:
    words = ("demo-watch", "--deploy", str(tmp_path), "--pictures", str(tmp_path / "pictures"))
    with start(*words, stderr=subprocess.PIPE, text=True) as demo:
        _, said = demo.communicate(timeout=60)
    assert demo.returncode == 1
    assert "with --deploy" in said
    assert not (tmp_path / "pictures").exists()
