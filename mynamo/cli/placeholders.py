"""`--names` and `--values`: what the placeholders in expressions stand for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from mynamo.cli.items import parse_item
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
