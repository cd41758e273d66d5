"""Drawing a dashboard: panels at their places in Grafana's grid, one picture for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, nan
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MultipleLocator
from PIL import Image

from mynamo.dashboards.dashboard_files import Dashboard, Panel
from mynamo.dashboards.panel_data import Line, Lines, Span
from mynamo.dashboards.panel_units import shown, tick_step
from mynamo.dashboards.picture_marks import Mark, minutes

DPI = 100
WIDTH = 1600
COLUMNS = 24
CELL = 33
"""Pixels of a row of Grafana's grid."""
HEAD = 96
"""Pixels above the panels, for the title and the events."""
LEGEND_ROWS = 2
LETTER = 6.3
"""Pixels of a letter of a legend, on average."""
GAP = 1.5
"""Steps without a value after which a line is interrupted."""
COLORS = (
    "#56a64b", "#e0b400", "#3274d9", "#ff780a", "#e02f44", "#8f3bb8", "#37872d", "#1f60c4",
    "#c4162a", "#fa6400", "#7c2ea3", "#0a437c",
)  # fmt: skip
STATES = {"green": "#73bf69", "red": "#f2495c"}
_GRAY, _DARK, _EDGE = "#9a9a9a", "#24292e", "#d8d9da"
_LEFT, _RIGHT, _TOP = 76, 14, 34
_UNDER = 24
"""Pixels below the graph, for the times."""


def draw(dashboard: Dashboard, lines: Lines, span: Span, marks: Sequence[Mark], file: Path) -> None:
    """Draw a dashboard into a PNG file.

    Times are minutes and seconds since the beginning of the span.

    Args:
        lines: what each panel shows.
        marks: events, which each panel has as dashed lines.

    Raises:
        OSError: the file cannot be written.
        ConfigError: a unit is not known.
    """
    rows = max(panel.y + panel.height for panel in dashboard.panels)
    height = HEAD + rows * CELL
    figure = Figure(figsize=(WIDTH / DPI, height / DPI), dpi=DPI, facecolor="#f4f5f5")
    canvas = FigureCanvasAgg(figure)
    figure.text(12 / WIDTH, 1 - 14 / height, dashboard.title, fontsize=15, va="top", color=_DARK)
    _tell_marks(figure, span, marks, height)
    for panel in dashboard.panels:
        _draw_panel(figure, panel, lines[panel], span, marks, height)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = canvas.buffer_rgba()  # type: ignore[no-untyped-call]
    image = Image.frombuffer("RGBA", canvas.get_width_height(), pixels)
    image.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=1).save(
        file, optimize=True
    )


def _tell_marks(figure: Figure, span: Span, marks: Sequence[Mark], height: int) -> None:
    told = [f"{n} {mark.text} ({minutes(mark.at - span.start)})" for n, mark in enumerate(marks, 1)]
    text, width = "", 0.0
    for each in told:
        if width and width + len(each) * LETTER * 1.1 > WIDTH - 60:
            text, width = text + "\n", 0.0
        text += ("    " if width else "") + each
        width += (len(each) + 4) * LETTER * 1.1
    figure.text(12 / WIDTH, 1 - 44 / height, text, fontsize=9.5, va="top", color=_DARK)


def _draw_panel(
    figure: Figure, panel: Panel, lines: Sequence[Line], span: Span, marks: Sequence[Mark],
    height: int,
) -> None:  # fmt: skip
    column = WIDTH / COLUMNS
    left, top = panel.x * column + 4, HEAD + panel.y * CELL
    width, tall = panel.width * column - 8, panel.height * CELL - 8
    background = figure.add_axes((left / WIDTH, 1 - (top + tall) / height,
                                  width / WIDTH, tall / height))  # fmt: skip
    background.set(facecolor="white", xticks=[], yticks=[])
    for spine in background.spines.values():
        spine.set_color(_EDGE)
    figure.text((left + 10) / WIDTH, 1 - (top + 8) / height, panel.title,
                fontsize=10, va="top", weight="bold", color=_DARK)  # fmt: skip
    seen = [line for line in lines if any(isfinite(value) for _, value in line.points)]
    if not seen:
        figure.text((left + width / 2) / WIDTH, 1 - (top + tall / 2) / height, "No data",
                    fontsize=11, ha="center", va="center", color=_GRAY)  # fmt: skip
        return
    states = panel.kind == "state-timeline"
    legend = [] if states else _legend(seen, width - 20)
    longest = max(len(line.name) for line in seen) * LETTER if states else 0
    start = min(max(_LEFT, longest + 16), width / 2)
    under = _UNDER + (len(legend) * 16 + 4 if legend else 0)
    axes = figure.add_axes((
        (left + start) / WIDTH, 1 - (top + tall - under) / height,
        (width - start - _RIGHT) / WIDTH, (tall - _TOP - under) / height,
    ))  # fmt: skip
    axes.set_xlim(0, span.end - span.start)
    axes.xaxis.set_major_locator(MultipleLocator(tick_step((span.end - span.start) / 2, "s")))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: minutes(seconds)))
    axes.tick_params(labelsize=8, colors="#52545c", length=0)
    axes.tick_params(axis="x", pad=6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_EDGE)
    axes.grid(axis="x", color="#ececec", linewidth=0.7)
    if states:
        _draw_states(axes, panel, seen, span)
    else:
        _draw_graph(axes, panel, seen, span)
        for row, names in enumerate(legend):
            _draw_legend(figure, names, left + 10, top + tall - 6 - 16 * (len(legend) - row),
                         height)  # fmt: skip
    for number, mark in enumerate(marks, 1):
        at = mark.at - span.start
        axes.axvline(at, color="#5794f2", linewidth=0.9, linestyle=(0, (4, 3)))
        axes.text(at, 1.01, str(number), transform=axes.get_xaxis_transform(), fontsize=7.5,
                  ha="center", va="bottom", color="#1f60c4")  # fmt: skip


