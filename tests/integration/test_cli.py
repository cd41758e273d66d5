"""The command line against real servers: what it prints, and how it fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mynamo.catalog.cluster import Cluster
from mynamo.cli.app import root
from mynamo.local.state import config_toml
from mynamo.schemas.config import ClusterConfig
from tests.commands import CREATE_ORDERS, run, start
from tests.intents import commit, place
from tests.waiting import eventually

Mynamo = Callable[..., Result]


@pytest.fixture
def mynamo(config_file: Path) -> Mynamo:
    """Run a command in this process; it must end with `status`."""

    return partial(run, config_file)


@pytest.fixture
def orders(mynamo: Mynamo) -> Mynamo:
    """As `mynamo`, with a table of orders."""
    mynamo(*CREATE_ORDERS)
    return mynamo


def put(mynamo: Mynamo, item: str, *options: str) -> dict[str, Any]:
    receipt: dict[str, Any] = json.loads(mynamo("put", "orders", item, "--json", *options).stdout)
    return receipt


def exact(text: str) -> Any:
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


def test_create_list_describe_drop(mynamo: Mynamo) -> None:
    assert "no tables yet" in mynamo("table", "list").stderr
    assert mynamo(*CREATE_ORDERS).stdout == "created table orders\n"
    listed = mynamo("table", "list").stdout
    assert all(word in listed for word in ("orders", "ACTIVE", "at:N", "by_price", "by_status"))
    described = json.loads(mynamo("table", "describe", "orders", "--json").stdout)
    assert described["sort_key"] == {"name": "at", "type": "N"}
    assert described["index_status"] == {"by_price": "ACTIVE", "by_status": "ACTIVE"}
    assert "KEYS_ONLY" not in mynamo("table", "describe", "orders").stdout
    assert "Table already exists: orders" in mynamo(*CREATE_ORDERS, status=1).stderr
    mynamo("table", "drop", "orders", input="n\n", status=1)
    assert mynamo("table", "drop", "orders", input="y\n").stdout.endswith("dropped table orders\n")
    assert json.loads(mynamo("table", "list", "--json").stdout) == []


def test_what_describe_says_makes_the_same_table(mynamo: Mynamo, tmp_path: Path) -> None:
    mynamo(*CREATE_ORDERS)
    keys = ("name", "hash_key", "sort_key", "local_indexes", "global_indexes")
    described = json.loads(mynamo("table", "describe", "orders", "--json").stdout)
    definition = {key: described[key] for key in keys}
    file = tmp_path / "copy.json"
    file.write_text(json.dumps({**definition, "name": "copy"}))
    made = json.loads(mynamo("table", "create", "--file", str(file), "--json").stdout)
    assert {**{key: made[key] for key in keys}, "name": "orders"} == definition


def test_keys_of_several_attributes_are_shown(mynamo: Mynamo) -> None:
    mynamo(
        "table", "create", "shops", "--hash-key", "id",
        "--gsi", "by_place=country+city,year:N+month:N",
    )  # fmt: skip
    shown = mynamo("table", "describe", "shops").stdout
    assert "country:S+city:S" in shown
    assert "year:N+month:N" in shown
    described = json.loads(mynamo("table", "describe", "shops", "--json").stdout)
    (index,) = described["global_indexes"]
    assert [key["name"] for key in index["hash_key"]] == ["country", "city"]
    assert [key["type"] for key in index["sort_key"]] == ["N", "N"]


def test_a_protected_table_is_not_dropped(mynamo: Mynamo) -> None:
    mynamo(*CREATE_ORDERS)
    assert "is protected" in mynamo("table", "protect", "orders").stdout
    assert "protected against deletion" in mynamo("table", "describe", "orders").stdout
    refused = mynamo("table", "drop", "orders", "--yes", status=1).stderr
    assert "Disable deletion protection first" in refused
    assert "no longer" in mynamo("table", "protect", "orders", "--off").stdout
    mynamo("table", "drop", "orders", "--yes")


def test_put_and_get_are_exact(orders: Mynamo) -> None:
    number = "1234567890.1234567890123456789012345678"
    item = f'{{"customer": "ann", "at": 1.50, "n": {number}, "tags": {{"SS": ["a", "b"]}}}}'
    receipt = put(orders, item)
    assert receipt["version"] > 0
    assert receipt["old"] is None
    found = orders("get", "orders", "customer=ann", "at=1.5", "--json").stdout
    assert exact(found)["n"] == Decimal(number)
    assert exact(found)["tags"] == {"SS": ["a", "b"]}
    by_json = orders("get", "orders", '{"customer": "ann", "at": 1.5}', "--json").stdout
    assert by_json == found
    stored = orders("get", "orders", "customer=ann", "at=1.5", "--dynamodb-json").stdout
    assert json.loads(stored)["n"] == {"N": number}
    assert number in orders("get", "orders", "customer=ann", "at=1.5").stdout


def test_items_from_stdin_and_in_dynamodb_json(orders: Mynamo) -> None:
    orders("put", "orders", "-", input='{"customer": "ann", "at": 1}')
    item = '{"customer": {"S": "ann"}, "at": {"N": "2"}, "raw": {"B": "aGk="}}'
    orders("put", "orders", "-", "--dynamodb-json", input=item)
    found = orders("get", "orders", "customer=ann", "at=2", "--json").stdout
    assert json.loads(found) == {"customer": "ann", "at": 2, "raw": {"B": "aGk="}}


def test_conditions_and_versions(orders: Mynamo) -> None:
    item = '{"customer": "ann", "at": 1}'
    first = put(orders, item, "--if-not-exists")
    refused = orders("put", "orders", item, "--if-not-exists", status=1)
    assert refused.stderr == "Error: The conditional request failed: the item exists\n"
    second = put(orders, item, "--if-version", str(first["version"]))
    assert second["old"] == {"customer": "ann", "at": 1}
    orders("put", "orders", item, "--if-version", str(first["version"]), status=1)
    orders("delete", "orders", "customer=bob", "at=1", "--if-exists", status=1)
    usage = orders("put", "orders", item, "--if-exists", "--if-not-exists", status=2)
    assert "--if-not-exists excludes --if-exists" in usage.stderr


def test_expressions_decide_and_change(orders: Mynamo) -> None:
    key = ("customer=ann", "at=1")
    put(orders, '{"customer": "ann", "at": 1, "status": "open", "tags": {"SS": ["a"]}}')
    done = orders(
        "update", "orders", *key, "--return", "UPDATED_NEW",
        "--expression", "SET price = :p, #s = :s ADD tags :t",
        "--condition", "#s = :open", "--names", '{"#s": "status"}',
        "--values", '{":p": 9.90, ":s": "paid", ":open": "open", ":t": {"SS": ["b"]}}',
    ).stdout  # fmt: skip
    assert exact(done.splitlines()[1]) == {
        "price": Decimal("9.9"), "status": "paid", "tags": {"SS": ["a", "b"]},
    }  # fmt: skip
    refused = orders(
        "delete", "orders", *key, "--condition", "price > :p", "--values", '{":p": {"N": "10"}}',
        "--dynamodb-json", status=1,
    ).stderr  # fmt: skip
    assert refused.startswith('Error: The conditional request failed. The item is: {"at":{"N"')
    assert '"price":{"N":"9.9"}' in refused
    shown = put(orders, '{"customer": "ann", "at": 1}', "--return", "all_old")
    assert shown["old"]["status"] == "paid"
    assert shown["attributes"] == shown["old"]
    gone = orders(
        "delete", "orders", "customer=bob", "at=1", "--condition", "attribute_exists(at)", status=1
    )
    assert gone.stderr == (
        "Error: Invalid ConditionExpression: Attribute name is a reserved keyword; reserved "
        """keyword: at (write #at in its place, and --names '{"#at": "at"}')\n"""
    )
    gone = orders(
        "delete", "orders", "customer=bob", "at=1",
        "--condition", "attribute_exists(customer)", status=1,
    )  # fmt: skip
    assert gone.stderr == "Error: The conditional request failed: there is no such item\n"


