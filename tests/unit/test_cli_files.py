"""What `mynamo load` takes a file for, and the records that it reads from it."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from mynamo.cli.formats import Container
from mynamo.cli.records import Reading, Record
from mynamo.cli.sources import LONGEST, BadFile, Cutter, Source
from tests.made_up import index_of, key, table_of

PLAIN = [{"id": f"i{n}", "at": n, "note": 'a "b" [c] {d}, \\ é'} for n in range(3)]
TYPED = [
    {"id": {"S": item["id"]}, "at": {"N": str(item["at"])}, "note": {"S": item["note"]}}
    for item in PLAIN
]
WANTED = [{**item, "at": Decimal(str(item["at"]))} for item in PLAIN]

ORDERS = table_of(hash_key=key("id"), sort_key="at:N")
BLOBS = table_of(hash_key=key("id:B"), sort_key=None)


class Drip(io.RawIOBase):
    """A file that gives a few bytes at a time, as a slow pipe does."""

    def __init__(self, text: bytes, step: int) -> None:
        self._rest = text
        self._step = step

    def read1(self, _: int) -> bytes:
        """The next few bytes."""
        part, self._rest = self._rest[: self._step], self._rest[self._step :]
        return part


def reading(text: bytes, step: int = 7, **options: Any) -> tuple[Reading, list[str]]:
    took: list[str] = []
    source = Source(Drip(text, step))  # type: ignore[arg-type]
    return Reading(source, options.pop("table", ORDERS), took=took.append, **options), took


def read(text: bytes, **options: Any) -> tuple[list[Record], list[str]]:
    found, took = reading(text, **options)
    return list(found.records()), took


def lines(values: list[Any], indent: int | None = None) -> bytes:
    return "".join(json.dumps(value, indent=indent) + "\n" for value in values).encode()


def scan(items: list[Any]) -> dict[str, Any]:
    return {"Items": items, "Count": len(items), "ScannedCount": 3, "ConsumedCapacity": None}


def batch(items: list[Any], table: str = "orders") -> dict[str, Any]:
    return {table: [{"PutRequest": {"Item": item}} for item in items]}


FILES: tuple[tuple[bytes, str], ...] = (
    (lines(PLAIN), "plain JSON, an object per line"),
    (lines(TYPED), "DynamoDB JSON, an object per line"),
    (lines(PLAIN).rstrip(), "plain JSON, an object per line"),
    (lines(PLAIN).replace(b"\n", b"\r\n"), "plain JSON, an object per line"),
    (b"\xef\xbb\xbf" + lines(PLAIN), "plain JSON, an object per line"),
    (lines([{"Item": i} for i in TYPED]),
     'DynamoDB JSON, an object per line, each {"Item": ...}'),
    (lines(PLAIN, indent=2), "plain JSON, objects one after the other"),
    (lines(TYPED, indent=2), "DynamoDB JSON, objects one after the other"),
    (lines([PLAIN]), "plain JSON, one array"),
    (lines([TYPED], indent=4), "DynamoDB JSON, one array"),
    (lines([scan(TYPED)]), 'DynamoDB JSON, the answer of a scan or query, {"Items": [...]}'),
    (lines([scan(TYPED)], indent=4),
     'DynamoDB JSON, the answer of a scan or query, {"Items": [...]}'),
    (lines([scan(TYPED[:1]), scan(TYPED[1:])]),
     'DynamoDB JSON, the answer of a scan or query, {"Items": [...]}'),
    (lines([scan(PLAIN)]), 'plain JSON, the answer of a scan or query, {"Items": [...]}'),
    (lines([batch(TYPED)]), "DynamoDB JSON, a file for batch-write-item"),
    (lines([batch(TYPED)], indent=4), "DynamoDB JSON, a file for batch-write-item"),
    (b"id,at,note\n" + "".join(
        f'{i["id"]},{i["at"]},"{str(i["note"]).replace(chr(34), chr(34) * 2)}"\n' for i in PLAIN
    ).encode(), "CSV with a header"),
)  # fmt: skip


@pytest.mark.parametrize(("text", "what"), FILES)
def test_each_kind_of_file_is_told_by_its_beginning(text: bytes, what: str) -> None:
    for step in (1, 7, 100_000):
        records, took = read(text, step=step)
        assert took == [what]
        assert [record.wrong for record in records] == [None] * 3
        assert [record.item for record in records] == WANTED
    records, took = read(gzip.compress(text), step=5)
    assert took == [f"{what}, gzip"]
    assert [record.item for record in records] == WANTED


def test_gzip_of_several_members_and_damage() -> None:
    halves = [gzip.compress(lines(PLAIN[:1])), gzip.compress(lines(PLAIN[1:]))]
    assert [record.item for record in read(b"".join(halves))[0]] == WANTED
    for damaged in (halves[0][:-3], halves[0] + b"rubbish that follows"):
        found, _ = reading(damaged)
        given = found.records()
        with pytest.raises(BadFile, match="gzip data"):
            list(given)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"id": "a"}'.encode("utf-16"), "UTF-16"),
        (b"BZh91AY", "bunzip2"),
        (b"PK\x03\x04zip", "zip archive"),
        (b"name;price\nx;1\n", "no column id and no at"),
        (b"id,at,at\n", "names at twice"),
        (b"hello", "no JSON"),
        (b'[{"id": "a", "at": 1}, {"id"', "line 1, column 29: the JSON ends in the middle"),
        (b'[{"id": "a"],\n', "closes nothing"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(text: bytes, reason: str) -> None:
    found, _ = reading(text)
    with pytest.raises(BadFile, match=reason):
        list(found.records())


def test_a_bad_record_has_its_place_and_the_others_are_read() -> None:
    text = (
        b'{"id": "a", "at": 1}\n\n{"id": "b", "at": 2,}\n[1]\n{"id": "\xff"}\n{"id": "c", "at": 3}'
    )
    records, _ = read(text)
    assert [str(r.position) for r in records] == [f"line {n}" for n in (1, 3, 4, 5, 6)]
    wrong = [r.wrong for r in records]
    assert wrong[0] is wrong[4] is None
    assert str(wrong[1]).startswith("not valid JSON at column 21: ")
    assert str(wrong[2]).startswith("an item is a JSON object")
    assert "UTF-8" in str(wrong[3])
    text = b'[\n  {"id": "a", "at": 1},\n  {"id": "b",\n   "at": 2,},\n 5, {"id": "c", "at": 3}]'
    records, _ = read(text)
    assert [str(r.position) for r in records] == [
        "item 1, line 2, column 3", "item 2, line 3, column 3", "item 3, line 5, column 2",
        "item 4, line 5, column 5",
    ]  # fmt: skip
    assert [r.wrong is None for r in records] == [True, False, False, True]
    assert "line 4, column 12" in str(records[1].wrong)


def test_a_first_line_that_is_broken_hides_nothing() -> None:
    records, took = read(b"{broken\n" + lines(TYPED))
    assert [record.wrong is None for record in records] == [False, True, True, True]
    assert took == ["DynamoDB JSON, an object per line"]


def test_the_key_decides_where_plain_items_look_like_dynamodb_json() -> None:
    item = {"id": "a", "at": 1, "map": {"S": "x"}, "list": {"L": []}}
    (record,), took = read(lines([item]))
    assert record.item == {**item, "at": Decimal(1)}
    assert took == ["plain JSON, an object per line"]
    both = {"id": {"B": "aGk="}, "map": {"S": "x"}}
    (record,), took = read(lines([both]), table=BLOBS)
    assert record.item["map"] == "x"
    assert took[0].endswith("(if its objects are maps and not values with a type: --plain-json)")
    (record,), took = read(lines([both]), table=BLOBS, dynamodb_json=False)
    assert record.item["map"] == {"S": "x"}
    (record,), _ = read(lines([{"id": {"B": "aGk="}, "map": {"x": 1}}]), table=BLOBS)
    assert record.item["map"] == {"x": 1}


def test_an_item_with_an_attribute_named_items_is_no_scan() -> None:
    item = {"Items": [{"a": 1}], "id": "a", "at": 1}
    (record,), took = read(lines([item]))
    assert took == ["plain JSON, an object per line"]
    assert record.item["Items"] == [{"a": 1}]


def test_what_the_user_names_is_taken() -> None:
    container: Container
    for container, depth in (("array", None), ("objects", 2)):
        text = lines([PLAIN]) if container == "array" else lines(PLAIN, indent=depth)
        records, _ = read(text, container=container)
        assert [record.item for record in records] == WANTED
    records, _ = read(lines(PLAIN, indent=2), container="lines")
    assert all(record.wrong for record in records)


def test_one_page_of_a_scan_is_said_to_be_one() -> None:
    page = {**scan(TYPED), "LastEvaluatedKey": {"id": {"S": "i2"}, "at": {"N": "2"}}}
    found, _ = reading(lines([page]))
    assert [record.item for record in found.records()] == WANTED
    assert "one page of a longer scan" in found.hints[0]


def test_batches_delete_and_are_for_one_table() -> None:
    requests = [
        {"PutRequest": {"Item": TYPED[0]}},
        {"DeleteRequest": {"Key": {"id": {"S": "x"}, "at": {"N": "1"}}}},
        {"PutRequest": {}},
    ]
    both = {"orders": requests, "others": [{"PutRequest": {"Item": TYPED[1]}}]}
    records, _ = read(lines([both]))
    assert [record.deletes for record in records] == [False, True, False, False]
    assert records[1].item == {"id": "x", "at": Decimal(1)}
    assert "neither" in str(records[2].wrong)
    assert "`mynamo load others FILE`" in str(records[3].wrong)


def test_csv_takes_types_from_the_table_and_from_its_option() -> None:
    table = table_of(index_of("GSI", "price:N", None), hash_key=key("id"), sort_key="at:N")
    text = (
        b"id;at;price;paid;zip;note\n"
        b"a;1;9.90;TRUE;0150;\n"
        b'b;2;;false;0151;"two\nlines; ""quoted"""\n'
        b"c;soon;1;true;0;x\n"
        b"d;4\n"
        b"\n"
        b"e;5;1;true;0;y\n"
    )
    records, took = read(text, table=table, types={"paid": "BOOL"})
    assert took == ["CSV with a header"]
    assert records[0].item == {
        "id": "a", "at": Decimal(1), "price": Decimal("9.9"), "paid": True, "zip": "0150",
    }  # fmt: skip
    assert records[1].item["note"] == 'two\nlines; "quoted"'
    assert "price" not in records[1].item
    assert str(records[2].wrong).startswith("column at: ")
    assert records[3].wrong == "2 cells where the header has 6"
    assert records[4].item["id"] == "e"
    assert [record.position.line for record in records] == [2, 3, 5, 6, 8]
    with pytest.raises(BadFile, match="the header has not"):
        list(reading(text, table=table, types={"nope": "N"})[0].records())
    with pytest.raises(BadFile, match="a key of type N"):
        list(reading(text, table=table, types={"price": "S"})[0].records())
    with pytest.raises(BadFile, match="--types is for CSV"):
        list(reading(lines(PLAIN), types={"price": "S"})[0].records())


def test_an_empty_file_is_said_to_be_empty() -> None:
    for text in (b"", b"\n \n", gzip.compress(b"")):
        found, took = reading(text)
        assert list(found.records()) == []
        assert took == []
        assert found.hints == ["the file is empty"]


def test_no_more_than_one_item_is_held() -> None:
    """A file of any size is read in the memory of its longest item."""
    held = 0

    def chunks() -> Iterator[bytes]:
        nonlocal held
        yield b'{"Items": ['
        for n in range(2_000):
            held = max(held, cutter.held)
            yield (json.dumps({"id": {"S": str(n)}, "x": {"S": "x" * 1000}}) + ",").encode()
        yield b"{}]}"

    cutter = Cutter(2)
    assert sum(1 for _ in cutter.cut(chunks())) == 2_001
    assert held < 5_000
    endless = (b'["' + b"x" * 100_000 for _ in range(LONGEST // 100_000 + 2))
    with pytest.raises(BadFile, match="longer than"):
        list(Cutter(1).cut(endless))
