"""Write `mynamo/gateway/model/request_shapes.py` from AWS's public model of the API.

    python tools/request_shapes.py

The models are those in the pinned botocore. To add an operation, add its name to `ITEM_OPERATIONS`
or `TABLE_OPERATIONS` and write the file anew. What the model does not say stands in `OVERRIDES`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import botocore
from botocore.loaders import Loader

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "mynamo" / "gateway" / "model" / "request_shapes.py"
COLUMNS = 100

ITEM_OPERATIONS = (
    "BatchGetItem",
    "BatchWriteItem",
    "DeleteItem",
    "GetItem",
    "PutItem",
    "Query",
    "Scan",
    "TransactGetItems",
    "TransactWriteItems",
    "UpdateItem",
)
"""The data plane."""
TABLE_OPERATIONS = (
    "CreateTable",
    "DeleteTable",
    "DescribeContinuousBackups",
    "DescribeEndpoints",
    "DescribeLimits",
    "DescribeTable",
    "DescribeTimeToLive",
    "ListTables",
    "ListTagsOfResource",
    "TagResource",
    "UntagResource",
    "UpdateContinuousBackups",
    "UpdateTable",
    "UpdateTimeToLive",
)
"""The control plane."""
STREAM_OPERATIONS = ("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams")
"""DynamoDB Streams, an API of its own."""

Described = Mapping[str, Any]
"""A shape, or a member's reference to one, as the model describes it."""

ADDED: dict[str, Described] = {
    "TableKeySchema": {
        "type": "list",
        "member": {"shape": "KeySchemaElement"},
        "min": 1,
        "max": 2,
    },
    "LimitOf100": {"type": "integer", "min": 1, "max": 100},
    "LimitOf1000": {"type": "integer", "min": 1, "max": 1000},
}
"""Shapes that the model does not have, by name, for `OVERRIDES`."""

OVERRIDES: dict[str, Described] = {
    # DynamoDB takes a table's name or its ARN. It checks the name by the limits of `TableName`,
    # and names those in messages; the model's type has the limits of ARNs only.
    "TableArn": {"min": 3, "max": 255, "pattern": "[a-zA-Z0-9_.-]+", "or_arn": True},
    # A new table has no ARN yet.
    "CreateTableInput.TableName": {"shape": "TableName"},
    # The model lets a table that copies one of another region leave these out. mynamo has no
    # such tables; for all others DynamoDB requires them.
    "CreateTableInput": {"required": ["AttributeDefinitions", "TableName", "KeySchema"]},
    # The model has had no upper limit since the key of a global index may have eight members.
    # The keys of tables and local indexes still have two, as earlier models said.
    "CreateTableInput.KeySchema": {"shape": "TableKeySchema"},
    "LocalSecondaryIndex.KeySchema": {"shape": "TableKeySchema"},
    # Names of attributes are checked together with the item, in the words of that check.
    "Key": {"key": {"shape": "String"}},
    "PutItemInputAttributeMap": {"key": {"shape": "String"}},
    # The model says of these limits in words alone what the most is.
    "DescribeStreamInput.Limit": {"shape": "LimitOf100"},
    "ListStreamsInput.Limit": {"shape": "LimitOf100"},
    "GetRecordsInput.Limit": {"shape": "LimitOf1000"},
    # DynamoDB does not repeat these values in messages.
    "KeyList": {"shown": False},
    "PositiveIntegerObject": {"shown": False},
    # Messages list the values in another order than the model.
    "AttributeAction": {"enum": ["ADD", "DELETE", "PUT"]},
    "ComparisonOperator": {
        "enum": [
            "IN", "NULL", "BETWEEN", "LT", "NOT_CONTAINS", "EQ", "GT", "NOT_NULL", "NE", "LE",
            "BEGINS_WITH", "GE", "CONTAINS",
        ],
    },
    "ConditionalOperator": {"enum": ["OR", "AND"]},
    "ProjectionType": {"enum": ["ALL", "INCLUDE", "KEYS_ONLY"]},
    "ReturnValue": {"enum": ["ALL_NEW", "UPDATED_OLD", "ALL_OLD", "NONE", "UPDATED_NEW"]},
    "ScalarAttributeType": {"enum": ["B", "N", "S"]},
    "Select": {
        "enum": ["SPECIFIC_ATTRIBUTES", "COUNT", "ALL_ATTRIBUTES", "ALL_PROJECTED_ATTRIBUTES"]
    },
}  # fmt: skip
"""What differs from the model, and why.

By the name of a shape, or by a structure and its member; the given attributes replace those of
the model. `or_arn` and `shown` are attributes of ours (`mynamo/gateway/model/shapes.py`).
"""

HEAD = '''\
"""The shapes of the requests of every operation.

`tools/request_shapes.py` writes this file from AWS's public model of the API; do not edit it.
"""

from __future__ import annotations

from mynamo.gateway.model.shapes import (
    FLAG,
    MOMENT,
    TEXT,
    AttributeValue,
    ListOf,
    MapOf,
    Structure,
    Text,
    Whole,
    one_of,
    structure,
)
'''


REQUESTS: dict[str, tuple[str, ...]] = {
    "ITEM_REQUESTS": ITEM_OPERATIONS,
    "TABLE_REQUESTS": TABLE_OPERATIONS,
    "STREAM_REQUESTS": STREAM_OPERATIONS,
}
"""The dictionaries that the file has, and the operations in each."""