def test_update_and_delete(orders: Mynamo) -> None:
    put(orders, '{"customer": "ann", "at": 1, "note": "x", "status": "open"}')
    orders("update", "orders", "customer=ann", "at=1", "--set", '{"price": 3}', "--remove", "note")
    found = orders("get", "orders", "customer=ann", "at=1", "--json").stdout
    assert json.loads(found) == {"customer": "ann", "at": 1, "status": "open", "price": 3}
    orders("delete", "orders", "customer=ann", "at=1")
    gone = orders("get", "orders", "customer=ann", "at=1", status=1)
    assert gone.stderr == "Error: table orders has no item with this key\n"
    assert "no such item" in orders("delete", "orders", "customer=ann", "at=1").stdout


def test_an_update_that_only_removes_makes_no_item(orders: Mynamo) -> None:
    key = ("customer=ann", "at=1")
    orders("update", "orders", *key, "--remove", "note")
    orders("update", "orders", *key, "--expression", "REMOVE note, m.x")
    orders("get", "orders", *key, status=1)


def test_query_sorts_pages_and_uses_local_indexes(orders: Mynamo) -> None:
    for at in (10, 9, 100):
        put(orders, f'{{"customer": "ann", "at": {at}, "price": {-at}}}')

    def ats(*options: str) -> list[int]:
        page = json.loads(orders("query", "orders", "ann", *options, "--json").stdout)
        return [item["at"] for item in page["items"]]

    assert ats() == [9, 10, 100]
    assert ats("--descending") == [100, 10, 9]
    assert ats("--sort", "between 9 10") == [9, 10]
    assert ats("--sort", "> 9") == [10, 100]
    assert ats("--index", "by_price") == [100, 10, 9]
    assert ats("--index", "by_price", "--sort", "<= -10") == [100, 10]
    first = json.loads(orders("query", "orders", "ann", "--limit", "2", "--json").stdout)
    assert [item["at"] for item in first["items"]] == [9, 10]
    assert ats("--limit", "2", "--page-token", first["page_token"]) == [100]
    shown = orders("query", "orders", "ann", "--limit", "1")
    assert "1 item\n" in shown.stderr
    assert "--page-token" in shown.stderr
    projected = orders("query", "orders", "ann", "--projection", "price", "--limit", "1", "--json")
    assert json.loads(projected.stdout)["items"] == [{"price": -9}]


