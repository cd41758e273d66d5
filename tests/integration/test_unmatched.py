"""Marks, placeholders and intents that do not go together: `verify` finds them, `repair` mends what
it may, and neither takes an open transaction for damage."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest
from click.testing import CliRunner

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.definitions import drop_table
from mynamo.catalog.intents import MARK, Action, Decision, Intent
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.sql import main_table
from mynamo.catalog.tables import RowKey, Table
from mynamo.cli.app import root
from mynamo.cli.statuses import WRONG
from mynamo.errors import TransactionCanceled, TransactionConflict
from mynamo.mysql.pool import Session, Statement
from mynamo.operations import Verdict, checksum_pass, comparison_statements, repair, verify
from mynamo.operations.comparison_statements import Span
from mynamo.operations.findings import Finding, Unmatched
from mynamo.operations.unmatched import DELETED, LEFT_ALONE, NOTHING, RESOLVE, UNMARKED, free
from mynamo.producer import Producer, Update
from mynamo.reader import Reader
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.items import dump_item, to_stored
from mynamo.writer.transaction import meeting, request_tokens, sweeper
from tests.intents import decide, place, placed, release
from tests.rows import damage, everywhere, items_of, make_table
from tests.small_chunks import small_chunks
from tests.waiting import eventually

verifying = import_module("mynamo.operations.verify")
"""The module; in the package, its name is that of the function."""
matching: Any = import_module("mynamo.operations.unmatched")
NUMBER = 30


@pytest.fixture
def config(engine_config: ClusterConfig) -> ClusterConfig:
    """Each engine in turn."""
    return engine_config


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for long."""
    monkeypatch.setattr(matching, "LOOK_AGAIN_AFTER", 0.0)
    monkeypatch.setattr(meeting, "PATIENCE", 0.1)


@pytest.fixture
def orders(cluster: Cluster, producer: Producer) -> Table:
    """Items of even numbers; it has no GSI that an indexer would have to keep up."""
    table = make_table(cluster, global_indexes=[])
    for number in range(0, NUMBER, 2):
        producer.put("orders", item(number))
    return table


def item(number: int, **more: Any) -> dict[str, Any]:
    return {"id": f"h{number}", "at": "1", "price": number} | more


def key(number: int) -> dict[str, Any]:
    return {"id": f"h{number}", "at": "1"}


class Foreign:
    """SQL of another program on the row of an item."""

    def __init__(self, cluster: Cluster, table: Table) -> None:
        self._cluster = cluster
        self._table = table

    def home(self, number: int) -> tuple[DynamoDBShard, RowKey]:
        """Where the item is, or would be."""
        row = self._table.key_of(to_stored(key(number)))
        return self._cluster.shard_of(row.hash), row

    def run(self, number: int, statement: str) -> None:
        shard, row = self.home(number)
        text = f"{statement.format(main_table(self._table.id))} WHERE hash = %s AND sort = %s"
        assert shard.run((text, row))[0].count == 1

    def mark(self, number: int) -> None:
        self.run(number, f"UPDATE {{}} SET version = version | {MARK:d}")

    def unmark(self, number: int) -> None:
        self.run(number, f"UPDATE {{}} SET version = version & {MARK - 1:d}")

    def delete(self, number: int) -> None:
        self.run(number, "DELETE FROM {}")

    def insert(self, number: int, version: int = 0, data: bytes = b"") -> None:
        shard, row = self.home(number)
        values = (*row, version, data)
        shard.run((f"INSERT INTO {main_table(self._table.id)} VALUES (%s, %s, %s, %s)", values))


@pytest.fixture
def foreign(cluster: Cluster, orders: Table) -> Foreign:
    return Foreign(cluster, orders)


def events(cluster: Cluster) -> int:
    return len(everywhere(cluster, "SELECT id FROM mynamo_outbox"))


def found_by(cluster: Cluster) -> tuple[Verdict, list[Unmatched]]:
    """What `verify` says, and its findings by kind and key."""
    noted: list[Unmatched] = []

    def note(findings: list[Finding | Unmatched]) -> None:
        noted.extend(each for each in findings if isinstance(each, Unmatched))

    verdict = verify(cluster, "orders", on_findings=note)
    assert verdict.findings == verdict.undecided == verdict.unreadable == 0
    assert (verdict.marks, verdict.intents) == (
        sum(each.kind != "intent" for each in noted),
        sum(each.kind == "intent" for each in noted),
    )
    return verdict, sorted(noted, key=lambda each: (each.kind, each.row))