def _draw_graph(axes: Axes, panel: Panel, lines: Sequence[Line], span: Span) -> None:
    highest = 0.0
    for number, line in enumerate(lines):
        times, values = _with_gaps(line.points, span)
        color = COLORS[number % len(COLORS)]
        axes.plot(times, values, color=color, linewidth=1.3)
        axes.fill_between(times, values, color=color, alpha=0.1, linewidth=0)
        highest = max(highest, *(value for value in values if isfinite(value)))
    top = highest * 1.08 or 1.0
    axes.set_ylim(0, top)
    axes.yaxis.set_major_locator(MultipleLocator(tick_step(top, panel.unit)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value, panel.unit)))
    axes.grid(axis="y", color="#ececec", linewidth=0.7)


def _draw_states(axes: Axes, panel: Panel, lines: Sequence[Line], span: Span) -> None:
    for row, line in enumerate(lines):
        for begin, end, value in _stretches(line.points, span):
            name = [color for least, color in panel.colors if value >= least][-1]
            axes.barh(row, end - begin, left=begin, height=0.75, color=STATES[name], linewidth=0)
            if end - begin > (span.end - span.start) / 25:
                axes.text((begin + end) / 2, row, shown(value, panel.unit), fontsize=8,
                          ha="center", va="center", color=_DARK)  # fmt: skip
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.set_yticks(range(len(lines)), [line.name for line in lines])


def _with_gaps(
    points: Sequence[tuple[float, float]], span: Span
) -> tuple[list[float], list[float]]:
    times: list[float] = []
    values: list[float] = []
    for at, value in points:
        seconds = at - span.start
        if times and seconds - times[-1] > GAP * span.step:
            times.append(seconds - span.step / 2)
            values.append(nan)
        times.append(seconds)
        values.append(value)
    return times, values


def _stretches(
    points: Sequence[tuple[float, float]], span: Span
) -> list[tuple[float, float, float]]:
    """From when to when a series had which value, in seconds since the beginning."""
    found: list[tuple[float, float, float]] = []
    for at, value in points:
        if not isfinite(value):
            continue
        begin = max(0.0, at - span.start)
        end = min(begin + span.step, span.end - span.start)
        if found and found[-1][2] == value and begin - found[-1][1] < (GAP - 1) * span.step:
            found[-1] = (found[-1][0], end, value)
        else:
            found.append((begin, end, value))
    return found


def _legend(lines: Sequence[Line], width: float) -> list[list[tuple[str, str]]]:
    """Names and colors in rows that fit; what does not fit is counted."""
    rows: list[list[tuple[str, str]]] = [[]]
    used = 0.0
    for number, line in enumerate(lines):
        needs = len(line.name) * LETTER + 34
        last = len(rows) == LEGEND_ROWS
        if rows[-1] and used + needs + (70 if last and number < len(lines) - 1 else 0) > width:
            if last:
                rows[-1].append((f"and {len(lines) - number} more", ""))
                break
            rows.append([])
            used = 0.0
        rows[-1].append((line.name, COLORS[number % len(COLORS)]))
        used += needs
    return rows


def _draw_legend(
    figure: Figure, names: Sequence[tuple[str, str]], left: float, top: float, height: int
) -> None:
    for name, color in names:
        if color:
            figure.text(left / WIDTH, 1 - top / height, "\u2501", fontsize=9, color=color, va="top")
        figure.text((left + 16) / WIDTH, 1 - (top + 1) / height, name, fontsize=8, va="top",
                    color=_DARK)  # fmt: skip
        left += len(name) * LETTER + 34
