"""`mynamo credentials`: key pairs of the gateway's clients, in the catalog."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from mynamo.catalog.stored_credentials import (
    StoredCredential,
    add_credential,
    read_credentials,
    remove_credential,
    replace_key,
    replace_policies,
)
from mynamo.cli.command_context import as_json as with_json
from mynamo.cli.command_context import opened
from mynamo.cli.groups import Group
from mynamo.cli.output import print_grid, print_json, say
from mynamo.errors import AlreadyExists
from mynamo.gateway.auth.secrets_at_rest import new_key_pair, sealed
from mynamo.gateway.policies.policy_documents import parse_policy, policy_text
from mynamo.schemas.gateway_config import MAX_POLICIES, USER_PATTERN

Command = TypeVar("Command", bound=Callable[..., Any])


def _policy_names(credential: StoredCredential) -> list[str]:
    try:
        return [name for name, _ in credential.policies()]
    except ValueError:
        return ["cannot be read"]


def _checked(_: click.Context, __: click.Parameter, name: str) -> str:
    if not re.fullmatch(USER_PATTERN, name):
        raise click.BadParameter(f"{name!r}: 1 to 64 of A-Z, a-z, 0-9 and _+=,.@-")
    return name


def _policies(help_: str) -> Callable[[Command], Command]:
    return click.option(
        "--policy", "policies", multiple=True, metavar="FILE",
        type=click.Path(path_type=Path, exists=True, dir_okay=False), help=help_,
    )  # fmt: skip


def _read(policies: Sequence[Path], name: str) -> list[tuple[str, str]]:
    """Names and texts of policies.

    Raises:
        click.UsageError: there are too many.
        InvalidPolicy: one is not valid.
    """
    if len(policies) > MAX_POLICIES:
        raise click.UsageError(f"{len(policies)} policies; there can be {MAX_POLICIES}: join some")
    texts = [(path.name, policy_text(path)) for path in policies]
    for policy, text in texts:
        parse_policy(text, policy, name)
    return texts


client_name = click.argument("name", metavar="NAME", callback=_checked)


@click.group(cls=Group)
def credentials() -> None:
    """Key pairs that clients sign requests with, and what those may do."""


@credentials.command()
@client_name
@_policies("IAM policy, in JSON. Repeat it for several. Without one, everything is allowed.")
@with_json
def create(name: str, policies: tuple[Path, ...], as_json: bool) -> None:
    """Make a key pair and show it, this once.

    Its secret is kept encrypted by `gateway.credentials_key`. Gateways take it within seconds.

    \b
    Examples:
      mynamo credentials create reports --policy read-orders.json
      mynamo credentials create ann --json > ann.json
    """
    texts = _read(policies, name)
    access_key_id, secret = new_key_pair()
    with opened() as cluster:
        gateway = cluster.config.gateway
        if name in {pair.user for pair in gateway.credentials}:
            raise AlreadyExists(f"the configuration has a credential {name}; choose another name")
        key = gateway.stored_secrets_key()
        data = sealed(secret, key, access_key_id)
        add_credential(cluster.catalog, name, access_key_id, data, texts)
    _show(name, access_key_id, secret, as_json)
    if not policies:
        say(f"{name} has no policy, so it may do everything; see --policy")


@credentials.command(name="list")
@with_json
def list_(as_json: bool) -> None:
    """Show the credentials of the catalog, without their secrets.

    \b
    Example:
      mynamo credentials list
    """
    with opened() as cluster:
        found = read_credentials(cluster.catalog)
    rows = [
        (one.name, one.access_key_id, _policy_names(one),
         one.created_at.isoformat())
        for one in found
    ]  # fmt: skip
    titles = ["name", "access_key_id", "policies", "created_at"]
    if as_json:
        print_json([dict(zip(titles, row, strict=True)) for row in rows])
    elif rows:
        print_grid(titles, [(n, i, ", ".join(p) or "everything", at) for n, i, p, at in rows])
    else:
        say("the catalog has no credentials; see `mynamo credentials create --help`")


@credentials.command()
@client_name
@with_json
def rotate(name: str, as_json: bool) -> None:
    """Give a client another key pair, and show it, this once.

    Its policies stay. The key pair that it had stops to count within seconds.

    \b
    Example:
      mynamo credentials rotate reports
    """
    access_key_id, secret = new_key_pair()
    with opened() as cluster:
        key = cluster.config.gateway.stored_secrets_key()
        replace_key(cluster.catalog, name, access_key_id, sealed(secret, key, access_key_id))
    _show(name, access_key_id, secret, as_json)


@credentials.command()
@client_name
@_policies("IAM policy, in JSON, in the place of all that it has. Repeat it for several.")
@click.option("--no-policies", is_flag=True, help="It has none, and may do everything.")
def set_policies(name: str, policies: tuple[Path, ...], no_policies: bool) -> None:
    """Say what a client may do, in the place of what it could do so far.

    Its key pair stays. Gateways take the policies within seconds.

    \b
    Example:
      mynamo credentials set-policies reports --policy read-orders.json --policy read-prices.json
    """
    if bool(policies) == no_policies:
        raise click.UsageError(
            "name all policies that it shall have, with --policy, or say --no-policies: then it "
            "may do everything"
        )
    texts = _read(policies, name)
    with opened() as cluster:
        replace_policies(cluster.catalog, name, texts)
    names = ", ".join(policy for policy, _ in texts)
    click.echo(f"{name} has the policies {names}" if texts else f"{name} may do everything")


@credentials.command()
@client_name
def revoke(name: str) -> None:
    """Remove a client's key pair and policies.

    Gateways refuse its requests within seconds.

    \b
    Example:
      mynamo credentials revoke reports
    """
    with opened() as cluster:
        remove_credential(cluster.catalog, name)
    click.echo(f"{name} is revoked")


def _show(name: str, access_key_id: str, secret: str, as_json: bool) -> None:
    if as_json:
        print_json({"name": name, "access_key_id": access_key_id, "secret_access_key": secret})
    else:
        click.echo(f"AWS_ACCESS_KEY_ID={access_key_id}\nAWS_SECRET_ACCESS_KEY={secret}")
        say("the secret is not shown again")