def test_a_query_names_its_key_as_all_commands_do(orders: Mynamo) -> None:
    for customer in ("ann", "a=b"):
        put(orders, f'{{"customer": "{customer}", "at": 1, "price": 3, "status": "open"}}')

    def count(*words: str) -> str:
        return orders("query", "orders", *words, "--count").stdout

    assert count("ann") == count("customer=ann") == count('{"customer": "ann"}') == "1\n"
    assert count("customer=a=b") == count("customer=a=b", "at=1") == "1\n"
    assert count("customer=ann", "at=2") == "0\n"
    assert count("customer=ann", "price=3", "--index", "by_price") == "1\n"
    for words, answer in (
        (("Customer=ann",), "'Customer=ann' is no part of a key here; write customer=VALUE; a va"),
        (("a=b",), "a value with an equals sign too: customer=a=b"),
        (("at=1",), "the key is not complete; write customer=VALUE"),
        (("ann", "at=1"), "'ann' is no part of a key here"),
        (("customer=a", "customer=b"), "customer is given twice"),
        (("customer=ann", "at=1", "--sort", "= 1"), "the sort key is given already"),
        (("customer=ann", "--index", "by_status"), "write status=VALUE"),
    ):
        assert answer in orders("query", "orders", *words, status=2).stderr
    assert "is empty" in orders("query", "orders", "", status=1).stderr
    assert "has no index ''" in orders("query", "orders", "a", "--index", "", status=1).stderr


