"""What `verify` and `repair` share: how hard to look, and what they show meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
import orjson
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from mynamo.cli.command_context import as_json
from mynamo.cli.interrupts import interruptible, status_of
from mynamo.cli.output import console, say
from mynamo.operations.comparison_progress import OnProgress, Progress
from mynamo.operations.verify import MAX_PARALLEL, PARALLEL

TELL_EVERY = 10.0
"""Seconds between two lines about the progress, where there is no terminal."""

Command = TypeVar("Command", bound=Callable[..., Any])


def effort(command: Command) -> Command:
    """Add the options of commands that compare a whole table."""
    options = (
        click.option(
            "--wait", type=click.FloatRange(0), default=30.0, show_default=True,
            help="Seconds that the indexers may take to catch up.",
        ),
        click.option(
            "--parallel", type=click.IntRange(1, MAX_PARALLEL), default=PARALLEL,
            show_default=True, metavar="N", help="Threads.",
        ),
        click.option(
            "--rate", type=click.FloatRange(0, min_open=True), metavar="ROWS",
            help="Rows that are read per second, at most.  [default: as many as it can]",
        ),
        click.option(
            "--resume", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
            help="Keep the state in FILE, and go on from there if it exists. It is removed at "
            "the end.",
        ),
        click.option(
            "--log", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
            help="Append every finding to FILE, a line of JSON each.",
        ),
        as_json,
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@contextmanager
def looking(resume: Path | None) -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, and say how to go on from there."""
    try:
        with interruptible():
            yield
    except KeyboardInterrupt as interruption:
        kept = resume is not None and resume.exists()
        say(f"interrupted{f'; the same command with --resume {resume} goes on' if kept else ''}")
        raise click.exceptions.Exit(status_of(interruption)) from None


@contextmanager
def lines_to(file: Path | None) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yields what appends a line of JSON to a file, if there is one."""
    if file is None:
        yield lambda _: None
        return
    lock = threading.Lock()
    try:
        stream = file.open("ab", buffering=0)
    except OSError as error:
        raise click.BadParameter(f"{file}: {error.strerror}", param_hint="--log") from None

    def append(line: dict[str, Any]) -> None:
        with lock:
            stream.write(orjson.dumps(line) + b"\n")

    with stream:
        yield append


@contextmanager
def progress_shown(what: str) -> Iterator[OnProgress]:
    """Show how far it is on stderr: a bar on a terminal, else a line now and then."""
    screen = console(stderr=True)
    if not screen.is_terminal:
        yield _telling(what)
        return
    bar = Bar(TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[said]}"),
              console=screen, transient=True)  # fmt: skip
    with bar:
        task = bar.add_task(what, total=1.0, said="")
        yield lambda now: bar.update(task, completed=now.fraction, said=str(now))


def _telling(what: str) -> OnProgress:
    told = time.monotonic()

    def tell(now: Progress) -> None:
        nonlocal told
        if time.monotonic() - told >= TELL_EVERY:
            told = time.monotonic()
            say(f"{what}: {now}")

    return tell
