"""What `peers_http.py` shows of its results: tables and a plot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from peers import GATEWAYS
from rounds import NOTHING, Panel, draw, geometric_mean, number, table

Median = dict[str, float]


class Report:
    """Results as they are written, and what is shown of them."""

    def __init__(self, results: dict[str, Any]) -> None:
        self.results = results
        self._names = [one["name"] for one in results["contenders"]]
        self._loads = list(dict.fromkeys(one["load"] for one in results["figures"]))
        self._operations = list(dict.fromkeys(one["operation"] for one in results["figures"]))
        self._found: dict[tuple[str, str, str], Median] = {
            (one["load"], one["operation"], one["contender"]): one["median"]
            for one in results["figures"]
        }

    def text(self) -> str:
        """Tables in Markdown."""
        about = self.results["machine"]
        parts = [
            f"{one['name']}: {one['title']}. Acknowledged writes: {one['keeps']}. "
            f"Idle: {one['idle_cores']:.1%} of a core."
            for one in self.results["contenders"]
        ]
        parts += [f"{about['processor']}, {about['cores']} cores, {about['memory_gb']} GB\n"]
        for load in self._loads:
            parts += [
                f"## {load}\n",
                "Requests per second, and p50 and p99 latency in ms:\n",
                self._table(load, _line),
                "\nCPU time of all processes in us per request:\n",
                self._table(load, lambda one: number(one.get("cpu_us"))),
                "",
                *self._ratios(load),
            ]
        if self.results["troubles"]:
            parts += ["## Troubles: (!) above, and what the warming up had\n"]
            parts += [f"* {trouble}" for trouble in self.results["troubles"]]
        return "\n".join(parts)

    def draw(self, path: Path) -> None:
        """The plot."""
        panels = []
        for load in self._loads:
            wanted = [("p99_ms", "p99, ms")]
            if not self._is_open(load):
                wanted.insert(0, ("rate", "requests/s"))
            for figure, unit in wanted:
                series = {
                    name: [
                        self._get(load, operation, name).get(figure)
                        for operation in self._operations
                    ]
                    for name in self._names
                }
                panels.append(Panel(load, unit, self._operations, series))
        about = self.results["machine"]
        title = f"{about['processor']}, {about['cores']} cores, {about['date']}"
        draw(path, title, panels)

    def _table(self, load: str, show: Callable[[Median], str]) -> str:
        rows = [
            [operation, *(show(self._get(load, operation, name)) for name in self._names)]
            for operation in self._operations
        ]
        return table(["operation", *self._names], rows)

    def _ratios(self, load: str) -> list[str]:
        """How mynamo compares; above 1 it is faster."""
        pairs = [
            (own, other)
            for own in self._names
            if own in GATEWAYS
            for other in self._names
            if other not in GATEWAYS and other != "fixed"
        ]
        if not pairs:
            return []
        found = {
            pair: [self._ratio(load, operation, *pair) for operation in self._operations]
            for pair in pairs
        }
        rows = [
            [operation, *(number(found[pair][at], 2) for pair in pairs)]
            for at, operation in enumerate(self._operations)
        ]
        means = [geometric_mean(one for one in found[pair] if one) for pair in pairs]
        rows.append(["geometric mean", *(number(mean, 2) for mean in means)])
        what = (
            "p50 latency, theirs : mynamo's" if self._is_open(load) else "Rate, mynamo's : theirs"
        )
        head = ["operation", *(f"{own} : {other}" for own, other in pairs)]
        return [f"{what} (above 1: mynamo is faster):\n", table(head, rows), ""]

    def _ratio(self, load: str, operation: str, own: str, other: str) -> float | None:
        ours, theirs = self._get(load, operation, own), self._get(load, operation, other)
        if self._is_open(load):
            ours, theirs = theirs, ours
        figure = "p50_ms" if self._is_open(load) else "rate"
        if ours.get(figure) and theirs.get(figure):
            return float(ours[figure] / theirs[figure])
        return None

    def _get(self, load: str, operation: str, name: str) -> Median:
        return self._found.get((load, operation, name), {})

    def _is_open(self, load: str) -> bool:
        return load.startswith("open loop")


def _line(figures: Median) -> str:
    if "rate" not in figures:
        return NOTHING
    wrong = " (!)" if figures.get("errors") or figures.get("wrong") else ""
    latency = f"{number(figures.get('p50_ms'))} {number(figures.get('p99_ms'))}"
    return f"{figures['rate']:,.0f}{wrong} {latency:>11}"