def test_a_query_by_several_attributes(mynamo: Mynamo) -> None:
    mynamo(
        "table", "create", "shops", "--hash-key", "id",
        "--gsi", "by_place=country+city,year:N+month:N",
    )  # fmt: skip
    where = ("query", "shops", "--index", "by_place", "--explain", "--json", "country=no")
    mynamo(*where, "city=Oslo", "year=2026", "--sort", "> 2")
    assert "write country=VALUE city=VALUE" in mynamo(*where, status=2).stderr
    refused = mynamo(*where, "city=Oslo", "month=2", status=2).stderr
    assert "of the sort key year, month the first attributes" in refused


def test_a_misspelt_table_is_suggested_by_every_command(orders: Mynamo, tmp_path: Path) -> None:
    file = tmp_path / "items.jsonl"
    file.write_text("{}")
    for words in (
        ("table", "describe"), ("table", "drop"), ("table", "protect"), ("verify",), ("repair",),
        ("index", "drop"), ("index", "add"), ("put",), ("get",), ("query",), ("scan",), ("update",),
        ("delete",), ("load",),
    ):  # fmt: skip
        rest = {
            "drop": ["by_price"], "add": ["--lsi", "by_x=x"], "put": ["{}"], "get": ["a=1"],
            "query": ["a"], "update": ["a=1", "--remove", "b"], "delete": ["a=1"],
            "load": [str(file)],
        }.get(words[-1], [])  # fmt: skip
        if words == ("table", "drop"):
            rest = []
        said = orders(*words, "Oders", *rest, status=1).stderr
        assert said.endswith("Table: Oders not found; did you mean orders?\n")
    assert "`mynamo table list` shows" in orders("scan", "elsewhere", status=1).stderr


def test_reads_with_expressions(orders: Mynamo) -> None:
    for at in range(6):
        put(orders, f'{{"customer": "ann", "at": {at}, "price": {at}, "deep": {{"l": [{at}]}}}}')
    where = ("--filter", "#p > :p", "--names", '{"#p": "price"}', "--values", '{":p": 2}')
    page = json.loads(orders("query", "orders", "ann", *where, "--limit", "5", "--json").stdout)
    assert ([item["at"] for item in page["items"]], page["scanned_count"]) == ([3, 4], 5)
    assert "of 6 read" in orders("query", "orders", "ann", *where).stderr
    assert orders("query", "orders", "ann", *where, "--count").stdout == "3\n"
    counted = json.loads(orders("scan", "orders", *where, "--count", "--json").stdout)
    assert counted == {"count": 3, "scanned_count": 6}
    text = orders(
        "query", "orders", "--key-condition", "customer = :c AND #a >= :a",
        "--names", '{"#a": "at"}', "--values", '{":c": "ann", ":a": 4}', "--lines",
        "--projection", "at,deep.l[0]",
    ).stdout  # fmt: skip
    assert [json.loads(line) for line in text.splitlines()] == [
        {"at": at, "deep": {"l": [at]}} for at in (4, 5)
    ]
    one = ("get", "orders", "customer=ann", "at=4", "--json", "--projection")
    assert json.loads(orders(*one, "deep.l").stdout) == {"deep": {"l": [4]}}
    assert json.loads(orders(*one, "#d", "--names", '{"#d": "at"}').stdout) == {"at": 4}


def test_explain_names_one_shard(orders: Mynamo) -> None:
    assert "shard" in orders("query", "orders", "open", "--index", "by_status", "--explain").stdout
    plan = orders("query", "orders", "ann", "--explain", "--json").stdout
    assert isinstance(json.loads(plan), dict)


def test_scan_as_lines_loads_again(orders: Mynamo, tmp_path: Path) -> None:
    for at in range(5):
        put(orders, f'{{"customer": "c{at}", "at": {at}, "price": 0.1}}')
    lines = orders("scan", "orders", "--lines", "--limit", "2").stdout
    assert len(lines.splitlines()) == 5
    segments = [
        orders("scan", "orders", "--lines", "--segment", str(n), "--segments", "3").stdout
        for n in range(3)
    ]
    assert sorted("".join(segments).splitlines()) == sorted(lines.splitlines())
    file = tmp_path / "items.jsonl"
    file.write_text(lines)
    orders("table", "create", "copy", "--hash-key", "customer", "--sort-key", "at:N")
    loaded = json.loads(orders("load", "copy", str(file), "--json").stdout)
    assert (loaded["acknowledged"], loaded["failed"]) == (5, 0)
    copied = orders("scan", "copy", "--lines").stdout
    assert sorted(copied.splitlines()) == sorted(lines.splitlines())


