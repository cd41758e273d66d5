"""Prometheus' own tool runs the tests of the alert rules, and reads the dashboards' queries."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE, STDOUT, CompletedProcess

import pytest

from mynamo.errors import LocalServerError
from mynamo.local.prometheus import find_prometheus
from tests.alert_rules import FOLDER, RULES, alerts
from tests.clients.conftest import missing
from tools.grafana_dashboards import FOLDER as DASHBOARDS

TESTS = FOLDER / "rules_test.yml"
NAMED = re.compile(r'alertname="(\w+)"')
Promtool = Callable[..., CompletedProcess[str]]

LATER = {
    "MynamoProcessDown": ("for: 2m", "for: 20m"),
    "MynamoNoWriter": ("for: 2m", "for: 20m"),
    "MynamoScrapeSlow": ("> 2", "> 20"),
    "MynamoShardAway": ("for: 1m", "for: 10m"),
    "MynamoCatalogAway": ('"catalog"', '"catalogue"'),
    "MynamoIntentsOld": ("> 60", "> 6000"),
    "MynamoMovesOpen": ("for: 3h", "for: 30h"),
    "MynamoKafkaAway": ("for: 1m", "for: 10m"),
    "MynamoRelayWithoutLease": ("for: 1m", "for: 10m"),
    "MynamoUnpublishedGrow": ("> 1000", "> 100000"),
    "MynamoUnappliedGrow": ("deriv(mynamo_outbox_unapplied_rows[10m]) > 1", "vector(0) > 1"),
    "MynamoOutboxOld": ("> 300", "> 3000"),
    "MynamoIndexBehind": ("> 60", "> 6000"),
    "MynamoDeadLetters": ("> 0", "> 10"),
    "MynamoExpiryBehind": ("> 3600", "> 36000"),
    "MynamoVerifyFindings": ("> 0", "> 30"),
    "MynamoVerifyUndecided": ("for: 2d", "for: 20d"),
    "MynamoVerifyOld": ("> 8 *", "> 80 *"),
    "MynamoErrors": ("> 0.01", "> 0.1"),
    "MynamoRequestsSlow": ("Query|", ""),
    "MynamoRequestsRefused": ("> 0.1", "> 10"),
}
"""What makes each alert silent when it should fire."""
SOONER = {
    "MynamoProcessDown": ("for: 2m", "for: 0s"),
    "MynamoScrapeSlow": ("for: 5m", "for: 0s"),
    "MynamoShardAway": ("for: 1m", "for: 0s"),
    "MynamoCatalogAway": ("for: 1m", "for: 0s"),
    "MynamoIntentsOld": ("> 60", "> 0.05"),
    "MynamoMovesOpen": ("for: 3h", "for: 5m"),
    "MynamoKafkaAway": ("for: 1m", "for: 0s"),
    "MynamoRelayWithoutLease": ("for: 1m", "for: 0s"),
    "MynamoUnpublishedGrow": ("min_over_time", "max_over_time"),
    "MynamoUnappliedGrow": ("> 1\n", "> -1\n"),
    "MynamoOutboxOld": ("> 300", "> 60"),
    "MynamoIndexBehind": ("> 60", "> 30"),
    "MynamoExpiryBehind": ("for: 30m", "for: 5m"),
    "MynamoVerifyFindings": ("> 0", "> -1"),
    "MynamoVerifyUndecided": ("for: 2d", "for: 5m"),
    "MynamoVerifyOld": ("> 8 *", "> 6 *"),
    "MynamoErrors": ('"5.."', '"[45].."'),
    "MynamoRequestsSlow": ("Query|", "CreateTable|"),
    "MynamoRequestsRefused": ("for: 5m", "for: 0s"),
}
"""What makes an alert fire in an hour in which all is well."""


@pytest.fixture(scope="module")
def promtool() -> Promtool:
    """Run promtool."""
    try:
        found = find_prometheus().promtool
    except LocalServerError as error:
        missing(str(error))

    def run(*words: str | Path) -> CompletedProcess[str]:
        return subprocess.run([found, *words], stdout=PIPE, stderr=STDOUT, text=True, check=False)

    return run


def rewritten(changes: dict[str, tuple[str, str]]) -> str:
    """The rules, with a change of some alerts."""
    head, *blocks = re.split(r"(?=      - alert: )", RULES.read_text())
    for place, block in enumerate(blocks):
        name = block.split()[2]
        if name in changes:
            old, new = changes[name]
            assert old in block, f"{name} has no {old}"
            blocks[place] = block.replace(old, new)
    return head + "".join(blocks)


def silent(said: str) -> set[str]:
    """The alerts that promtool expected and did not get."""
    found = set()
    for expected, got in re.findall(r"exp:(.*?)got:(.*?)(?=exp:|\Z)", said, re.DOTALL):
        found |= set(NAMED.findall(expected)) - set(NAMED.findall(got))
    return found


def test_rules_fire_when_they_should_and_only_then(promtool: Promtool) -> None:
    done = promtool("test", "rules", TESTS)
    assert done.returncode == 0, done.stdout


def test_control_each_alert_that_is_late_is_found(promtool: Promtool, tmp_path: Path) -> None:
    assert LATER.keys() == {alert.name for alert in alerts()}
    (tmp_path / "rules.yml").write_text(rewritten(LATER))
    done = promtool("test", "rules", shutil.copy(TESTS, tmp_path))
    assert done.returncode == 1
    assert silent(done.stdout) == LATER.keys()


def test_control_each_alert_that_is_hasty_is_found(promtool: Promtool, tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(rewritten(SOONER))
    done = promtool("test", "rules", shutil.copy(TESTS, tmp_path))
    assert done.returncode == 1
    (healthy,) = re.findall(r"time: 1h,\s+exp: nil\s+got: (.*)", done.stdout)
    assert set(NAMED.findall(healthy)) == SOONER.keys()


def test_dashboards_are_promql(promtool: Promtool, tmp_path: Path) -> None:
    rules = [
        {"record": f"query_{number}", "expr": query.replace("$__rate_interval", "1m")}
        for number, query in enumerate(
            target["expr"]
            for file in DASHBOARDS.glob("*.json")
            for panel in json.loads(file.read_text())["panels"]
            for target in panel["targets"]
        )
    ]
    assert len(rules) > 30
    file = tmp_path / "dashboards.yml"
    file.write_text(json.dumps({"groups": [{"name": "any", "rules": rules}]}))  # which is YAML
    done = promtool("check", "rules", file)
    assert done.returncode == 0, done.stdout
