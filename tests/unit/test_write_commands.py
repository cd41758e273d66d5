"""Queued writes as messages: old ones still load, new ones only say what they must."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from mynamo.errors import CorruptData
from mynamo.schemas.commands import MUST_EXIST, WriteCommand, load_command

KEY = {"id": {"S": "a"}}
OF_0_1 = (
    b'{"command_id":"0d9a2b1e-52f1-4d0f-8c39-6c9c1e5d7f10","table":"orders","operation":"UPDATE",'
    b'"item":null,"key":{"id":{"S":"a"}},"set":{"x":{"N":"1"}},"remove":["y"],'
    b'"condition":{"exists":true,"version":null},"submitted_at":1763800000000000}'
)
"""As the first release wrote it."""


def test_a_message_of_the_first_release_loads() -> None:
    command = load_command(OF_0_1)
    assert (command.set, command.remove) == ({"x": {"N": "1"}}, ("y",))
    assert command.condition == MUST_EXIST
    assert command.update_expression is None


def test_a_command_without_expressions_is_written_as_the_first_release_did() -> None:
    assert load_command(OF_0_1).dump() == OF_0_1


def test_a_command_with_expressions_comes_back() -> None:
    command = WriteCommand(
        table="orders",
        operation="UPDATE",
        key=KEY,
        update_expression="ADD #n :one",
        condition_expression="attribute_exists(id)",
        expression_names={"#n": "n"},
        expression_values={":one": {"N": "1"}},
    )
    assert load_command(command.dump()) == command


@pytest.mark.parametrize(
    "parts",
    [
        {"operation": "PUT", "item": KEY, "update_expression": "SET a = b"},
        {"operation": "UPDATE", "key": KEY, "update_expression": "SET a = b", "remove": ["x"]},
        {
            "operation": "DELETE",
            "key": KEY,
            "condition_expression": "a = b",
            "condition": {"exists": True},
        },
    ],
)
def test_parts_that_exclude_each_other(parts: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        WriteCommand(table="orders", **parts)
    with pytest.raises(CorruptData):
        load_command(json.dumps({"table": "orders", **parts}).encode())