# -- what is found ----------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [500, 3])
def test_open_transactions_are_no_damage(
    cluster: Cluster, orders: Table, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However old they are."""
    small_chunks(monkeypatch.setattr, rows)
    kinds = [Action.PUT, Action.DELETE, Action.CHECK]
    open_ = [
        place(cluster, orders, item(n, price=7) if kinds[n % 3] is Action.PUT else key(n),
              kinds[n % 3])
        for n in range(NUMBER)
    ]  # fmt: skip
    verdict, found = found_by(cluster)
    assert verdict.ok, str(verdict)
    assert (verdict.items, found) == (NUMBER // 2, [])
    report = repair(cluster, "orders")
    assert report.ok
    assert report.freed == 0
    assert placed(cluster, open_)


def test_control_without_the_intents_they_are_taken_for_damage(
    cluster: Cluster, orders: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_ = [place(cluster, orders, item(n)) for n in range(NUMBER)]
    none = ("SELECT 1 FROM DUAL WHERE 0", ())
    monkeypatch.setattr(comparison_statements, "intents_on_rows", lambda *_: none)
    assert verify(cluster, "orders").ok  # by the second look
    monkeypatch.setattr(matching, "read_intents", lambda *_, **__: none)
    assert verify(cluster, "orders").marks == NUMBER
    assert repair(cluster, "orders").freed == NUMBER
    assert not placed(cluster, open_)


@pytest.mark.parametrize("rows", [500, 3])
def test_marks_of_no_transaction_are_found_and_taken_away(
    cluster: Cluster,
    orders: Table,
    producer: Producer,
    foreign: Foreign,
    rows: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small_chunks(monkeypatch.setattr, rows)
    open_ = [place(cluster, orders, item(n, price=7)) for n in range(10, 16)]
    others = make_table(cluster, "others")
    for number in (0, 3):  # in another table of the same keys they are no reason to keep marks
        place(cluster, others, item(number))
    before, count = items_of(cluster, orders), events(cluster)
    for number in (0, 2, 4):
        foreign.mark(number)
    for number in (3, 5):
        foreign.insert(number)
    verdict, found = found_by(cluster)
    assert not verdict.ok
    assert {each.kind for each in found} == {"mark", "placeholder"}
    assert {(each.kind, each.row) for each in found} == {
        *(("mark", foreign.home(n)[1]) for n in (0, 2, 4)),
        *(("placeholder", foreign.home(n)[1]) for n in (3, 5)),
    }
    assert '"id":{"S":"h2"}' in str(verdict)
    assert "`mynamo repair orders` takes the marks away" in str(verdict)
    for number in (0, 3):
        with pytest.raises(TransactionConflict):
            producer.put("orders", item(number))
    planned = repair(cluster, "orders", dry_run=True)
    assert (planned.freed, planned.ok) == (0, False)
    assert found_by(cluster)[1] == found

    done: list[Any] = []
    report = repair(cluster, "orders", on_action=done.append)
    assert report.ok, str(report)
    assert report.freed == 5
    assert {(a.finding.kind, a.fate, a.did) for a in done} == {
        ("mark", "mended", UNMARKED), ("placeholder", "mended", DELETED),
    }  # fmt: skip
    assert found_by(cluster)[0].ok
    assert items_of(cluster, orders) == before
    assert events(cluster) == count
    assert placed(cluster, open_)
    for number in (0, 3):
        producer.put("orders", item(number, price=8))
    assert damage(cluster, orders) == []
    assert repair(cluster, "orders").freed == 0


def test_rows_without_a_version_of_their_own_are_left_alone(
    cluster: Cluster, orders: Table, foreign: Foreign
) -> None:
    """To delete them would delete an item; without the mark, no query or scan would find it."""
    data = dump_item(to_stored(item(1)))
    foreign.insert(1, version=0, data=data)
    foreign.insert(3, version=MARK, data=data)
    before = everywhere(cluster, f"SELECT * FROM {main_table(orders.id)}")
    for number, kind in ((1, "placeholder"), (3, "mark")):
        shard, row = foreign.home(number)
        version = 0 if kind == "placeholder" else MARK
        one = Unmatched(kind, orders.id, row, shard.id, version)  # type: ignore[arg-type]
        assert matching.look_again(cluster, orders, one) is not None
        assert free(cluster, orders, one) == LEFT_ALONE
    assert everywhere(cluster, f"SELECT * FROM {main_table(orders.id)}") == before
    assert not repair(cluster, "orders").ok


@pytest.mark.parametrize(
    ("one_view", "looks_again", "seen"),
    [(True, False, False), (False, True, False), (False, False, True)],
    ids=["one view", "second look", "control: neither"],
)
def test_transactions_that_end_while_they_are_looked_at(
    cluster: Cluster,
    orders: Table,
    foreign: Foreign,
    one_view: bool,
    looks_again: bool,
    seen: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between the rows and the intents."""
    firsts = [n for n in range(NUMBER) if foreign.home(n)[0].id == 1]
    intents = [place(cluster, orders, item(number)) for number in firsts]
    looking = comparison_statements.intents_on_rows

    def late(table: Table, span: Span, last: Any) -> Statement:
        low, high = span.low, span.high or b"\xff" * 17
        release(cluster, orders, *(i for i in intents if low <= i.row.hash < high))
        return looking(table, span, last)

    monkeypatch.setattr(comparison_statements, "intents_on_rows", late)
    if not one_view:
        monkeypatch.setattr(checksum_pass, "SNAPSHOT", (("BEGIN", ()),))
    if not looks_again:
        monkeypatch.setattr(verifying, "still_unmatched", lambda _cluster, _table, found: found)
    assert verify(cluster, "orders", parallel=1).marks == (len(firsts) if seen else 0)


def test_a_table_that_is_being_dropped(
    cluster: Cluster, orders: Table, foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its intents are deleted before its rows."""
    foreign.mark(0)
    shard, row = foreign.home(0)
    found = [Unmatched("mark", orders.id, row, shard.id, version_of(cluster, orders, row))]
    assert len(matching.still_unmatched(cluster, orders, found)) == 1
    dropping = replace(orders, status="DELETING")
    monkeypatch.setattr(Cluster, "table_by_id", lambda *_: dropping)
    assert matching.still_unmatched(cluster, orders, found) == []
    monkeypatch.undo()
    drop_table(cluster, "orders")
    assert matching.still_unmatched(cluster, orders, found) == []


def version_of(cluster: Cluster, table: Table, row: RowKey) -> int:
    """A row's, with the mark."""
    look = f"SELECT version FROM {main_table(table.id)} WHERE hash = %s AND sort = %s"
    ((version,),) = everywhere(cluster, look, *row)
    return int(version)


# -- an intent without a mark -----------------------------------------------------------------


@pytest.mark.parametrize("by", ["command", "worker"])
@pytest.mark.parametrize("decision", [Decision.COMMITTED, Decision.ABORTED, None])
def test_intents_without_a_mark_are_found_and_left_to_resolve(
    cluster: Cluster,
    orders: Table,
    producer: Producer,
    foreign: Foreign,
    config_file: Path,
    decision: Decision | None,
    by: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It, or a writer worker, finishes their transaction, whatever its decision is."""
    transaction_id = uuid4().bytes
    there = [n for n in range(0, NUMBER, 2) if foreign.home(n)[0].id == 2][:3]
    absent = [n for n in range(1, NUMBER, 2) if foreign.home(n)[0].id == 2][:3]
    generation = request_tokens.generation_of(cluster.shards[1])
    for one, other in zip(there, absent, strict=True):
        action = list(Action)[there.index(one)]
        for number in (one, other):
            what = item(number, price=77) if action is Action.PUT else key(number)
            place(cluster, orders, what, action, transaction_id=transaction_id,
                  generation=generation)  # fmt: skip
        foreign.unmark(one)
        foreign.delete(other)
    if decision is not None:
        decide(cluster.shards[1], transaction_id, decision)
    before = items_of(cluster, orders)
    name = UUID(bytes=transaction_id)
    verdict, found = found_by(cluster)
    assert [each.kind for each in found] == ["intent"] * 6
    assert {each.row for each in found} == {foreign.home(n)[1] for n in (*there, *absent)}
    assert not verdict.ok
    told = str(verdict)
    assert told.count(f"`mynamo transaction resolve {name}`") == 6
    assert told.count("there is no such row") == told.count("its row has no mark") == 3
    done: list[Any] = []
    report = repair(cluster, "orders", on_action=done.append)
    assert not report.ok
    assert [(action.fate, action.did) for action in done] == [("unresolved", RESOLVE)] * 6
    assert items_of(cluster, orders) == before

    if by == "command":
        words = ["--config", str(config_file), "transaction", "resolve", str(name)]
        resolved = CliRunner().invoke(root, words)
        became = "applied" if decision is Decision.COMMITTED else "aborted"
        assert resolved.output == f"{name}: {became}\n"
    else:
        monkeypatch.setattr(sweeper, "SEEN_FOR", 0.0)
        sweeper.Sweeper(cluster).round()
    assert everywhere(cluster, "SELECT 1 FROM mynamo_intent") == []
    after = {number: seen(cluster, number) for number in (*there, *absent)}
    if decision is Decision.COMMITTED:
        put, deleted, checked = there
        assert after == {
            put: item(put, price=77), deleted: None, checked: item(checked),
            absent[0]: item(absent[0], price=77), absent[1]: None, absent[2]: None,
        }  # fmt: skip
    else:
        assert items_of(cluster, orders) == before
    assert found_by(cluster)[0].ok
    assert damage(cluster, orders) == []
    for number in (*there, *absent):
        producer.put("orders", item(number, price=3))


def seen(cluster: Cluster, number: int) -> dict[str, Any] | None:
    return Reader(cluster).get("orders", key(number))


# -- repair beside transactions ---------------------------------------------------------------


def mark_of(cluster: Cluster, table: Table, foreign: Foreign, number: int) -> Unmatched:
    """Mark an item, as other programs' SQL may."""
    foreign.mark(number)
    shard, row = foreign.home(number)
    return Unmatched("mark", table.id, row, shard.id, version_of(cluster, table, row))


@pytest.mark.parametrize("control", [False, True])
@pytest.mark.parametrize("number", [0, 1], ids=["mark", "placeholder"])
def test_a_transaction_that_has_the_item_by_now_keeps_its_mark(
    cluster: Cluster,
    orders: Table,
    foreign: Foreign,
    control: bool,
    number: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Control: repair does not read the intents."""
    intent = place(cluster, orders, item(number))
    shard, row = foreign.home(number)
    version = version_of(cluster, orders, row)
    found = Unmatched("mark" if version else "placeholder", orders.id, row, shard.id, version)
    if control:
        none = ("SELECT 1 FROM DUAL WHERE 0", ())
        monkeypatch.setattr(matching, "read_intents", lambda *_, **__: none)
    did = free(cluster, orders, found)
    assert (did == NOTHING) != control
    assert placed(cluster, [intent]) != control


@pytest.mark.parametrize("control", [False, True])
def test_a_transaction_that_begins_meanwhile_keeps_its_mark(
    cluster: Cluster,
    other: Cluster,
    orders: Table,
    foreign: Foreign,
    control: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another repair frees the item, and a transaction begins, after this repair has looked. The
    row's lock lets them wait. Control: without it, the transaction loses its mark."""
    found = mark_of(cluster, orders, foreign, 0)
    begun: list[Intent] = []

    def begin() -> None:
        free(other, orders, found)
        begun.append(place(other, orders, item(0, price=7)))

    unmark = matching.unmark
    with ThreadPoolExecutor(1) as pool:

        def meanwhile(places: Any) -> Any:
            monkeypatch.setattr(matching, "unmark", unmark)
            beginning = pool.submit(begin)
            eventually(lambda: beginning.done() or waits_for_lock(foreign.home(0)[0]), 20)
            return unmark(places)

        monkeypatch.setattr(matching, "unmark", meanwhile)
        if control:
            reading = matching.whole_row
            monkeypatch.setattr(
                matching, "whole_row", lambda table, row, lock=False: reading(table, row)
            )
        assert free(cluster, orders, found) == UNMARKED
    assert placed(cluster, begun) != control
    assert (len(begun), found_by(cluster)[0].intents) == (1, int(control))


def waits_for_lock(shard: DynamoDBShard) -> bool:
    """Whether another connection locks a row and does not get on."""
    query = (
        "SELECT 1 FROM information_schema.processlist WHERE db = DATABASE()"
        " AND id <> CONNECTION_ID() AND info LIKE '%FOR UPDATE%'"
    )
    return bool(shard.run((query, ()))[0].rows)


class Died(BaseException):
    """Repair did."""


def test_a_repair_that_dies_before_its_commit_is_done_again(
    cluster: Cluster, orders: Table, foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = mark_of(cluster, orders, foreign, 0)
    run = Session.run

    def dying(self: Session, *statements: Statement) -> Any:
        if statements[-1][0] == "COMMIT" and statements[0][0].startswith("UPDATE"):
            run(self, *statements[:-1])
            raise Died
        return run(self, *statements)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "run", dying)
        with pytest.raises(Died):
            free(cluster, orders, found)
    assert version_of(cluster, orders, found.row) == found.version
    assert free(cluster, orders, found) == UNMARKED
    assert free(cluster, orders, found) == NOTHING


def test_repairs_beside_transactions_and_foreign_marks(
    cluster: Cluster, orders: Table, producer: Producer, foreign: Foreign
) -> None:
    """Transactions move amounts between items of both shards; marks come again and again."""
    stop = threading.Event()
    accounts = range(0, NUMBER, 2)
    total = sum(accounts)

    def move(seed: int) -> int:
        random, done = Random(seed), 0
        while not stop.is_set():
            source, target = random.sample(accounts, 2)
            writes = [
                Update("orders", key(n), "ADD price :n", values={":n": by})
                for n, by in ((source, -1), (target, 1))
            ]
            with suppress(TransactionCanceled):
                producer.transact(writes)
                done += 1
        return done

    def harm() -> None:
        random = Random(9)
        while not stop.wait(0.05):
            shard, row = foreign.home(random.choice(accounts))
            shard.run(
                (f"UPDATE {main_table(orders.id)} SET version = version | {MARK:d}"
                 f" WHERE hash = %s AND sort = %s AND version < {MARK:d}", row)
            )  # fmt: skip

    with ThreadPoolExecutor(4) as pool:
        moving = [pool.submit(move, seed) for seed in range(3)]
        harming = pool.submit(harm)
        try:
            freed = sum(repair(cluster, "orders").freed for _ in range(10))
        finally:
            stop.set()
        assert all(each.result() for each in moving)
        harming.result()
    assert freed > 0
    assert repair(cluster, "orders").ok
    assert found_by(cluster)[0].ok
    assert everywhere(cluster, "SELECT 1 FROM mynamo_intent") == []
    assert sum(int(each["price"]["N"]) for _, each in items_of(cluster, orders).values()) == total
    assert damage(cluster, orders) == []


# -- the command line -------------------------------------------------------------------------


def test_the_commands_tell_it(
    cluster: Cluster, orders: Table, foreign: Foreign, config_file: Path, tmp_path: Path
) -> None:
    def run(*words: str, status: int = 0) -> str:
        done = CliRunner().invoke(root, ["--config", str(config_file), *words])
        assert done.exit_code == status, done.output
        return done.output

    foreign.mark(0)
    foreign.insert(1)
    intent = place(cluster, orders, item(2))
    foreign.unmark(2)
    log = tmp_path / "log"
    told = run("verify", "orders", "--log", str(log), status=WRONG)
    assert "2 marks of no transaction (`mynamo repair orders` takes them away)" in told
    assert "1 intents on items without a mark" in told
    noted = [json.loads(line) for line in log.read_text().splitlines()]
    assert sorted(line["kind"] for line in noted) == ["intent", "mark", "placeholder"]
    (named,) = {line["transaction"] for line in noted} - {None}
    assert named == str(UUID(bytes=intent.transaction_id))
    shown = json.loads(run("verify", "orders", "--json", status=WRONG))
    assert (shown["ok"], shown["marks"], shown["intents"]) == (False, 2, 1)
    assert "2 marks of no transaction would be taken away" in run(
        "repair", "orders", "--plan", status=WRONG
    )
    assert "took 2 of 2 marks away" in run("repair", "orders", status=WRONG)
    release(cluster, orders, intent)
    assert "CLEAN" in run("verify", "orders")
