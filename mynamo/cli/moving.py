"""What commands that move slots share: their options, and what they show meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import click
from rich.console import Group
from rich.live import Live
from rich.table import Table as Grid

from mynamo.cli.command_context import as_json
from mynamo.cli.output import console, print_json, say
from mynamo.operations.resharding.mover import Moved, Report

TELL_EVERY = 1.0
"""Seconds between two lines of JSON, or ten times that between two lines for people who have no
terminal, unless what is done changes."""

Command = TypeVar("Command", bound=Callable[..., Any])


def with_rate(command: Command) -> Command:
    """Add the options of commands that copy."""
    options = (
        click.option(
            "--rate", type=click.FloatRange(0, min_open=True), metavar="ROWS",
            help="Rows that each move copies per second, at most; an item counts as a row for "
            "each 4 KB.  [default: as many as the indexers leave time for]",
        ),
        as_json,
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


class Shown:
    """Shows how moves get on. Safe to share between threads."""

    def __init__(self, json: bool, live: Live | None) -> None:
        self._json = json
        self._live = live
        self._lock = threading.Lock()
        self._last: dict[int, tuple[str, float]] = {}
        self._began: dict[int, tuple[float, int]] = {}
        self._eta = Eta()
        self._rows: dict[int, list[str]] = {}

    def __call__(self, report: Report) -> None:
        """Take note of a report."""
        move, now = report.move, time.monotonic()
        with self._lock:
            self._eta.note(report, now)
            began, before = self._began.setdefault(move.id, (now, report.rows))
            rate = (report.rows - before) / (now - began) if now > began else 0.0
            doing, at = self._last.get(move.id, ("", 0.0))
            kind = report.doing.split(" (")[0].split(" in ")[0]
            changed = kind != doing
            every = TELL_EVERY if self._json else 10 * TELL_EVERY
            if not changed and now - at < every and self._live is None:
                return
            self._last[move.id] = kind, now
            if self._json:
                print_json(_json(report, rate, self._eta.seconds(now)), indent=False)
            elif self._live is None:
                say(f"{_where(report)}: {_progress(report)}{self._eta.words(now)}")
            else:
                self._rows[move.id] = [
                    f"{move.first}-{move.last}", f"{move.source} -> {move.target}",
                    report.doing, _share(report), f"{report.rows:,}",
                    f"{rate:,.0f}" if rate else "",
                ]  # fmt: skip
                self._live.update(Group(self._grid(), self._eta.words(now).lstrip("; ")))

    def _grid(self) -> Grid:
        grid = Grid(box=None, pad_edge=False)
        for name in ("slots", "shards", "doing", "copied", "rows", "rows/s"):
            grid.add_column(name, justify="right" if name.startswith("rows") else "left")
        for row in list(self._rows.values())[-8:]:
            grid.add_row(*row)
        return grid


class Eta:
    """When all slots will have been moved, if they go on as until now."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._ahead = 0
        self._moves: dict[int, tuple[int, float, float]] = {}

    def note(self, report: Report, now: float) -> None:
        """Take note of how far a move is.

        Args:
            now: monotonic, in seconds.
        """
        if self._began is None:
            self._began = now
        move = report.move
        done = 1.0 if move.state == "DONE" else _copied(report)
        _, first, before = self._moves.get(move.id, (0, done, done))
        self._moves[move.id] = move.last + 1 - move.first, first, max(before, done)
        self._ahead = report.slots_ahead

    def seconds(self, now: float) -> float | None:
        """How long it still takes; None: that cannot be told yet."""
        moved = sum(slots * (done - first) for slots, first, done in self._moves.values())
        left = self._ahead + sum(slots * (1 - done) for slots, _, done in self._moves.values())
        if not moved or self._began is None:
            return None
        return (now - self._began) * left / moved

    def words(self, now: float) -> str:
        """As people read it, behind a semicolon; empty: it cannot be told yet."""
        seconds = self.seconds(now)
        if not seconds:
            return ""
        minutes, rest = divmod(round(seconds), 60)
        ahead = f"{self._ahead:,} slots have not begun, " if self._ahead else ""
        return f"; {ahead}all slots moved in {minutes}:{rest:02d}"


def _copied(report: Report) -> float:
    """The share of a range that is copied; its estimate may be too low."""
    return min(0.99, report.rows / report.expected) if report.expected else 0.0


def _share(report: Report) -> str:
    return f"{_copied(report):.0%}" if report.move.state == "COPYING" else ""


def _progress(report: Report) -> str:
    share = f" ({_share(report)})" if report.doing == "copying" and report.expected else ""
    return f"{report.doing}{share}, {report.rows:,} rows copied"


@contextmanager
def shown(json: bool) -> Iterator[Shown]:
    """Show progress while the block runs: a table on a terminal, else lines."""
    if json or not console(stderr=True).is_terminal:
        yield Shown(json, None)
        return
    with Live(console=console(stderr=True), refresh_per_second=4) as live:
        yield Shown(json, live)


def finish(moved: Sequence[Moved], as_json: bool, say_first: str) -> None:
    """Say what all switches took, in the end.

    Args:
        say_first: what has been done, in words.
    """
    if as_json:
        print_json({"moves": len(moved), "pauses_ms": _pauses(moved)}, indent=False)
    else:
        click.echo(f"{say_first}{summary(moved)}")


def summary(moved: Sequence[Moved]) -> str:
    """What switches took, in words."""
    if not moved:
        return "nothing had to be moved"
    done = f"{len(moved)} {'move' if len(moved) == 1 else 'moves'}"
    pauses = _pauses(moved)
    if not pauses:  # others have made them
        return done
    middle, late = pauses[len(pauses) // 2], pauses[min(len(pauses) - 1, len(pauses) * 99 // 100)]
    return (
        f"{done}; writes paused for "
        f"p50 {middle:.0f} ms, p99 {late:.0f} ms, longest {pauses[-1]:.0f} ms"
    )


def _pauses(moved: Sequence[Moved]) -> list[float]:
    found = [each.switched.pauses for each in moved if each.switched is not None]
    return sorted(round(1000 * pause, 1) for pauses in found for pause in pauses)


def _where(report: Report) -> str:
    move = report.move
    return f"{move.source} -> {move.target}: slots {move.first}-{move.last}"


def _json(report: Report, rate: float, eta: float | None) -> dict[str, Any]:
    move = report.move
    return {
        "move": move.id,
        "first_slot": move.first,
        "last_slot": move.last,
        "source": move.source,
        "target": move.target,
        "state": move.state,
        "doing": report.doing,
        "rows": report.rows,
        "rows_expected": report.expected,
        "rows_per_second": round(rate),
        "slots_ahead": report.slots_ahead,
        "eta_seconds": None if eta is None else round(eta, 1),
    }