def test_load_reports_each_bad_line_and_writes_the_others(orders: Mynamo, tmp_path: Path) -> None:
    file = tmp_path / "items.jsonl"
    file.write_text(
        '{"customer": "ann", "at": 1}\n'
        "{broken\n"
        '{"customer": "ann"}\n'
        "\n"
        '{"customer": "ann", "at": 2, "price": "dear"}\n'
        '{"customer": "ann", "at": 3}\n'
    )
    receipts = tmp_path / "receipts.jsonl"
    done = orders("load", "orders", str(file), "--receipts", str(receipts), status=1)
    assert "2 items written, 3 failed" in done.stdout
    reasons = dict(line.split(": ", 1) for line in done.stderr.splitlines())
    assert reasons[f"took {file} for"] == "plain JSON, an object per line"
    assert reasons["line 2"].startswith("not valid JSON at column 2: ")
    assert "Missing the key at" in reasons["line 3"]
    assert "IndexName: by_price" in reasons["line 5"]
    acknowledged = [json.loads(line) for line in receipts.read_text().splitlines()]
    assert sorted((entry["line"], entry["key"]["at"]) for entry in acknowledged) == [(1, 1), (6, 3)]
    as_json = json.loads(orders("load", "orders", str(file), "--json", status=1).stdout)
    assert [error["line"] for error in as_json["errors"]] == [2, 3, 5]


def test_load_writes_lines_of_one_item_in_order(orders: Mynamo, tmp_path: Path) -> None:
    file = tmp_path / "items.jsonl"
    file.write_text("".join(f'{{"customer": "ann", "at": 1, "n": {n}}}\n' for n in range(100)))
    orders("load", "orders", str(file), "--threads", "8")
    found = json.loads(orders("get", "orders", "customer=ann", "at=1", "--json").stdout)
    assert found["n"] == 99


