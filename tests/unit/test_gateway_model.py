"""The shapes of requests against AWS's own public model of the API, as its SDK carries it."""

from __future__ import annotations

import copy
import runpy
from pathlib import Path
from typing import Any

import botocore
import pytest

from mynamo.gateway.model.constraints import REQUESTS
from mynamo.gateway.model.shapes import (
    AttributeValue,
    Flag,
    ListOf,
    MapOf,
    Moment,
    Shape,
    Structure,
    Text,
    Whole,
)
from mynamo.gateway.service import OPERATIONS
from mynamo.gateway.unsupported import UNSUPPORTED
from tools import request_shapes
from tools.request_shapes import FILE, load_model, pinned_version, written

MODEL = load_model()
SHAPES: dict[str, Any] = MODEL["shapes"]

OTHERWISE = {
    # Tables go by names of 3 to 255 characters; the model's type is that of ARNs.
    "TableArn",
    # Names in items and placeholders are checked together with them.
    "AttributeName",
    # What the most is of a stream's limits, the model says in words.
    "PositiveIntegerObject",
}


def differences(path: str, ours: Shape, name: str) -> list[str]:
    """What our shape says that the model's shape of that name does not, or the other way."""
    theirs = SHAPES[name]
    if name in OTHERWISE or isinstance(ours, AttributeValue):
        return []
    match ours, theirs["type"]:
        case Structure(), "structure":
            return _of_structure(path, ours, name)
        case ListOf(), "list":
            found = differences(f"{path}[]", ours.member, theirs["member"]["shape"])
            # KeySchema has no upper limit in the model since a GSI's may have eight members.
            same = (ours.least, ours.most) == (theirs.get("min"), theirs.get("max"))
            return found if same or name == "KeySchema" else [*found, f"{path}: size"]
        case MapOf(), "map":
            found = differences(f"{path}{{}}", ours.value, theirs["value"]["shape"])
            same = (ours.least, ours.most) == (theirs.get("min"), theirs.get("max"))
            return found if same else [*found, f"{path}: size"]
        case Text(), "string":
            return _of_text(path, ours, theirs)
        case Whole(), "integer" | "long":
            same = (ours.least, ours.most) == (theirs.get("min"), theirs.get("max"))
            same = same and ours.java.lower() == theirs["type"]
            return [] if same else [f"{path}: range"]
        case (Flag(), "boolean") | (Moment(), "timestamp"):
            return []
    return [f"{path}: {ours} is not a {theirs['type']}"]


def _of_structure(path: str, ours: Structure, name: str) -> list[str]:
    theirs = SHAPES[name]
    if list(ours.members) != list(theirs["members"]):
        return [f"{path}: members {list(ours.members)}, not {list(theirs['members'])}"]
    found = []
    if ours.name != name:
        found.append(f"{path}: name {ours.name}, not {name}")
    # Of a new table these may be missing in the model only if it copies another region's.
    more = {"AttributeDefinitions", "KeySchema"} if name == "CreateTableInput" else set()
    if ours.required != {*theirs.get("required", ()), *more}:
        found.append(f"{path}: required")
    for member, shape in ours.members.items():
        found += differences(f"{path}.{member}", shape, theirs["members"][member]["shape"])
    return found


def _of_text(path: str, ours: Text, theirs: dict[str, Any]) -> list[str]:
    if set(ours.values) != set(theirs.get("enum", ())):
        return [f"{path}: values"]
    limits = (ours.least, ours.most, ours.pattern)
    wanted = (theirs.get("min"), theirs.get("max"), theirs.get("pattern"))
    return [] if limits == wanted else [f"{path}: {limits}, not {wanted}"]


@pytest.mark.parametrize("operation", sorted(REQUESTS))
def test_requests_are_those_of_the_model(operation: str) -> None:
    name = MODEL["operations"][operation]["input"]["shape"]
    assert differences(operation, REQUESTS[operation], name) == []


def test_negative_control_a_difference_is_seen() -> None:
    limit = Structure("ListTablesInput", {"Limit": Whole(1, 99)}, frozenset())
    assert differences("x", limit, "ListTablesInput")


@pytest.fixture
def pinned() -> None:
    """The botocore from whose model the file was written."""
    if botocore.__version__ != pinned_version():
        pytest.skip(f"botocore is {botocore.__version__}; the file is of {pinned_version()}")


@pytest.mark.usefixtures("pinned")
def test_the_file_is_what_the_script_writes() -> None:
    assert FILE.read_text() == written(MODEL)


@pytest.mark.usefixtures("pinned")
def test_negative_control_another_model_makes_another_file() -> None:
    model = copy.deepcopy(MODEL)
    model["shapes"]["ListTablesInputLimit"]["max"] = 99
    assert FILE.read_text() != written(model)


def test_a_new_operation_needs_only_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "ExecuteTransaction" not in REQUESTS
    monkeypatch.setitem(request_shapes.REQUESTS, "MORE", ("ExecuteTransaction",))
    file = tmp_path / "shapes.py"
    file.write_text(written(MODEL))
    request = runpy.run_path(str(file))["MORE"]["ExecuteTransaction"]
    assert differences("", request, "ExecuteTransactionInput") == []


@pytest.mark.parametrize(
    ("key", "override", "reason"),
    [
        ("ListTablesInputLimit", {"max": 100}, "repeats the model"),
        ("ListTablesInput.Limit", {"shape": "ListTablesInputLimit"}, "repeats the model"),
        ("ParameterizedStatements", {"max": 25}, "no request"),
    ],
)
def test_an_override_that_changes_nothing_is_refused(
    key: str, override: dict[str, Any], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(request_shapes.OVERRIDES, key, override)
    with pytest.raises(ValueError, match=reason):
        written(MODEL)


def test_every_operation_is_served_or_known_to_be_missing() -> None:
    assert OPERATIONS.keys() == REQUESTS.keys()
    assert not OPERATIONS.keys() & UNSUPPORTED
    # A newer model has more of them: those are unknown here, which is an error as well.
    assert OPERATIONS.keys() | UNSUPPORTED <= MODEL["operations"].keys()
