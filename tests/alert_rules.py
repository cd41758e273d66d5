"""The alerts of `deploy/prometheus/rules.yml`, read as that file is written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "deploy" / "prometheus"
RULES = FOLDER / "rules.yml"


@dataclass(frozen=True, slots=True)
class Alert:
    """One of them.

    Attributes:
        name: of the alert.
        query: PromQL.
        lasting: how long it must be so, as Prometheus writes it.
        severity: critical or warning.
        annotations: by their names.
    """

    name: str
    query: str
    lasting: str
    severity: str
    annotations: dict[str, str]


def alerts() -> list[Alert]:
    """All of them, in the order of the file."""
    return [_alert(block) for block in RULES.read_text().split("      - alert: ")[1:]]


def _alert(block: str) -> Alert:
    name = block.partition("\n")[0]
    fields = dict(re.findall(r"^        (\w+): ?(.*(?:\n {10}.*)*)", block, re.MULTILINE))
    annotations = dict(re.findall(r'^ {10}(\w+): "?(.*?)"?$', fields["annotations"], re.MULTILINE))
    severity = re.fullmatch(r"\{severity: (critical|warning)\}", fields["labels"])
    assert severity is not None, f"{name} has no severity"
    query = " ".join(fields["expr"].removeprefix("|").split())
    return Alert(name, query, fields["for"], severity[1], annotations)
