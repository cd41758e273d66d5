"""Pictures of dashboards: what is read of their JSON and of Prometheus, and what is drawn."""

from __future__ import annotations

import json
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import nan
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mynamo.cli.demo_pictures import draw_dashboards
from mynamo.cli.output import console
from mynamo.dashboards.dashboard_files import Target, load_dashboard
from mynamo.dashboards.panel_data import Line, Span, lines_of, without_data
from mynamo.dashboards.panel_units import shown, tick_step
from mynamo.dashboards.picture import HEAD, WIDTH, draw
from mynamo.dashboards.picture_marks import Mark, minutes
from mynamo.dashboards.prometheus_api import PrometheusApi
from mynamo.errors import ConfigError, LocalServerError
from tools.grafana_dashboards import FOLDER

SPAN = Span(1000.0, 1540.0, 5.0)
Answers = Mapping[str, object]


def matrix(*series: Mapping[str, Any]) -> dict[str, Any]:
    return {"resultType": "matrix", "result": list(series)}


class Canned:
    """A Prometheus that has one answer for each path, and notes what it is asked."""

    def __init__(self, answers: Answers) -> None:
        self.asked: list[tuple[str, dict[str, list[str]]]] = []
        canned = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path, _, query = self.path.partition("?")
                canned.asked.append((path, urllib.parse.parse_qs(query)))
                data = answers.get(path.removeprefix("/api/v1/"))
                body = json.dumps({"status": "success", "data": data}).encode()
                self.send_response(200 if data is not None else 400)
                self.end_headers()
                self.wfile.write(body if data is not None else b"bad_data: parse error")

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.api = PrometheusApi(f"http://127.0.0.1:{self._server.server_port}")

    @contextmanager
    def serving(self) -> Iterator[PrometheusApi]:
        thread = threading.Thread(target=self._server.serve_forever)
        thread.start()
        try:
            yield self.api
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


JOBS: Answers = {"label/job/values": ["mynamo", "mynamo-b"]}
TWO = matrix(
    {"metric": {"shard": "1"}, "values": [[1000, "1"], [1005, "2.5"]]},
    {"metric": {"shard": "2"}, "values": [[1000, "NaN"]]},
)


def test_variables_and_legends() -> None:
    target = Target('rate(a{job=~"$job"}[$__rate_interval])', "{{table}}.{{ index }} x")
    assert target.filled({"job": "(a|b)", "__rate_interval": "20s"}) == (
        'rate(a{job=~"(a|b)"}[20s])'
    )
    with pytest.raises(ConfigError, match=r"variable \$__rate_interval"):
        target.filled({"job": "a"})
    assert target.name({"table": "orders", "index": "by_city"}) == "orders.by_city x"
    assert target.name({"table": "orders"}) == "orders. x"


def test_intervals_are_those_of_grafana() -> None:
    assert (SPAN.step, SPAN.rate_interval) == (5.0, 20.0)
    day = Span(0, 86400, 30.0)
    assert (day.step, day.rate_interval) == (108.0, 138.0)


def test_panels_are_asked_for_with_their_variables() -> None:
    canned = Canned({**JOBS, "query_range": TWO})
    board = load_dashboard(FOLDER / "shards.json")
    with canned.serving() as api:
        lines = lines_of(board, api, Span(1003.0, 1540.0, 5.0))
    first = board.panels[0]
    assert [line.name for line in lines[first]] == ["shard 1", "shard 2"]
    assert lines[first][0].points == ((1000.0, 1.0), (1005.0, 2.5))
    (_, jobs), (_, asked), *others = canned.asked
    assert jobs == {"match[]": ["mynamo_build_info"]}
    assert asked["query"] == ['min by (shard) (mynamo_shard_up{job=~"(mynamo|mynamo-b)"})']
    assert (asked["start"], asked["end"], asked["step"]) == (["1000.0"], ["1540.0"], ["5.0"])
    rates = [query["query"][0] for _, query in others if "rate(" in query["query"][0]]
    assert rates
    assert all("[20000ms]" in query and "$" not in query for query in rates)