_LIMITS = {
    "min": "least",
    "max": "most",
    "pattern": "pattern",
    "or_arn": "or_arn",
    "shown": "shown",
}
"""Attributes of shapes: the model's names, and ours."""
_WITHOUT_LIMITS = {"Text": "TEXT", "Flag": "FLAG", "Moment": "MOMENT"}
_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def load_model() -> dict[str, Any]:
    """The models of both APIs in the installed botocore, as one: they name the same the same."""
    streams, model = (
        Loader().load_service_model(name, "service-2", "2012-08-10")
        for name in ("dynamodbstreams", "dynamodb")
    )
    return {
        "operations": {**model["operations"], **streams["operations"]},
        "shapes": {**streams["shapes"], **model["shapes"]},
    }


def pinned_version() -> str:
    """The version of botocore in requirements.lock."""
    lock = (ROOT / "requirements.lock").read_text()
    found = re.search(r"^botocore==([\w.]+)", lock, re.MULTILINE)
    if found is None:
        raise LookupError("requirements.lock does not have botocore")
    return found[1]


def written(model: Described) -> str:
    """The text of the file.

    Raises:
        ValueError: an override repeats the model, or no request has what it is about; a request
            has a type that none has had before.
    """
    shapes = _Shapes(model["shapes"])
    requests = []
    for name, operations in REQUESTS.items():
        members = [
            f'"{operation}": {shapes.request(model["operations"][operation])}'
            for operation in operations
        ]
        requests.append(f"\n{name}: dict[str, Structure] = " + _exploded("{", members, "}"))
        requests.append('"""By operation."""')
    if unused := OVERRIDES.keys() - shapes.used:
        raise ValueError(f"no request has what these overrides are about: {sorted(unused)}")
    return "\n".join([HEAD, *shapes.lines, *requests, ""])


class _Shapes:
    """Writes shapes in Python, those first that others are made of.

    Attributes:
        lines: a constant for each shape.
        used: keys of the overrides that took effect.
    """

    def __init__(self, shapes: Described) -> None:
        self._shapes = {**shapes, **ADDED}
        self._constants: dict[str, str] = {}
        self.lines: list[str] = []
        self.used: set[str] = set()

    def request(self, operation: Described) -> str:
        """The code for the request of an operation."""
        return _called(*self._parts(operation["input"]["shape"]))

    def _constant(self, name: str) -> str:
        """The name of the constant for a shape."""
        if name not in self._constants:
            function, arguments = self._parts(name)
            if function in _WITHOUT_LIMITS and not arguments:
                self._constants[name] = _WITHOUT_LIMITS[function]
            else:
                self._constants[name] = _WORDS.sub("_", name).upper()
                self.lines.append(_called(f"{self._constants[name]} = {function}", arguments))
        return self._constants[name]

    def _parts(self, name: str) -> tuple[str, list[str]]:
        """The function that makes a shape, and its arguments."""
        described = self._described(name, self._shapes[name])
        limits = [
            f"{ours}={_literal(described[theirs])}"
            for theirs, ours in _LIMITS.items()
            if theirs in described
        ]
        match described["type"]:
            case "structure" if name == "AttributeValue":
                return "AttributeValue", []
            case "structure":
                return "structure", [f'"{name}"', *self._members(name, described)]
            case "list":
                return "ListOf", [self._constant(described["member"]["shape"]), *limits]
            case "map":
                key = self._constant(described["key"]["shape"])
                keys = [] if key == "TEXT" else [f"key={key}"]
                return "MapOf", [self._constant(described["value"]["shape"]), *keys, *limits]
            case "string" if "enum" in described:
                return "one_of", [_literal(value) for value in described["enum"]]
            case "string":
                return "Text", limits
            case "integer":
                return "Whole", limits
            case "long":
                return "Whole", [*limits, 'java="Long"']
            case "boolean":
                return "Flag", []
            case "timestamp":
                return "Moment", []
            case other:
                raise ValueError(
                    f"{name}: mynamo/gateway/model/shapes.py has no class for a {other}"
                )

    def _members(self, name: str, structure: Described) -> list[str]:
        required = structure.get("required", ())
        members = []
        for member, reference in structure["members"].items():
            shape = self._described(f"{name}.{member}", reference)["shape"]
            mark = "_" if member in required else ""
            members.append(f"{member}{mark}={self._constant(shape)}")
        return members

    def _described(self, key: str, described: Described) -> Described:
        """What the model describes, with what overrides it."""
        if key not in OVERRIDES:
            return described
        self.used.add(key)
        changed = {**described, **OVERRIDES[key]}
        if changed == described:
            raise ValueError(f"the override of {key} repeats the model")
        return changed


def _literal(value: str | int | bool) -> str:
    return json.dumps(value) if isinstance(value, str) else repr(value)


def _called(function: str, arguments: list[str]) -> str:
    """A call as ruff leaves it: structures in many lines, others in one where it is enough."""
    line = f"{function}({', '.join(arguments)})"
    if len(line) <= COLUMNS and not (function.endswith("structure") and len(arguments) > 1):
        return line
    return _exploded(f"{function}(", arguments, ")")


def _exploded(start: str, parts: Iterable[str], end: str) -> str:
    """A line for each part, and more where it has more."""
    lines = [f"    {line}\n" for part in parts for line in f"{part},".splitlines()]
    return f"{start}\n{''.join(lines)}{end}"


def main() -> None:
    """Write the file.

    Raises:
        SystemExit: botocore is not the pinned one.
    """
    if botocore.__version__ != (pinned := pinned_version()):
        sys.exit(f"botocore is {botocore.__version__}, but requirements.lock has {pinned}")
    FILE.write_text(written(load_model()))


if __name__ == "__main__":
    main()
