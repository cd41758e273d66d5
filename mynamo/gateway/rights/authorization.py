"""Authorization: a request is refused unless its sender's policies allow all that it touches."""

from __future__ import annotations

import ipaddress
import time

from mynamo.errors import MynamoError
from mynamo.gateway.arns import table_arn
from mynamo.gateway.context import Context, Sender
from mynamo.gateway.http.messages import Peer
from mynamo.gateway.policies.iam_actions import PREFIX
from mynamo.gateway.policies.policy_decisions import Access, Principal, decide, denies, names
from mynamo.gateway.rights.condition_values import Request, Values, shared_values
from mynamo.gateway.rights.touched import Touch, touched
from mynamo.gateway.service_errors import ServiceError


def authorize(context: Context, sender: Sender, operation: str, request: Request) -> None:
    """Check that a request is allowed, before anything is done or said about its tables.

    What a request that is not valid touches is not known in full: it is refused either for its
    sender's rights, as far as they can be looked at, or for what is wrong with it. A table whose
    name no Allow has is not looked up, so that not even the time tells whether it exists.

    Args:
        request: see `touched`.

    Raises:
        ServiceError: AccessDeniedException, in AWS's words; or the request is not valid.
        MynamoError: the request is not valid, or the catalog does not answer.
    """
    principal = sender.signer.principal
    if principal is None:
        return
    of_sender = _values_of(sender.peer, principal) | shared_values(operation, request)
    failure: Exception | None = None
    for touch in touched(context, operation, request):
        values = of_sender
        if names(principal.policies, _access(touch, values)):
            try:
                values = of_sender | touch.values()
            except (MynamoError, ServiceError) as error:
                failure = failure or error
        _check(context, principal, touch, values)
    if failure is not None:
        raise failure


def authorize_operator(
    context: Context, sender: Sender, action: str, table: str | None = None
) -> None:
    """Check that an operator's action is allowed, before anything is done.

    Args:
        action: of `OPERATOR_ACTIONS`.
        table: that it is about; None: the whole cluster.

    Raises:
        ServiceError: AccessDeniedException, in AWS's words.
    """
    principal = sender.signer.principal
    if principal is not None:
        resource = "*" if table is None else table_arn(context, table)
        access = Access(action, resource, _values_of(sender.peer, principal))
        _decide(context, principal, access)


def _check(context: Context, principal: Principal, touch: Touch, values: Values) -> None:
    policies = principal.policies
    _decide(context, principal, _access(touch, values))
    if touch.in_effect is not None:
        same = Access(PREFIX + touch.in_effect, touch.resource, values)
        if denies(policies, same):
            raise _denied(context, principal, same, explicitly=True)


def _decide(context: Context, principal: Principal, access: Access) -> None:
    allowed, statement = decide(principal.policies, access)
    if not allowed:
        raise _denied(context, principal, access, explicitly=statement is not None)


def _access(touch: Touch, values: Values) -> Access:
    return Access(PREFIX + touch.action, touch.resource, values)


def _denied(
    context: Context, principal: Principal, access: Access, explicitly: bool
) -> ServiceError:
    user = f"arn:aws:iam::{context.account_id}:user/{principal.name}"
    reason = (
        "with an explicit deny in an identity-based policy"
        if explicitly
        else f"because no identity-based policy allows the {access.action} action"
    )
    return ServiceError(
        "AccessDeniedException",
        f"User: {user} is not authorized to perform: {access.action} on resource: "
        f"{access.resource} {reason}",
    )


def _values_of(peer: Peer, principal: Principal) -> Values:
    """Values of AWS's own condition keys."""
    now = f"{time.time():.3f}"
    values: Values = {
        "aws:currenttime": (now,),
        "aws:epochtime": (now,),
        "aws:securetransport": ("true" if peer.secure else "false",),
        "aws:username": (principal.name,),
    }
    if peer.address:
        values["aws:sourceip"] = (_plain(peer.address),)
    return values


def _plain(address: str) -> str:
    """An address without a zone; of IPv4 as such, where it came to a socket of IPv6."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)
