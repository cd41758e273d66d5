"""`mynamo load`: a file of items into a table."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import IO, Any

import click
import orjson
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from mynamo.cli.app import wording
from mynamo.cli.context import as_json, dynamodb_json, interruptible, opened
from mynamo.cli.items import parse_item, plain_item
from mynamo.cli.loading import Counts, Line, Loader
from mynamo.cli.output import console, print_json, say
from mynamo.errors import InvalidItem
from mynamo.producer import Receipt

SHOWN_ERRORS = 100
BAR_EVERY = 16
"""Lines between two moves of the progress bar."""


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option("--table", required=True, metavar="NAME", help="Where the items go.")
@click.option(
    "--threads", type=click.IntRange(1, 64), default=8, show_default=True, help="Writing at once."
)
@click.option("--queued", is_flag=True, help="Through Kafka, for `mynamo writer` to apply.")
@click.option(
    "--receipts", type=click.File("ab", lazy=False), metavar="FILE",
    help="Add a JSON line with line number, key and token for each acknowledged item.",
)  # fmt: skip
@dynamodb_json
@as_json
def load(
    file: IO[bytes],
    table: str,
    threads: int,
    queued: bool,
    receipts: IO[bytes] | None,
    dynamodb_json: bool,
    as_json: bool,
) -> None:
    """Write the items of FILE, one JSON object per line, in place of those with the same keys.

    FILE may be - for stdin. Lines with the same key are written in the file's order. A line
    that cannot be written is reported with its number and the reason, the others go on;
    the status is then 1. Ctrl-C stops and says how many items are written. An acknowledged
    item is on disk; with --queued, Kafka has it (the embedded broker of `mynamo dev` keeps
    what waits in it only as long as it runs).

    \b
    Examples:
      mynamo load orders.jsonl --table orders
      mynamo load - --table orders --queued --threads 2 < orders.jsonl
    """
    told = _Told(receipts, None if as_json else _bar(file), as_json)
    with opened() as cluster, interruptible():
        loader = Loader(
            cluster, table, threads=threads, queued=queued,
            acknowledged=told.acknowledged, refused=told.refused,
        )  # fmt: skip
        try:
            with told.moving(loader.counts):
                _read(file, loader, dynamodb_json)
                loader.finish()
            interrupted = False
        except KeyboardInterrupt:
            busy = loader.abandon()
            interrupted = True
            if busy:
                say(f"{busy} threads still wait for a server; what they write is not counted")
    _report(loader.counts, told.errors, interrupted, queued, as_json)
    if loader.trouble is not None:
        raise click.ClickException(
            f"{wording(loader.trouble)}. The lines after that were not tried. Loading the whole "
            "file again is safe: an item that is there is written again"
        )
    if interrupted:
        raise SystemExit(130)
    if loader.counts.failed:
        raise SystemExit(1)


class _Told:
    """What is told of each line while the loader works; it calls from one thread at a time."""

    def __init__(self, receipts: IO[bytes] | None, bar: Progress | None, as_json: bool) -> None:
        self.errors: list[dict[str, Any]] = []
        self._receipts = receipts
        self._bar = bar
        self._as_json = as_json
        self._counts = Counts()

    @contextmanager
    def moving(self, counts: Counts) -> Iterator[None]:
        """Show the bar, if there is one, and let it follow these counts."""
        self._counts = counts
        with self._bar or nullcontext():
            yield

    def refused(self, number: int, reason: str) -> None:
        """Tell of a line that was not written."""
        if self._as_json or len(self.errors) < SHOWN_ERRORS:
            self.errors.append({"line": number, "reason": reason})
            if not self._as_json:
                say(f"line {number}: {reason}")
        self._move()

    def acknowledged(self, number: int, key: Mapping[str, Any], receipt: Receipt | None) -> None:
        """Tell of a line that is safe."""
        if self._receipts is not None:
            token = receipt.token if receipt else None
            entry = {"line": number, "key": plain_item(key), "token": token}
            self._receipts.write(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE))
            self._receipts.flush()  # it is true whatever becomes of this process
        self._move()

    def _move(self) -> None:
        counts = self._counts
        if self._bar and (counts.acknowledged + counts.failed) % BAR_EVERY == 0:
            self._bar.update(self._bar.task_ids[0], completed=counts.size, rate=counts.rate)


def _read(file: IO[bytes], loader: Loader, dynamodb_json: bool) -> None:
    """Give every line to the loader, until the servers take no more."""
    for number, text in enumerate(file, 1):
        if not text.strip():
            continue
        try:
            line = Line(number, parse_item(text, dynamodb_json), len(text))
        except InvalidItem as error:
            loader.refuse(number, len(text), wording(error))
            continue
        if not loader.add(line):
            return


def _bar(file: IO[bytes]) -> Progress | None:
    """A bar on stderr that moves by bytes, if that is a terminal."""
    screen = console(stderr=True)
    if not screen.is_terminal:
        return None
    try:
        size: int | None = os.fstat(file.fileno()).st_size or None
    except OSError:
        size = None
    bar = Progress(
        TextColumn("loading"), BarColumn(), DownloadColumn(),
        TextColumn("{task.fields[rate]:,.0f} items/s"), TimeRemainingColumn(), console=screen,
    )  # fmt: skip
    bar.add_task("load", total=size, rate=0.0)
    return bar


def _report(
    counts: Counts, errors: list[dict[str, Any]], interrupted: bool, queued: bool, as_json: bool
) -> None:
    if as_json:
        print_json(
            {
                "acknowledged": counts.acknowledged,
                "failed": counts.failed,
                "interrupted": interrupted,
                "seconds": round(counts.seconds, 3),
                "errors": errors,
            }
        )
        return
    if counts.failed > SHOWN_ERRORS:
        say(f"... and {counts.failed - SHOWN_ERRORS:,} further lines that failed")
    what = "queued in Kafka" if queued else "written"
    click.echo(
        f"{'interrupted: ' if interrupted else ''}{counts.acknowledged:,} items {what}, "
        f"{counts.failed:,} failed, in {counts.seconds:.1f} s ({counts.rate:,.0f} items/s)"
    )
