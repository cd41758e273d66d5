"""What `mynamo demo-grow` shows while it is at work."""

from __future__ import annotations

import time
from itertools import chain
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table as Grid
from rich.text import Text

from mynamo.catalog.cluster import Cluster
from mynamo.cli.demo_load import Load, quantile
from mynamo.cli.demo_threads import WhileInside
from mynamo.errors import MynamoError
from mynamo.operations import lag
from mynamo.operations.resharding.mover import Report

EVERY = 1.0
LINE_EVERY = 5.0
"""Seconds between two lines, where there is no terminal."""
_BAR = 40


class Watch(WhileInside):
    """Shows shards, moves and the load each second: a table on a terminal, else lines."""

    def __init__(self, cluster: Cluster, load: Load, screen: Console) -> None:
        self._cluster = cluster
        self._load = load
        self._screen = screen
        self._live = Live(console=screen, auto_refresh=False) if screen.is_terminal else None
        self._step = ""
        self._report: Report | None = None
        self._began = self._line_at = time.monotonic()
        super().__init__(self._run)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return super().__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        if self._live is not None:
            self._live.stop()

    def step(self, name: str) -> None:
        """Say what begins."""
        self._step, self._report = name, None
        if self._live is None:
            self._screen.print(f"[{time.monotonic() - self._began:4.0f} s] {name}")

    def moving(self, report: Report) -> None:
        """Take note of how moves get on."""
        self._report = report

    def _run(self) -> None:
        before = time.monotonic()
        while not self._stop.wait(EVERY):
            now = time.monotonic()
            recent = sorted(chain.from_iterable(self._load.recent().values()))
            figures = (
                f"{len(recent) / (now - before):,.0f} requests/s, "
                f"p50 {1000 * quantile(recent, 0.5):,.0f} ms, "
                f"p99 {1000 * quantile(recent, 0.99):,.0f} ms, "
                f"{len(self._load.failures)} errors, lag {self._lag()}"
            )
            before = now
            if self._live is not None:
                self._live.update(self._table(figures), refresh=True)
            elif now - self._line_at >= LINE_EVERY:
                self._line_at = now
                slots = ", ".join(
                    f"{id_}: {count}" for id_, count in self._cluster.snapshot.slot_counts.items()
                )
                self._screen.print(
                    f"[{now - self._began:4.0f} s] slots {slots}; {figures}{self._doing()}"
                )

    def _lag(self) -> str:
        try:
            return f"{lag(self._cluster).seconds:.1f} s"
        except MynamoError:
            return "unknown"

    def _doing(self) -> str:
        report = self._report
        if report is None:
            return ""
        move = report.move
        return (
            f"; {move.source} -> {move.target}: slots {move.first}-{move.last} {report.doing}, "
            f"{report.rows:,} rows"
        )

    def _table(self, figures: str) -> Group:
        grid = Grid(box=None, pad_edge=False)
        for name in ("shard", "state", "slots", ""):
            grid.add_column(name, justify="right" if name in ("shard", "slots") else "left")
        members = self._cluster.snapshot.members
        for shard_id, count in self._cluster.snapshot.slot_counts.items():
            bar = "#" * round(_BAR * count / 4096)
            grid.add_row(str(shard_id), members[shard_id].state, f"{count:,}", bar)
        seconds = time.monotonic() - self._began
        lines = [f"{self._step} ({seconds:.0f} s)", figures, self._doing().lstrip("; ")]
        return Group(grid, *(Text(line) for line in lines))
