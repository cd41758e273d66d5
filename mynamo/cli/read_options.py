"""The options that `mynamo get`, `query` and `scan` share, and what they say."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from mynamo.cli.command_context import as_json, dynamodb_json, names
from mynamo.cli.plain_items import parse_item
from mynamo.errors import InvalidItem

Command = TypeVar("Command", bound=Callable[..., Any])


def expression_names(command: Command) -> Command:
    """Add `--names`."""
    return click.option(
        "--names",
        "expression_names",
        metavar="JSON",
        help='What #placeholders in expressions stand for: \'{"#s": "status"}\'.',
    )(command)


def expression_values(command: Command) -> Command:
    """Add `--values`."""
    return click.option(
        "--values",
        "expression_values",
        metavar="JSON",
        help="What :placeholders stand for: '{\":low\": 5}'.",
    )(command)


def read_names(text: str | None) -> dict[str, str] | None:
    """What `--names` says, if it is given.

    Raises:
        InvalidItem: it is not an object of names.
    """
    if text is None:
        return None
    names = _object(text, "--names", '{"#placeholder": "attribute"}')
    for placeholder, name in names.items():
        if not isinstance(name, str):
            raise InvalidItem(f"--names: {placeholder} must stand for the name of an attribute")
    return names


def read_values(text: str | None, dynamodb_json: bool) -> dict[str, Any] | None:
    """What `--values` says, if it is given: in Python form.

    Raises:
        InvalidItem: it is not an object of values.
    """
    if text is None:
        return None
    return _object(text, "--values", '{":placeholder": value}', dynamodb_json)


def _object(text: str, option: str, wanted: str, dynamodb_json: bool = False) -> dict[str, Any]:
    try:
        return parse_item(text, dynamodb_json)
    except InvalidItem as error:
        error.add_note(f"In {option}, which is JSON such as {wanted}")
        raise


PAGE_ITEMS = 100
AFTER_SECONDS = 5.0


def paths(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> str | tuple[str, ...] | None:
    """Paths joined by commas; one that has placeholders is an expression as it stands."""
    return text if text is not None and "#" in text else names(context, parameter, text)


def seconds(_: click.Context, __: click.Parameter, value: float | None) -> float | None:
    """A time to wait."""
    if value is None:
        return None
    if math.isnan(value) or value < 0:
        raise click.BadParameter(f"{value} is not a number of seconds from 0 on")
    return value


projection = click.option(
    "--projection", callback=paths, metavar="A,B.C", help="Only these attributes, or parts of them."
)
waiting = (
    click.option(
        "--after", multiple=True, metavar="TOKEN", help="Wait until the GSI has applied this write."
    ),
    click.option(
        "--timeout", type=float, callback=seconds, metavar="SECONDS",
        help="To wait for --after.  [default: 5]",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Shown:
    """What is printed, and how.

    Attributes:
        limit: items per page.
        page_token: where to begin.
        count: only how many items there are, on all pages.
        lines: all pages, an item per line.
    """

    limit: int
    page_token: str | None
    count: bool
    lines: bool
    dynamodb_json: bool
    as_json: bool


def paging(command: Command) -> Command:
    """Add the options of everything that answers with pages of items."""
    for option in (
        as_json,
        dynamodb_json,
        click.option(
            "--lines", is_flag=True,
            help="Print all pages, an item per line, as `mynamo load` reads them.",
        ),
        click.option("--count", is_flag=True, help="Print how many items there are in all."),
        click.option("--page-token", metavar="TOKEN", help="Go on where a page ended."),
        click.option(
            "--limit", type=click.IntRange(1), metavar="N",
            help=f"Items to read per page.  [default: {PAGE_ITEMS}]",
        ),
        projection,
        expression_values,
        expression_names,
        click.option(
            "--filter", metavar="TEXT",
            help="Only items for which this DynamoDB filter expression holds.",
        ),
        *reversed(waiting),
        click.option("--index", metavar="NAME", help="An index in place of the table."),
    ):  # fmt: skip
        command = option(command)
    return command


def read_paging(options: dict[str, Any]) -> Shown:
    """What the options of `paging` say; what remains are arguments of the reader's calls.

    Raises:
        click.UsageError: two options exclude each other.
        InvalidItem: see `read_names` and `read_values`.
    """
    count, lines, limit = (options.pop(name) for name in ("count", "lines", "limit"))
    if count and (lines or limit or options["projection"]):
        raise click.UsageError(
            "--count prints one number for all pages: leave out --lines, --limit and --projection"
        )
    timeout = options.pop("timeout")
    if timeout is not None and not options["after"]:
        raise click.UsageError("--timeout is for --after: without it nothing is waited for")
    options["timeout"] = AFTER_SECONDS if timeout is None else timeout
    shown = Shown(
        limit or PAGE_ITEMS, options.pop("page_token"), count, lines,
        options.pop("dynamodb_json"), options.pop("as_json"),
    )  # fmt: skip
    options["names"] = read_names(options.pop("expression_names"))
    options["values"] = read_values(options.pop("expression_values"), shown.dynamodb_json)
    return shown