def test_a_panel_without_data_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a reason it is no failure; without one it is, and so is one of numbers that are none."""
    only_nan = matrix({"metric": {"shard": "2"}, "values": [[1000, "NaN"]]})
    for answer, empty in ((TWO, 0), (matrix(), 13), (only_nan, 13)):
        with Canned({**JOBS, "query_range": answer}).serving() as api:
            board = load_dashboard(FOLDER / "workers.json")
            lines = lines_of(board, api, SPAN)
            assert len(without_data(lines)) == empty == (len(board.panels) if empty else 0)
            good = draw_dashboards([FOLDER / "workers.json"], api, SPAN, [], tmp_path, console())
        said = capsys.readouterr().out
        assert good is (empty == 0)
        assert said.count("THIS SHOULD NOT BE") == (11 if empty else 0)
        assert ("'Rows that moves have copied': no slots are moved" in said) is bool(empty)


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.json")), ids=lambda file: file.stem)
def test_every_dashboard_can_be_drawn(file: Path, tmp_path: Path) -> None:
    board = load_dashboard(file)
    lines = {
        panel: [
            Line("a", tuple((1000.0 + 5 * n, float(n // 20 % 2)) for n in range(100) if n % 30)),
            Line("b" * 80, ((1000.0, nan), (1200.0, 1.0))),
        ]
        for panel in board.panels[1:]
    }
    lines[board.panels[0]] = []
    picture = tmp_path / "board.png"
    draw(board, lines, SPAN, [Mark(1100.0, "shard 2 killed")], picture)
    rows = max(panel.y + panel.height for panel in board.panels)
    with Image.open(picture) as image:
        assert image.size == (WIDTH, HEAD + rows * 33)
        # What has data is colored, what has none is not.
        colored = [_colors(image, panel.x, panel.y) for panel in board.panels[:2]]
    assert colored[0] < 4 <= colored[1]
    assert picture.stat().st_size < 200_000


def _colors(image: Image.Image, x: int, y: int) -> int:
    """How many colors that are no gray a panel has."""
    column = WIDTH // 24
    box = (x * column + 12, HEAD + y * 33 + 40, (x + 11) * column, HEAD + (y + 7) * 33)
    pixels = image.convert("RGB").crop(box).getcolors(1 << 24)
    assert pixels is not None
    found = [color for _, color in pixels if isinstance(color, tuple)]
    return sum(max(color) - min(color) > 60 for color in found)


def test_values_have_their_units() -> None:
    found = {
        ("s", 0.0): "0 s", ("s", 0.000_25): "250 \u00b5s", ("s", 0.02): "20 ms",
        ("s", 59.0): "59 s", ("s", 90.0): "1.5 min", ("s", 7200.0): "2 h", ("s", 172_800.0): "2 d",
        ("bytes", 1536.0): "1.5 KiB", ("bytes", 0.0): "0 B", ("bytes", 3.0 * 2**20): "3 MiB",
        ("percentunit", 0.015): "1.5%", ("reqps", 1200.0): "1.2 K req/s", ("ops", 0.5): "0.5 ops/s",
        ("short", 0.25): "0.25", ("short", 2e6): "2 Mil", ("bool_yes_no", 1.0): "Yes",
        ("bool_yes_no", 0.0): "No",
    }  # fmt: skip
    assert {(unit, value): shown(value, unit) for unit, value in found} == found
    with pytest.raises(ConfigError, match="unit furlong"):
        shown(1, "furlong")


@pytest.mark.parametrize(
    ("highest", "unit", "step"),
    [
        (540 / 2, "s", 60), (90, "s", 30), (30, "s", 10), (0.02, "s", 0.005), (4e6, "s", 864_000),
        (3e6, "bytes", 2**20), (1, "short", 0.2), (17, "ops", 5), (2300, "reqps", 500),
    ],
)  # fmt: skip
def test_marks_on_axes_are_round(highest: float, unit: str, step: float) -> None:
    assert tick_step(highest, unit) == pytest.approx(step)


def test_minutes_and_seconds() -> None:
    assert [minutes(s) for s in (0, 59.6, 125, 3661)] == ["0:00", "1:00", "2:05", "1:01:01"]


def test_alerts_and_rules_are_read() -> None:
    labels = {"alertname": "MynamoShardAway", "severity": "critical", "shard": "2", "job": "mynamo"}
    canned = Canned({
        "alerts": {"alerts": [
            {"labels": labels, "state": "firing", "activeAt": "2026-01-01T00:00:00.123456789Z"},
        ]},
        "rules": {"groups": [{"rules": [{"name": "MynamoShardAway", "duration": 60}]}]},
        "query": {"result": []},
    })  # fmt: skip
    with canned.serving() as api:
        (alert,) = api.alerts()
        assert api.lasting() == {"MynamoShardAway": 60.0}
        assert api.now("max(nothing)") is None
    assert (alert.name, alert.firing) == ("MynamoShardAway", True)
    assert dict(alert.labels) == {"shard": "2", "job": "mynamo"}
    assert alert.since == pytest.approx(1_767_225_600.123, abs=0.001)


def test_what_prometheus_refuses_and_a_prometheus_that_is_not_there() -> None:
    with Canned({}).serving() as api, pytest.raises(LocalServerError, match="parse error"):
        api.now("max(")
    with pytest.raises(LocalServerError, match="does not answer"):
        api.now("up")


@pytest.mark.parametrize("text", ["{}", "no JSON", '{"title": "a", "panels": [{"type": "stat"}]}'])
def test_what_cannot_be_drawn_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ConfigError, match=r"a\.json is not a dashboard that can be drawn"):
        load_dashboard(tmp_path / "a.json")
    with pytest.raises(ConfigError, match="is not a dashboard"):
        load_dashboard(tmp_path / "b.json")