def test_load_that_is_interrupted_says_what_is_written(
    orders: Mynamo, config_file: Path, tmp_path: Path
) -> None:
    fifo = tmp_path / "items.jsonl"
    os.mkfifo(fifo)
    receipts = tmp_path / "receipts.jsonl"
    loading = start(
        "--config", str(config_file), "load", "orders", str(fifo), "--json",
        "--receipts", str(receipts), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with loading, fifo.open("w") as feed:
        feed.writelines(f'{{"customer": "ann", "at": {n}}}\n' for n in range(20))
        feed.flush()
        # Once all are acknowledged it waits for more: a signal that comes just before a
        # blocking read begins would be noticed only when that read ends.
        eventually(lambda: receipts.exists() and receipts.read_text().count("\n") == 20, 30)
        loading.send_signal(signal.SIGINT)
        out, _ = loading.communicate(timeout=30)
    assert loading.returncode == 130
    report = json.loads(out)
    assert report["interrupted"] is True
    assert report["acknowledged"] == len(receipts.read_text().splitlines())


def test_a_local_index_is_backfilled_by_the_command_itself(orders: Mynamo) -> None:
    for at in range(3):
        put(orders, f'{{"customer": "ann", "at": {at}, "weight": {10 - at}}}')
    put(orders, '{"customer": "ann", "at": 3, "weight": "heavy"}')
    added = orders("index", "add", "orders", "--lsi", "by_weight=weight:N").stdout
    assert added == "index by_weight is ACTIVE: 3 items, 1 items not in it\n"
    page = json.loads(orders("query", "orders", "ann", "--index", "by_weight", "--json").stdout)
    assert [item["at"] for item in page["items"]] == [2, 1, 0]
    orders("index", "drop", "orders", "by_weight")
    missing = orders("query", "orders", "ann", "--index", "by_weight", status=1)
    assert "has no index 'by_weight'; its indexes: by_price, by_status" in missing.stderr


MISTAKES: tuple[tuple[tuple[str, ...], int, str], ...] = (
    (("get", "nowhere", "id=1"), 1, "Table: nowhere not found"),
    (("query", "orders", "a", "--index", "by_x"), 1, "its indexes: by_price, by_status"),
    (("put", "orders", '{"customer": "ann"}'), 1, "Missing the key at"),
    (("put", "orders", '{"customer": 1, "at": 1}'), 1, "expected: S actual: N"),
    (("put", "orders", "{"), 1, "not valid JSON"),
    (("get", "orders", "customer=ann"), 2, "write customer=VALUE at=VALUE"),
    (("get", "orders", "customer=ann", "at=soon"), 1, "the key at is a number"),
    (("query", "orders", "a", "--sort", "like 5"), 2, "is not a sort condition"),
    (("query", "orders", "a", "--page-token", "x"), 1, "token"),
    (("query", "orders", "a", "--index", "by_status", "--after", "x"), 1, "token"),
    (("update", "orders", "customer=a", "at=1"), 2, "say what to change"),
    (("update", "orders", "customer=a", "at=1", "--remove", "at"), 1, "part of the key"),
    (("update", "orders", "a=1", "--expression", "SET a", "--remove", "b"), 2, "excludes --set"),
    (("update", "orders", "customer=a", "at=1", "--expression", "SET a"), 1, "Syntax error"),
    (("delete", "orders", "a=1", "--condition", "a", "--if-exists"), 2, "--condition excludes"),
    (("put", "orders", "{}", "--condition", "#a", "--names", "x"), 1, "in --names, which is JSON"),
    (("put", "orders", "{}", "--names", '{"#a": 5}'), 1, "#a must stand for the name"),
    (("put", "orders", "{}", "--return", "all_new"), 2, "Invalid value for '--return'"),
    (("table", "create", "x1y", "--hash-key", "a", "--lsi", "by_p=p"), 1, "needs a table with"),
    (("table", "create", "x1y"), 2, "name the table and its --hash-key"),
    (("index", "add", "orders"), 2, "give one --lsi or one --gsi"),
    (("nonsense",), 2, "No such command 'nonsense'"),
)
"""Words, the status that they end with, and what the message says."""


def test_mistakes_are_explained(orders: Mynamo) -> None:
    for words, status, message in MISTAKES:
        result = orders(*words, status=status)
        assert message in result.stderr
        assert result.stdout == ""
        if status == 1:
            assert result.stderr.startswith("Error: ")
            assert result.stderr.count("\n") == 1


def test_without_a_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MYNAMO_CONFIG", raising=False)
    result = CliRunner().invoke(root, ["table", "list"])
    assert result.exit_code == 1
    assert "run `mynamo dev` here, or write mynamo.toml" in result.stderr
    named = CliRunner().invoke(root, ["--config", "none.toml", "table", "list"])
    assert (named.exit_code, named.stderr) == (
        1, "Error: there is no configuration file none.toml\n"
    )  # fmt: skip


def test_a_server_that_is_down(config: ClusterConfig, tmp_path: Path) -> None:
    gone = config.catalog.model_copy(update={"port": 1})
    file = tmp_path / "gone.toml"
    file.write_text(config_toml(config.model_copy(update={"catalog": gone})))
    env = {"MYNAMO_POOL__CONNECT_TIMEOUT": "1"}
    result = CliRunner().invoke(root, ["--config", str(file), "table", "list"], env=env)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: catalog (127.0.0.1:1/")
    assert result.stderr.count("\n") == 1


def test_a_defect_is_one_line_too(orders: Mynamo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mynamo.cli.writes.parse_item", lambda *_: 1 / 0)
    result = orders("put", "orders", "{}", status=1)
    assert result.stderr.startswith("Error: ZeroDivisionError: division by zero (this is a defect")


# -- transactions --------------------------------------------------------------------------------


def key_of(at: int, customer: str = "ann") -> dict[str, Any]:
    return {"customer": {"S": customer}, "at": {"N": str(at)}}


def put_of(at: int, **more: Any) -> dict[str, Any]:
    return {"Put": {"TableName": "orders", "Item": {**key_of(at), "price": {"N": "9"}}, **more}}


def check_of(at: int, condition: str) -> dict[str, Any]:
    return {
        "ConditionCheck": {
            "TableName": "orders", "Key": key_of(at), "ConditionExpression": condition,
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
    }  # fmt: skip


def test_a_transaction_from_a_file(orders: Mynamo, tmp_path: Path) -> None:
    put(orders, '{"customer": "ann", "at": 2, "price": 5}')
    put(orders, '{"customer": "ann", "at": 3}')
    update = {
        "TableName": "orders", "Key": key_of(2), "UpdateExpression": "SET #p = #p + :n",
        "ConditionExpression": "#p = :five", "ExpressionAttributeNames": {"#p": "price"},
        "ExpressionAttributeValues": {":n": {"N": "1"}, ":five": {"N": "5"}},
    }  # fmt: skip
    entries = [
        put_of(1), {"Update": update}, {"Delete": {"TableName": "orders", "Key": key_of(3)}},
        check_of(4, "attribute_not_exists(customer)"),
    ]  # fmt: skip
    file = tmp_path / "transaction.json"
    file.write_text(json.dumps({"TransactItems": entries, "ClientRequestToken": "t"}))
    shown = orders("transact", str(file)).stdout
    assert all(word in shown for word in ("Put", "Update", "Delete", "ConditionCheck", '"at":4'))
    assert "committed; --after " in shown
    assert json.loads(orders("get", "orders", "customer=ann", "at=2", "--json").stdout) == {
        "customer": "ann", "at": 2, "price": 6,
    }  # fmt: skip
    assert "happened before, and not again" in orders("transact", str(file)).stdout
    done = json.loads(
        orders("transact", str(file), "--request-token", "u", "--json", status=1).stdout
    )
    assert [reason["code"] for reason in done["reasons"]] == [
        "None", "ConditionalCheckFailed", "None", "None",
    ]  # fmt: skip
    assert done["reasons"][1]["item"]["price"] == {"N": "6"}
    again = json.dumps([put_of(7)])  # the list alone
    done = json.loads(orders("transact", "-", "--json", input=again).stdout)
    (write,) = done["writes"]
    assert (done["committed"], done["repeated"], write["action"]) == (True, False, "Put")
    assert write["key"] == key_of(7)


def test_a_transaction_that_is_cancelled(orders: Mynamo) -> None:
    put(orders, '{"customer": "ann", "at": 2, "price": 5}')
    entries = [
        put_of(1),
        check_of(2, "attribute_not_exists(customer)"),
        check_of(3, "price > customer"),
    ]
    result = orders("transact", "-", input=json.dumps(entries), status=1)
    assert "Error: the transaction was cancelled; nothing was written" in result.stderr
    assert result.stdout.count("ConditionalCheckFailed") == 2
    assert '"price":5' in result.stdout
    assert "has no item" in orders("get", "orders", "customer=ann", "at=1", status=1).stderr


def test_reads_as_of_one_moment(orders: Mynamo) -> None:
    put(orders, '{"customer": "ann", "at": 1, "price": 5, "tags": {"SS": ["x"]}}')
    gets = [
        {"Get": {"TableName": "orders", "Key": key_of(1), "ProjectionExpression": "#p",
                 "ExpressionAttributeNames": {"#p": "price"}}},
        {"Get": {"TableName": "orders", "Key": key_of(2)}},
    ]  # fmt: skip
    found = json.loads(orders("transact", "-", "--json", input=json.dumps(gets)).stdout)
    assert found == {"items": [{"price": {"N": "5"}}, None]}
    shown = orders("transact", "-", input=json.dumps({"TransactItems": gets})).stdout
    assert '{"price":5}' in shown


@pytest.mark.parametrize("resolves", [True, False])
def test_reads_finish_a_committed_transaction_that_they_meet(
    orders: Mynamo, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, resolves: bool
) -> None:
    """A process that does not finish it waits for others to do it, and gives up in the end."""
    table = cluster.table("orders")
    near, far = (
        next(name for name in (f"c{n}" for n in range(1000))
             if cluster.shard_of(table.key_of(key_of(1, name)).hash).id == shard)
        for shard in (1, 2)
    )  # fmt: skip
    intent = place(cluster, table, {"customer": far, "at": 1, "price": 7})
    commit(cluster, table, {"customer": near, "at": 1}, intent.transaction_id)
    if not resolves:
        monkeypatch.setattr("mynamo.reader.transact_gets.PATIENCE", 0.2)
        monkeypatch.setattr("mynamo.cli.transact_command.finish_transaction", lambda *_: None)
    text = json.dumps(
        [{"Get": {"TableName": "orders", "Key": key_of(1, name)}} for name in (near, far)]
    )
    shown = orders("transact", "-", "--json", input=text, status=0 if resolves else 1)
    if resolves:
        first, second = json.loads(shown.stdout)["items"]
        assert (first, second) == (key_of(1, near), key_of(1, far) | {"price": {"N": "7"}})
        assert orders("transaction", "list", "--json").stdout == "[]\n"
        orders("verify", "orders")
    else:
        assert shown.stdout == ""
        assert "a transaction that has happened is not applied" in shown.stderr


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("{", "not valid JSON"),
        ("{}", 'a transaction is {"TransactItems": [...]}'),
        ("[]", "it has no entries"),
        ('{"TransactItems": [], "Token": "t"}', "the request has no member 'Token'"),
        ('[{"Putt": {}}]', "number 1: 'Putt' is no entry; did you mean Put?"),
        ('[{"Put": {"TableNam": "orders"}}]',
         "number 1 (Put) has no member 'TableNam'; did you mean TableName?"),
        ('[{"Put": {"TableName": "orders"}}]', "number 1 (Put): Item is missing"),
        ('[{"Put": {"TableName": "orders", "Item": {"customer": "ann"}}}]',
         'values are in DynamoDB JSON: write "customer":{"S":"ann"} (in number 1 (Put))'),
        ('[{"Update": {"TableName": "orders", "Key": {}, "UpdateExpression": "SET a = :a",'
         ' "ExpressionAttributeValues": {":a": 1.50}}}]', 'write ":a":{"N":"1.5"} (in number 1'),
        ('[{"Put": {"TableName": "orders", "Item": {"a": {"S": 1}}}}]', "in number 1 (Put)"),
        ('[{"Update": {"TableName": "orders", "Key": {}}}]', "UpdateExpression is missing"),
        ('[{"Get": {"TableName": "orders", "Key": {}}}, {"Delete": {"TableName": "orders",'
         ' "Key": {}}}]', "a transaction reads or writes"),
        ('[{"Delete": {"TableName": "order", "Key": {}}}]', "did you mean orders?"),
        ('[{"Delete": {"TableName": "orders", "Key": {}}}]',
         "The provided key element does not match the schema"),
        ('[{"Delete": {"TableName": "orders", "Key": {}, "ConditionExpression": "at = at"}}]',
         'reserved keyword: at (in number 1 (Delete); write #at in its place, and '
         '"ExpressionAttributeNames": {"#at": "at"})\n'),
        ('[{"Get": {"TableName": "orders", "Key": {}, "ProjectionExpression": "at"}}]',
         'at (in number 1 (Get); write #at in its place, and "ExpressionAttributeNames"'),
        ('{"TransactItems": [{"Get": {"TableName": "orders", "Key": {}}}],'
         ' "ClientRequestToken": "t"}', "a request token is for writes"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_transaction_is_named(orders: Mynamo, text: str, answer: str) -> None:
    assert answer in orders("transact", "-", input=text, status=1).output
