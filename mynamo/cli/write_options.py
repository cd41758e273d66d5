"""The options that `mynamo put`, `update` and `delete` share, and what they say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

import click

from mynamo.cli.read_options import expression_names, expression_values, read_names, read_values
from mynamo.producer import Condition
from mynamo.writer import ReturnValues

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class Terms:
    """On what terms a write happens, as `Producer` takes them.

    Attributes:
        condition: a simple one, an expression, or None.
        names: what `#placeholders` stand for.
        values: what `:placeholders` stand for, in Python form.
        return_values: what the receipt's attributes are.
    """

    condition: Condition | str | None
    names: dict[str, str] | None
    values: dict[str, Any] | None
    return_values: ReturnValues

    def words(self) -> dict[str, Any]:
        """The arguments for `Producer`."""
        return dict(vars(self))


def terms(returns: tuple[str, ...] = ("NONE", "ALL_OLD")) -> Callable[[Command], Command]:
    """Add the options that make the terms, which arrive as `terms`.

    Args:
        returns: what `--return` may ask for.
    """
    options = (
        click.option("--if-exists", is_flag=True, help="Only if the item exists."),
        click.option("--if-not-exists", is_flag=True, help="Only if the item does not exist."),
        click.option("--if-version", type=click.IntRange(1), help="Only if it has this version."),
        click.option(
            "--condition", metavar="TEXT",
            help="Only if this DynamoDB condition expression holds.",
        ),
        expression_names,
        expression_values,
        click.option(
            "--return", "returned", type=click.Choice(returns, case_sensitive=False),
            default="NONE", show_default=True, metavar="|".join(returns),
            help="Print these attributes of the item.",
        ),
    )  # fmt: skip

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


UPDATE_RETURNS = get_args(ReturnValues)


def read_terms(given: dict[str, Any], dynamodb_json: bool) -> Terms:
    """What the options of `terms` say.

    Args:
        given: the options' values; they are taken out.
        dynamodb_json: `--values` is DynamoDB JSON.

    Raises:
        click.UsageError: two options exclude each other.
        InvalidItem: `--names` or `--values` is not what it should be.
    """
    simple = _simple(given.pop("if_not_exists"), given.pop("if_exists"), given.pop("if_version"))
    text = given.pop("condition")
    if simple is not None and text is not None:
        raise click.UsageError(
            "--condition excludes --if-exists, --if-not-exists and --if-version; an expression "
            "can say attribute_exists(KEY) or attribute_not_exists(KEY) itself"
        )
    return Terms(
        condition=simple if text is None else text,
        names=read_names(given.pop("expression_names")),
        values=read_values(given.pop("expression_values"), dynamodb_json),
        return_values=given.pop("returned"),
    )


def _simple(not_exists: bool, exists: bool, version: int | None) -> Condition | None:
    if not_exists and (exists or version is not None):
        raise click.UsageError("--if-not-exists excludes --if-exists and --if-version")
    if not (not_exists or exists or version is not None):
        return None
    return Condition(exists=False if not_exists else True if exists else None, version=version)
