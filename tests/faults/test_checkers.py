"""The checkers of recorded histories: what is right passes, what is wrong is found."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from mynamo.catalog.incarnation import base
from mynamo.errors import (
    ConditionFailed,
    CorruptData,
    LogUnavailable,
    ShardUnavailable,
    WriteOutcomeUnknown,
)
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.events import ChangeEvent
from tests.faults import linearizability, sessions, streams, workload
from tests.faults.access import BrokenConnection, HttpError, NotConnected, failure_of
from tests.faults.checking import (
    Final,
    Restored,
    check_all,
    check_recorded,
    wait_until_quiet,
)
from tests.faults.history import Operation, Outcome, Recorder, load
from tests.faults.model import Item, State, Step, steps_of
from tests.faults.neighbours import Measured
from tests.faults.sabotage import MECHANISMS
from tests.faults.simulation import FLAWS, Simulation
from tests.gateway.conftest import served
from tests.waiting import eventually
from tests.workers import pipeline

pytestmark = pytest.mark.slow

SEEDS = range(5)


def op(
    kind: str,
    start: int,
    end: int | None,
    result: object = None,
    outcome: str = "ok",
    version: int | None = None,
    client: int = 1,
    **argument: object,
) -> Operation:
    """One operation on the one item."""
    return Operation(
        client, kind, "faults", ("h", 1), argument, start, end, outcome, result, version  # type: ignore[arg-type]
    )  # fmt: skip


def put(name: str, start: int, end: int | None, **more: object) -> Operation:
    """A put of an item named so."""
    values: dict[str, object] = {"op": name, "counter": 0, "status": "a", "grade": 1}
    return op("put", start, end, **{"result": {}, **values, **more})  # type: ignore[arg-type]


def get(name: str | None, start: int, end: int, counter: int = 0) -> Operation:
    """A read that saw it."""
    item = None if name is None else {"op": name, "counter": counter, "status": "a", "grade": 1}
    return op("get", start, end, {"item": item})


def add(name: str, start: int, end: int | None, amount: int, **more: object) -> Operation:
    """An addition to the counter."""
    return op("update_add", start, end, **{"result": {}, "op": name, "add": amount, **more})  # type: ignore[arg-type]


def verdict(*operations: Operation, **options: object) -> linearizability.Verdict:
    """What the search says."""
    givers = {o.version: o.op for o in operations if o.version}
    return linearizability.check(steps_of(operations, givers, {}, **options))  # type: ignore[arg-type]


EXPLAINED: dict[str, Sequence[Operation]] = {
    "reads between": [put("a", 0, 10), get(None, 2, 4), get("a", 5, 9)],
    "concurrent puts": [put("a", 0, 10), put("b", 0, 10), get("a", 11, 12)],
    "unknown and never": [put("a", 0, 1), put("b", 2, None, outcome="unknown"), get("a", 5, 6)],
    "unknown and late": [
        put("a", 2, None, outcome="unknown"), get(None, 5, 6), get("a", 50, 60),
    ],
    "queued after its answer": [
        op("queued_add", 0, 1, {}, op="q", add=5), get(None, 2, 3),
        op("get", 8, 9, {"item": {"op": "q", "counter": 5}}),
    ],
    "refused while it was there": [
        put("a", 0, 10), op("put_if_absent", 5, 20, {"reason": "condition"}, "refused", op="b"),
    ],
    "never written": [put("a", 0, 9, outcome="refused", result={"reason": "unavailable"})],
}  # fmt: skip

NOT_EXPLAINED: dict[str, Sequence[Operation]] = {
    "stale read": [put("a", 0, 1), put("b", 2, 3), get("a", 4, 5)],
    "read of nothing": [put("a", 0, 1), get(None, 2, 3)],
    "back and forth": [
        put("a", 0, 9), put("b", 0, 9), get("a", 1, 2), get("b", 3, 4), get("a", 5, 6),
    ],
    "lost addition": [put("a", 0, 1), add("x", 2, 3, 1), add("y", 4, 5, 1), get("y", 6, 7, 1)],
    "addition twice": [put("a", 0, 1), add("x", 2, 3, 1), get("x", 6, 7, 2)],
    "queued write lost": [op("queued_add", 0, 1, {}, op="q", add=5), get(None, 100, 101)],
    "queued writes turned round": [
        op("queued_put", 0, 1, {}, op="p", counter=0, status="a", grade=1),
        op("queued_put", 2, 3, {}, op="q", counter=0, status="a", grade=1),
        get("q", 4, 5), get("p", 6, 7),
    ],
    "refused with its condition": [
        op("put_if_absent", 5, 20, {"reason": "condition"}, "refused", op="b"),
    ],
    "condition did not hold": [
        put("a", 0, 1), op("put_if_absent", 2, 3, {}, op="b", counter=0, status=None, grade=None),
    ],
    "seen though refused": [
        put("a", 0, 9, outcome="refused", result={"reason": "unavailable"}), get("a", 3, 4),
    ],
    "two with one version": [
        put("a", 0, 1, version=7), put("b", 2, 3, version=8),
        *[
            op("put_if_version", 4, 6, {}, version=v, op=name, expected=8, counter=0, status="a",
               grade=1)
            for name, v in (("c", 9), ("d", 10))
        ],
    ],
    "versions against the order": [put("a", 0, 1, version=8), put("b", 2, 3, version=7)],
}  # fmt: skip


@pytest.mark.parametrize("name", EXPLAINED)
def test_histories_that_an_order_explains(name: str) -> None:
    assert verdict(*EXPLAINED[name], horizon=7 if "queued" in name else None).explained


@pytest.mark.parametrize("name", NOT_EXPLAINED)
def test_histories_that_no_order_explains(name: str) -> None:
    found = verdict(*NOT_EXPLAINED[name], horizon=99 if "lost" in name else None)
    assert not found.explained
    assert found.decided
    assert "  > " in found.story


def _has_order(
    steps: Sequence[Step], item: Item = None, taken: frozenset[int] = frozenset()
) -> bool:
    """By trying every order, one step after another."""
    left = [n for n in range(len(steps)) if n not in taken]
    if not any(steps[n].must for n in left):
        return True
    first_end = min(steps[n].end or 1_000 for n in left if steps[n].must)
    for n in left:
        step = steps[n]
        if step.start > first_end or not step.fits(item) or not taken.issuperset(step.before):
            continue
        after = step.change(item) if step.change else item
        if _has_order(steps, after, taken | {n}):
            return True
    return False


def _at_random(choice: random.Random) -> list[Operation]:
    """A few operations at any times, that saw anything."""
    names = [None, "p0", "p1", "p2", "p3"]
    some: list[Operation] = []
    for n in range(choice.randint(3, 7)):
        start = choice.randrange(20)
        end = start + choice.randint(1, 12)
        seen = choice.choice(names)
        item = seen and {"op": seen, "counter": choice.choice((0, 0, 1)), "status": "a", "grade": 1}
        kinds = {
            "put": put(f"p{n}", start, end, result=choice.choice(({}, {"old": item}))),
            "unknown": put(f"p{n}", start, None, outcome="unknown"),
            "queued": op("queued_put", start, end, {}, op=f"p{n}", counter=0, status="a", grade=1),
            "add": add(f"p{n}", start, end, 1, result=choice.choice(({}, {"old": item}))),
            "delete": op("delete", start, end, choice.choice(({}, {"old": item})), op=f"d{n}"),
            "get": op("get", start, end, {"item": item}),
            "absent": op("put_if_absent", start, end, {"reason": "condition"}, "refused", op="x"),
        }
        some.append(kinds[choice.choice(list(kinds))])
        some[-1].client = n % 3
    return some


def test_the_search_agrees_with_trying_every_order() -> None:
    choice = random.Random(4)
    counts = Counter[bool]()
    for _ in range(4_000):
        steps = steps_of(_at_random(choice), {}, {}, 40)
        found = linearizability.check(steps)
        assert found.decided
        assert found.explained == _has_order(steps), [step.operation for step in steps]
        counts[found.explained] += 1
    assert min(counts.values()) > 500, counts


def test_a_story_names_the_first_end_without_an_order_and_what_could_be_there() -> None:
    many = [put(f"p{n}", 10 * n, 10 * n + 5) for n in range(50)]
    lines = verdict(*many, get("p3", 200, 205)).story.splitlines()
    assert "no order" in lines[0]
    assert "end of put by client 1 (marked >)" in lines[1]
    assert "p3 (counter 0" in lines[1]
    assert "what found p3" in lines[2]
    assert "'op': 'p4'" in next(line for line in lines if line.startswith("  > "))
    assert "get" in lines[-1]
    assert len(lines) < 12


@pytest.mark.parametrize("seed", SEEDS)
def test_what_a_linearizable_store_does_passes(seed: int) -> None:
    run = Simulation(seed, 800)
    report = check_recorded(run.operations, run.events, run.final)
    assert not report.violations + report.notes, str(report)
    for kind in ("linearizable", "stream", "index never back", "own writes seen"):
        assert report.checks[kind] > 20, str(report)


@pytest.mark.parametrize("seed", SEEDS)
def test_it_passes_without_the_events_too(seed: int) -> None:
    run = Simulation(seed, 300, queued=False)
    report = check_recorded(run.operations, [], run.final, complete=False)
    assert not report.violations + report.notes, str(report)


def test_hot_items_with_thousands_of_operations_are_checked() -> None:
    run = Simulation(1, 5000, clients=8, keys=2)
    report = check_recorded(run.operations, run.events, run.final)
    assert not report.violations, str(report)
    assert report.checks["orders searched"] < 100_000


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_store_with_a_flaw_is_found_out(flaw: str) -> None:
    for seed in range(3):
        run = Simulation(seed, 1200, flaw=flaw)
        report = check_recorded(run.operations, run.events, run.final)
        assert run.flaws > 0
        kinds = {text.partition("]")[0][1:] for text in report.violations}
        assert FLAWS[flaw] in kinds, (seed, kinds)


@pytest.mark.parametrize("flaw", ["lost write", "lost update", "stale read"])
def test_histories_alone_show_it_too(flaw: str) -> None:
    for seed in SEEDS:
        run = Simulation(seed, 200, flaw=flaw, queued=False)
        report = check_recorded(run.operations, [], run.final, complete=False)
        assert any("[linearizable]" in text for text in report.violations), (seed, str(report))


def test_what_a_shard_lost_before_it_was_restored_is_no_violation() -> None:
    run = Simulation(1, 1200, flaw="lost write")
    keys = {operation.key for operation in run.operations}
    late = Restored(dict.fromkeys(keys, run.operations[-1].start))
    report = check_recorded(run.operations, run.events, run.final, restored=late)
    assert run.flaws > 0
    assert not report.violations, str(report)


def test_what_it_acknowledged_afterwards_must_be_there() -> None:
    run = Simulation(1, 1200, flaw="lost write")
    early = Restored(dict.fromkeys({operation.key for operation in run.operations}, 0))
    report = check_recorded(run.operations, run.events, run.final, restored=early)
    assert any("[stream]" in text for text in report.violations), str(report)


def test_what_a_new_incarnation_sends_again_may_take_an_index_back_for_a_time() -> None:
    run = Simulation(1, 1200, flaw="index row back")
    later = [e.model_copy(update={"sequence": e.sequence + base(1)}) for e in run.events]
    for events, is_excused in [(run.events, False), ([*run.events, *later], True)]:
        keys = streams.sent_again([*events, *run.events])
        report = check_recorded(run.operations, run.events, run.final, sent_again=keys)
        found = any("[index never back]" in text for text in report.violations)
        assert found is not is_excused, str(report)


def test_bounds_of_a_shard_beside_one_that_is_away() -> None:
    good = Measured([5.0] * 100, [50.0] * 100)
    assert good.violations("it") == []
    assert Measured([5.0] * 97 + [9_000.0] * 3, [50.0] * 100).violations("it")
    assert Measured([5.0] * 100, [50.0] * 97 + [2_500.0] * 3).violations("it")
    assert Measured([5.0] * 100, [50.0] * 97, late=3).violations("it")
    assert Measured([5.0] * 100, [50.0] * 100, errors=["no answer"]).violations("it")
    assert Measured([5.0] * 3, [50.0] * 3).violations("it")


def _without(events: list[ChangeEvent], at: int) -> None:
    gone = events[at].event_id
    events[:] = [event for event in events if event.event_id != gone]


def _again(events: list[ChangeEvent], at: int) -> None:
    events.insert(at + 1, events[at].model_copy(update={"event_id": "1-twice"}))


def _late(events: list[ChangeEvent], at: int) -> None:
    late = events[at]
    _without(events, at)
    place = next(n for n, event in enumerate(events) if n >= at and event.keys == late.keys)
    events.insert(place + 1, late)


def _other_image(events: list[ChangeEvent], at: int) -> None:
    image = {**(events[at].new_image or {}), "counter": {"N": "77"}}
    changed = events[at].model_copy(update={"new_image": image})
    events[:] = [changed if event.event_id == changed.event_id else event for event in events]


DAMAGES: list[Callable[[list[ChangeEvent], int], None]] = [_without, _again, _late, _other_image]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_damaged_stream_is_found(
    seed: int, damage: Callable[[list[ChangeEvent], int], None]
) -> None:
    run = Simulation(seed)
    at = next(n for n, event in enumerate(run.events) if n > 50 and event.new_image)
    damage(run.events, at)
    report = check_recorded(run.operations, run.events, run.final)
    assert any("[stream]" in text for text in report.violations), str(report)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_stream_that_the_broker_lost_a_part_of_is_no_violation(seed: int) -> None:
    run = Simulation(seed, queued=False)
    del run.events[20:60]
    report = check_recorded(run.operations, run.events, run.final, complete=False)
    assert not report.violations, str(report)


def test_an_incomplete_stream_must_still_be_in_order() -> None:
    run = Simulation(3, queued=False)
    del run.events[20:60]
    _late(run.events, 100)
    report = check_recorded(run.operations, run.events, run.final, complete=False)
    assert any("[stream]" in text for text in report.violations)


def _drop(final: Final) -> None:
    final.rows["by_grade"].pop()


def _ghost(final: Final) -> None:
    final.rows["by_status"].append((("gone", 1), 3, State("x", 0, "a", 1)))


def _stale(final: Final) -> None:
    key, version, item = final.rows["by_grade"][0]
    assert version is not None
    final.rows["by_grade"][0] = (key, version - 1, item)


def _twice(final: Final) -> None:
    final.rows["by_grade"].append(final.rows["by_grade"][0])


def _moved(final: Final) -> None:
    key, version, item = final.rows["by_grade"][0]
    assert version is not None
    final.table[key] = (version, item._replace(op="somebody else"))


@pytest.mark.parametrize("damage", [_drop, _ghost, _stale, _twice, _moved])
def test_what_is_wrong_in_the_end_is_found(damage: Callable[[Final], None]) -> None:
    run = next(r for r in map(Simulation, range(20)) if r.final.rows["by_grade"])
    damage(run.final)
    report = check_recorded(run.operations, run.events, run.final)
    assert any("[index equals table]" in text for text in report.violations), str(report)


def test_a_wiped_broker_excuses_lost_commands_but_not_those_after_it() -> None:
    run = Simulation(2, flaw="queued write lost")
    last = max(operation.start for operation in run.operations)
    assert check_recorded(run.operations, run.events, run.final).violations
    assert not check_recorded(run.operations, run.events, run.final, wiped_at=last).violations


def test_an_unforeseen_error_is_a_violation() -> None:
    run = Simulation(0)
    run.operations[3].outcome = "crash"
    run.operations[3].result = {"error": "OperationalError: (2013, 'Lost connection')"}
    report = check_recorded(run.operations, run.events, run.final)
    assert any("OperationalError" in text for text in report.violations)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ConditionFailed(), "refused"),
        (ShardUnavailable(), "refused"),
        (WriteOutcomeUnknown(), "unknown"),
        (LogUnavailable(), "unknown"),
        (BrokenConnection(), "unknown"),
        (NotConnected(), "refused"),
        (HttpError(400, {"__type": "x#ConditionalCheckFailedException"}), "refused"),
        (HttpError(503, {"__type": "x#ServiceUnavailableException"}), "refused"),
        (HttpError(500, {"__type": "x", "message": "... lost during commit ..."}), "unknown"),
        (HttpError(500, {"__type": "x", "message": "Internal server error"}), "crash"),
        (HttpError(400, {"__type": "x#ValidationException"}), "crash"),
        (CorruptData(), "crash"),
        (ConnectionResetError(), "crash"),
        (KeyError("x"), "crash"),
    ],
)
def test_what_failures_mean(error: Exception, outcome: str) -> None:
    assert failure_of(error, "put").outcome == outcome


def test_a_killed_clients_operations_stay_open_and_its_torn_line_is_left_out(
    tmp_path: Path,
) -> None:
    path = tmp_path / "history.jsonl"
    with Recorder(path) as recorder:
        recorder.begin(1, "put", "faults", ("h", 1), {"op": "1-1"}).end("ok", {}, 5)
        recorder.begin(1, "put", "faults", ("h", 1), {"op": "1-2"})
    with path.open("ab") as file:
        file.write(b'{"call":"x","cli')
    done, open_ = load([path])
    assert (done.outcome, done.version, open_.outcome, open_.end) == ("ok", 5, "unknown", None)
    with Recorder(path) as recorder:  # its successor goes on
        recorder.begin(1, "get", "faults", ("h", 1), {}).end("ok", {"item": None})
    assert [operation.kind for operation in load([path])] == ["put", "put", "get"]


@pytest.mark.parametrize("name", [n for n, m in MECHANISMS.items() if m.take_out])
def test_every_mechanism_is_still_there_to_be_taken_out(name: str) -> None:
    command = [sys.executable, "-m", "tests.faults.sabotage", name, "json.tool", "--help"]
    assert not subprocess.run(command, capture_output=True, text=True).stderr


def _waited_for(histories: list[Path]) -> int:
    """How many writes queries of indexes have waited for so far."""
    there = [path for path in histories if path.exists()]
    queries = (o for o in load(there) if o.kind == "query_index" and o.outcome == "ok")
    return sum(len(query.argument["after"]) for query in queries)


def test_a_healthy_cluster_passes(config: ClusterConfig, tmp_path: Path) -> None:
    stop = threading.Event()
    histories = [tmp_path / f"{mode}.jsonl" for mode in workload.MODES]
    with pipeline(config), served(config) as url, ExitStack() as ending:
        workload.ensure_table(config)
        clients = [
            threading.Thread(
                target=workload.run_clients,
                args=(config, path),
                kwargs={
                    "client": number, "mode": mode, "seed": 1, "threads": 3, "rate": 40.0,
                    "stop": stop, "endpoint": url,
                },
            )
            for number, (mode, path) in enumerate(
                zip(workload.MODES, histories, strict=True), 1
            )
        ]  # fmt: skip
        for client in clients:
            client.start()
            ending.callback(client.join)
        ending.callback(stop.set)
        stop.wait(8)
        eventually(lambda: _waited_for(histories) > 20, 120)
        stop.set()
        for client in clients:
            client.join()
        assert wait_until_quiet(config) == ""
        last = tmp_path / "last.jsonl"
        workload.final_reads(config, last, workload.all_keys(load(histories)))
        report = check_all([*histories, last], config)
    assert not report.violations + report.notes, str(report)
    kinds = {operation.kind for operation in load(histories)}
    drawn = {*workload.BY_LIBRARY, *workload.BY_GATEWAY, *workload.BY_QUEUE}
    assert kinds >= drawn - {"batch_write"} | {"batch_put", "batch_delete"}
    assert report.checks["own writes seen"] > 10, str(report)


# -- sessions ---------------------------------------------------------------------------


def session(
    kind: str, at: float, ends: int = 0, outcome: Outcome = "ok", result: object = None
) -> Operation:
    """An operation on a session, seconds after the machine was started."""
    argument = {"ends": sessions.wall(0) + ends} if ends else {}
    moment = round(at * 1e9)
    end = None if outcome == "unknown" else moment
    return Operation(1, kind, "sessions", ("s", 0), argument, moment, end, outcome, result)


def looked(at: float, *, found: bool) -> Operation:
    """A read of a session."""
    return session("session_get", at, result={"item": {"h": "s"} if found else None})


FAILED = {"reason": "condition"}


@pytest.mark.parametrize(
    ("operations", "checked", "wrong"),
    [
        ([looked(10, found=False)], 1, 1),
        ([looked(19, found=False)], 0, 0),
        ([looked(25, found=False), looked(9, found=True)], 1, 0),
        ([session("session_prolong", 21, 30), looked(25, found=False)], 1, 1),
        ([session("session_prolong", 10, 30, "refused", FAILED)], 1, 1),
        ([session("session_prolong", 21, 30, "refused", FAILED)], 0, 0),
        ([session("session_prolong", 10, 12, "unknown"), looked(15, found=False)], 0, 0),
        ([session("session_prolong", 10, 40, "unknown"), looked(15, found=False)], 1, 1),
    ],
)
def test_sessions_are_there_until_their_time_is_over(
    operations: list[Operation], checked: int, wrong: int
) -> None:
    found = sessions.check_sessions([session("session_begin", 5, 20), *operations])
    assert (found[0], len(found[1])) == (checked, wrong)


def test_sessions_are_not_checked_while_a_shards_clock_was_ahead() -> None:
    history = [session("session_begin", 5, 60), looked(30, found=False)]
    assert sessions.check_sessions(history, [(20, 25)]) == (0, [])
    assert len(sessions.check_sessions(history, [(1, 2)])[1]) == 1
