"""A dashboard of Grafana's, read from its JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mynamo.errors import ConfigError

KINDS = ("timeseries", "state-timeline")
_VARIABLE = re.compile(r"\$\{?(\w+)\}?")


@dataclass(frozen=True, slots=True)
class Target:
    """One query of a panel.

    Attributes:
        query: PromQL, with Grafana's variables.
        legend: of its series, with labels as `{{label}}`.
    """

    query: str
    legend: str

    def filled(self, variables: Mapping[str, str]) -> str:
        """The query with values in place of variables.

        Raises:
            ConfigError: it uses another variable.
        """

        def value(found: re.Match[str]) -> str:
            if found[1] not in variables:
                raise ConfigError(f"no value is known for the variable {found[0]} of {self.query}")
            return variables[found[1]]

        return _VARIABLE.sub(value, self.query)

    def name(self, labels: Mapping[str, str]) -> str:
        """The legend of a series; a label that it lacks is left out, as Grafana has it."""
        return re.sub(
            r"\{\{\s*(\w+)\s*\}\}", lambda found: labels.get(found[1], ""), self.legend
        ).strip()


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel.

    Attributes:
        title: above it.
        kind: one of `KINDS`.
        unit: Grafana's name for that of its values.
        x, y, width, height: its place in Grafana's grid of 24 columns.
        colors: of a state timeline: colors by the value from which each holds.
        targets: its queries.
    """

    title: str
    kind: str
    unit: str
    x: int
    y: int
    width: int
    height: int
    colors: tuple[tuple[float, str], ...]
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A dashboard.

    Attributes:
        name: of its file.
        title: above it.
        panels: in the order of the file.
    """

    name: str
    title: str
    panels: tuple[Panel, ...]


def load_dashboard(file: Path) -> Dashboard:
    """Read a dashboard.

    Raises:
        ConfigError: the file is not there, or is not one that can be drawn.
    """
    try:
        board = json.loads(file.read_text())
        panels = tuple(_panel(each) for each in board["panels"])
        return Dashboard(file.stem, board["title"], panels)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{file} is not a dashboard that can be drawn: {error!r}") from None


def _panel(panel: Mapping[str, Any]) -> Panel:
    if panel["type"] not in KINDS:
        raise ValueError(f"a panel is of the type {panel['type']}, not {' or '.join(KINDS)}")
    place, defaults = panel["gridPos"], panel["fieldConfig"]["defaults"]
    steps = defaults.get("thresholds", {}).get("steps", [])
    colors = (
        (float("-inf") if step["value"] is None else float(step["value"]), step["color"])
        for step in steps
    )
    targets = (Target(one["expr"], one["legendFormat"]) for one in panel["targets"])
    return Panel(
        panel["title"], panel["type"], defaults["unit"],
        place["x"], place["y"], place["w"], place["h"], tuple(colors), tuple(targets),
    )  # fmt: skip
