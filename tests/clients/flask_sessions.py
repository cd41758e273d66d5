"""A program that keeps Flask's sessions in DynamoDB; `test_python` runs it."""

from __future__ import annotations

import os
import time
import uuid
from typing import Any

import boto3
from flask import Flask, session
from flask_session import Session

resource = boto3.resource("dynamodb", endpoint_url=os.environ["DYNAMO_ENDPOINT"])
app = Flask(__name__)
app.config.update(
    SESSION_TYPE="dynamodb",
    SESSION_DYNAMODB=resource,
    SESSION_DYNAMODB_TABLE=f"sessions-{uuid.uuid4().hex[:8]}",
    PERMANENT_SESSION_LIFETIME=3600,
)
Session(app)  # makes the table and waits for it
table = resource.Table(app.config["SESSION_DYNAMODB_TABLE"])


@app.post("/visits")
def visit() -> dict[str, Any]:
    session["visits"] = session.get("visits", 0) + 1
    return dict(session)


@app.post("/logout")
def logout() -> str:
    session.clear()
    return "bye"


def main() -> None:
    ann, bob = app.test_client(), app.test_client()
    for visits in (1, 2, 3):
        assert ann.post("/visits").json["visits"] == visits
    assert bob.post("/visits").json["visits"] == 1
    sessions = table.scan()["Items"]
    assert len(sessions) == 2
    for item in sessions:
        assert 0 < float(item["expiration"]) - time.time() <= 3600, item
    ann.post("/logout")
    assert ann.post("/visits").json["visits"] == 1
    # A session that is gone from the table is a new one for its cookie.
    for item in table.scan()["Items"]:
        table.delete_item(Key={"id": item["id"]})
    assert bob.post("/visits").json["visits"] == 1
    table.delete()
    print("all of it works")  # noqa: T201


main()
