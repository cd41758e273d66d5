"""The AWS CLI, from create-table to scan and delete-table."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from tests.waiting import eventually

pytestmark = pytest.mark.slow


def test_a_table_from_creation_to_deletion(python: Callable[..., str], endpoint: str) -> None:
    name = f"music-{uuid.uuid4().hex[:8]}"

    def aws(*words: str) -> Any:
        said = python(
            "-m", "awscli", "dynamodb", *words, "--endpoint-url", endpoint, "--output", "json"
        )
        return json.loads(said) if said.strip() else None

    made = aws(
        "create-table", "--table-name", name, "--billing-mode", "PAY_PER_REQUEST",
        "--attribute-definitions", "AttributeName=artist,AttributeType=S",
        "AttributeName=song,AttributeType=S", "AttributeName=genre,AttributeType=S",
        "--key-schema", "AttributeName=artist,KeyType=HASH", "AttributeName=song,KeyType=RANGE",
        "--global-secondary-indexes",
        "IndexName=by_genre,KeySchema=[{AttributeName=genre,KeyType=HASH}],"
        "Projection={ProjectionType=ALL}",
    )  # fmt: skip
    assert made["TableDescription"]["TableStatus"] == "CREATING"
    aws("wait", "table-exists", "--table-name", name)
    assert name in aws("list-tables")["TableNames"]
    for song in ("Summertime", "Misty"):
        item = {"artist": {"S": "Ella"}, "song": {"S": song}, "genre": {"S": "jazz"}}
        aws("put-item", "--table-name", name, "--item", json.dumps(item))
    key = json.dumps({"artist": {"S": "Ella"}, "song": {"S": "Misty"}})
    changed = aws(
        "update-item", "--table-name", name, "--key", key, "--return-values", "UPDATED_NEW",
        "--update-expression", "SET plays = if_not_exists(plays, :none) + :one",
        "--expression-attribute-values", '{":none": {"N": "0"}, ":one": {"N": "1"}}',
    )  # fmt: skip
    assert changed["Attributes"] == {"plays": {"N": "1"}}
    got = aws("get-item", "--table-name", name, "--key", key, "--consistent-read")
    assert got["Item"]["plays"] == {"N": "1"}
    asked = (
        "query", "--table-name", name, "--index-name", "by_genre",
        "--key-condition-expression", "genre = :g",
        "--expression-attribute-values", '{":g": {"S": "jazz"}}',
    )  # fmt: skip
    eventually(lambda: aws(*asked)["Count"] == 2, 60)
    scanned = aws("scan", "--table-name", name, "--page-size", "1")
    assert [item["song"]["S"] for item in scanned["Items"]] == ["Misty", "Summertime"]
    aws("delete-item", "--table-name", name, "--key", key)
    assert aws("scan", "--table-name", name, "--select", "COUNT")["Count"] == 1
    aws("delete-table", "--table-name", name)
    aws("wait", "table-not-exists", "--table-name", name)
