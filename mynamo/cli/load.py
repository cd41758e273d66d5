"""`mynamo load`: files of items into a table."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
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

from mynamo.catalog.tables import Table
from mynamo.cli.app import wording
from mynamo.cli.command_context import TableName, as_json, find_table, opened
from mynamo.cli.formats import CONTAINERS, Container
from mynamo.cli.interrupts import interruptible, status_of
from mynamo.cli.loading import Counts, Done, Loader
from mynamo.cli.output import console, print_json, say
from mynamo.cli.plain_items import plain_item
from mynamo.cli.records import FilePosition, Reading
from mynamo.cli.sources import BadFile, Source
from mynamo.cli.statuses import FAILED
from mynamo.cli.tabular import parse_types
from mynamo.errors import MynamoError

SHOWN_ERRORS = 100
TELL_EVERY = 10.0
"""Seconds between two lines about the progress, where there is no terminal."""
AGAIN = "Loading the same files again is safe: an item that is there is written again"


@click.command()
@click.argument("table", metavar="TABLE")
@click.argument("files", metavar="FILE...", nargs=-1)
@click.option("--table", "old_table", hidden=True)
@click.option(
    "--format", "container", type=click.Choice(CONTAINERS), help="What the files are; see above.  "
    "[default: what they look like]",
)  # fmt: skip
@click.option(
    "--dynamodb-json/--plain-json", default=None,
    help='Whether values have types: {"price": {"N": "9.90"}}.  [default: as the first item]',
)  # fmt: skip
@click.option(
    "--types", callback=parse_types, metavar="NAME:T,...",
    help="Of columns of CSV: S (default), N, B or BOOL. Keys have the table's types.",
)  # fmt: skip
@click.option(
    "--threads", type=click.IntRange(1, 64), default=8, show_default=True, help="Writing at once."
)
@click.option("--queued", is_flag=True, help="Through Kafka, for `mynamo writer` to apply.")
@click.option(
    "--receipts", type=click.File("ab", lazy=False), metavar="FILE",
    help="Add a JSON line with line number, key and token for each acknowledged item.",
)  # fmt: skip
@as_json
def load(
    table: str,
    files: tuple[str, ...],
    old_table: str | None,
    container: Container | None,
    dynamodb_json: bool | None,
    types: dict[str, str],
    threads: int,
    queued: bool,
    receipts: IO[bytes] | None,
    as_json: bool,
) -> None:
    """Write the items of files, in place of those with the same keys.

    FILE may be - for stdin. It may be gzipped, and begin with a byte order mark. What it is,
    is told by its beginning, and said; --format names it otherwise:

    \b
      lines    a JSON object per line, as `mynamo scan --lines` writes; also {"Item": {...}},
               as in DynamoDB's exports to S3
      objects  JSON objects over several lines, one after the other
      array    one JSON array of objects
      scan     {"Items": [...]}, the output of `aws dynamodb scan` or `query`
      batch    {"TABLE": [{"PutRequest": ...}]}, for `aws dynamodb batch-write-item`; it may delete
      csv      with a header; separated by , ; | or tabs

    Items are in plain JSON, or in DynamoDB JSON if the first one is. In CSV the attributes in
    keys of the table and its indexes have their types there, others are strings unless --types
    says more, and an empty cell is no attribute.

    Records with the same key are written in the file's order. One that cannot be written is
    reported with its line and the reason, the others go on; the status is then 1. Ctrl-C stops
    and says how many items are written. An acknowledged item is on disk; with --queued, Kafka
    has it (the embedded broker of `mynamo dev` keeps what waits in it only as long as it runs).

    \b
    Examples:
      mynamo load orders orders.jsonl
      mynamo load orders AWSDynamoDB/01234-abcd/data/*.json.gz
      aws dynamodb scan --table-name orders | mynamo load orders -
      mynamo load orders orders.csv --types price:N,paid:BOOL
    """
    if old_table is not None:
        say("--table is deprecated; write: mynamo load TABLE FILE")
        table, files = old_table, (table, *files)
    table = TableName().convert(table, None, click.get_current_context())
    _check_files(table, files)
    with opened() as cluster, interruptible():
        known = find_table(cluster, table)
        told = _Told(receipts, None if as_json else _bar(files), as_json)
        loader = Loader(
            cluster, known, threads=threads, queued=queued,
            acknowledged=told.acknowledged, refused=told.refused,
        )  # fmt: skip
        reader = _Reader(known, container, dynamodb_json, types, told, several=len(files) > 1)
        status, bad = 0, None
        try:
            with told.moving(loader.counts):
                bad = reader.read(files, loader)
                loader.finish()
        except KeyboardInterrupt as interruption:
            status = status_of(interruption)
            busy = loader.abandon()
            if busy:
                say(f"{busy} threads still wait for a server; what they write is not counted")
        except BaseException:
            loader.abandon()
            raise
    _report(loader.counts, told, status != 0, queued, as_json)
    if status:
        say(AGAIN)
        raise SystemExit(status)
    if loader.trouble is not None:
        if not isinstance(loader.trouble, MynamoError):
            raise loader.trouble
        raise click.ClickException(
            f"{wording(loader.trouble)}. What comes after that was not tried. {AGAIN}"
        )
    if bad is not None:
        raise click.ClickException(f"{bad}. What comes after that was not read. {AGAIN}")
    if loader.counts.failed:
        raise SystemExit(FAILED)


@dataclass
class _Told:
    """Messages about records while the loader works. It calls from one thread at a time."""

    receipts: IO[bytes] | None
    bar: Progress | None
    as_json: bool
    errors: list[dict[str, Any]] = field(default_factory=list)
    formats: list[str] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    said_at: float = field(default_factory=time.monotonic)

    @contextmanager
    def moving(self, counts: Counts) -> Iterator[None]:
        """Show the bar, if there is one, and let it follow these counts."""
        self.counts = counts
        with self.bar or nullcontext():
            yield

    def took(self, file: str, what: str) -> None:
        """Tell what a file was taken for."""
        line = f"took {file} for: {what}"
        self.formats.append(line)
        if not self.as_json:
            say(line)

    def refused(self, position: FilePosition, reason: str) -> None:
        """Tell of a record that was not written."""
        if self.as_json or len(self.errors) < SHOWN_ERRORS:
            self.errors.append({**position.as_json(), "reason": reason})
            if not self.as_json:
                say(f"{position}: {reason}")

    def acknowledged(self, done: Sequence[Done]) -> None:
        """Tell of records that are safe."""
        if self.receipts is not None:
            for position, key, receipt in done:
                token = receipt.token if receipt else None
                entry = {**position.as_json(), "key": plain_item(key), "token": token}
                self.receipts.write(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE))
            self.receipts.flush()  # it is true whatever becomes of this process
        self._move()

    def read_to(self, position: int) -> None:
        """Move the bar to so many bytes of the files."""
        if self.bar:
            self.bar.update(self.bar.task_ids[0], completed=position, rate=self.counts.rate)

    def _move(self) -> None:
        if self.bar or self.as_json or time.monotonic() - self.said_at < TELL_EVERY:
            return
        self.said_at = time.monotonic()
        say(f"{self.counts.acknowledged:,} items so far ({self.counts.rate:,.0f} items/s)")


@dataclass
class _Reader:
    """Reads the files and gives every record to the loader."""

    table: Table
    container: Container | None
    dynamodb_json: bool | None
    types: dict[str, str]
    told: _Told
    several: bool
    before: int = 0
    """Bytes of the files that are read already."""

    def read(self, files: Sequence[str], loader: Loader) -> BadFile | None:
        """Read until the end, or until the servers take no more, or a file is bad."""
        for name in files:
            with nullcontext(sys.stdin.buffer) if name == "-" else Path(name).open("rb") as file:
                source = Source(file)
                try:
                    if not self._read(source, name, loader):
                        return None
                except BadFile as error:
                    return BadFile(f"{'stdin' if name == '-' else name}: {error}")
                self.before += source.position
        return None

    def _read(self, source: Source, name: str, loader: Loader) -> bool:
        shown = "stdin" if name == "-" else name
        reading = Reading(
            source, self.table, self.container, self.dynamodb_json, self.types,
            name=shown if self.several else "", took=lambda what: self.told.took(shown, what),
        )  # fmt: skip
        for record in reading.records():
            if not loader.add(record):
                return False
            if record.position.number % 64 == 0:
                self.told.read_to(self.before + source.position)
        for hint in reading.hints:
            say(hint)
        return True


def _check_files(table: str, files: Sequence[str]) -> None:
    """Refuse paths that are no files, before anything is written."""
    if not files:
        raise click.UsageError(f"name a file, or - for stdin: mynamo load {table} FILE")
    for name in files:
        if name == "-" or (os.path.exists(name) and not os.path.isdir(name)):
            continue
        if os.path.isfile(table):
            raise click.UsageError(f"the table comes first: mynamo load {name} {table}")
        reason = "a folder; name its files" if os.path.isdir(name) else "no file of that name"
        raise click.BadParameter(f"{name!r}: {reason}", param_hint="FILE")


def _bar(files: Sequence[str]) -> Progress | None:
    """A bar on stderr that moves by bytes, if that is a terminal."""
    screen = console(stderr=True)
    if not screen.is_terminal:
        return None
    sizes = [os.path.getsize(name) for name in files if os.path.isfile(name)]
    bar = Progress(
        TextColumn("loading"), BarColumn(), DownloadColumn(),
        TextColumn("{task.fields[rate]:,.0f} items/s"), TimeRemainingColumn(), console=screen,
    )  # fmt: skip
    bar.add_task("load", total=sum(sizes) if len(sizes) == len(files) else None, rate=0.0)
    return bar


def _report(counts: Counts, told: _Told, interrupted: bool, queued: bool, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "acknowledged": counts.acknowledged,
                "failed": counts.failed,
                "interrupted": interrupted,
                "seconds": round(counts.seconds, 3),
                "formats": told.formats,
                "errors": told.errors,
            }
        )
        return
    if counts.failed > SHOWN_ERRORS:
        say(f"... and {counts.failed - SHOWN_ERRORS:,} further records that failed")
    what = "queued in Kafka" if queued else "written"
    click.echo(
        f"{'interrupted: ' if interrupted else ''}{counts.acknowledged:,} items {what}, "
        f"{counts.failed:,} failed, in {counts.seconds:.1f} s ({counts.rate:,.0f} items/s)"
    )
