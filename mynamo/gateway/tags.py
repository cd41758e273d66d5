"""TagResource, UntagResource and ListTagsOfResource."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

from mynamo.gateway.arns import table_of_arn
from mynamo.gateway.errors import ServiceError, invalid
from mynamo.gateway.existing import check_changeable
from mynamo.gateway.failures import NOT_FOUND
from mynamo.schemas.settings import TableSettings
from mynamo.shards.tables import Table

if TYPE_CHECKING:
    from mynamo.gateway.service import Call, Service

_SIGNS = "+-=._:/@"
MAX_TAGS = 50
"""Of one table. All of them fit into one answer, so no answer has a NextToken."""


def tag_resource(service: Service, request: dict[str, Any], call: Call) -> dict[str, Any]:
    """TagResource: adds tags, and replaces the values of those that are there."""
    if not request["Tags"]:
        raise invalid("Atleast one Tag needs to be provided as Input.")
    tags = tags_of(request["Tags"])
    table = _tagged(service, request["ResourceArn"], call)
    check_changeable(table)

    def change(settings: TableSettings) -> TableSettings:
        return settings.with_(tags=_within_limit({**settings.tags, **tags}))

    service.cluster.catalog.change_settings(table.id, change)
    return {}


def untag_resource(service: Service, request: dict[str, Any], call: Call) -> dict[str, Any]:
    """UntagResource: keys that are not there do no harm."""
    if not request["TagKeys"]:
        raise invalid("Atleast one Tag Key needs to be provided as Input.")
    keys = frozenset(request["TagKeys"])
    table = _tagged(service, request["ResourceArn"], call)
    check_changeable(table)

    def change(settings: TableSettings) -> TableSettings:
        kept = {key: value for key, value in settings.tags.items() if key not in keys}
        return settings.with_(tags=kept)

    service.cluster.catalog.change_settings(table.id, change)
    return {}


def list_tags_of_resource(service: Service, request: dict[str, Any], call: Call) -> dict[str, Any]:
    """ListTagsOfResource."""
    if "NextToken" in request:
        raise invalid("The provided NextToken is not valid")
    tags = _tagged(service, request["ResourceArn"], call).settings.tags
    return {"Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}


def tags_of(given: list[dict[str, str]]) -> dict[str, str]:
    """Tags of a request, checked.

    Raises:
        ServiceError: two have one key, a key is AWS's own, a key or value has characters that
            AWS's tags do not have, or there are too many.
    """
    tags: dict[str, str] = {}
    for tag in given:
        key = tag["Key"]
        if key in tags:
            raise invalid(f"One or more parameter values were invalid: Duplicate tag key: {key}")
        if key.lower().startswith("aws:"):
            raise invalid(
                "One or more parameter values were invalid: "
                f"Tag keys that begin with aws: are reserved: {key}"
            )
        _check_characters("key", key)
        _check_characters("value", tag["Value"])
        tags[key] = tag["Value"]
    return _within_limit(tags)


def _check_characters(part: str, text: str) -> None:
    """Letters, numbers and separators of any script (Unicode's L, N and Z), and some signs."""
    if all(each in _SIGNS or unicodedata.category(each)[0] in "LNZ" for each in text):
        return
    raise invalid(
        f"One or more parameter values were invalid: The tag {part} {text!r} has characters that "
        f"are not allowed; letters, white space, numbers and {' '.join(_SIGNS)} are"
    )


def _within_limit(tags: dict[str, str]) -> dict[str, str]:
    if len(tags) > MAX_TAGS:
        raise invalid(
            "One or more parameter values were invalid: "
            f"Number of tags exceeds the limit of {MAX_TAGS}"
        )
    return tags


def _tagged(service: Service, arn: str, call: Call) -> Table:
    """The table of an ARN.

    Raises:
        ServiceError: it is not an ARN of a table of this account, or there is no such table.
    """
    name = table_of_arn(service, call.operation, arn)
    table = service.cluster.refresh().names.get(name)
    if table is None:
        # The spelling is AWS's.
        message = f"{NOT_FOUND}: ResourcArn: {arn} not found"
        raise ServiceError("ResourceNotFoundException", message)
    return table
