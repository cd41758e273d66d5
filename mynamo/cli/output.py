"""Printing: tables for people, JSON for scripts."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from mynamo.cli.plain_items import dump_value, plain_item
from mynamo.schemas.items import to_stored

PIPED_WIDTH = 160
"""Columns of a table that is not printed to a terminal."""


def console(stderr: bool = False) -> Console:
    """A console that fits the terminal, if there is one."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(
        file=stream, width=None if stream.isatty() else PIPED_WIDTH, highlight=False, markup=False
    )


def say(line: str = "") -> None:
    """Print a message for people on stderr, apart from the data on stdout."""
    click.echo(line, err=True)


def print_json(value: Any, indent: bool = True) -> None:
    """Print what the JSON writer takes (see `items.plain`)."""
    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2 if indent else 0))


def item_json(item: Mapping[str, Any], dynamodb_json: bool) -> dict[str, Any]:
    """An item for the JSON writer, in the form that was asked for."""
    return to_stored(item) if dynamodb_json else plain_item(item)


def print_grid(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str | None = None,
    right: Sequence[str] = (),
) -> None:
    """Print a table.

    Args:
        columns: their headings.
        rows: one value per column; None is left blank.
        title: a line above it.
        right: the headings of the columns that are aligned to the right.
    """
    grid = Grid(title=title, title_justify="left", header_style="bold")
    for column in columns:
        grid.add_column(
            Text(column), justify="right" if column in right else "left", overflow="fold"
        )
    for row in rows:
        grid.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    console().print(grid)


def print_items(items: Sequence[Mapping[str, Any]], first: Sequence[str]) -> None:
    """Print items as a table, a column per attribute.

    Args:
        items: in Python form.
        first: the key attributes, which lead.
    """
    often = Counter(name for item in items for name in item)
    others = sorted((n for n in often if n not in first), key=lambda n: (-often[n], n))
    columns = [name for name in first if name in often] + others
    print_grid(columns, ([_cell(item, name) for name in columns] for item in items))


def _cell(item: Mapping[str, Any], name: str) -> str | None:
    if name not in item:
        return None
    value = item[name]
    return value if isinstance(value, str) else dump_value(value)
