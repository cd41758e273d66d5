"""`mynamo policy`: what IAM policies allow."""

from __future__ import annotations

import re
from pathlib import Path

import click

from mynamo.cli.groups import Group
from mynamo.cli.statuses import WRONG
from mynamo.gateway.policies.iam_actions import ACTIONS
from mynamo.gateway.policies.policy_conditions import CONDITION_KEYS, LEADING_KEYS
from mynamo.gateway.policies.policy_decisions import Access, decide
from mynamo.gateway.policies.policy_documents import parse_policy, policy_text
from mynamo.schemas.gateway_config import USER_PATTERN
from mynamo.schemas.suggestions import suggestion


@click.group(cls=Group)
def policy() -> None:
    """IAM policies, as credentials have them."""


@policy.command()
@click.option(
    "--policy", "policies", multiple=True, required=True, metavar="FILE",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="IAM policy, in JSON. Repeat it for several.",
)  # fmt: skip
@click.option("--action", required=True, help="Such as dynamodb:GetItem.")
@click.option("--resource", required=True, metavar="ARN", help="What the action is about.")
@click.option(
    "--leading-key", "leading_keys", multiple=True, metavar="VALUE",
    help="Value of the partition key. Repeat it for several.",
)  # fmt: skip
@click.option(
    "--value", "values", multiple=True, metavar="KEY=VALUE",
    help="Value of any other condition key. Repeat it for several.",
)  # fmt: skip
@click.option(
    "--user", default="user", show_default=True, help="Name of the credential: aws:username."
)
def simulate(
    policies: tuple[Path, ...],
    action: str,
    resource: str,
    leading_keys: tuple[str, ...],
    values: tuple[str, ...],
    user: str,
) -> None:
    """Say whether policies allow an action, and which statement decides.

    It ends with status 3 if the action is denied. A request with several items needs its action on
    each of them. Condition keys that are not given are absent.

    \b
    Example:
      mynamo policy simulate --policy read-orders.json --action dynamodb:GetItem \\
        --resource arn:aws:dynamodb:us-east-1:000000000000:table/orders --leading-key ann
    """
    if not re.fullmatch(USER_PATTERN, user):
        raise click.UsageError(f"--user {user!r}: 1 to 64 of A-Z, a-z, 0-9 and _+=,.@-")
    parsed = [parse_policy(policy_text(path), path.name, user) for path in policies]
    known = {name.lower(): name for name in ACTIONS}
    if action.lower() not in known:
        raise click.UsageError(f"--action {action} is no action{suggestion(action, ACTIONS)}")
    given = _values(values)
    given.setdefault("aws:username", []).append(user)
    if leading_keys:
        given[LEADING_KEYS.lower()] = list(leading_keys)
    decision = decide(parsed, Access(known[action.lower()], resource, given))
    reason = "no statement is about it" if decision.statement is None else decision.statement.name
    click.echo(f"{'allowed' if decision.allowed else 'denied'}: {reason}")
    if not decision.allowed:
        raise click.exceptions.Exit(WRONG)


def _values(given: tuple[str, ...]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or name.lower() not in CONDITION_KEYS:
            names = [key.name for key in CONDITION_KEYS.values()]
            hint = suggestion(name, names) or f"; there are {', '.join(names)}"
            raise click.UsageError(f"--value {text}: write KEY=VALUE with a condition key{hint}")
        found.setdefault(name.lower(), []).append(value)
    return found
