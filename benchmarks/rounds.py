"""What benchmarks share: interleaved rounds, medians, tables, results with the machine, plots.

Contenders are measured by turns, one figure after the other: what else the machine does, and how
it heats up, then falls on all of them alike.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

Figures = Mapping[str, float]
NOTHING = "-"
Cell = TypeVar("Cell")


class Panel(NamedTuple):
    """One part of a plot: groups of bars.

    Attributes:
        title: above it.
        unit: of its axis, which is logarithmic.
        groups: names along the other axis.
        series: a colour each, by name: a figure for each group, or None.
    """

    title: str
    unit: str
    groups: Sequence[str]
    series: Mapping[str, Sequence[float | None]]


def interleaved(
    cells: Sequence[Cell],
    contenders: Sequence[str],
    rounds: int,
    measure: Callable[[Cell, str], Figures],
) -> dict[tuple[Cell, str], list[Figures]]:
    """Measure each cell with each contender, once a round.

    Contenders take turns within a cell, and begin with another one each round. Progress is
    shown on stderr.
    """
    found: dict[tuple[Cell, str], list[Figures]] = {}
    progress = Progress(rounds * len(cells) * len(contenders))
    for number in range(rounds):
        turn = number % len(contenders)
        for cell in cells:
            for name in (*contenders[turn:], *contenders[:turn]):
                progress.step(f"round {number + 1} of {rounds}: {cell}, {name}")
                found.setdefault((cell, name), []).append(measure(cell, name))
    progress.end()
    return found


class Progress:
    """Steps done and the time left, on one line of stderr; a line now and then in a file."""

    FILE_SECONDS = 30.0

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._done = 0
        self._began = time.monotonic()
        self._shown = -math.inf
        self._live = sys.stderr.isatty()

    def step(self, about: str) -> None:
        """Say what begins now."""
        now = time.monotonic()
        left = ""
        if self._done:
            seconds = (now - self._began) / self._done * (self._steps - self._done)
            left = f", {seconds / 60:.0f} min left"
        if self._live or now - self._shown > self.FILE_SECONDS:
            self._shown = now
            self._say(f"[{self._done + 1}/{self._steps}{left}] {about}")
        self._done += 1

    def end(self) -> None:
        """Clear the line."""
        if self._live:
            self._say("")

    def _say(self, text: str) -> None:
        start, end = ("\r\x1b[K", "") if self._live else ("", "\n")
        print(f"{start}{text}", end=end, file=sys.stderr, flush=True)


def medians(rounds: Sequence[Figures]) -> dict[str, float]:
    """Of each figure, over the rounds that have it."""
    names = {name: None for one in rounds for name in one}
    return {name: statistics.median(one[name] for one in rounds if name in one) for name in names}


def geometric_mean(ratios: Iterable[float]) -> float:
    """Of ratios; NaN if there are none."""
    some = list(ratios)
    return statistics.geometric_mean(some) if some else math.nan


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown whose columns stand below each other as plain text too."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(head))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(
        "| " + " | ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) + " |"
        for line in (lines[0], rule, *lines[1:])
    )


def number(value: float | None, digits: int = 3) -> str:
    """A figure with so many significant digits, or a dash."""
    if value is None or math.isnan(value):
        return NOTHING
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"


def machine() -> dict[str, Any]:
    """What a result depends on, besides the programs."""
    processors = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2] for line in processors if "model name" in line), "")
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": model.strip(),
        "cores": os.cpu_count(),
        "memory_gb": round(pages / 1e9, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        "load_average": list(os.getloadavg()),
    }


def write_json(path: Path, results: Mapping[str, Any]) -> None:
    """Write results; a file that is there is replaced whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(results, indent=1) + "\n")
    fresh.replace(path)


def can_draw() -> bool:
    """Whether matplotlib is there; if not, say so on stderr."""
    if importlib.util.find_spec("matplotlib"):
        return True
    print("no plot will be drawn: install the `bench` extra (matplotlib)", file=sys.stderr)
    return False


def draw(path: Path, title: str, panels: Collection[Panel]) -> None:
    """Draw panels below each other into a PNG file."""
    import matplotlib  # type: ignore[import-not-found,unused-ignore]

    matplotlib.use("Agg")
    from matplotlib import pyplot  # type: ignore[import-not-found,unused-ignore]

    figure, axes = pyplot.subplots(
        len(panels), figsize=(13, 3.2 * len(panels)), squeeze=False, layout="constrained"
    )
    for panel, (axis,) in zip(panels, axes, strict=True):
        width = 0.85 / len(panel.series)
        for at, (name, values) in enumerate(panel.series.items()):
            places = [group + at * width for group in range(len(panel.groups))]
            heights = [math.nan if value is None else value for value in values]
            axis.bar(places, heights, width, label=name)
        middle = width * (len(panel.series) - 1) / 2
        ticks = [group + middle for group in range(len(panel.groups))]
        axis.set_xticks(ticks, panel.groups, fontsize=8)
        axis.set_yscale("log")
        axis.set_ylabel(panel.unit)
        axis.set_title(panel.title, fontsize=10)
        axis.grid(axis="y", alpha=0.3)
    figure.suptitle(title)
    handles, names = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), fontsize=8)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
