"""Alert rules: they ask for metrics that there are, and each has a runbook."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.alert_rules import RULES, Alert, alerts
from tests.promql import grouped_by, known_metrics, metrics_of, mistakes
from tests.unit.test_cli_commands import COMMANDS

ROOT = Path(__file__).parents[2]
RUNBOOKS = ROOT / "docs" / "operations.md"
ALERTS = alerts()
by_name = pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)


def runbook(alert: Alert) -> str:
    """The section of an alert."""
    page = RUNBOOKS.read_text()
    found = re.search(rf"^### {alert.name}\n(.*?)(?=^##)", page, re.MULTILINE | re.DOTALL)
    assert found is not None, f"docs/operations.md has no section '### {alert.name}'"
    return found[1]


def test_all_alerts_are_read() -> None:
    assert len(ALERTS) == RULES.read_text().count("alert:") == RULES.read_text().count("expr:")
    assert len({alert.name for alert in ALERTS}) == len(ALERTS) > 10


@by_name
def test_what_it_asks_for_is_there(alert: Alert) -> None:
    assert metrics_of(alert.query)
    assert mistakes(alert.query, known_metrics()) == []


@by_name
def test_what_it_says(alert: Alert) -> None:
    assert set(alert.annotations) == {"summary", "description", "runbook_url"}
    used = set(re.findall(r"\$labels\.(\w+)", " ".join(alert.annotations.values())))
    labels = grouped_by(alert.query) - {"le"} or {"job", "instance"}
    assert used <= labels
    # An alert that has them says where it is.
    assert used == labels or alert.name == "MynamoNoWriter"


@by_name
def test_its_runbook_is_there(alert: Alert) -> None:
    assert alert.annotations["runbook_url"] == f"docs/operations.md#{alert.name.lower()}"
    text = runbook(alert)
    for part in ("**Means:**", "**Look:**", "**Do:**"):
        assert part in text


@by_name
def test_commands_of_its_runbook_are_there(alert: Alert) -> None:
    for words in re.findall(r"`mynamo ([^`]*)`", runbook(alert)):
        name, _, rest = words.partition(" --")
        plain = [word for word in name.split() if word.islower()]
        command = COMMANDS.get(" ".join(plain[:2])) or COMMANDS.get(plain[0])
        assert command is not None, f"there is no `mynamo {words}`"
        options = {word for param in command.params for word in param.opts}
        assert not rest or f"--{rest.split()[0]}" in options, f"`mynamo {words}`"


def test_no_runbook_is_left_over() -> None:
    headings = re.findall(r"^### (Mynamo\w+)$", RUNBOOKS.read_text(), re.MULTILINE)
    assert headings == [alert.name for alert in ALERTS]


def test_the_documentation_has_all_of_them() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    line = re.compile(r"^\| `(Mynamo\w+)` \| [^|]+ \| (\w+) \| \[\w+\]\((\S+)\) \|$", re.MULTILINE)
    assert line.findall(page) == [
        (alert.name, alert.severity, alert.annotations["runbook_url"].removeprefix("docs/"))
        for alert in ALERTS
    ]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("max(mynamo_shards_up) == 0", "no metric is mynamo_shards_up"),
        ('rate(mynamo_requests_total{code="503"}[5m])', "mynamo_requests_total has no label code"),
        ("max by (server) (mynamo_shard_up)", "no label is server"),
        ("sum by (le) (rate(mynamo_request_seconds[5m]))", "no metric is mynamo_request_seconds"),
        ("stddev(up)", "no metric is stddev"),
    ],
)
def test_control_a_wrong_query_is_found(query: str, found: str) -> None:
    assert mistakes(query, known_metrics()) == [found]
